"""Tests of facesync.liveness.challenge: its states, with a scripted face; a real one; a replay."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product

import cv2
import numpy as np
import pytest

from facesync.faces.recognizer import Recognizer
from facesync.faces.settings import RecognizerSettings
from facesync.liveness.challenge import DIRECTIONS, Challenge, Look, State, random_order
from facesync.liveness.evidence import Evidence
from facesync.liveness.flatness import DEPTH, nose_error
from tests.liveness.fakes import FakePassive, head, photograph

TURNS = {"left": (26, 0), "right": (-26, 0), "up": (0, 26), "down": (0, -26), "": (0, 0)}
ORDERS = [
    order for order in product(DIRECTIONS, repeat=3) if all(a != b for a, b in pairwise(order))
]


def turns(*ways: str, shown=head) -> list[np.ndarray]:
    """Landmarks at ten frames a second: straight for a second, then each turn and back."""
    poses = [(0.0, 0.0)] * 10
    for way in ways:
        there = np.linspace((0, 0), TURNS[way], 5)
        poses += [*there, *[TURNS[way]] * 5, *there[::-1], *[(0.0, 0.0)] * 5]
    return [shown(*pose) for pose in poses]


def play(challenge: Challenge, frames, seconds: float = 0.1) -> Challenge:
    for number, landmarks in enumerate(frames):
        challenge.update(Look(number * seconds, landmarks))
    return challenge


def test_every_order_is_equally_likely_and_asks_for_no_way_twice_in_a_row():
    drawn = Counter(random_order() for _ in range(3600))
    assert set(drawn) == set(ORDERS)
    assert max(drawn.values()) < 160 and min(drawn.values()) > 50  # of 100 each


@pytest.mark.parametrize("order", [("left", "right", "up"), ("down", "left"), ("right",)])
def test_the_turns_that_were_asked_for_pass(order):
    challenge = play(Challenge(order), turns(*order))
    assert challenge.state is State.PASSED
    assert challenge.progress == (len(order), len(order))
    third = [nose_error(head(), head(*np.multiply(0.75, TURNS[way]))) for way in order]
    assert challenge.depth == pytest.approx(min(third), abs=1e-3)
    assert min(third) >= DEPTH
    assert challenge.prompt == "Thank you"


def test_it_says_what_to_do_and_how_far_one_is():
    challenge = play(Challenge(["left", "up"]), [head()] * 2)
    assert challenge.prompt == "Look straight into the camera"
    challenge.update(Look(0.2, head()))
    assert (challenge.wanted, challenge.prompt) == ("left", "Turn your head to your left")
    assert challenge.seconds_left(0.2) == 6
    reached = []
    for number, yaw in enumerate((0, 5, 10, 13, 26)):
        challenge.update(Look(0.3 + number / 10, head(yaw)))
        reached.append(challenge.turned)
    assert reached == sorted(reached) and reached[0] == 0 and 0.6 < reached[3] < reached[4] == 1
    assert (challenge.seconds_left(0.7), challenge.seconds_left(99)) == (pytest.approx(5.5), 0)
    for number in range(2):
        challenge.update(Look(0.8 + number / 10, head(26)))
    assert (challenge.state, challenge.progress, challenge.turned) == (State.BACK, (1, 2), 0)


def test_the_last_turn_too_must_be_followed_by_a_straight_look():
    challenge = play(Challenge(["left"]), [*[head()] * 10, *[head(26)] * 20])
    assert challenge.state is State.BACK
    challenge.update(Look(3.0, head(), same_person=False))
    assert challenge.reason == "another person stepped in"


@pytest.mark.parametrize("wrong", ["right", "up", "down"])
def test_turning_another_way_fails(wrong):
    challenge = play(Challenge(["left"]), turns(wrong, "left"))
    assert challenge.state is State.FAILED
    assert challenge.reason == "turned another way than left"


def test_two_bad_frames_neither_fail_nor_pass():
    away, towards = [head(-30)] * 2, [head(30)] * 2
    for glitch in (away, towards):
        challenge = play(Challenge(["left"]), [*[head()] * 10, *glitch, *[head()] * 5])
        assert challenge.state is State.TURN


def test_it_does_not_begin_while_the_head_still_moves():
    challenge = play(Challenge(["up"]), [head(0, pitch) for pitch in (-25, -17, -9)])
    assert challenge.state is State.STRAIGHT
    assert play(challenge, [head()] * 3).state is State.TURN


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([head(50)] * 110, "no straight look"),
        ([None] * 110, "no straight look"),
        ([head()] * 70, "no turn left in time"),
        ([*turns(), *[head(26)] * 70], "no straight look"),
        ([*turns(), *[None] * 12], "the face went away"),
    ],
    ids=["never straight", "never there", "no turn", "not back", "went away"],
)
def test_whoever_is_late_fails(frames, reason):
    challenge = play(Challenge(["left"]), frames)
    assert (challenge.state, challenge.reason) == (State.FAILED, reason)
    play(challenge, turns("left"))
    assert challenge.state is State.FAILED and challenge.prompt == reason  # it stays so


def test_a_clock_that_says_nothing_fails():
    challenge = play(Challenge(["left"]), [head()] * 3)
    challenge.update(Look(float("nan"), head()))
    assert challenge.state is State.FAILED


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"same_person": False}, "another person stepped in"),
        ({"live": False}, "it looks like a photograph or a screen"),
    ],
)
@pytest.mark.parametrize("when", [0, 12, 20, 25])
def test_a_frame_of_somebody_else_or_of_an_attack_fails_at_once(said, reason, when):
    challenge = Challenge(["left", "right"])
    for number, landmarks in enumerate(turns("left", "right")):
        challenge.update(Look(number / 10, landmarks, **(said if number == when else {})))
    assert challenge.reason == reason


@pytest.mark.parametrize("bent", [0, 60])
@pytest.mark.parametrize("order", ORDERS[:4])
def test_a_photograph_tilted_as_asked_does_not_pass(order, bent):
    def tilted(yaw, pitch):
        return photograph(1.7 * yaw, 1.7 * pitch, bent=bent)

    assert play(Challenge(order), [*turns(*order, shown=tilted), *[head()] * 70]).reason


def test_a_replay_that_turns_every_way_passes_one_order_of_36():
    replayed = turns("left", "right", "down", "up")
    passed = [order for order in ORDERS if play(Challenge(order), replayed).state is State.PASSED]
    assert passed == [("left", "right", "down")]


@pytest.fixture
def turning(shared):
    """Images of a live person who turns left and lifts the chin; five a second."""
    video = cv2.VideoCapture(str(shared / "data/videos/one_face_head_turns_live.mp4"))
    images_rgb = []
    for number in range(505):
        read, frame_bgr = video.read()
        assert read
        if number % 6 == 0 and not 18 < number < 50 and not 190 < number < 414:
            images_rgb.append(cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB))
    video.release()
    return images_rgb


def test_a_live_person_passes(turning):
    recognizer = Recognizer(RecognizerSettings(model="embedded", offline=True))
    recognizer.load()
    # The share of the threshold that the samples of an enrolment must reach among themselves.
    evidence = Evidence(FakePassive([0.9] * 20 + [0.1, 0.9]), 0.75 * recognizer.threshold)
    challenge = Challenge(["left", "up"])
    for number, image_rgb in enumerate(turning):
        seen = recognizer.look(image_rgb)
        assert seen is not None
        challenge.update(evidence.glance(image_rgb, seen.faces[0], seen.embedding, number / 5))
    assert (challenge.state, challenge.reason) == (State.PASSED, "")
    assert evidence.same
