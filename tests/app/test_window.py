"""The loop that shows a camera and answers keys, with a window that only remembers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from itertools import count, repeat

import numpy as np
import pytest
from PIL import Image

from facesync.app import live, window
from facesync.app.cameras import DeviceError
from facesync.app.screens import RegisterScreen
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.app.verify_screen import VerifyScreen
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


@pytest.mark.parametrize("leaves", ["q", KeyboardInterrupt(), StoreError("disk full")])
def test_a_screen_is_closed_however_the_window_is_left(leaves):
    """What was begun is ended: a challenge that is broken off counts as an attempt."""

    class Begun(RegisterScreen):
        closed = 0

        def close(self) -> None:
            assert shown.open  # words may still be shown
            self.closed += 1

    screen = Begun("Ada", Enrolment(0.6), print)
    shown = FakeWindow([None, leaves])
    with suppress(KeyboardInterrupt, StoreError):
        run(shown, endless, look, screen)
    assert screen.closed == 1


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


class FakeHighgui:
    """Stands for OpenCV's windows: remembers what was asked for."""

    WINDOW_NORMAL, WINDOW_FREERATIO, WINDOW_GUI_NORMAL, WINDOW_FULLSCREEN = 0, 256, 16, 1
    WND_PROP_FULLSCREEN, WND_PROP_VISIBLE = 0, 4

    def __init__(self) -> None:
        self.opened = 0
        self.keys: list[int] = []
        self.full = 0
        self.size_wh = (0, 0)
        self.shown = np.zeros((1, 1, 3), dtype=np.uint8)

    def namedWindow(self, title: str, how: int) -> None:
        self.opened += 1

    def destroyAllWindows(self) -> None: ...

    def waitKey(self, milliseconds: int) -> int:
        return self.keys.pop(0) if self.keys else -1

    def getWindowProperty(self, title: str, what: int) -> float:
        return self.full if what == self.WND_PROP_FULLSCREEN else 1.0

    def setWindowProperty(self, title: str, what: int, value: int) -> None:
        self.full, self.size_wh = value, (1366, 768)

    def resizeWindow(self, title: str, width: int, height: int) -> None:
        self.size_wh = (width, height)

    def getWindowImageRect(self, title: str) -> tuple[int, int, int, int]:
        return (0, 0, *self.size_wh)

    def imshow(self, title: str, canvas_bgr: np.ndarray) -> None:
        self.shown = canvas_bgr


@pytest.fixture
def highgui(linux) -> FakeHighgui:
    fake = FakeHighgui()
    for name in dir(fake):
        if not name.startswith("_") and hasattr(window.cv2, name):
            linux.setattr(window.cv2, name, getattr(fake, name))
    return fake


@pytest.mark.parametrize("blank", ["white", "black"])
def test_a_window_that_stays_blank_is_opened_again(linux, highgui, blank):
    """The screen is compared with what was drawn; keys pressed in the meantime are not lost."""
    linux.setattr(window, "_PAINT_SECONDS", 0.01)
    screen = Image.new("RGB", (1366, 768), blank)

    def grab(**how: object) -> Image.Image:
        if highgui.opened == 3:
            screen.paste(Image.fromarray(highgui.shown[:, :, ::-1]), (300, 100))
        return screen

    linux.setattr(window.ImageGrab, "grab", grab)
    highgui.keys = [ord("V")]
    with window.Window() as opened:
        assert highgui.opened == 3
        assert opened.key() == "v"


def test_f_fills_the_screen_without_white_bars_and_back(linux, highgui):
    linux.setattr(window.Window, "_is_painted", lambda self, canvas_bgr: True)
    canvas = np.full((660, 880, 3), 99, dtype=np.uint8)
    with window.Window() as opened:
        opened.show(canvas)
        assert highgui.size_wh == (880, 660)
        opened.show(canvas)
        assert highgui.shown.shape == (660, 880, 3)
        for key, full in (("f", 1), ("F", 0), ("f", 1), ("\x1b", 0)):
            highgui.keys = [ord(key)]
            assert opened.key() is None
            assert highgui.full == full
        opened.show(canvas)
        height, width = highgui.shown.shape[:2]
        assert width / height == pytest.approx(1366 / 768, abs=0.01)
        assert highgui.shown[0, 0].tolist() == list(window.GROUND[::-1])
        highgui.keys = [ord("\x1b")]
        assert opened.key() == "q"


@pytest.mark.parametrize(
    ("size_wh", "shape"),
    [((400, 800), (1280, 640)), ((800, 200), (480, 1920)), ((0, 0), (480, 640))],
)
def test_bars_give_a_canvas_the_shape_of_the_window(size_wh, shape):
    assert window._filled(np.zeros((480, 640, 3), np.uint8), *size_wh).shape[:2] == shape


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
