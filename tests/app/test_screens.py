"""What the keys do and what is said, without a window."""

from __future__ import annotations

import numpy as np
import pytest

from facesync.app.cameras import Frame
from facesync.app.drawing import ATTENTION, BAD, GOOD, NEUTRAL
from facesync.app.enrolment import Enrolment
from facesync.app.live import Result
from facesync.app.screens import RegisterScreen, VerifyScreen
from facesync.gallery.store import Person, now
from tests.app.fakes import FakeRecognizer, embedding, picture


def result(number: int, faces: int = 1, who: int = 1) -> Result:
    image_rgb = picture(faces, who, variant=number)
    frame = Frame(number, number / 10, image_rgb[:, :, ::-1])
    return Result(frame, FakeRecognizer().look(image_rgb))


@pytest.fixture
def saved() -> list[Enrolment]:
    return []


@pytest.fixture
def register(saved) -> RegisterScreen:
    return RegisterScreen("Ada", saved.append)


@pytest.fixture
def verify() -> VerifyScreen:
    return VerifyScreen([Person("Ada", embedding(1), "model-a", now(), 5)], 0.6)


def test_five_presses_are_five_samples(register, saved, capsys):
    for number in range(5):
        assert register.progress == (number, 5)
        assert not register.done
        register.key("c", result(number))
    assert register.done
    (enrolment,) = saved
    assert len(enrolment) == 5
    person = enrolment.person("Ada", "model-a")
    assert np.linalg.norm(person.embedding) == pytest.approx(1)
    assert person.embedding @ embedding(1) > 0.9
    view = register.view(result(9))
    assert (view.status, view.tone, view.progress) == ("Ada is registered", GOOD, (5, 5))
    assert view.keys == ()
    assert capsys.readouterr().out.splitlines()[-1] == "Sample 5 of 5 taken"


def test_one_frame_is_never_two_samples(register):
    same = result(3)
    register.key("c", same)
    register.key("c", same)
    register.key("c", same)
    assert register.progress == (1, 5)
    register.update(result(4))
    register.update(result(5))
    register.update(result(6))
    assert register.progress == (3, 5)


def test_more_presses_than_samples_do_no_harm(register, saved):
    same = result(0)
    for _ in range(20):
        register.key("c", same)
    for number in range(1, 20):
        register.update(result(number))
    assert register.done
    assert len(saved) == 1 and len(saved[0]) == 5


def test_a_press_before_the_first_result_waits_for_it(register):
    register.key("c", None)
    assert register.progress == (0, 5)
    register.update(result(0))
    assert register.progress == (1, 5)


def test_without_a_face_nothing_is_taken(register):
    register.key("c", result(0, faces=0))
    assert register.progress == (0, 5)
    view = register.view(result(0, faces=0))
    assert (view.status, view.tone) == ("Not taken. No face: look into the camera", ATTENTION)
    register.update(result(1))
    assert register.progress == (0, 5)


def test_of_several_faces_the_largest_is_taken_and_that_is_said(register):
    register.key("c", result(0, faces=3))
    assert register.progress == (1, 5)
    assert register.view(result(0, faces=3)).status == "Sample 1 of 5 taken, the largest of 3 faces"


@pytest.mark.parametrize(
    ("faces", "status", "tone"),
    [
        (0, "No face: look into the camera", ATTENTION),
        (1, "Registering Ada", NEUTRAL),
        (2, "2 faces: the largest is used", ATTENTION),
    ],
)
def test_register_says_what_is_in_view(register, faces, status, tone):
    view = register.view(result(0, faces=faces))
    assert (view.status, view.tone) == (status, tone)
    assert len(view.marks) == min(faces, 1)
    assert [key for key, _ in view.keys] == ["C", "Q"]


def test_other_keys_do_nothing(register, verify):
    for screen in (register, verify):
        screen.key("x", result(0))
        assert not screen.done
    assert register.progress == (0, 5)


def test_verify_names_who_is_known(verify, capsys):
    verify.key("v", result(9, who=1))
    view = verify.view(result(10))
    assert view.status.startswith("Ada   0.9")
    assert view.tone == GOOD
    assert view.marks[0].label == "Ada"
    assert capsys.readouterr().out.startswith("Ada: accepted")
    assert not verify.done


def test_verify_denies_strangers(verify, capsys):
    verify.key("v", result(0, who=2))
    view = verify.view(result(1))
    assert view.status.startswith("Access denied   0.0")
    assert view.tone == BAD
    assert view.marks[0].label == "access denied"
    assert capsys.readouterr().out.startswith("access denied: the face is not similar enough")


def test_verify_without_a_face(verify, capsys):
    verify.key("v", result(0, faces=0))
    assert verify.view(result(0)).status == "Not verified. No face: look into the camera"
    assert capsys.readouterr().out == "no face before the camera\n"


def test_a_name_does_not_pass_to_the_next_face(verify):
    verify.key("v", result(0))
    verify.update(result(1, faces=0))
    assert verify.view(result(2, who=2)).marks[0].label == ""


def test_a_verify_before_the_first_result_waits_for_it(verify, capsys):
    verify.key("v", None)
    assert verify.view(None).status == "Looking for a face …"
    verify.update(result(0))
    assert "Ada: accepted" in capsys.readouterr().out


def test_long_names_leave_room(saved):
    view = RegisterScreen("n" * 300, saved.append).view(result(0))
    assert len(view.status) < 50
