"""Tests of facesync.liveness.evidence and background."""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np
import pytest

from facesync.faces.detection import FaceDetector, main_face
from facesync.images import read_image_rgb
from facesync.liveness.background import Background
from facesync.liveness.evidence import RECENT, Evidence
from tests.liveness.fakes import FakePassive, face, head

IMAGE = np.zeros((480, 640, 3), np.uint8)


def embedding(cosine: float) -> np.ndarray:
    """Return a unit vector with this cosine to `embedding(1)`."""
    return np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)


def test_the_median_over_five_looks_counts():
    evidence = Evidence(FakePassive([0.1, 0.9, 0.7, 0.2, 0.8]), 0.5)
    assert (evidence.looks, evidence.surroundings, evidence.attack) == (0, 0.0, "")
    for _number in range(5):
        assert evidence.score is None
        evidence.look(IMAGE, face(head()), embedding(1))
    assert evidence.score == evidence.raw_score == 0.7
    assert (evidence.looks, evidence.surroundings, evidence.attack) == (5, 1.0, "print")
    assert evidence.in_words() == ("5 looks", "passive score 0.70")


def test_turned_faces_do_not_count_where_there_are_straight_looks():
    evidence = Evidence(FakePassive([0.1] * 6 + [0.9] * 5), 0.5)
    for number, yaw in enumerate([45, 42, 40, 38, 35, 32, 20, 10, 0, 0, 0]):
        evidence.look(IMAGE, face(head(yaw)), embedding(1))
        assert evidence.score == (None if number < 4 else 0.1 if number < 10 else 0.9)
    assert evidence.depth >= 0.2
    assert "the face has depth" in evidence.in_words()


@pytest.mark.parametrize(
    ("raw", "offset", "shown"), [(0.5, 1.0, 0.731), (0.5, -1.0, 0.269), (0.19, 1.0, 0.19)]
)
def test_the_offset_of_the_camera_moves_the_score(raw, offset, shown):
    evidence = Evidence(FakePassive([raw]), 0.5, offset)
    for _ in range(5):
        evidence.look(IMAGE, face(head()), embedding(1))
    assert (evidence.score, evidence.raw_score) == (pytest.approx(shown, abs=1e-3), raw)


@pytest.mark.parametrize(
    ("frames", "same"),
    [
        ([(0, 0.5)], True),
        ([(0, 0.49)], False),
        ([(30, 0.25)], True),  # turned: half the similarity is enough
        ([(30, 0.24)], False),
        ([(30, 0.3), (30, 0.1), (30, -0.2)], True),  # or one like the frame before
        ([(30, 0.3), (30, 0.1), (0, 0.1)], False),  # who looks straight has no excuse
        ([(0, float("nan"))], False),
        ([(0, 0.4), (0, 0.9)], False),  # once is enough
    ],
)
def test_every_frame_must_show_the_same_person(frames, same):
    evidence = Evidence(FakePassive(), 0.5)
    evidence.look(IMAGE, face(head()), embedding(1))
    glances = [
        evidence.glance(IMAGE, face(head(yaw)), embedding(cosine), 0.1) for yaw, cosine in frames
    ]
    assert evidence.same is same
    assert all(glance.same_person for glance in glances) is same
    assert ("more than one person" in evidence.in_words()) is not same


@pytest.mark.parametrize("first", [0, 1])
def test_who_begins_a_challenge_must_be_who_was_looked_at(first):
    """Not somebody a little alike where that one was turned, even if they were seen first."""
    evidence = Evidence(FakePassive(), 0.5)
    for number in range(5):
        turned, alike = (0, 0.3) if number < first else (25, 1)
        evidence.look(IMAGE, face(head(turned)), embedding(alike))
    assert evidence.same
    assert not evidence.glance(IMAGE, face(head()), embedding(0.3), 3, begins=True).same_person


def test_a_challenge_measures_turns_from_the_look_that_it_begins_with():
    evidence = Evidence(FakePassive(), 0.5)
    for _number in range(5):
        evidence.look(IMAGE, face(head(25)), embedding(1))
    assert evidence.glance(IMAGE, face(head()), embedding(1), 2, begins=True).same_person
    assert evidence.glance(IMAGE, face(head(-20)), embedding(0.7), 3).same_person
    assert not evidence.glance(IMAGE, face(head()), embedding(0.3), 4).same_person


def test_one_frame_that_scores_low_fails_no_challenge_but_an_attack_does():
    evidence = Evidence(FakePassive([0.9] * 10 + [0.1] * 2 * RECENT), 0.5)
    glances = [evidence.glance(IMAGE, face(head()), embedding(1), 0.0) for _ in range(25)]
    live = [glance.live for glance in glances]
    assert live == [True] * 17 + [False] * 8  # once most of the last 15 scored low
    assert evidence.looks == 0  # they do not count for the score of the attempt


def moved(image: np.ndarray, shift: int) -> np.ndarray:
    return np.roll(image, shift, axis=1)


@pytest.mark.parametrize("held", [True, False])
def test_a_background_that_moves_with_the_face_is_noticed(held):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    room = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    background, evidence = Background(), Evidence(FakePassive(), 0.5)
    for shift in (0, 4, 30, 60, 30):
        seen = face(head(), shift)
        image_rgb = moved(room, shift) if held else room
        background.look(image_rgb, seen)
        evidence.look(image_rgb, seen, embedding(1))
    assert (background.with_face, background.without) == ((3, 0) if held else (0, 3))
    assert evidence.moves_with_background is held
    assert ("what is around the face moves with it" in evidence.in_words()) is held


def test_a_uniform_background_and_one_that_is_not_seen_say_nothing_against_a_face():
    uniform, unseen = Background(), Background()
    for shift in (0, 60):
        uniform.look(IMAGE, face(head(), shift))
        unseen.look(IMAGE[180:280, 260:400], face(head() - np.float32([260, 180]), shift))
    assert (uniform.with_face, uniform.without) == (0, 1)
    assert (unseen.with_face, unseen.without) == (0, 0)


def test_prints_that_are_held_are_noticed_and_live_people_are_not(shared):
    detector = FaceDetector()
    votes = defaultdict(list)
    for kind in ("live", "print"):
        folder = shared / "data/liveness/nuaa" / kind
        sequences = defaultdict(list)
        for path in folder.glob("0002_*.jpg"):
            sequences[path.stem.rsplit("_", 1)[0]].append(path)
        for paths in sequences.values():
            background = Background()
            for path in sorted(paths, key=lambda path: int(path.stem.rsplit("_", 1)[1])):
                image_rgb = read_image_rgb(path)
                if faces := detector.detect(image_rgb):
                    background.look(image_rgb, main_face(faces, image_rgb))
            votes[kind].append(background.moves_with_face)
    assert not any(votes["live"]) and any(votes["print"])
