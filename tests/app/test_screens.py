"""What the keys do and what is said when somebody registers, without a window."""

from __future__ import annotations

import numpy as np
import pytest

from facesync.app.cameras import Frame
from facesync.app.drawing import ATTENTION, GOOD, NEUTRAL
from facesync.app.live import Result
from facesync.app.screens import RegisterScreen
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.presence import Presence
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy
from tests.app.before_camera import Somebody, result
from tests.app.fakes import FakeRecognizer, image
from tests.liveness.fakes import FakePassive


@pytest.fixture
def saved() -> list[Enrolment]:
    return []


@pytest.fixture
def register(saved) -> RegisterScreen:
    return RegisterScreen("Ada", Enrolment(0.6), saved.append)


def test_samples_are_taken_by_themselves_a_pose_each(register, saved, capsys):
    for number in range(0, 50, 8):
        assert not register.done or number > 32
        register.update(result(number))
    assert register.done
    (enrolment,) = saved
    assert len(enrolment) == 5
    assert set(enrolment.poses) == {"straight", "left", "right", "up", "down"}
    view = register.view(result(99))
    assert (view.status, view.tone, view.progress) == ("Ada is registered", GOOD, (5, 5))
    assert view.keys == ()
    assert capsys.readouterr().out.splitlines()[-1] == "Sample 5 of 5 taken"


def test_one_frame_is_never_two_samples(register):
    same = result(3)
    for _ in range(3):
        register.key("c", same)
    assert register.progress == (1, 5)
    register.update(result(4))
    assert register.progress == (2, 5)  # the last press still counted


def textured(number: int, looks: int, faces: int = 1) -> Result:
    """A result whose image is the same as another's exactly if it looks the same."""
    image_rgb = np.random.default_rng(looks).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    image_rgb[60, 80] = image(faces, 1, variant=looks)[60, 80]
    return Result(Frame(number, 0.0, image_rgb[:, :, ::-1]), FakeRecognizer().look(image_rgb))


def test_c_says_before_it_is_pressed_what_it_does(register):
    said = []
    for number, (looks, faces) in enumerate(((0, 1), (0, 1), (1, 1), (2, 0), (2, 2), (2, 1))):
        seen = textured(2 * number, looks, faces)
        register.update(seen)
        ((key, says), *_), before = register.view(seen).keys, register.progress[0]
        assert key == "C"
        register.key("c", textured(2 * number + 1, looks, faces))
        assert (says == "take a sample now") == (register.progress[0] > before)
        said.append(says)
    assert said == [
        "not now: looks the same as an earlier sample",  # it was taken by itself
        "not now: looks the same as an earlier sample",
        "take a sample now",
        "not now: no face",
        "not now: two faces",
        "take a sample now",
    ]


def test_more_presses_than_samples_do_no_harm(register, saved):
    for number in range(20):
        register.key("c", result(number))
    assert register.done
    assert len(saved) == 1 and len(saved[0]) == 5


def test_a_press_before_the_first_result_waits_for_it(register):
    register.key("c", None)
    assert register.progress == (0, 5)
    register.update(result(1))
    assert register.progress == (1, 5)


def test_a_video_that_ends_early_is_enough_with_three_samples(register, saved):
    for number in (0, 8, 16):
        assert not register.ended()
        register.update(result(number))
    assert register.ended()
    assert len(saved) == 1


@pytest.mark.parametrize(
    ("faces", "status", "tone"),
    [
        (0, "No face: look into the camera", ATTENTION),
        (1, "Look straight into the camera", NEUTRAL),
        (2, "Two faces: only one person, please", ATTENTION),
    ],
)
def test_register_says_what_is_in_view_and_takes_one_face_only(
    register, faces, status, tone, capsys
):
    view = register.view(result(0, faces=faces))
    assert (view.status, view.tone) == (status, tone)
    assert len(view.marks) == faces
    assert [key for key, _ in view.keys] == ["C", "Q"]
    register.key("c", result(0, faces=faces))
    assert register.progress == (int(faces == 1), 5)
    assert (f"Not taken: {status.lower()}" in capsys.readouterr().out) == (faces != 1)


def test_long_names_leave_room(saved):
    register = RegisterScreen("n" * 300, Enrolment(0.6), saved.append)
    for number in range(0, 50, 8):
        register.update(result(number))
    assert register.done
    assert len(register.view(result(99)).status) < 50


def test_where_only_turns_are_missing_a_ring_fills_as_the_head_turns(saved):
    passive = FakePassive([0.6])
    presence = Presence(Policy("auto", passive, None), Evidence(passive, 0.6))
    person = Somebody(RegisterScreen("Ada", Enrolment(0.6, presence=presence), saved.append))
    for _ in range(5):
        person.screen.key("c", None)
        person.look()
    assert person.views[-2].ring is None and not saved
    assert [key for key, _ in person.views[-1].keys] == ["Q"]
    person.look(8)  # past the words about the last sample, straight ahead
    assert person.views[-1].ring.filled < 0.2
    person.answers = lambda side: (1, 0)
    person.look(30)
    assert len(saved) == 1 and person.screen.done
    filled = [view.ring.filled for view in person.views if view.ring]
    assert filled == sorted(filled) and filled[-1] > 0.7
    assert person.views[-1].status == "Ada is registered"


def test_other_keys_do_nothing(register):
    register.key("x", result(0))
    assert not register.done
    assert register.progress == (0, 5)
