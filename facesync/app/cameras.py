"""Where frames come from: a camera, a video, an image, a folder of images or a stream."""

from __future__ import annotations

import logging
import os
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facesync.app.camera_help import OTHERS, why_not
from facesync.cli import masked
from facesync.errors import CameraError, ImageError
from facesync.images import images_below, is_image, read_image_rgb
from facesync.videos import open_video

log = logging.getLogger(__name__)

FIRST_FRAME_SECONDS = 5.0
"""How long a camera may take to give its first frame, and a stream to open."""


class DeviceError(CameraError):
    """A camera or stream is missing or has gone away; it may come back."""


KINDS = "a number (0 is the first camera), a video, an image, a folder of images or an address"

_DIGITS = 9
"""Of a camera's number; OpenCV cannot count further."""

_LONGEST_STEP = 3600.0
"""Seconds from one frame of a video to the next; a file that says more is not believed."""

# Named, because of the numbers from 100 on OpenCV takes the hundreds for the kind of interface.
# On Windows, Media Foundation, which is OpenCV's first choice, may take minutes to open a camera.
_INTERFACES = {
    "linux": (cv2.CAP_V4L2,),
    "darwin": (cv2.CAP_AVFOUNDATION,),
    "win32": (cv2.CAP_DSHOW, cv2.CAP_MSMF),
}


@dataclass(frozen=True)
class Frame:
    """One image of a camera.

    Attributes:
        number: 0, 1, 2, …
        seconds: its time by the camera's own clock; of a video, the time in the video.
        frame_bgr: uint8, (height, width, 3), OpenCV's colour order.
        name: the file's name for images, else empty.
    """

    number: int
    seconds: float
    frame_bgr: np.ndarray
    name: str = ""

    @property
    def image_rgb(self) -> np.ndarray:
        """The frame in the colour order that detection and models expect."""
        return cv2.cvtColor(self.frame_bgr, cv2.COLOR_BGR2RGB)


class Camera(ABC):
    """A source of frames; close it, or use it in a `with` block.

    Attributes:
        live: frames arrive in real time; those that are not read in time are lost or stale.
        mirrored: people expect to see themselves as in a mirror.
        stills: the frames are separate photographs, not a sequence.
    """

    live = False
    mirrored = False
    stills = False

    @abstractmethod
    def read(self) -> Frame | None:
        """Return the next frame, or None at the end.

        Raises:
            CameraError: it delivers no frames, or no more.
            ImageError: an image cannot be used.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Release the device or file."""

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Images(Camera):
    """Images, each once, or as a slideshow that stands in for a camera.

    A slideshow shows each image for a second, in an endless loop.
    """

    RATE = 10
    """Frames per second of a slideshow: as with a camera, the next one is never far away."""

    def __init__(self, paths: Sequence[Path], *, slideshow: bool) -> None:
        self.stills = not slideshow
        self._frames_each = self.RATE if slideshow else 1
        self._images = _read_images(paths, loop=slideshow)
        self._current: tuple[str, np.ndarray] | None = None
        self._number = 0

    def read(self) -> Frame | None:
        """Return the next image that can be read; see `Camera.read`."""
        if self._number % self._frames_each == 0:
            self._current = next(self._images, None)
        if self._current is None:
            return None
        name, image_bgr = self._current
        frame = Frame(self._number, self._number / self._frames_each, image_bgr, name)
        self._number += 1
        return frame


def _read_images(paths: Sequence[Path], *, loop: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and image, BGR, of those that can be read, once or in an endless loop.

    Others are reported and skipped, but if none can be read, the last one's ImageError is raised.
    """
    left, found = deque(paths), False
    while left:
        path = left.popleft()
        try:
            image_bgr = cv2.cvtColor(read_image_rgb(path), cv2.COLOR_RGB2BGR)
        except ImageError as error:
            if not left and not found:
                raise
            log.warning("%s; skipped", error)
            continue
        found = True
        while loop and not left:  # the only one: read it once
            yield path.name, image_bgr
        yield path.name, image_bgr
        if loop:
            left.append(path)


class VideoFile(Camera):
    """A video file, frame by frame, at the times that the file gives to them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = open_video(path)
        self._rate = self._capture.get(cv2.CAP_PROP_FPS) if self._capture.isOpened() else 0.0
        if not 1 <= self._rate <= 1000:  # unknown
            self._rate = 30.0
        self._number, self._seconds, self._clock = 0, 0.0, 0.0

    def read(self) -> Frame | None:
        """Return the next frame; see `Camera.read`."""
        good, frame_bgr = self._capture.read()
        if not good:
            if self._number == 0:
                raise CameraError(f"{self._path} is not a video or image that can be decoded")
            return None
        before, self._clock = self._clock, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._number > 0:
            step = self._clock - before
            self._seconds += step if 0 < step <= _LONGEST_STEP else 1 / self._rate
        frame = Frame(self._number, self._seconds, frame_bgr)
        self._number += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class Device(Camera):
    """A camera of this machine, or a network stream.

    Args:
        address: the camera's number, its device file, or the stream's address.

    Raises:
        DeviceError: it does not open.
    """

    live = True

    def __init__(self, address: int | str) -> None:
        self._address = address
        # Bytes: OpenCV crashes on text that is not UTF-8.
        place: Any = address if isinstance(address, int) else os.fsencode(address)
        self.mirrored = isinstance(address, int) or "://" not in address
        self.name = f"camera {address}" if isinstance(address, int) else masked(address)
        if self.mirrored:
            for interface in _INTERFACES.get(sys.platform, (cv2.CAP_ANY,)):
                self._capture = cv2.VideoCapture(place, interface)
                if self._capture.isOpened():
                    break
        else:
            limit = round(1000 * FIRST_FRAME_SECONDS)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            self._capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, limits)
        if not self._capture.isOpened():
            self._capture.release()
            raise DeviceError(f"{self.name} does not open: {self._help()}")
        self._start = time.monotonic()
        self._number = 0

    def _help(self) -> str:
        if self.mirrored:
            return why_not(self._address)
        return "check the address, and whether another program can play it"

    def read(self) -> Frame | None:
        """Return the next frame, waiting for it; see `Camera.read`."""
        asked = time.monotonic()
        while True:
            try:
                good, frame_bgr = self._capture.read()
            except cv2.error as error:
                raise DeviceError(f"{self.name} fails: {error.err}") from error
            seconds = time.monotonic()
            if good and frame_bgr is not None and frame_bgr.size:
                break
            if seconds - asked > FIRST_FRAME_SECONDS:
                what = (
                    "opens but delivers no frames"
                    if self._number == 0
                    else "has stopped delivering frames"
                )
                raise DeviceError(f"{self.name} {what}: {self._help()}")
            time.sleep(0.05)
        frame = Frame(self._number, seconds - self._start, frame_bgr)
        self._number += 1
        return frame

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


def open_camera(source: str, *, slideshow: bool = False, offline: bool = False) -> Camera:
    """Open what `--camera` names: a number, video, image, folder of images or stream address.

    Args:
        source: as typed.
        slideshow: show images that stand in for a camera in an endless loop, not once.
        offline: open no connection; refuse a stream.

    Raises:
        CameraError: it does not exist or cannot be read.
        DeviceError: a camera or stream does not open.
    """
    _quiet_opencv()
    if source.isdecimal():
        if len(source) > _DIGITS:
            raise CameraError(f"there is no camera {source[:20]}: {OTHERS}")
        return Device(int(source))
    if "://" in source:
        if offline:
            raise CameraError(f"{masked(source)} needs a connection, and --offline forbids it")
        return Device(source)
    path = Path(source)
    if not source:  # a mistake, not the current folder
        raise CameraError(f"--camera is empty; it takes {KINDS}")
    if path.is_dir():
        paths = images_below(path)
        if not paths:
            raise CameraError(f"the folder {path} holds no images")
        return Images(paths, slideshow=slideshow)
    if source.startswith("/dev/") and not path.is_file():  # may be plugged in later
        return Device(source)
    if not path.is_file():
        what = "is a pipe or a device" if path.exists() else "does not exist"
        raise CameraError(f"{masked(source)} {what}; --camera takes {KINDS}")
    if is_image(path):
        return Images([path], slideshow=slideshow)
    return VideoFile(path)


def _quiet_opencv() -> None:
    """Keep OpenCV from writing to the terminal: our errors say what is wrong."""
    # A camera that hangs is left, closed and reopened by the thread that reads it.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(round(FIRST_FRAME_SECONDS)))
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
