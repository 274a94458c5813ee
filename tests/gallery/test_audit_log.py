"""The log has a whole line for every decision."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from facesync.errors import FileError
from facesync.gallery import audit_log
from facesync.gallery.matching import Decision, refused
from facesync.liveness.policy import Liveness


def test_a_line_for_each(tmp_path):
    path = tmp_path / "logs" / "audit.jsonl"
    alive = Liveness(True, 0.9, "the head turned as asked", ("5 looks",), "passed")
    accepted = Decision(True, "Ada\u2028", 0.8, 0.6, "similar", liveness=alive)
    audit_log.append(path, accepted, "ada")
    audit_log.append(path, refused("no face\nfound", 0.6))
    first, second = map(json.loads, path.read_text().split("\n")[:-1])
    assert set(first) == {
        "time", "accepted", "name", "asked", "similarity", "threshold", "reason", "liveness"
    }  # fmt: skip
    assert (first["accepted"], first["name"], first["asked"]) == (True, "Ada\u2028", "ada")
    assert (second["accepted"], second["similarity"], second["asked"]) == (False, None, None)
    assert first["liveness"] == {"live": True, "score": 0.9, "challenge": "passed"}
    assert second["liveness"] is None
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text('{"time": "20')
    audit_log.append(path, refused("x", 0.6))
    assert json.loads(path.read_text().splitlines()[1])["reason"] == "x"


def test_lines_do_not_mix(tmp_path):
    path = tmp_path / "audit.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: audit_log.append(path, refused("x" * 5000 + str(n), 0)), range(40)))
    reasons = {json.loads(line)["reason"] for line in path.read_text().splitlines()}
    assert len(reasons) == 40


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(FileError, match="cannot write the log"):
        audit_log.append(tmp_path, refused("x", 0.6))
