"""Videos that tests make."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path, images_rgb: Iterable[np.ndarray]) -> Path:
    """Write images of one size, uint8 RGB, as ten frames a second of Motion JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = list(images_rgb)
    size_wh = images[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, size_wh)
    for image_rgb in images:
        writer.write(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    writer.release()
    return path
