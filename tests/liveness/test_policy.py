"""Tests of facesync.liveness.policy: every branch, with a passive model that is told its scores."""

from __future__ import annotations

import numpy as np
import pytest

from facesync.liveness.camera import CameraLiveness
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy
from tests.liveness.fakes import FakePassive, face, head

IMAGE = np.zeros((480, 640, 3), np.uint8)
ONE = np.eye(512, dtype=np.float32)[0]
KNOWN = CameraLiveness(0.0)


def evidence(score=0.9, looks=5, surroundings=1.0, yaws=(0,), offset=0.0) -> Evidence:
    seen = Evidence(FakePassive([score], surroundings=surroundings), 0.5, offset)
    for number in range(looks):
        yaw = yaws[number % len(yaws)]
        seen.look(IMAGE, face(head(yaw)), ONE, number / 5)
    return seen


@pytest.mark.parametrize(
    ("mode", "score", "camera", "recorded", "live", "challenge"),
    [
        ("passive", 0.5, None, False, True, None),
        ("passive", 0.49, KNOWN, False, False, None),
        ("auto", 0.19, KNOWN, False, False, None),
        ("auto", 0.8, KNOWN, False, True, None),
        ("auto", 0.79, KNOWN, False, None, "needed"),
        ("auto", 0.9, None, False, None, "needed"),
        ("auto", 0.5, None, True, True, None),
        ("auto", 0.49, None, True, False, None),
        ("challenge", 0.99, KNOWN, False, None, "needed"),
        ("challenge", 0.99, None, True, None, "needed"),
        ("challenge", 0.19, KNOWN, False, False, None),
    ],
)
def test_the_mode_and_the_score_decide(mode, score, camera, recorded, live, challenge):
    judged = Policy(mode, FakePassive(), camera).judge(evidence(score), recorded=recorded)
    assert (judged.live, judged.challenge) == (live, challenge)
    assert judged.score == score
