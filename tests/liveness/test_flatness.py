"""Tests of facesync.liveness.flatness, on synthetic heads and photographs and on real ones."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from facesync.faces.detection import FaceDetector, main_face
from facesync.images import read_image_rgb
from facesync.liveness.flatness import DEPTH, depth, nose_error
from tests.liveness.fakes import head, photograph


@pytest.mark.parametrize("turn", [(22, 0), (-22, 0), (0, 22), (0, -22)])
def test_a_head_has_depth_from_a_turn_of_20_degrees(turn):
    assert nose_error(head(), head(*turn)) >= DEPTH
    less = np.array(turn) * 0.7
    assert 0.1 < nose_error(head(), head(*less)) < DEPTH


TILTS = (-70, -60, -45, -20, 0, 20, 45, 60, 70)


@pytest.mark.parametrize("bent", [0, 30, 60])
def test_a_photograph_tilted_on_both_axes_bent_and_turned_has_none(bent):
    errors = [
        nose_error(one, photograph(yaw, pitch, roll, bent=bent))
        for yaw, pitch, roll in product(TILTS, TILTS, (0, 30))
        for one in (head(), photograph(bent=bent))
    ]
    assert max(errors) < (0.18 if bent else 0.05)


def test_a_photograph_of_a_turned_head_has_none_either():
    errors = [
        nose_error(photograph(shows=head(30, size=1)), photograph(*tilt, shows=head(30, size=1)))
        for tilt in product(TILTS, TILTS)
    ]
    assert max(errors) < 0.1


@pytest.mark.parametrize(
    "front",
    [np.zeros((5, 2)), np.column_stack([np.arange(5), np.arange(5)])],
    ids=["one point", "a line"],
)
def test_points_that_determine_no_map_have_no_depth(front):
    assert nose_error(front, head(30)) == 0
    assert nose_error(head(), np.zeros((5, 2))) == 0


def test_three_frames_must_show_the_depth():
    still, turned = [head()] * 4, [head(35)]
    assert depth([*still, *turned * 2]) < 0.01
    assert depth([*turned * 3, *still]) >= DEPTH
    assert depth([head(), *turned * 2]) == 0  # too few frames to say


def test_no_printed_face_reaches_the_depth_of_a_live_one(shared):
    detector = FaceDetector()
    folders = (
        shared / "data/liveness/nuaa/print",
        shared / "data/liveness/replay_attack/devel/print",
    )
    sequences = defaultdict(list)
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        who = path.stem.split("_")[0]
        if who in ("0003", "0007") or (who in ("client003", "client010") and "hand" in path.stem):
            image_rgb = read_image_rgb(path)
            faces = detector.detect(image_rgb)
            if faces:
                sequences[who].append(main_face(faces, image_rgb).landmarks)
    depths = [depth(landmarks) for landmarks in sequences.values()]
    assert len(depths) == 4
    assert max(depths) <= 0.113  # as measured on all of them
