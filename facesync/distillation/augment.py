"""What the student is shown of a face: the canvas turned, shifted, lit, blurred, hidden in part.

The teacher saw the image as it is. So the student learns that none of this changes who it is.
"""

from __future__ import annotations

import cv2
import numpy as np

from facesync.distillation.faces import BORDER, CANVAS


def plain(canvas_rgb: np.ndarray) -> np.ndarray:
    """Return the middle of a canvas, uint8 RGB (112, 112, 3): what is served in use."""
    return np.ascontiguousarray(canvas_rgb[BORDER:-BORDER, BORDER:-BORDER])


def varied(canvas_rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a face as another image of it might be, uint8 RGB (112, 112, 3).

    Landmarks are found a few pixels off, light changes, cameras are cheap, hands and glasses hide
    parts. Each happens now and then, none always.
    """
    crop = _placed(canvas_rgb, random)
    if random.random() < 0.5:
        crop = crop[:, ::-1]
    if random.random() < 0.15:
        crop = _coarse(crop, random)
    if random.random() < 0.15:
        crop = cv2.GaussianBlur(crop, (0, 0), random.uniform(0.5, 2.0))
    if random.random() < 0.7:
        crop = _lit(crop, random)
    if random.random() < 0.1:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if random.random() < 0.2:
        crop = _recompressed(crop, random)
    if random.random() < 0.2:
        crop = _hidden(crop, random)
    return np.ascontiguousarray(crop)


def _placed(canvas_rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D(
        (CANVAS / 2, CANVAS / 2), random.normal(0, 4), random.normal(1, 0.04)
    )
    matrix[:, 2] = matrix[:, 2] + random.normal(0, 1.5, 2) - BORDER
    return cv2.warpAffine(
        canvas_rgb, matrix, (112, 112), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _coarse(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    side = int(random.integers(24, 80))
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (112, 112), interpolation=cv2.INTER_LINEAR)


def _lit(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Change gamma, contrast and the colour of the light."""
    light = random.normal(1, 0.15) * random.normal(1, 0.04, 3)
    gamma = np.exp(random.normal(0, 0.25))
    values = np.arange(256, dtype=np.float32)[:, None] / 255
    table = np.clip(255 * values**gamma * light, 0, 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(crop), table[None])


def _recompressed(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    quality = int(random.integers(15, 70))
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(crop), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def _hidden(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Cover a rectangle of up to a fifth of the face with one colour or with noise."""
    width, height = (int(side) for side in random.integers(16, 56, 2))
    x, y = int(random.integers(0, 112 - width)), int(random.integers(0, 112 - height))
    crop = np.array(crop)
    patch = crop[y : y + height, x : x + width]
    if random.random() < 0.5:
        patch[:] = random.integers(0, 256, 3)
    else:
        patch[:] = random.integers(0, 256, patch.shape)
    return crop
