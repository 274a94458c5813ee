"""Tests of facesync.liveness.camera: what is learnt about a camera, and kept beside the store."""

from __future__ import annotations

import json
import os

import pytest

from facesync.liveness.camera import calibrated, file_of, known, learn
from tests.liveness.fakes import FakePassive

PASSIVE = FakePassive()  # live from 0.8, an attack below 0.2


@pytest.fixture
def store(tmp_path):
    return tmp_path / "face_embeddings.pkl"


@pytest.mark.parametrize(
    ("owner", "offset"),
    [(0.3, 1.0), (0.8, 1.0), (0.9158, 0.0), (0.95, -0.559), (0.999, -1.0), (1.0, -1.0)],
)
def test_the_owner_sets_the_offset_within_bounds(store, owner, offset):
    assert known(store, "0", PASSIVE) is None
    learn(store, "0", PASSIVE, owner)
    camera = known(store, "0", PASSIVE)
    assert camera is not None and camera.offset == pytest.approx(offset, abs=1e-3)
    assert known(store, "1", PASSIVE) is None
    if owner >= 0.9:
        assert calibrated(owner, camera.offset, PASSIVE.thresholds) >= 0.8  # sure of its owner


def test_no_offset_carries_a_score_across_that_of_an_attack():
    thresholds = PASSIVE.thresholds
    assert calibrated(0.1999, 1.0, thresholds) == 0.1999
    assert calibrated(0.2, -1.0, thresholds) == 0.2
    assert calibrated(0.5, 0.0, thresholds) == 0.5
    assert calibrated(0.0, 1.0, thresholds) == 0
    assert calibrated(1.0, -1.0, thresholds) < 1


def test_several_enrolments_are_weighed_by_their_median_and_kept_privately(store):
    for score in (0.8, 0.9158, 0.99):
        learn(store, "rtsp://me:secret@door/1", PASSIVE, score)
    camera = known(store, "rtsp://me:secret@door/1", PASSIVE)
    assert camera is not None and camera.offset == pytest.approx(0, abs=1e-3)
    assert file_of(store).name == "face_embeddings.pkl.liveness"
    assert "secret" not in file_of(store).read_text()
    if os.name == "posix":
        assert file_of(store).stat().st_mode & 0o777 == 0o600
    for _ in range(20):
        learn(store, "0", PASSIVE, 0.9)
    assert len(json.loads(file_of(store).read_text())["cameras"]["0"]) == 10


def test_scores_of_another_model_mean_nothing(store):
    learn(store, "0", PASSIVE, 0.9)
    other = FakePassive()
    other.fingerprint = "other"
    assert known(store, "0", other) is None
    learn(store, "1", other, 0.9)
    assert known(store, "0", PASSIVE) is None and known(store, "1", other) is not None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"format": 2, "model": "fake", "cameras": {"0": [0.5]}}',
        '{"format": 1, "model": "fake", "cameras": [0.5]}',
        '{"format": 1, "model": "fake", "cameras": {"0": 0.5}}',
        '{"format": 1, "model": "fake", "cameras": {"0": [NaN]}}',
        '{"format": 1, "model": "fake", "cameras": {"0": [-9]}}',
        '{"format": 1, "model": "fake", "cameras": {"0": ["x"]}}',
        '{"format": 1, "model": "fake", "cameras": {"0": [null]}}',
        '{"format": 1, "model": "fake", "cameras": {"0": [1' + 400 * "0" + "]}}",
    ],
)
def test_a_damaged_file_leaves_every_camera_unknown_with_a_warning(store, content, caplog):
    file_of(store).write_text(content)
    assert known(store, "0", PASSIVE) is None
    assert "every camera counts as unknown" in caplog.text
    learn(store, "0", PASSIVE, 0.9)
    assert known(store, "0", PASSIVE) is not None
