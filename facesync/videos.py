"""Video files: open one, and take frames from all over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from facesync.errors import ImageError


def open_video(path: Path) -> cv2.VideoCapture:
    """Open a video file; whether it is one, its first frame says."""
    # Bytes: OpenCV crashes on a name that is not UTF-8. Absolute: `a:b.mp4` is not an address.
    return cv2.VideoCapture(os.fsencode(path.absolute()))  # type: ignore[call-overload]


def spread_frames(path: Path, most: int) -> Iterator[np.ndarray]:
    """Yield at most so many frames, evenly spread over a video, uint8 RGB (height, width, 3).

    They are counted first: how many there are is not believed of the file.

    Raises:
        ImageError: it is not a video that can be decoded.
    """
    total = sum(1 for _ in _grabbed(path))
    if not total:
        raise ImageError(f"{path}: is not a video that can be decoded")
    wanted = set(np.linspace(0, total - 1, min(most, total)).round().astype(int).tolist())
    for number, capture in enumerate(_grabbed(path)):
        if number in wanted:
            good, frame_bgr = capture.retrieve()
            if good:
                yield cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)


def _grabbed(path: Path) -> Iterator[cv2.VideoCapture]:
    """Yield the open video at each of its frames."""
    if not path.is_file():  # nor a pipe, which would be waited for
        return
    capture = open_video(path)
    try:
        while capture.grab():
            yield capture
    finally:
        capture.release()
