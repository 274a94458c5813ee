"""The two crops of a face that the passive model sees: the skin, and what is around the face."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 112
"""Side of both crops in pixels."""

TEXTURE, CONTEXT = 1.2, 2.7
"""Their sides, as multiples of the longer side of the face's box."""


def cut(image_rgb: np.ndarray, box_xyxy: np.ndarray, scale: float, side: int) -> np.ndarray:
    """Cut a square of `scale` times the box's longer side, centred on the box, black outside.

    Unlike `faces.crops.cut_square`, which repeats the image's edge there: what is not seen must not
    look like surroundings.

    Args:
        image_rgb: uint8, (height, width, 3).
        box_xyxy: (4,), left, top, right, bottom in pixels.
        scale: side of the square over the longer side of the box.
        side: of the result in pixels.

    Returns:
        uint8, (side, side, 3).
    """
    left, top, right, bottom = (float(v) for v in box_xyxy)
    zoom = side / max(1.0, scale * max(right - left, bottom - top))
    centre = np.array([left + right, top + bottom]) / 2
    if zoom < 0.67:
        # warpAffine reads only four pixels; shrink first so that none is skipped.
        image_rgb = cv2.resize(image_rgb, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        centre, zoom = centre * zoom, 1.0
    shift = side / 2 - zoom * centre
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    return cv2.warpAffine(image_rgb, matrix, (side, side), flags=cv2.INTER_LINEAR)


def texture_and_context(image_rgb: np.ndarray, box_xyxy: np.ndarray) -> np.ndarray:
    """Cut both crops of a face: uint8, (2, SIDE, SIDE, 3)."""
    scales = (TEXTURE, CONTEXT)
    return np.stack([cut(image_rgb, box_xyxy, scale, SIDE) for scale in scales])


def surroundings(image_rgb: np.ndarray, box_xyxy: np.ndarray) -> float:
    """Return which share of the context crop lies within the image, 0…1."""
    height, width = image_rgb.shape[:2]
    left, top, right, bottom = (float(v) for v in box_xyxy)
    side = max(1.0, CONTEXT * max(right - left, bottom - top))
    x, y = (left + right - side) / 2, (top + bottom - side) / 2
    wide = max(0.0, min(x + side, width) - max(x, 0.0))
    high = max(0.0, min(y + side, height) - max(y, 0.0))
    return wide * high / side**2
