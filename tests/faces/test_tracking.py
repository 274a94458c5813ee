"""Tracks keep their faces: moving, crossing, missed for a moment, gone and back."""

from __future__ import annotations

import numpy as np
import pytest

from facesync.faces.boxes import iou
from facesync.faces.detection import Face
from facesync.faces.tracking import LOST_SECONDS, REJOIN_SECONDS, Tracker, _assign
from tests.gallery.conftest import unit


def face(x: float, y: float = 100, side: float = 60) -> Face:
    box = np.array([x, y, x + side, y + side], dtype=np.float32)
    return Face(box, np.zeros((5, 2), dtype=np.float32), 0.99)


def test_overlap_is_intersection_over_union():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]], dtype=float)
    np.testing.assert_allclose(iou(boxes[:1], boxes), [[1, 1 / 3, 0]])
    assert iou(np.empty((0, 4)), boxes).shape == (0, 3)


def test_moving_faces_keep_their_tracks_in_any_order():
    tracker = Tracker()
    for step in range(30):
        seconds = step / 30
        faces = [face(100 + 4 * step), face(400, 200 + 3 * step)]
        if step % 2:
            faces.reverse()
        tracks = tracker.update(faces, seconds)
        assert [track.number for track in tracks] == ([2, 1] if step % 2 else [1, 2])


def test_two_faces_that_pass_each_other_are_not_swapped():
    """They come so close that each box overlaps both; velocity tells them apart."""
    tracker = Tracker()
    for step in range(40):
        left, right = face(100 + 8 * step), face(420 - 8 * step, 112)
        first, second = tracker.update([left, right], step / 30)
        assert (first.number, second.number) == (1, 2)


def test_a_face_missed_for_some_frames_keeps_its_track():
    tracker = Tracker()
    for step in range(10):
        tracker.update([face(100 + 6 * step)], step / 30)
    for step in range(10, 16):
        assert tracker.update([], step / 30) == []
    (track,) = tracker.update([face(100 + 6 * 16)], 16 / 30)
    assert track.number == 1


def test_the_box_is_predicted_for_a_limited_time():
    tracker = Tracker()
    for step in range(10):
        (track,) = tracker.update([face(100 + 10 * step)], step / 10)
    assert track.box_at(0.9)[0] == pytest.approx(190)
    assert track.box_at(1.0)[0] == pytest.approx(200, abs=1)
    assert track.box_at(60.0)[0] < 300


@pytest.mark.parametrize(
    ("away", "seed", "again"),
    [
        (LOST_SECONDS + 1, 1, True),
        (LOST_SECONDS + 1, 2, False),
        (LOST_SECONDS + REJOIN_SECONDS + 1, 1, False),
    ],
)
def test_a_face_that_comes_back_elsewhere_is_recognised_by_its_embedding(away, seed, again):
    tracker = Tracker()
    (track,) = tracker.update([face(100)], 0.0)
    track.embedding = unit(1)
    tracker.update([], LOST_SECONDS + 0.1)
    (new,) = tracker.update([face(500)], away)
    assert new.number == 2
    embedding = tracker.rejoin(new, unit(seed), 0.6)
    assert (embedding is not None) is again
    assert new.number == (1 if again else 2)
    assert tracker.rejoin(new, unit(seed), 0.6) is None  # a track is continued once


def test_pairs_have_the_largest_overlap_in_all():
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(0)
    for _ in range(300):
        overlap = random.random(random.integers(0, 9, 2))
        overlap *= random.random(overlap.shape) < random.random()  # most boxes are far apart
        pairs = _assign(overlap)
        rows, columns = optimize.linear_sum_assignment(-overlap)
        assert len({row for row, _ in pairs}) == len({c for _, c in pairs}) == min(overlap.shape)
        best = overlap[rows, columns].sum()
        assert sum(overlap[pair] for pair in pairs) == pytest.approx(best, abs=1e-12)
