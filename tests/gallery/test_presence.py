"""Nobody is enrolled from a photograph: what the frames of an enrolment must have shown."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from facesync.app.pose_guide import TURN_SECONDS, PoseGuide
from facesync.faces.quality import Quality, pose
from facesync.faces.recognizer import Seen
from facesync.gallery.enrolment import SAMPLES, Enrolment
from facesync.gallery.presence import SURE_LOOKS, NotAlive, Presence
from facesync.gallery.registration import Registration, store
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy
from tests.app.fakes import FakeRecognizer, embedding
from tests.liveness.fakes import FakePassive, face, head, photograph

TURNS = [(yaw, 0) for yaw in (0, 0, 8, 16, 24, 32, 36, 36, 24, 0, -8, -16, -24, -36, -36)]
NODS = [(0, pitch) for pitch in (0, 10, 20, 25, 0, -10, -20, -25, 0)]

MOVED = [photograph(*angles) for angles in 10 * (TURNS + NODS)]


def seen(number: int, landmarks: np.ndarray, who: int = 1) -> Seen:
    random = np.random.default_rng(number)
    image_rgb = random.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    quality = Quality(100, 0.3, 120, 40, pose(landmarks))
    return Seen(image_rgb, [face(landmarks)], embedding(who, number % 50), quality)


def enrolling(scores: Iterable[float] = (0.6,), attack: str = "print", **more) -> Enrolment:
    passive = FakePassive(scores, attack)
    policy = Policy("auto", passive, None)
    return Enrolment(0.6, presence=Presence(policy, Evidence(passive, 0.6), **more))


def shown(
    enrolment: Enrolment, frames: Iterable[np.ndarray], *, guided: bool = True, full: bool = False
) -> PoseGuide:
    """Show frames, five a second, until the guide is done, or only until it is full."""
    guide = PoseGuide(enrolment, guided=guided)
    for number, landmarks in enumerate(frames):
        guide.consider(seen(number, landmarks), number / 5)
        if guide.done or (full and guide.full):
            break
    return guide


def ada(gallery, enrolment: Enrolment) -> None:
    store(gallery, FakeRecognizer(), Registration("Ada"), enrolment)


def test_a_head_that_turns_is_enrolled_and_teaches_the_camera(gallery):
    learnt = []
    enrolment = enrolling(learn=learnt.append)
    guide = shown(enrolment, [head(*angles) for angles in 3 * (TURNS + NODS)])
    assert guide.done and len(enrolment) == SAMPLES
    ada(gallery, enrolment)
    assert gallery.find("Ada").samples == SAMPLES
    assert learnt == []
    enrolment.presence.learn()
    assert learnt[0].raw_score == 0.6


@pytest.mark.parametrize("bent", [0, 60])
@pytest.mark.parametrize("guided", [True, False])
def test_a_photograph_that_is_turned_and_bent_is_not_enrolled(gallery, bent, guided):
    """All five samples are there, each in its pose, for as long as one cares to go on."""
    frames = [photograph(*angles, bent=bent) for angles in 10 * (TURNS + NODS)]
    enrolment = enrolling()
    guide = shown(enrolment, frames, guided=guided)
    assert guide.done and len(enrolment) == SAMPLES
    with pytest.raises(NotAlive, match=r"turn your head .*; nothing is stored"):
        ada(gallery, enrolment)
    assert gallery.people() == [] and not gallery.faces.exists()


@pytest.mark.parametrize("tilt", [0, 20, 55])
def test_two_photographs_at_different_angles_have_no_depth(gallery, tilt):
    """Swapped as they are, or while both are tilted until their points say nothing."""
    angles = sorted({0, 5, 10, 0.7 * tilt, tilt})
    one = [photograph(angle) for angle in angles]
    other = [photograph(angle, shows=head(32, size=1.0)) for angle in reversed(angles)]
    enrolment = enrolling()
    shown(enrolment, 20 * (one + other + other[::-1] + one[::-1]))
    assert len(enrolment) == SAMPLES
    with pytest.raises(NotAlive, match="turn your head"):
        ada(gallery, enrolment)


def test_what_is_surely_an_attack_ends_early(gallery):
    enrolment = enrolling([0.1], "replay")
    with pytest.raises(NotAlive, match="it looks like a screen, not a live face; nothing"):
        shown(enrolment, [head(*angles) for angles in TURNS])
    assert len(enrolment) < SAMPLES
    with pytest.raises(NotAlive, match="screen"):
        ada(gallery, enrolment)


def test_a_bad_start_is_no_attack():
    assert shown(enrolling([0.1] * (SURE_LOOKS // 2) + [0.6]), [head()] * SURE_LOOKS)


def test_another_person_cannot_lend_the_depth(gallery):
    """A print for the samples, then somebody who turns the head for it."""
    enrolment = enrolling()
    guide = shown(enrolment, MOVED, full=True)
    assert guide.full and not guide.done
    with pytest.raises(NotAlive, match="more than one person"):
        guide.consider(seen(999, head(36), who=2), 99.0)
    with pytest.raises(NotAlive, match="more than one person"):
        ada(gallery, enrolment)


@pytest.mark.parametrize(("score", "live"), [(0.9, True), (0.7, False)])
def test_who_cannot_turn_the_head_has_to_look_live_beyond_doubt(gallery, score, live):
    enrolment = enrolling([score])
    guide = PoseGuide(enrolment)
    number = 0
    while not guide.done:
        guide.consider(seen(number, head(number % 3)), number / 5)
        if guide.full:
            assert guide.prompt == "turn your head further to one side, then to the other"
        number += 1
    assert number / 5 > TURN_SECONDS  # it was asked for
    if live:
        ada(gallery, enrolment)
        assert gallery.find("Ada").samples == SAMPLES
    else:
        with pytest.raises(NotAlive, match="turn your head"):
            ada(gallery, enrolment)


def test_a_face_that_goes_away_does_not_stop_the_clock():
    guide = shown(enrolling(), MOVED, full=True)
    assert guide.full and not guide.done
    for seconds in (90.0, 90.0 + TURN_SECONDS + 0.1):
        guide.consider(None, seconds)
    assert guide.done


def test_too_few_looks_are_not_enough(gallery):
    enrolment = enrolling([0.9])
    guide = PoseGuide(enrolment)
    for number in range(3):
        guide.consider(seen(number, head()), number / 5, asked=True)
    assert len(enrolment) == 3
    with pytest.raises(NotAlive, match="too few looks at the face"):
        ada(gallery, enrolment)


def test_samples_are_added_to_nobody_by_a_photograph(gallery):
    enrolment = enrolling()
    shown(enrolment, [head(*angles) for angles in 3 * (TURNS + NODS)])
    ada(gallery, enrolment)
    more = enrolling()
    shown(more, MOVED)
    with pytest.raises(NotAlive):
        store(gallery, FakeRecognizer(), Registration("Ada", add=True), more)
    assert gallery.find("Ada").samples == SAMPLES
