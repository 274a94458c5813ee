"""Registering and verifying in the window, as commands do it: without a key, once."""

from __future__ import annotations

import json
from itertools import count

import pytest

import faceid_app
from facesync.app import flows, pose_guide, session
from facesync.app.flows import VerifyOnce
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.gallery.people import Person, now
from facesync.liveness.camera import file_of, known
from tests.app.before_camera import result
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, image
from tests.liveness.fakes import FakePassive


@pytest.fixture
def settings(tmp_path) -> AppSettings:
    return AppSettings(audit_log=tmp_path / "log.jsonl", liveness="off")


@pytest.fixture
def once(gallery, recognizer, settings) -> VerifyOnce:
    gallery.register(Person("Ada", embedding(1), "model-a", now(), 5), [])
    return VerifyOnce(Verification(gallery, recognizer, settings), 3)


def test_so_many_frames_decide(once, settings, capsys):
    once.update(result(0, faces=0))
    for number in (1, 2, 3):
        assert not once.done
        assert f"{number - 1} of 3 frames" in once.view(result(number)).status
        once.update(result(number))
    assert once.done and once.decision.accepted and once.decision.name == "Ada"
    once.update(result(4))
    once.ended()
    assert capsys.readouterr().out.startswith("Ada: accepted (3 of 3 frames agree")
    assert len(settings.audit_log.read_text().splitlines()) == 1


@pytest.mark.parametrize("frames", [1, 0])
def test_the_end_of_a_video_decides(once, frames):
    for number in range(frames):
        once.update(result(number))
    assert once.ended() and once.done
    assert once.decision.accepted is (frames > 0)


def test_a_camera_without_a_face_is_given_up(once, monkeypatch, settings):
    monkeypatch.setattr(flows.time, "monotonic", lambda: once._give_up + 1)
    once.update(result(0, faces=0))
    assert once.done and not once.decision.accepted
    assert json.loads(settings.audit_log.read_text())["accepted"] is False


class FakeWindow:
    """A window in which keys are pressed, one after another."""

    def __init__(self, *keys: str) -> None:
        self._keys = iter(keys)
        self.shown = 0

    def __call__(self) -> FakeWindow:
        return self

    def __enter__(self) -> FakeWindow:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def show(self, canvas_bgr) -> None:
        self.shown += 1

    def linger(self, canvas_bgr) -> None:
        pass

    def key(self) -> str | None:
        return next(self._keys, None)


@pytest.mark.parametrize(
    ("command", "window", "keys", "code", "said"),
    [
        (["verify"], True, "", 0, "Ada: accepted"),
        (["verify", "--name", "Bob"], True, "", 1, "access denied"),
        (["verify"], True, "q", 1, "Cancelled: nobody was verified"),
        (["verify", "--no-window"], False, "", 0, "Ada: accepted"),
        (["verify", "--json"], False, "", 0, '"accepted": true'),
        (["register", "Cid"], True, "q", 1, "Cancelled: Cid is not registered"),
        (["register", "Cid", "--no-window"], False, "", 1, "usable sample"),
    ],
)
def test_commands_open_the_window(
    command, window, keys, code, said, gallery, monkeypatch, capsys, tmp_path
):
    shown = FakeWindow(*keys)
    who = 1 if command[0] == "verify" else 3
    frames = [image(who=who, variant=number) for number in range(9)]
    for name, who in (("Ada", 1), ("Bob", 2)):
        gallery.register(Person(name, embedding(who), "model-a", now(), 5), [])
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    monkeypatch.setattr(
        session, "open_camera", lambda *args, **kwargs: FakeCamera(frames, live=window)
    )
    monkeypatch.setattr(flows, "Window", shown)
    monkeypatch.setattr("facesync.app.window.why_no_window", lambda: None)
    files = ["--embeddings", str(gallery.path), "--faces", str(gallery.faces), "--liveness", "off"]
    if keys:
        frames[:] = [image(faces=0)] * 500
    assert faceid_app.main([*files, "--liveness", "off", *command]) == code
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    assert (shown.shown > 0) is window


def test_images_are_photographs_and_need_no_window(shot, gallery, monkeypatch, capsys):
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    monkeypatch.setattr("facesync.app.window.why_no_window", lambda: None)
    files = ["--embeddings", str(gallery.path), "--faces", str(gallery.faces)]
    assert faceid_app.main([*files, "register", "Ada", "--camera", str(shot("a"))]) == 0
    assert "Ada is registered (1 sample)" in capsys.readouterr().out


@pytest.fixture
def live_app(gallery, monkeypatch):
    """Run the app with somebody before camera 0, of whom the passive model thinks the same."""
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    monkeypatch.setattr("facesync.app.window.why_no_window", lambda: None)
    monkeypatch.setattr(pose_guide, "TURN_SECONDS", 0.5)

    def run(score: float, *command: str, window: FakeWindow | None = None) -> int:
        frames = (image(who=3, variant=number % 50) for number in count())
        monkeypatch.setattr(session, "open_camera", lambda *a, **k: FakeCamera(frames, live=True))
        monkeypatch.setattr(session, "load_passive", lambda: FakePassive([score], "replay"))
        monkeypatch.setattr(flows, "Window", window or FakeWindow())
        files = ["--embeddings", str(gallery.path), "--faces", str(gallery.faces)]
        return faceid_app.main([*files, "--camera", "0", *command])

    return run


@pytest.mark.parametrize("window", [(), ("--no-window",)])
def test_whoever_does_not_look_alive_is_not_registered(live_app, gallery, window, capsys):
    """They never turn their head; for the passive model, 0.8 is sure enough, and 0.2 no attack."""
    said = "it looks like a screen, not a live face", "this is no photograph: turn your head"
    for score, line in zip((0.1, 0.7), said, strict=True):
        assert live_app(score, "register", "Cid", *window) == 1
        assert f"{line}" in capsys.readouterr().err
    assert gallery.people() == []
    assert not file_of(gallery.path).exists()
    assert live_app(0.9, "register", "Cid", *window) == 0
    assert gallery.find("Cid").samples == 5
    assert known(gallery.path, "0", FakePassive()) is not None
    assert live_app(0.7, "register", "Cid", "--add", *window) == 1
    assert gallery.find("Cid").samples == 5
    assert live_app(0.1, "--liveness", "off", "register", "Cid", "--add", *window) == 0


def test_a_challenge_that_is_left_is_a_wrong_attempt(
    live_app, gallery, monkeypatch, tmp_path, capsys
):
    assert live_app(0.9, "register", "Cid") == 0
    asked: list[bool] = []
    monkeypatch.setattr("facesync.app.liveness.random_order", lambda: asked.append(True) or ["up"])
    window = FakeWindow()
    window._keys = iter(lambda: "q" if asked else None, "never")
    log = tmp_path / "log.jsonl"
    command = "--liveness", "challenge", "--audit-log", str(log), "verify"
    assert live_app(0.9, *command, window=window) == 1
    out = capsys.readouterr().out
    assert "access denied: " in out and "Cancelled" not in out
    assert json.loads(log.read_text())["liveness"]["challenge"].startswith("failed: ")


def test_recordings_count_as_one_camera(live_app, gallery, tmp_path):
    video = tmp_path / "video.mp4"
    video.touch()
    assert live_app(0.9, "--camera", str(video), "register", "Cid", "--no-window") == 0
    cameras = json.loads(file_of(gallery.path).read_text(encoding="utf-8"))["cameras"]
    assert set(cameras) == {session.RECORDINGS}
    other = AppSettings(embeddings=gallery.path, camera=str(tmp_path / "another.mp4"))
    assert session.Session(other)._offset() != 0


def test_images_that_stand_in_for_a_camera_are_not_asked_to_be_alive(gallery, shot):
    settings = AppSettings(gallery.path, gallery.faces, camera=str(shot("a")))
    assert flows.presence(session.Session(settings)) is None
