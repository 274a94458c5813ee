"""Capture and inference in their own threads, so that drawing never waits for either.

The capture thread opens the camera, keeps only its newest frame, and reopens the camera if it
goes away; the inference thread always takes the newest frame and keeps only the newest result.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from facesync.app.cameras import Camera, DeviceError, Frame
from facesync.errors import CameraError, FaceSyncError

STALL_SECONDS = 6.0
"""A camera that has given no frame for this long has stalled."""

RETRY_SECONDS = (0.5, 8.0)
"""The first and the longest pause before a camera that went away is reopened."""

LOST_SECONDS = 15.0
"""Without a window, a camera that stays away for this long is given up."""

_LEAVE_SECONDS = 2.0  # How long leaving waits for a camera that is busy.
_SWITCH_SECONDS = 0.0005

OpenCamera = Callable[[], Camera]
Look = Callable[[Frame], Any]
"""Finds what a screen needs to know about a frame."""


@dataclass(frozen=True)
class Result:
    """A frame and what `Look` found in it."""

    frame: Frame
    seen: Any


class Capture:
    """Reads a camera in a thread, which opens it and closes it at the end.

    A camera or stream that does not open, fails or stalls is reopened with growing pauses; any
    other error is final. A camera that is open already (`opened`) is taken over.

    Attributes:
        newest: the newest frame, None before the first; numbers keep growing when the camera is
            reopened, and seconds go on as on a clock: nobody gains time by pulling a plug.
        mirrored: see `Camera`.
        ended: the end of a video.
        error: why it has stopped delivering frames, if it failed for good.
        trouble: why there are none at the moment, while it is being retried.
    """

    def __init__(self, open_camera: OpenCamera, opened: Camera | None = None) -> None:
        self.newest: Frame | None = None
        self.mirrored = False
        self.ended = False
        self.error: Exception | None = None
        self.trouble: DeviceError | None = None
        self._open = open_camera
        self._opened = opened
        self._recorded = False
        self._stop = threading.Event()
        self._tries = 0
        self._turn = 0  # of the current thread; one that hangs in a driver is left behind
        self._alive = self._newest_at = 0.0
        self._thread = threading.Thread()

    def __enter__(self) -> Capture:
        if sys.platform == "darwin" and self._opened is None:
            # macOS asks for permission on the main thread only, and refuses until it is answered.
            with suppress(DeviceError):
                self._opened = self._open()
        self._begin()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(timeout=_LEAVE_SECONDS)

    def check(self) -> None:
        """Reopen the camera if it has stalled; call this again and again.

        Raises:
            FaceSyncError: the camera has failed for good.
        """
        if self.error is not None:
            raise shown(self.error, "the camera")
        silent = time.monotonic() - self._alive
        if not self.ended and silent > STALL_SECONDS * min(4, 1 + self._tries):
            line = "the camera has stopped giving frames: check its cable or connection"
            if self._recorded:
                raise CameraError(line)
            self.trouble = DeviceError(line)
            self._tries += 1
            self._begin()

    def _begin(self) -> None:
        self._turn += 1
        self._alive = time.monotonic()
        # A read that hangs in a driver must not keep the program from ending: hence daemon.
        self._thread = threading.Thread(
            target=self._run, args=(self._turn,), name="capture", daemon=True
        )
        self._thread.start()

    def _counts(self, turn: int) -> bool:
        return turn == self._turn and not self._stop.is_set()

    def _run(self, turn: int) -> None:
        while self._counts(turn):
            try:
                self._read(turn)
                return
            except DeviceError as error:
                if not self._counts(turn):
                    return
                pause = min(RETRY_SECONDS[0] * 2**self._tries, RETRY_SECONDS[1])
                self.trouble = error
                self._tries += 1
                self._alive = time.monotonic() + pause
                self._stop.wait(pause)
                self._alive = time.monotonic()
            except Exception as error:
                if turn == self._turn:
                    self.error = error
                return

    def _read(self, turn: int) -> None:
        """Open the camera and read it to its end, or until another thread takes over."""
        camera, self._opened = self._opened or self._open(), None
        with camera:
            self.mirrored, self._recorded = camera.mirrored, not camera.live
            before, silent_since = self.newest, self._newest_at
            shift, start = 0.0, time.monotonic()
            while self._counts(turn):
                frame = camera.read()
                if not self._counts(turn):
                    return
                if frame is None:
                    self.ended = True
                    return
                if not camera.live:  # show a recording at the speed it was made
                    self._alive = start + frame.seconds  # a pause in it is not a stall
                    self._stop.wait(self._alive - time.monotonic())
                self._alive = time.monotonic()
                if before is not None:
                    if frame.number == 0:
                        shift = before.seconds + self._alive - silent_since - frame.seconds
                    frame = replace(
                        frame,
                        number=frame.number + before.number + 1,
                        seconds=frame.seconds + shift,
                    )
                self._tries, self.trouble = 0, None
                self._newest_at = self._alive
                self.newest = frame


class Analysis:
    """Keeps looking at the newest frame, in a thread.

    Attributes:
        newest: the newest result, None before the first.
        error: why it has stopped, if it failed.
    """

    def __init__(self, capture: Capture, look: Look) -> None:
        self.newest: Result | None = None
        self.error: Exception | None = None
        self._capture = capture
        self._look = look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="analysis", daemon=True)
        self._switch = sys.getswitchinterval()

    def __enter__(self) -> Analysis:
        # Python lets a busy thread run for 5 ms before another gets its turn, and each of the
        # dozen steps of drawing a frame would wait for that.
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        sys.setswitchinterval(self._switch)

    def check(self) -> None:
        """Raise what has gone wrong, as a FaceSyncError."""
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
                self.newest = Result(frame, self._look(frame))
                done = frame.number
        except Exception as error:
            self.error = error


def frames(camera: Camera, open_camera: OpenCamera) -> Generator[Frame, None, None]:
    """Yield every frame of a recording or of images; of a live camera, always the newest.

    Takes over the camera, which is closed at the end or with the generator (`contextlib.closing`);
    if it goes away, `open_camera` reopens it.

    Raises:
        CameraError: it delivers no frames, or no more.
        ImageError: the only image cannot be used.
    """
    if not camera.live:
        with camera:
            while (frame := camera.read()) is not None:
                yield frame
        return
    with Capture(open_camera, camera) as capture:
        number, last = -1, time.monotonic()
        while not capture.ended:
            capture.check()
            newest = capture.newest
            if newest is None or newest.number == number:
                if capture.trouble and time.monotonic() - last > LOST_SECONDS:
                    raise capture.trouble
                time.sleep(0.005)
                continue
            number, last = newest.number, time.monotonic()
            yield newest


def shown(error: Exception, what: str) -> FaceSyncError:
    """Turn any error in a thread into one line for the user."""
    if isinstance(error, FaceSyncError):
        return error
    line = CameraError(f"{what} failed: {type(error).__name__}: {error}".splitlines()[0])
    line.__cause__ = error
    return line
