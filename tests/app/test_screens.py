"""What the keys do and what is said, without a window."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from facesync.app.cameras import Frame
from facesync.app.drawing import ATTENTION, BAD, GOOD, NEUTRAL, View
from facesync.app.live import Result
from facesync.app.liveness import LivenessCheck
from facesync.app.screens import NO_FACE, RegisterScreen, Screen
from facesync.app.settings import VERIFY_FRAMES, AppSettings
from facesync.app.verification import Verification
from facesync.app.verify_screen import VerifyScreen
from facesync.faces.recognizer import Seen
from facesync.gallery import attempts
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.people import Person, now
from facesync.gallery.presence import Presence
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy
from tests.app.fakes import FakeRecognizer, embedding, image, quality
from tests.liveness.fakes import FakePassive, face, head, photograph


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


# Turns of the head that are asked for.


class Somebody:
    """Somebody before the camera, ten frames a second, who sees the screen and answers it.

    Args:
        screen: what they look at.
        answers: where they turn, from where the ring says: right and down in the frame, -1…1.
        shape: landmarks from yaw and pitch.
    """

    def __init__(
        self,
        screen: Screen,
        answers: Callable[[tuple[int, int]], tuple[int, int]] = lambda side: side,
        shape: Callable[[float, float], np.ndarray] = head,
    ) -> None:
        self.screen, self.answers, self.shape = screen, answers, shape
        self.who, self.turned, self.number = 1, np.zeros(2), 0
        self.views: list[View] = []

    def look(self, frames: int = 1) -> None:
        """Show so many frames, each a little further in the direction asked for."""
        for _ in range(frames):
            seen = None
            if self.who:
                landmarks = self.shape(self.turned[0], -self.turned[1])
                image_rgb = np.full((480, 640, 3), 99, np.uint8)
                embedded = embedding(self.who, self.number % 50)
                seen = Seen(image_rgb, [face(landmarks)], embedded, quality())
            frame = Frame(self.number, self.number / 10, np.zeros((480, 640, 3), np.uint8))
            shown = Result(frame, seen)
            self.screen.update(shown)
            self.views.append(self.screen.view(shown, frame.seconds))
            ring = self.views[-1].ring
            wanted = 40 * np.array(self.answers(ring.side if ring else (0, 0)))
            self.turned += np.clip(wanted - self.turned, -6, 6)
            self.number += 1

    def said(self) -> list[str]:
        """What stood on the screen, without the time left; each once in a row."""
        words = [view.status.split(" (")[0] for view in self.views]
        return [one for one, before in zip(words, ["", *words], strict=False) if one != before]


@pytest.fixture
def challenged(gallery, recognizer, settings, monkeypatch) -> VerifyScreen:
    """V is pressed; the passive model is not sure. Asked for are left, then up."""
    monkeypatch.setattr("facesync.app.liveness.random_order", lambda *steps: ("left", "up"))
    gallery.register(Person("Ada", embedding(1), "model-a", now(), 5), [])
    passive = FakePassive([0.6])

    def check() -> LivenessCheck:
        return LivenessCheck(Policy("auto", passive, None), Evidence(passive, 0.6))

    screen = VerifyScreen(Verification(gallery, recognizer, settings, liveness=check))
    screen.key("v", None)
    return screen


def logged(settings) -> list[dict]:
    return [json.loads(line) for line in settings.audit_log.read_text().splitlines()]


def test_who_turns_as_the_ring_says_is_accepted(challenged, settings):
    person = Somebody(challenged)
    person.look(VERIFY_FRAMES)
    assert not settings.audit_log.exists()  # the votes alone do not decide
    person.look(60)
    said = person.said()
    left, up = "Turn your head to your left", "Lift your chin"
    assert said[0] == "Looking … 1 of 5 frames" and said[-1].startswith("Ada: 0.9")
    assert said.index(left) < said.index(up)
    rings = [view.ring for view in person.views if view.ring]
    turns = [ring for ring in rings if ring.side == (1, 0)]  # to the right of the frame
    assert {ring.side for ring in rings} == {(0, 0), (1, 0), (0, -1)}
    assert turns[0].filled < 0.3 and turns[-1].filled > 0.8
    assert sorted(turns, key=lambda ring: ring.filled) == turns  # it fills
    assert {view.progress for view in person.views if view.ring} >= {(0, 2), (1, 2)}
    assert all(not view.marks for view in person.views if view.ring)
    view = person.views[-1]
    assert (view.tone, view.ring, view.progress) == (GOOD, None, None)
    (line,) = logged(settings)
    assert line["accepted"] and line["liveness"]["challenge"] == "passed"


def wrong_way(side):
    return (-side[0], -side[1])


def not_at_all(side):
    return (0, 0)


@pytest.mark.parametrize(
    ("answers", "shape", "seconds"),
    [(wrong_way, head, 5), (not_at_all, head, 20), (lambda side: side, photograph, 20)],
    ids=["wrong way", "too late", "a tilted photograph"],
)
def test_who_does_not_is_refused_and_that_counts(
    challenged, settings, answers, shape, seconds, capsys
):
    person = Somebody(challenged, answers, shape)
    person.look(10 * seconds)
    refusals = [view for view in person.views if view.status.startswith("Access denied (0.9")]
    assert refusals and {view.tone for view in refusals} == {BAD}
    (line,) = logged(settings)
    assert line["name"] is None and line["liveness"]["challenge"].startswith("failed: ")
    assert "Ada" not in capsys.readouterr().out
    for _ in range(attempts.FREE_ATTEMPTS - 1):
        challenged.key("v", None)
        person.look(10 * seconds)
    challenged.key("v", None)
    assert "try again in" in challenged.view(None).status


def test_the_time_left_is_said_and_runs_out(challenged):
    person = Somebody(challenged, not_at_all)
    person.look(120)
    left = [view.status for view in person.views if view.status.startswith("Turn your head")]
    seconds = [int(status[:-3].split("(")[1]) for status in left]
    assert seconds == sorted(seconds, reverse=True) and len(set(seconds)) > 3 and seconds[-1] == 1


@pytest.mark.parametrize("who", [2, 0], ids=["another person steps in", "nobody is there"])
def test_the_same_face_stays_until_the_end(challenged, settings, who):
    person = Somebody(challenged)
    person.look(VERIFY_FRAMES + 6)
    assert person.views[-1].ring is not None
    person.who = who
    person.look(30)
    (line,) = logged(settings)
    assert not line["accepted"] and line["liveness"]["challenge"].startswith("failed: ")
    assert who or any(view.status.startswith(NO_FACE) for view in person.views)


def test_a_challenge_that_is_broken_off_counts(challenged, settings, capsys):
    challenged.close()  # before the votes are there, nobody knows anything yet
    assert not settings.audit_log.exists()
    Somebody(challenged).look(VERIFY_FRAMES + 10)
    challenged.close()
    challenged.close()
    (line,) = logged(settings)
    assert not line["accepted"] and line["liveness"]["challenge"].startswith("failed: ")
    assert capsys.readouterr().out.startswith("access denied: ")


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


def test_strangers_are_not_asked_to_turn(challenged, settings):
    person = Somebody(challenged)
    person.who = 2
    person.look(VERIFY_FRAMES)
    assert person.views[-1].status.startswith("Access denied: 0.0")
    assert len(logged(settings)) == 1
