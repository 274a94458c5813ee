"""One table of ours and others: a peer that is not there is a line, not a crash."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.peers import table
from benchmarks.peers.ways import Way


def missing() -> Way:
    raise ImportError("no module of that name")


def exits() -> Way:
    raise SystemExit


def test_peers_that_are_not_installed_are_left_out(monkeypatch, capsys):
    way = Way(lambda image: None, lambda image, face: np.ones(4), [])
    monkeypatch.setattr(table, "WAYS", {"a": missing, "b": exits, "c": lambda: way})
    assert table.opened() == {"c": way}
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "a: left out: no module of that name",
        "b: left out: its models are not installed",
    ]


@pytest.mark.parametrize(("face", "found"), [(None, None), ((0, 0, 9, 9), 0.5)])
def test_an_embedding_has_unit_length_and_no_face_has_none(face, found):
    way = Way(lambda image: face, lambda image, box: np.full(4, 3.0), [])
    vector = way.unit_embedding(np.zeros((9, 9, 3), np.uint8))
    assert (vector is None) if found is None else np.allclose(vector, found)
