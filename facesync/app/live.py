"""Capture and inference in threads of their own, so that drawing never waits for either.

The capture thread keeps only the newest frame; the inference thread always takes the newest one
and keeps only the newest result. Whoever draws looks at both and waits for neither.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass

from facesync.app.cameras import Camera, Frame
from facesync.app.recognizer import Recognizer, Seen
from facesync.errors import CameraError, FaceSyncError

STALL_SECONDS = 6.0
"""A camera that has given no frame for so long has stalled."""


@dataclass(frozen=True)
class Result:
    """A frame and what was found in it."""

    frame: Frame
    seen: Seen


class Capture:
    """Reads a camera in a thread; takes the camera over and closes it at the end.

    Attributes:
        newest: the newest frame, None before the first.
        ended: the camera has come to its end (a video does).
        error: why it gives no more frames, if it failed.
    """

    def __init__(self, camera: Camera) -> None:
        self.newest: Frame | None = None
        self.ended = False
        self.error: Exception | None = None
        self.mirrored = camera.mirrored
        self._camera = camera
        self._stop = threading.Event()
        self._last = time.monotonic()
        # A read that hangs in a driver must not keep the program from ending: hence daemon.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(timeout=STALL_SECONDS)

    @property
    def stalled(self) -> bool:
        """No frame has come for `STALL_SECONDS`, though there should be some."""
        silent = time.monotonic() - self._last
        return not self.ended and self.error is None and silent > STALL_SECONDS

    def check(self) -> None:
        """Raise what has gone wrong with the camera, as one of the errors shown to the user."""
        if self.error is not None:
            raise shown(self.error, "the camera")
        if self.stalled:
            raise CameraError("the camera gives no frames any more: check its cable or connection")

    def _run(self) -> None:
        start = time.monotonic()
        try:
            with self._camera as camera:
                while not self._stop.is_set():
                    frame = camera.read()
                    if frame is None:
                        self.ended = True
                        return
                    if not camera.live:  # show a recording at the speed it was made
                        self._stop.wait(start + frame.seconds - time.monotonic())
                    self._last = time.monotonic()
                    self.newest = frame
        except Exception as error:
            self.error = error


class Analysis:
    """Asks the recognizer about the newest frame, again and again, in a thread.

    Attributes:
        newest: the newest result, None before the first.
        error: why it has stopped, if it failed.
    """

    def __init__(self, capture: Capture, recognizer: Recognizer) -> None:
        self.newest: Result | None = None
        self.error: Exception | None = None
        self._capture = capture
        self._recognizer = recognizer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="analysis", daemon=True)

    def __enter__(self) -> Analysis:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def check(self) -> None:
        """Raise what has gone wrong, as one of the errors shown to the user."""
        if self.error is not None:
            raise shown(self.error, "looking for faces")

    def _run(self) -> None:
        done = -1
        try:
            while not self._stop.is_set():
                frame = self._capture.newest
                if frame is None or frame.number == done:
                    self._stop.wait(0.005)
                    continue
                self.newest = Result(frame, self._recognizer.look(frame.image_rgb))
                done = frame.number
        except Exception as error:
            self.error = error


def frames(camera: Camera) -> Generator[Frame, None, None]:
    """Yield every frame of a recording or of pictures, of a live camera always the newest.

    Takes the camera over: it is closed when this is (`contextlib.closing`) or comes to its end.

    Raises:
        CameraError: it gives no frames, or no longer.
        PictureError: the only picture cannot be used.
    """
    if not camera.live:
        with camera:
            while (frame := camera.read()) is not None:
                yield frame
        return
    with Capture(camera) as capture:
        number = -1
        while not capture.ended:
            capture.check()
            newest = capture.newest
            if newest is None or newest.number == number:
                time.sleep(0.005)
                continue
            number = newest.number
            yield newest


def shown(error: Exception, what: str) -> FaceSyncError:
    """Make one line of any error of a thread."""
    if isinstance(error, FaceSyncError):
        return error
    line = CameraError(f"{what} failed: {type(error).__name__}: {error}".splitlines()[0])
    line.__cause__ = error
    return line
