"""The camera window: whether one can be opened, and the loop that draws it.

OpenCV needs its windows on the main thread; nothing here waits for the camera or the models.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageGrab

from facesync.app.cameras import Frame
from facesync.app.drawing import BAD, GROUND, View, draw
from facesync.app.live import Analysis, Capture, Look, OpenCamera, Result
from facesync.app.screens import Screen
from facesync.errors import CameraError, FaceSyncError

TITLE = "FaceSync"
_LINGER_SECONDS = 2.0  # How long the last message stays before the window closes.
_TRY_SECONDS = 20.0  # How long a window that is tried may take to open.
_ESCAPE = 27
_TRIES, _PAINT_SECONDS = 5, 1.0
_PAINTED = 0.25  # Share of the canvas that must be on the screen; other windows may cover the rest.

WAITING = View("Waiting for the camera …")

_TRY = f"import cv2; cv2.namedWindow({TITLE!r}); cv2.destroyAllWindows()"


def why_no_window() -> str | None:
    """Say why no window can be opened here; None if one can.

    Another process tries it first: without a display that lets it in, Qt ends the whole program.
    """
    _prepare_qt()
    display = os.environ.get("DISPLAY", "")
    if sys.platform.startswith("linux") and not (display or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY is not set)"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY],
            cwd=Path(cv2.__file__).parent.parent,  # not a folder that may hold another cv2.py
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRY_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"the display {display} does not respond"
    said = tried.stderr.decode(errors="replace")
    if tried.returncode == 0:
        return None
    if "not implemented" in said:
        return "this OpenCV has no windows: install opencv-python in place of its headless version"
    if re.search("uthorization|No protocol specified|MAGIC-COOKIE", said):
        return f"the display {display} does not let this user in (see xhost and XAUTHORITY)"
    if sys.platform.startswith("linux") and not display:
        return "OpenCV's windows need X11 (XWayland), and DISPLAY is not set"
    return f"the display {display} does not respond".replace("  ", " ")


class Window:
    """OpenCV's window, as a context manager; F makes it as large as the screen, and back."""

    def __init__(self) -> None:
        self._early: list[int] = []  # keys that were pressed while it opened
        self._size_wh = (0, 0)

    def __enter__(self) -> Window:
        _prepare_qt()
        canvas_bgr = draw(None, WAITING)
        for tries_left in reversed(range(_TRIES)):
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            self.show(canvas_bgr)
            if self._is_painted(canvas_bgr) or not tries_left:
                break
            self._close()
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # closes it now rather than when the next window opens
        self._size_wh = (0, 0)

    def show(self, canvas_bgr: np.ndarray) -> None:
        """Show an image, uint8 BGR; the window takes its size, until the user gives it another."""
        size_wh = canvas_bgr.shape[1::-1]
        if size_wh != self._size_wh and not self._is_full():
            cv2.resizeWindow(TITLE, *size_wh)
        else:
            canvas_bgr = _filled(canvas_bgr, *cv2.getWindowImageRect(TITLE)[2:])
        self._size_wh = size_wh
        cv2.imshow(TITLE, canvas_bgr)

    def key(self) -> str | None:
        """Wait a moment and return the key pressed, lower case; Esc and closing count as `q`.

        F, and Esc where the window fills the screen, are answered here.
        """
        code = self._early.pop(0) if self._early else cv2.waitKey(10)
        if cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        key = "q" if code == _ESCAPE else chr(code & 0xFF).lower() if code >= 0 else None
        full = self._is_full()
        if key == "f" or (full and code == _ESCAPE):
            how = cv2.WINDOW_NORMAL if full else cv2.WINDOW_FULLSCREEN
            cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, how)
            return None
        return key

    def linger(self, canvas_bgr: np.ndarray) -> None:
        """Show a last image for two seconds, or until a key is pressed."""
        self.show(canvas_bgr)
        end = time.monotonic() + _LINGER_SECONDS
        while time.monotonic() < end and self.key() is None:
            pass

    def _is_full(self) -> bool:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN) == cv2.WINDOW_FULLSCREEN

    def _is_painted(self, canvas_bgr: np.ndarray) -> bool:
        """Whether the screen shows the ground of the canvas; True if unknown.

        On X11, Qt 5 now and then loses the event about its new window (seen without a window
        manager, with twm and with openbox, on busy machines). That window takes keys but stays
        black or white for good, whatever is shown in it, and also when it is moved or resized;
        opening another one helps. Where it stands is not asked: Qt may not know that yet.
        """
        if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
            return True  # another window system, or the screen cannot be read
        ground_rgb = canvas_bgr[0, 0, ::-1].astype(int)
        end = time.monotonic() + _PAINT_SECONDS
        while time.monotonic() < end:
            code = cv2.waitKey(20)
            if code >= 0:
                self._early.append(code)
            try:
                screen = ImageGrab.grab(xdisplay=os.environ.get("DISPLAY")).convert("RGB")
            except OSError:
                return True
            close = (np.abs(np.asarray(screen) - ground_rgb) < 8).all(axis=2)
            if close.sum() > _PAINTED * canvas_bgr[..., 0].size:
                return True
        return False


def _filled(canvas_bgr: np.ndarray, width: int, height: int) -> np.ndarray:
    """Add dark bars to a canvas so that it has the shape of a window; Qt's would be white."""
    high, wide = canvas_bgr.shape[:2]
    if min(width, height) <= 0:
        return canvas_bgr
    x, y = max(0, high * width // height - wide) // 2, max(0, wide * height // width - high) // 2
    return cv2.copyMakeBorder(canvas_bgr, y, y, x, x, cv2.BORDER_CONSTANT, value=GROUND[::-1])


def run(
    window: Window,
    open_camera: OpenCamera,
    look: Look,
    screen: Screen,
    drawn: Callable[[np.ndarray, Frame], None] | None = None,
) -> bool:
    """Show a camera and answer keys until the screen is done, or `q`, Esc or closing ends it.

    If the camera is missing or goes away, the window says so, and it is retried again and again.

    `open_camera` and `look` are called in other threads, `drawn` with each new frame as it was
    drawn, uint8 BGR.

    Returns:
        Whether the screen was done.

    Raises:
        FaceSyncError: the camera failed for good or came to its end, or the screen raised it; the
            window has shown it.
    """
    # The window closes first: a camera that hangs may take seconds.
    with (
        Capture(open_camera) as capture,
        Analysis(capture, look) as analysis,
        window,
        closing(screen),
    ):
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
    view = screen.view(result, frame.seconds) if frame else WAITING
    return replace(view, keys=(*view.keys, ("F", "full screen"))) if view.keys else view


def _in_two(error: FaceSyncError) -> tuple[str, str]:
    """Split an error message into what happened and what helps."""
    what, _, hint = str(error).partition(": ")
    return what[:1].upper() + what[1:], hint


def _prepare_qt() -> None:
    """Keep Qt, which OpenCV uses on Linux, quiet, and give it a platform that is there."""
    if sys.platform.startswith("linux"):
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
        # OpenCV's wheel has xcb only, also for a Wayland session; Qt takes the first that works.
        asked = os.environ.get("QT_QPA_PLATFORM", "").split(";")
        platforms = [*filter(None, asked), *(() if "xcb" in asked else ("xcb",))]
        os.environ["QT_QPA_PLATFORM"] = ";".join(platforms)
