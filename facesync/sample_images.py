"""Sample photographs that ship with other packages, and varied copies of them.

Grace Hopper (US Navy, from matplotlib) and Eileen Collins (NASA, from scikit-image) are in the
public domain; the demo uses them, and so does an export without images of its own.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facesync.images import read_image_rgb

COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"


def photographs() -> dict[str, np.ndarray]:
    """Return the photographs by name, uint8 RGB; Collins only if scikit-image is installed."""
    from matplotlib import cbook

    found = {}
    try:
        from skimage import data
    except ImportError:
        pass
    else:
        found[COLLINS] = data.astronaut()
    hopper = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return {**found, HOPPER: read_image_rgb(Path(hopper))}


def vary(photo_rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a copy with another rotation, scale, exposure and noise, perhaps mirrored."""
    height, width = photo_rgb.shape[:2]
    middle = (width / 2, height / 3)  # about where the face is in a portrait
    turn = cv2.getRotationMatrix2D(middle, random.uniform(-12, 12), random.uniform(0.8, 1.25))
    copy = cv2.warpAffine(photo_rgb, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    if random.random() < 0.5:
        copy = copy[:, ::-1]
    lit = 255 * (copy / 255) ** random.uniform(0.7, 1.5)
    noisy = lit + random.normal(0, random.uniform(0, 6), lit.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
