"""The camera window: whether there can be one, and the loop that draws it.

OpenCV wants its windows on the main thread; nothing here waits for the camera or the models.
"""

from __future__ import annotations

import os
import socket
import sys
import time

import cv2
import numpy as np

from facesync.app.cameras import Camera
from facesync.app.drawing import BAD, View, draw
from facesync.app.live import Analysis, Capture
from facesync.app.recognizer import Recognizer
from facesync.app.screens import Screen
from facesync.errors import CameraError, FaceSyncError

TITLE = "FaceSync"
_LINGER_SECONDS = 2.0  # How long the last words stay before the window closes.
_ESCAPE = 27


def why_no_window() -> str | None:
    """Say why no window can be opened here; None where one can.

    Asked before any window is: without a display, Qt ends the whole program.
    """
    if not sys.platform.startswith("linux"):
        return None
    display = os.environ.get("DISPLAY", "")
    if not display:
        if os.environ.get("WAYLAND_DISPLAY"):
            return "OpenCV's windows need X11 (XWayland), and DISPLAY is not set"
        return "there is no display (DISPLAY is not set)"
    if not _answers(display):
        return f"the display {display} does not answer"
    return None


def _answers(display: str) -> bool:
    """Whether an X server listens at `[host]:number[.screen]`."""
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

    def __enter__(self) -> Window:
        _prepare_qt()
        cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        return self

    def __exit__(self, *exc: object) -> None:
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # lets it go now rather than at the next window

    def show(self, canvas_bgr: np.ndarray) -> None:
        """Show a picture, uint8 BGR; the window takes its size."""
        cv2.imshow(TITLE, canvas_bgr)

    def key(self) -> str | None:
        """Wait a moment and return the key pressed, in lower case; `q` also for Esc and closing."""
        code = cv2.waitKey(10)
        if code == _ESCAPE or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return chr(code & 0xFF).lower() if code >= 0 else None

    def linger(self, canvas_bgr: np.ndarray) -> None:
        """Show a last picture for two seconds, or until a key."""
        self.show(canvas_bgr)
        end = time.monotonic() + _LINGER_SECONDS
        while time.monotonic() < end and self.key() is None:
            pass


def run(window: Window, camera: Camera, recognizer: Recognizer, screen: Screen) -> bool:
    """Show a camera and answer keys until the screen is done, or `q`, Esc or closing ends it.

    Takes the camera over and closes it.

    Returns:
        Whether the screen was done.

    Raises:
        CameraError: the camera failed, stalled or came to its end; the window said so.
    """
    # The window is the first to go: a camera that hangs may take seconds.
    with Capture(camera) as capture, Analysis(capture, recognizer) as analysis, window:
        shown: tuple[int, View] | None = None
        told = -1
        while True:
            frame, result = capture.newest, analysis.newest
            view = screen.view(result) if frame else View("Waiting for the camera …")
            picture = frame.frame_bgr if frame else None
            try:
                capture.check()
                analysis.check()
                if capture.ended:
                    raise CameraError("the video has come to its end")
            except FaceSyncError as error:
                what, _, hint = str(error).partition(": ")
                what = what[:1].upper() + what[1:]
                last_words = View(what, BAD, hint, progress=screen.progress)
                window.linger(draw(picture, last_words, mirrored=capture.mirrored))
                raise
            if screen.done:
                window.linger(draw(picture, view, mirrored=capture.mirrored))
                return True
            if (now := (frame.number if frame else -1, view)) != shown:
                window.show(draw(picture, view, mirrored=capture.mirrored))
                shown = now
            key = window.key()
            if key == "q":
                return False
            if result is not None and result.frame.number != told:
                told = result.frame.number
                screen.update(result)
            if key is not None:
                screen.key(key, result)


def _prepare_qt() -> None:
    """Keep Qt, which OpenCV's windows use on Linux, from writing warnings to the terminal."""
    if sys.platform.startswith("linux"):
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
        # The only platform that OpenCV's wheel brings along, also in a Wayland session.
        os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
