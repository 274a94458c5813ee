"""The loop that shows a camera and answers keys, with a window that only remembers."""

from __future__ import annotations

import socket
import threading
from itertools import count, repeat

import numpy as np
import pytest

from facesync.app import live, window
from facesync.app.cameras import DeviceError
from facesync.app.screens import RegisterScreen, VerifyScreen
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.app.window import run, why_no_window
from facesync.errors import CameraError, StoreError
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.people import Person, now
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, image


class FakeWindow:
    """Presses a key whenever the screen has come to a state that calls for it."""

    def __init__(self, keys) -> None:
        self.keys = iter(keys)
        self.shown: list[np.ndarray] = []
        self.last_words: np.ndarray | None = None
        self.open = False

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.open = False

    def show(self, canvas_bgr: np.ndarray) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.shown.append(canvas_bgr)

    def key(self) -> str | None:
        threading.Event().wait(0.002)
        key = next(self.keys, "q")
        if isinstance(key, BaseException):
            raise key
        return key

    def linger(self, canvas_bgr: np.ndarray) -> None:
        self.last_words = canvas_bgr


def endless() -> FakeCamera:
    return FakeCamera((image(variant=i % 5) for i in count()), live=True)


def look(frame):
    return FakeRecognizer().look(frame.image_rgb)


@pytest.fixture(autouse=True)
def everything_ends():
    yield
    assert not {thread.name for thread in threading.enumerate()} & {"capture", "analysis"}


def test_registering_ends_with_the_fifth_sample():
    saved = []
    camera, shown = endless(), FakeWindow(repeat("c", 10_000))
    assert run(shown, lambda: camera, look, RegisterScreen("Ada", Enrolment(0.6), saved.append))
    assert len(saved) == 1 and len(saved[0]) == 5
    assert shown.last_words is not None
    assert not shown.open and camera.closed.is_set()


def test_q_gives_up_and_stores_nothing():
    saved = []
    camera, shown = endless(), FakeWindow(["c", None, "c", None, "q"])
    assert not run(shown, lambda: camera, look, RegisterScreen("Ada", Enrolment(0.6), saved.append))
    assert saved == []
    assert shown.last_words is None
    assert not shown.open and camera.closed.is_set()


def test_verifying_continues_until_q(gallery, recognizer, capsys):
    gallery.register(Person("Ada", embedding(1), "model-a", now(), 5), [])
    screen = VerifyScreen(Verification(gallery, recognizer, AppSettings()))

    def keys():
        yield "v"
        while capsys.readouterr().out.count("Ada: accepted") == 0:
            yield None
        yield "v"
        while capsys.readouterr().out.count("Ada: accepted") == 0:
            yield None
        yield "q"

    assert not run(FakeWindow(keys()), endless, look, screen)


@pytest.mark.parametrize(
    ("then", "line"),
    [
        ("end", "the video has ended"),
        (CameraError("unplugged"), "unplugged"),
        (ValueError("driver\nbroke"), "the camera failed: ValueError: driver$"),
    ],
)
def test_a_camera_that_stops_is_said_on_screen_and_raised(then, line):
    camera = FakeCamera([image()] * 3, live=True, then=then)
    shown = FakeWindow(repeat(None, 10_000))
    with pytest.raises(CameraError, match=line):
        run(shown, lambda: camera, look, RegisterScreen("Ada", Enrolment(0.6), print))
    assert shown.last_words is not None
    assert not shown.open and camera.closed.is_set()


def test_a_camera_that_is_away_is_said_and_tried_again_until_q(monkeypatch):
    monkeypatch.setattr(live, "RETRY_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(live, "STALL_SECONDS", 0.2)
    views = []
    monkeypatch.setattr(
        window, "draw", lambda frame, view, **how: views.append(view) or np.zeros((1, 1, 3))
    )
    opened = []
    hangs = FakeCamera([image()], live=True, then="hang")

    def open_camera():
        opened.append(1)
        if len(opened) == 3:
            return hangs
        if len(opened) == 4:
            threading.Event().wait(0.3)
        raise DeviceError("camera 0 does not open: no permission for /dev/video0")

    def keys():
        while len(opened) < 6:
            yield None

    shown = FakeWindow(keys())
    assert not run(shown, open_camera, look, RegisterScreen("Ada", Enrolment(0.6), print))
    assert not shown.open
    hangs.closed.set()
    for thread in threading.enumerate():
        if thread.name == "capture":
            thread.join(20)
    said = [view.status for view in views]
    assert "Camera 0 does not open. Trying again; Q leaves" in said
    assert "The camera has stopped giving frames. Trying again; Q leaves" in said
    assert any(view.hint == "no permission for /dev/video0" for view in views)


def test_models_that_fail_are_one_line():
    recognizer = FakeRecognizer()
    recognizer.failure = RuntimeError("CUDA out of memory\nand more")
    with pytest.raises(
        CameraError, match=r"looking for faces failed: RuntimeError: CUDA out of memory$"
    ):
        run(
            FakeWindow(repeat(None, 10_000)),
            endless,
            lambda frame: recognizer.look(frame.image_rgb),
            RegisterScreen("Ada", Enrolment(0.6), print),
        )


def test_a_store_that_cannot_be_written_closes_the_window():
    def save(enrolment) -> None:
        raise StoreError("disk full")

    camera, shown = endless(), FakeWindow(repeat("c", 10_000))
    with pytest.raises(StoreError, match="disk full"):
        run(shown, lambda: camera, look, RegisterScreen("Ada", Enrolment(0.6), save))
    assert not shown.open and camera.closed.is_set()


def test_ctrl_c_leaves_cleanly():
    camera, shown = endless(), FakeWindow([None, None, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        run(shown, lambda: camera, look, RegisterScreen("Ada", Enrolment(0.6), print))
    assert not shown.open and camera.closed.is_set()


@pytest.fixture
def linux(monkeypatch):
    if not window.sys.platform.startswith("linux"):
        pytest.skip("X11 is a matter of Linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_no_display(linux):
    assert why_no_window() == "there is no display (DISPLAY is not set)"
    linux.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert "XWayland" in why_no_window()


@pytest.mark.parametrize("display", [":4711", "nonsense"])
def test_a_display_that_does_not_answer(linux, display):
    linux.setenv("DISPLAY", display)
    assert why_no_window() == f"the display {display} does not respond"


def test_a_display_that_hangs(linux):
    linux.setattr(window, "_TRY_SECONDS", 1.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        display = f"127.0.0.1:{server.getsockname()[1] - 6000}.0"
        linux.setenv("DISPLAY", display)
        assert why_no_window() == f"the display {display} does not respond"


def test_opencv_without_windows(linux):
    """As its headless version: the function is there, and raises."""
    linux.setenv("DISPLAY", ":0")
    linux.setattr(window, "_TRY", "raise SystemExit('The function is not implemented.')")
    assert "opencv-python in place of its headless version" in why_no_window()


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, "xcb"), ("xcb", "xcb"), ("wayland", "wayland;xcb"), ("wayland;xcb", "wayland;xcb")],
)
def test_qt_is_given_a_platform_that_is_there(linux, asked, given):
    if asked:
        linux.setenv("QT_QPA_PLATFORM", asked)
    window._prepare_qt()
    assert window.os.environ["QT_QPA_PLATFORM"] == given
