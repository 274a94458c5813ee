"""What the keys do and what is said, without a window."""

from __future__ import annotations

import json

import numpy as np
import pytest

from facesync.app.cameras import Frame
from facesync.app.drawing import ATTENTION, BAD, GOOD, NEUTRAL
from facesync.app.live import Result
from facesync.app.screens import RegisterScreen, VerifyScreen
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.gallery import attempts
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.people import Person, now
from tests.app.fakes import FakeRecognizer, embedding, image


def result(number: int, faces: int = 1, who: int = 1) -> Result:
    image_rgb = image(faces, who, variant=number)
    frame = Frame(number, number / 10, image_rgb[:, :, ::-1])
    return Result(frame, FakeRecognizer().look(image_rgb))


@pytest.fixture
def saved() -> list[Enrolment]:
    return []


@pytest.fixture
def register(saved) -> RegisterScreen:
    return RegisterScreen("Ada", Enrolment(0.6), saved.append)


@pytest.fixture
def settings(tmp_path) -> AppSettings:
    return AppSettings(audit_log=tmp_path / "log.jsonl")


@pytest.fixture
def verify(gallery, recognizer, settings) -> VerifyScreen:
    gallery.register(Person("Ada", embedding(1), "model-a", now(), 5), [])
    return VerifyScreen(Verification(gallery, recognizer, settings))


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


def verdict(verify, *people: int) -> None:
    """Press V and show frames of the people given."""
    verify.key("v", None)
    for number, who in enumerate(people):
        verify.update(result(number, who=who))


def test_other_keys_do_nothing(register, verify):
    for screen in (register, verify):
        screen.key("x", result(0))
        assert not screen.done
    assert register.progress == (0, 5)


def test_verify_names_who_is_known(verify, capsys):
    verdict(verify, 1, 1, 1, 1)
    assert verify.view(result(3)).status == "Looking … 4 of 5 frames"
    verify.update(result(4))
    view = verify.view(result(10))
    assert view.status.startswith("Ada: 0.9")
    assert view.tone == GOOD
    assert view.marks[0].label == "Ada"
    assert capsys.readouterr().out.startswith("Ada: accepted (5 of 5 frames agree")
    assert not verify.done


def test_verify_denies_strangers(verify, capsys):
    verdict(verify, 2, 2, 2, 2, 2)
    view = verify.view(result(6))
    assert view.status.startswith("Access denied: 0.0")
    assert view.tone == BAD
    assert view.marks[0].label == "access denied"
    assert capsys.readouterr().out.startswith("access denied: accepted in none of 5 frames")


@pytest.mark.parametrize(
    ("threshold", "begins", "ends"),
    [
        (0.9, "Ada: 0.92, 97 % sure", "97 % sure"),
        (
            0.95,
            "Access denied, but nearly: 0.92, needed 0.95, of pairs so similar 97 % match. ",
            "--add",
        ),
        (0.99, "Access denied: 0.92, needed 0.99, of pairs so similar 97 % match", "match"),
    ],
)
def test_verify_says_how_likely_and_what_helps_when_near(
    verify, recognizer, monkeypatch, threshold, begins, ends
):
    monkeypatch.setattr(recognizer, "threshold", threshold)
    monkeypatch.setattr(recognizer, "probability", lambda similarity: 0.97)
    verdict(verify, 1, 1, 1, 1, 1)
    status = verify.view(result(10)).status
    assert status.startswith(begins) and status.endswith(ends)


def test_two_frames_of_five_are_not_enough(verify, capsys):
    verdict(verify, 1, 2, 1, 2, 2)
    assert "access denied" in capsys.readouterr().out
    verdict(verify, 1, 2, 1, 2, 1)
    assert "Ada: accepted (3 of 5 frames agree" in capsys.readouterr().out


def test_attempts_in_the_window_are_logged_and_pause(verify, settings, capsys):
    verdict(verify, 1, 1, 1, 1, 1)
    verify.key("v", result(0, faces=0))
    for _ in range(attempts.FREE_ATTEMPTS):
        verdict(verify, 2, 2, 2, 2, 2)
    verdict(verify, 1, 1, 1, 1, 1)
    view = verify.view(result(6))
    assert (view.status, view.tone) == ("5 failed attempts in a row: try again in 30 s", BAD)
    assert "access denied: 5 failed attempts in a row" in capsys.readouterr().out
    lines = [json.loads(line) for line in settings.audit_log.read_text().splitlines()]
    assert [line["name"] for line in lines] == ["Ada", *[None] * 7]
    assert lines[1]["reason"] == "no face was seen" and "try again" in lines[-1]["reason"]


def test_verify_without_a_face(verify, capsys):
    verify.key("v", result(0, faces=0))
    assert verify.view(result(0)).status == "Not verified: no face was seen"
    assert capsys.readouterr().out == "access denied: no face was seen\n"


def test_a_name_does_not_pass_to_the_next_face(verify):
    verdict(verify, 1, 1, 1, 1, 1)
    verify.update(result(6, faces=0))
    assert verify.view(result(7, who=2)).marks[0].label == ""


def test_a_verify_before_the_first_result_waits_for_it(verify):
    verify.key("v", None)
    assert verify.view(None).status == "Looking for a face …"


def test_long_names_leave_room(saved):
    register = RegisterScreen("n" * 300, Enrolment(0.6), saved.append)
    for number in range(0, 50, 8):
        register.update(result(number))
    assert register.done
    assert len(register.view(result(99)).status) < 50
