"""Where frames come from: a camera, a video, an image, a folder of images, a stream."""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facesync.app.camera_hints import why_not
from facesync.errors import CameraError, ImageError
from facesync.images import IMAGE_SUFFIXES, read_image_rgb

log = logging.getLogger(__name__)

FIRST_FRAME_SECONDS = 5.0
"""How long a camera may take to give its first frame, and a stream to open."""


class DeviceError(CameraError):
    """A camera or stream is not there, or not there any more: it may come back."""


KINDS = "a number (0 is the first camera), a video, an image, a folder of images or an address"


@dataclass(frozen=True)
class Frame:
    """One image of a camera.

    Attributes:
        number: 0, 1, 2, …
        seconds: its time in the camera's own clock: of a video the video's.
        frame_bgr: uint8, (height, width, 3), OpenCV's colour order.
        name: the file's name for images, else empty.
    """

    number: int
    seconds: float
    frame_bgr: np.ndarray
    name: str = ""

    @property
    def image_rgb(self) -> np.ndarray:
        """The frame in the order that detection and the models want."""
        return cv2.cvtColor(self.frame_bgr, cv2.COLOR_BGR2RGB)


class Camera(ABC):
    """A source of frames; close it, or use it in a `with` block.

    Attributes:
        live: frames come in their own time, and those not read are lost or stale.
        mirrored: people expect to see themselves in it as in a mirror.
        stills: each frame is an image of its own, so that none follows from the one before.
    """

    live = False
    mirrored = False
    stills = False

    @abstractmethod
    def read(self) -> Frame | None:
        """Return the next frame, or None at the end.

        Raises:
            CameraError: it gives no frames, or no longer.
            ImageError: an image cannot be used.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Release the device or file."""

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ImageFiles(Camera):
    """Images, each once; of several the unreadable ones are reported and left out."""

    stills = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = deque(paths)
        self._number = 0

    def read(self) -> Frame | None:
        """Return the next image that can be read; see `Camera.read`."""
        while self._paths:
            path = self._paths.popleft()
            try:
                frame = Frame(self._number, float(self._number), _read_bgr(path), path.name)
            except ImageError as error:
                if not self._paths and self._number == 0:
                    raise
                log.warning("%s; left out", error)
            else:
                self._number += 1
                return frame
        return None


class Slideshow(Camera):
    """Images that stand in for a camera: each is shown for a second, round and round."""

    RATE = 10
    """Frames a second: as with a camera, the next one is never far."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = deque(paths)
        self._number = 0
        self._slide_bgr: np.ndarray | None = None

    def read(self) -> Frame | None:
        """Return the next frame; it never ends. See `Camera.read`."""
        if self._slide_bgr is None or (self._number % self.RATE == 0 and len(self._paths) > 1):
            self._slide_bgr = self._next_slide()
        frame = Frame(self._number, self._number / self.RATE, self._slide_bgr)
        self._number += 1
        return frame

    def _next_slide(self) -> np.ndarray:
        while True:
            path = self._paths.popleft()
            try:
                slide_bgr = _read_bgr(path)
            except ImageError as error:
                if not self._paths:
                    raise
                log.warning("%s; left out", error)
            else:
                self._paths.append(path)
                return slide_bgr


class VideoFile(Camera):
    """A video file, frame by frame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        self._rate = self._capture.get(cv2.CAP_PROP_FPS) if self._capture.isOpened() else 0.0
        if not 1 <= self._rate <= 1000:  # unknown
            self._rate = 30.0
        self._number = 0

    def read(self) -> Frame | None:
        """Return the next frame; see `Camera.read`."""
        good, frame_bgr = self._capture.read()
        if not good:
            if self._number == 0:
                raise CameraError(f"{self._path} is no video or image that can be decoded")
            return None
        frame = Frame(self._number, self._number / self._rate, frame_bgr)
        self._number += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class Device(Camera):
    """A camera of this machine, or a stream.

    Args:
        address: the camera's number, or the stream's address.

    Raises:
        DeviceError: it does not open.
    """

    live = True

    def __init__(self, address: int | str) -> None:
        self._address = address
        self.mirrored = isinstance(address, int)
        if isinstance(address, int):
            self.name = f"camera {address}"
            self._capture = cv2.VideoCapture(address)
        else:
            self.name = address
            limit = round(1000 * FIRST_FRAME_SECONDS)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
        if not self._capture.isOpened():
            self._capture.release()
            raise DeviceError(f"{self.name} does not open: {self._help()}")
        self._start = time.monotonic()
        self._number = 0

    def _help(self) -> str:
        if isinstance(self._address, int):
            return why_not(self._address)
        return "check the address and that it plays elsewhere"

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
                what = "opens but gives no frames" if self._number == 0 else "gives no more frames"
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
        slideshow: images stand in for a camera and are shown round and round; else each once.
        offline: open no connection; a stream is refused.

    Raises:
        CameraError: there is no such thing, or it cannot be read.
        DeviceError: a camera or stream does not open.
    """
    _quiet_opencv()
    if source.isdecimal():
        return Device(int(source))
    if "://" in source:
        if offline:
            raise CameraError(f"--offline, and {source} needs a connection")
        return Device(source)
    path = Path(source)
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise CameraError(f"the folder {path} holds no images")
        return Slideshow(paths) if slideshow else ImageFiles(paths)
    if not path.is_file():
        raise CameraError(f"there is no {source}; --camera takes {KINDS}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Slideshow([path]) if slideshow else ImageFiles([path])
    return VideoFile(path)


def _read_bgr(path: Path) -> np.ndarray:
    return cv2.cvtColor(read_image_rgb(path), cv2.COLOR_RGB2BGR)


def _quiet_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to the terminal: what is wrong is said by our errors."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
