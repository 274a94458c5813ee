"""What the keys do and what is said when somebody verifies, and the turns that are asked for."""

from __future__ import annotations

import json

import pytest

from facesync.app.drawing import BAD, GOOD
from facesync.app.liveness import LivenessCheck
from facesync.app.screens import NO_FACE
from facesync.app.settings import VERIFY_FRAMES, AppSettings
from facesync.app.verification import Verification
from facesync.app.verify_screen import VerifyScreen
from facesync.gallery import attempts
from facesync.gallery.people import Person, now
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy
from tests.app.before_camera import Somebody, result
from tests.app.fakes import embedding
from tests.liveness.fakes import FakePassive, head, photograph


@pytest.fixture
def settings(tmp_path) -> AppSettings:
    return AppSettings(audit_log=tmp_path / "log.jsonl")


@pytest.fixture
def verify(gallery, recognizer, settings) -> VerifyScreen:
    gallery.register(Person("Ada", embedding(1), "model-a", now(), 5), [])
    return VerifyScreen(Verification(gallery, recognizer, settings))


def verdict(verify, *people: int) -> None:
    """Press V and show frames of the people given."""
    verify.key("v", None)
    for number, who in enumerate(people):
        verify.update(result(number, who=who))


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


def test_strangers_are_not_asked_to_turn(challenged, settings):
    person = Somebody(challenged)
    person.who = 2
    person.look(VERIFY_FRAMES)
    assert person.views[-1].status.startswith("Access denied: 0.0")
    assert len(logged(settings)) == 1


def test_other_keys_do_nothing(verify):
    verify.key("x", result(0))
    assert not verify.done
