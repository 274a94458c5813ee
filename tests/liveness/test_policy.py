"""Tests of facesync.liveness.policy: every branch, with a passive model that is told its scores."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from facesync.liveness.camera import CameraLiveness
from facesync.liveness.challenge import Challenge
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy, still
from tests.liveness.fakes import FakePassive, face, head

IMAGE = np.zeros((480, 640, 3), np.uint8)
ONE, OTHER = np.eye(512, dtype=np.float32)[:2]
KNOWN = CameraLiveness(0.0)


def looked(score=0.9, looks=5, surroundings=1.0, yaws=(0,), attack="print") -> Evidence:
    evidence = Evidence(FakePassive([score], attack, surroundings), 0.5)
    for number in range(looks):
        yaw = yaws[number % len(yaws)]
        evidence.look(IMAGE, face(head(yaw)), ONE)
    return evidence


def judged(mode, evidence, camera=KNOWN, recorded=False):
    return Policy(mode, FakePassive(), camera).judge(evidence, recorded=recorded)


@pytest.mark.parametrize(
    ("mode", "score", "camera", "recorded", "live", "challenge"),
    [
        ("passive", 0.5, None, False, True, None),
        ("passive", 0.49, KNOWN, False, False, None),
        ("passive", 0.49, None, True, False, None),
        ("auto", 0.19, KNOWN, False, False, None),
        ("auto", 0.8, KNOWN, False, True, None),
        ("auto", 0.79, KNOWN, False, None, "needed"),
        ("auto", 0.2, KNOWN, False, None, "needed"),
        ("auto", 0.9, None, False, None, "needed"),
        ("auto", 0.5, None, True, True, None),
        ("auto", 0.49, None, True, False, None),
        ("challenge", 0.99, KNOWN, False, None, "needed"),
        ("challenge", 0.99, None, True, None, "needed"),
        ("challenge", 0.19, KNOWN, False, False, None),
    ],
)
def test_the_mode_and_the_score_decide(mode, score, camera, recorded, live, challenge):
    liveness = judged(mode, looked(score), camera, recorded)
    assert (liveness.live, liveness.challenge) == (live, challenge)
    assert liveness.score == score
    assert liveness.evidence[:2] == ("5 looks", f"passive score {score:.2f}")


def test_a_face_that_fills_the_frame_or_takes_it_along_is_challenged(monkeypatch):
    assert judged("auto", looked(surroundings=0.59)).challenge == "needed"
    assert judged("auto", looked(surroundings=0.6)).live is True
    monkeypatch.setattr(Evidence, "moves_with_background", True)
    assert judged("auto", looked()).challenge == "needed"


@pytest.mark.parametrize("mode", ["passive", "auto", "challenge"])
def test_what_no_mode_lets_through(mode):
    few = judged(mode, looked(looks=4))
    assert (few.live, few.score, few.challenge) == (None, None, None)
    assert few.reason == "too few looks at the face: 4 of 5"
    nothing = judged(mode, looked(looks=0))
    assert (nothing.live, nothing.challenge) == (None, None)
    swapped = looked()
    swapped.look(IMAGE, face(head()), OTHER)
    assert judged(mode, swapped).live is False
    assert "more than one person" in judged(mode, swapped).reason
    for attack, words in (("print", "a print"), ("replay", "a screen")):
        spoof = judged(mode, looked(0.19, attack=attack))
        assert spoof.live is False
        assert spoof.reason == f"it looks like {words}, not a live face"


def passed_challenge(evidence: Evidence, other=ONE) -> Challenge:
    challenge = Challenge(["left"])
    for number, yaw in enumerate([0] * 5 + [28] * 5 + [0] * 3):
        embedding = ONE if number < 7 else other
        challenge.update(evidence.glance(IMAGE, face(head(yaw)), embedding, number / 5))
    return challenge


def test_the_challenge_decides_what_was_not_sure():
    policy, evidence = Policy("auto", FakePassive(), None), looked(0.3)
    passed = policy.after(evidence, passed_challenge(evidence))
    assert (passed.live, passed.challenge) == (True, "passed")
    failed = policy.after(evidence, passed_challenge(evidence, OTHER))
    assert (failed.live, failed.reason) == (False, "another person stepped in")
    assert failed.challenge == "failed: another person stepped in"
    broken_off = policy.after(looked(0.99), Challenge(["left"]))
    assert (broken_off.live, broken_off.challenge) == (False, "failed: it was broken off")


@pytest.mark.parametrize("evidence", [looked(0.19), looked(0.9, looks=4)])
def test_a_passed_challenge_does_not_excuse_the_rest(evidence):
    turned = passed_challenge(looked())
    after = Policy("auto", FakePassive(), None).after(evidence, turned)
    assert after.live is not True and after.challenge == "passed"


TURNING = (0, 10, 20, 30, 20, 10)


@pytest.mark.parametrize(
    ("score", "surroundings", "yaws", "live"),
    [
        (0.2, 1.0, TURNING, True),  # depth makes up for an unsure score
        (0.19, 1.0, TURNING, False),  # but not for an attack
        (0.8, 1.0, (0,), True),  # somebody who cannot turn
        (0.79, 1.0, (0,), False),
        (0.99, 0.5, (0,), False),  # nothing to be seen around the face
    ],
)
def test_an_enrolment_takes_depth_or_a_sure_score(score, surroundings, yaws, live):
    evidence = looked(score, 18, surroundings, yaws)
    for recorded in (False, True):
        enrolled = Policy("passive", FakePassive(), None).enrolled(evidence, recorded=recorded)
        assert enrolled.live is live
    if not live and score > 0.2:
        assert enrolled.reason == (
            "nothing shows that this is no photograph: the head must turn in it"
        )


def test_an_enrolment_from_a_held_screen_needs_a_better_score(monkeypatch):
    monkeypatch.setattr(Evidence, "moves_with_background", True)
    policy = Policy("auto", FakePassive(), KNOWN)
    for score, live in ((0.49, False), (0.5, True)):
        assert policy.enrolled(looked(score, 18, yaws=TURNING), recorded=False).live is live
    assert policy.enrolled(looked(0.99, 18), recorded=False).live is False


def test_two_people_and_too_few_frames_cannot_enrol():
    policy = Policy("auto", FakePassive(), KNOWN)
    swapped = looked(0.9, 18, yaws=TURNING)
    swapped.look(IMAGE, face(head()), OTHER)
    assert policy.enrolled(swapped, recorded=False).live is False
    assert policy.enrolled(looked(0.9, 4), recorded=False).live is None


def test_liveness_is_plain_data_and_a_still_image_has_none():
    said = json.loads(json.dumps(asdict(judged("auto", looked()))))
    assert set(said) == {"live", "score", "reason", "evidence", "challenge"}
    assert (still().live, still().score) == (None, None)
    with pytest.raises(ValueError, match="off"):
        Policy("off", FakePassive(), None)
