"""The menu without a window: what it shows, and that its attempts are logged and counted."""

from __future__ import annotations

import json

import pytest

from facesync.app import session
from facesync.app.cameras import Frame
from facesync.app.live import Result
from facesync.app.menu import Menu, _paths
from facesync.app.screens import RegisterScreen
from facesync.app.settings import AppSettings, WebOptions
from facesync.gallery import attempts
from facesync.gallery.people import Person, now
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, image, no_page
from tests.liveness.fakes import FakePassive


class Calibrated(FakeRecognizer):
    def threshold_for(self, comparisons: int) -> float:
        return 0.5 + 0.01 * comparisons


@pytest.fixture
def run(gallery, shot, tmp_path, monkeypatch, capsys):
    """Type answers into the menu, with Ada and Bob registered, and return what it printed."""
    monkeypatch.setattr(session, "Recognizer", Calibrated)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("facesync.app.window.sys.platform", "linux")
    for name, who in (("Ada", 1), ("Bob", 2)):
        gallery.register(Person(name, embedding(who), "model-a", now(), 1), [])

    def answer(*answers: str, who: int = 1) -> str:
        left = iter(answers)
        monkeypatch.setattr("builtins.input", lambda question: next(left, "q"))
        camera = str(shot("camera", who=who, variant=5))
        log = tmp_path / "log.jsonl"
        settings = AppSettings(
            embeddings=gallery.path,
            faces=gallery.faces,
            camera=camera,
            audit_log=log,
            liveness="off",
        )
        assert Menu(session.Session(settings), no_page).run() == 0
        return capsys.readouterr().out

    return answer


def test_the_threshold_is_the_one_for_everybody_registered(run):
    out = run("2")
    assert out.count("threshold  0.520 (for 2)") == 1  # once the models are loaded
    assert "Ada: accepted" in out and "needed 0.520)" in out


def test_attempts_are_logged_and_wrong_ones_pause(run, tmp_path):
    run("2")
    out = run(*["2"] * attempts.FREE_ATTEMPTS, who=4)
    assert out.count("access denied") == attempts.FREE_ATTEMPTS
    out = run("2")
    assert "error: 5 failed attempts in a row: try again in 30 s" in out
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["accepted"] for line in lines] == [True, *[False] * 6]
    assert {line["threshold"] for line in lines} == {0.52}


def test_registering_from_images_dragged_into_the_terminal(run, gallery, shot):
    one, two = shot("o'clock", who=3), shot("with space", who=3, variant=9)
    pattern = f"{one.parent}/with\\ sp*.png"
    out = run("6", "Cid", str(one), "6", "cid", "a", pattern, "6", "Dan", "")
    assert f"{one}: used" in out and f"{two}: used" in out
    assert gallery.find("Cid").samples == 2 and gallery.find("Dan") is None


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("", ()),
        ("\0 ", ()),
        ("a.jpg  'b c.jpg'", ("a.jpg", "b c.jpg")),
        ('"b c.jpg"', ("b c.jpg",)),
        ("o'clock.jpg", ("o'clock.jpg",)),
        ("~/a.jpg", ("/home/me/a.jpg",)),
        ("rtsp://10.0.0.1/x", ("rtsp://10.0.0.1/x",)),
    ],
)
def test_paths_as_they_are_typed(line, paths, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert _paths(line) == paths


def test_a_photograph_before_the_camera_is_not_registered(gallery, monkeypatch, capsys):
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    frames = [image(who=3, variant=number) for number in range(90)]
    monkeypatch.setattr(session, "open_camera", lambda *a, **k: FakeCamera(frames, live=True))
    monkeypatch.setattr(session, "load_passive", lambda: FakePassive([0.1]))
    monkeypatch.setattr("facesync.app.menu.why_no_window", lambda: "it is a test")
    answers = iter(("1", "Cid", "q"))
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    settings = AppSettings(embeddings=gallery.path, faces=gallery.faces)
    assert Menu(session.Session(settings), no_page).run() == 0
    said = "error: it looks like a print, not a live face; nothing is stored"
    assert said in capsys.readouterr().out
    assert gallery.people() == []


def test_ctrl_c_while_the_camera_runs_leads_back(run, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("facesync.app.menu.watch_camera", interrupted)
    out = run("5", "3")
    assert "Interrupted: back to the menu" in out and "2 people" in out.split("Interrupted")[1]


def test_a_person_is_chosen_by_number_or_name(run, gallery):
    run("4", "2", "y")
    assert [person.name for person in gallery.people()] == ["Ada"]
    assert "nobody is registered as 2" in run("4", "2")
    run("4", "ADA", "y")
    assert "Nobody is registered in" in run("4")


@pytest.mark.parametrize(("answer", "people"), [("y", 3), ("n", 2)])
def test_in_a_window_whose_face_it_is_is_asked_after_the_first_sample(
    run, gallery, monkeypatch, answer, people
):
    """The window closes for the question, and opens again for the other four samples."""
    taken = []

    def show(session: object, screen: RegisterScreen) -> bool:
        while not screen.done:
            number = taken[-1] + 1 if taken else 0
            taken.append(number)
            shown = image(variant=number)
            frame = Frame(number, number / 2, shown[:, :, ::-1])
            screen.update(Result(frame, FakeRecognizer().look(shown)))
        return True

    monkeypatch.setattr(Menu, "_has_window", lambda menu: True)
    monkeypatch.setattr("facesync.app.flows.show", show)
    out = run("1", "Countess", answer)
    assert len(taken) == (5 if answer == "y" else 1)
    assert len(gallery.people()) == people
    assert ("Countess is registered (5 samples)" in out) is (answer == "y")


def test_the_page_is_opened_with_the_session_of_the_menu(gallery, monkeypatch):
    served = []

    def serve(opened, options):
        served.append((opened, options))
        return 0

    answers = iter(("10", "q"))
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    made = session.Session(AppSettings(embeddings=gallery.path, faces=gallery.faces))
    assert Menu(made, serve).run() == 0
    assert served == [(made, WebOptions())]
