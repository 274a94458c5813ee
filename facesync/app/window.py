"""The camera window: whether one can be opened, and the loop that draws it.

OpenCV needs its windows on the main thread; nothing here waits for the camera or the models.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import ImageGrab

from facesync.app.cameras import Frame
from facesync.app.drawing import BAD, View, draw
from facesync.app.live import Analysis, Capture, Look, OpenCamera, Result
from facesync.app.screens import Screen
from facesync.errors import CameraError, FaceSyncError

TITLE = "FaceSync"
_LINGER_SECONDS = 2.0  # How long the last message stays before the window closes.
_ESCAPE = 27
_TRIES, _PAINT_SECONDS = 5, 0.5

WAITING = View("Waiting for the camera …")


def why_no_window() -> str | None:
    """Say why no window can be opened here; None if one can.

    This has to be known first: without a display, Qt ends the whole program.
    """
    if not sys.platform.startswith("linux"):
        return None
    display = os.environ.get("DISPLAY", "")
    if not display:
        if os.environ.get("WAYLAND_DISPLAY"):
            return "OpenCV's windows need X11 (XWayland), and DISPLAY is not set"
        return "there is no display (DISPLAY is not set)"
    if not _answers(display):
        return f"the display {display} does not respond"
    return None


def _answers(display: str) -> bool:
    """Whether an X server is listening at `[host]:number[.screen]`."""
    host, _, number = display.rpartition(":")
    number = number.split(".")[0]
    if not number.isdecimal():
        return False
    local = host in ("", "unix") or host.endswith("/unix")
    address = f"/tmp/.X11-unix/X{number}" if local else (host, 6000 + int(number))
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as probe:
        probe.settimeout(3)
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


class Window:
    """OpenCV's window, as a context manager."""

    def __init__(self) -> None:
        self._early: list[int] = []  # keys that were pressed while it opened

    def __enter__(self) -> Window:
        _prepare_qt()
        for tries_left in reversed(range(_TRIES)):
            cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
            self.show(draw(None, WAITING))
            if self._is_painted() or not tries_left:
                break
            self._close()
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # closes it now rather than when the next window opens

    def show(self, canvas_bgr: np.ndarray) -> None:
        """Show an image, uint8 BGR, in a window of its size."""
        cv2.imshow(TITLE, canvas_bgr)

    def key(self) -> str | None:
        """Wait a moment and return the key pressed, lower case; Esc and closing count as `q`."""
        code = self._early.pop(0) if self._early else cv2.waitKey(10)
        if code == _ESCAPE or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return chr(code & 0xFF).lower() if code >= 0 else None

    def linger(self, canvas_bgr: np.ndarray) -> None:
        """Show a last image for two seconds, or until a key is pressed."""
        self.show(canvas_bgr)
        end = time.monotonic() + _LINGER_SECONDS
        while time.monotonic() < end and self.key() is None:
            pass

    def _is_painted(self) -> bool:
        """Whether the window shows what was drawn, which is never black; True if unknown.

        On X11, Qt 5 now and then loses the event about its new window (seen without a window
        manager and with twm, on busy machines). That window takes keys but stays black for good;
        opening another one helps.
        """
        if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
            return True  # another window system, or the screen cannot be read
        end = time.monotonic() + _PAINT_SECONDS
        while time.monotonic() < end:
            code = cv2.waitKey(20)
            if code >= 0:
                self._early.append(code)
            left, top, width, height = cv2.getWindowImageRect(TITLE)
            try:
                screen = ImageGrab.grab(xdisplay=os.environ.get("DISPLAY"))
            except OSError:
                return True
            if screen.crop((left, top, left + width, top + height)).getbbox() is not None:
                return True
        return False


def run(
    window: Window,
    open_camera: OpenCamera,
    look: Look,
    screen: Screen,
    drawn: Callable[[np.ndarray, Frame], None] | None = None,
) -> bool:
    """Show a camera and answer keys until the screen is done, or `q`, Esc or closing ends it.

    If the camera is missing or goes away, the window says so, and it is retried again and again.

    Args:
        window: where it is shown.
        open_camera: opens the camera; called in another thread.
        look: analyses a frame; called in another thread.
        screen: decides what to show and what the keys do.
        drawn: called with each new frame as it was drawn, uint8 BGR.

    Returns:
        Whether the screen was done.

    Raises:
        FaceSyncError: the camera failed for good or came to its end, or the screen raised it; the
            window has shown it.
    """
    # The window closes first: a camera that hangs may take seconds.
    with Capture(open_camera) as capture, Analysis(capture, look) as analysis, window:
        shown: tuple[int, View] | None = None
        updated = number = -1
        canvas_bgr = None
        while True:
            frame, result = capture.newest, analysis.newest
            image = frame.frame_bgr if frame else None
            try:
                capture.check()
                analysis.check()
                if result is not None and result.frame.number != updated:
                    updated = result.frame.number
                    screen.update(result)
                if capture.ended and not screen.done and not screen.ended():
                    raise CameraError("the video has ended")
                view = _view(capture, screen, frame, result)
                if (now := (frame.number if frame else -1, view)) != shown:
                    canvas_bgr = draw(image, view, mirrored=capture.mirrored)
                    window.show(canvas_bgr)
                    shown = now
                    if drawn and frame and frame.number != number:
                        number = frame.number
                        drawn(canvas_bgr, frame)
                if screen.done:
                    window.linger(draw(image, view, mirrored=capture.mirrored))
                    return True
                key = window.key()
                if key == "q":
                    return False
                if key is not None:
                    screen.key(key, result)
            except FaceSyncError as error:
                what, hint = _in_two(error)
                last_words = View(what, BAD, hint, progress=screen.progress)
                window.linger(draw(image, last_words, mirrored=capture.mirrored))
                raise


def _view(capture: Capture, screen: Screen, frame: Frame | None, result: Result | None) -> View:
    """Choose what to show: the screen's view, or what is wrong with the camera."""
    if capture.trouble is not None:
        what, hint = _in_two(capture.trouble)
        return View(f"{what}. Trying again; Q leaves", BAD, hint, progress=screen.progress)
    return screen.view(result, frame.seconds) if frame else WAITING


def _in_two(error: FaceSyncError) -> tuple[str, str]:
    """Split an error message into what happened and what helps."""
    what, _, hint = str(error).partition(": ")
    return what[:1].upper() + what[1:], hint


def _prepare_qt() -> None:
    """Keep Qt, which OpenCV uses on Linux, from writing warnings to the terminal."""
    if sys.platform.startswith("linux"):
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
        # The only platform in OpenCV's wheel, also for a Wayland session.
        os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
