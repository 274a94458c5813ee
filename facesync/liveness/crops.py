"""The two crops of a face that the passive model sees: the skin, and what is around the face."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 112
"""Side of both crops in pixels."""

TEXTURE, CONTEXT = 1.2, 2.7
"""Their sides, as multiples of the longer side of the face's box."""

_SHRINK = 0.67  # at a smaller zoom an image is shrunk by areas


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
    centre, longer = middle_and_side(box_xyxy)
    zoom = side / (scale * longer)
    # Only the part that is seen: shrinking a whole frame would take longer than the network.
    start = np.maximum(0, np.floor(centre - side / zoom / 2 - 2)).astype(int)
    end = np.maximum(0, np.ceil(centre + side / zoom / 2 + 2)).astype(int)
    part = image_rgb[start[1] : end[1], start[0] : end[0]]
    if 0 in part.shape:
        return np.zeros((side, side, 3), np.uint8)
    centre = centre - start
    # warpAffine reads only four pixels; shrink first so that none is skipped. By halves it is fast.
    while zoom < _SHRINK and min(part.shape[:2]) > 2:
        by = 0.5 if zoom < _SHRINK / 2 else zoom
        even = part[: len(part) // 2 * 2, : part.shape[1] // 2 * 2] if by == 0.5 else part
        part = cv2.resize(even, None, fx=by, fy=by, interpolation=cv2.INTER_AREA)
        centre, zoom = centre * by, zoom / by
    shift = side / 2 - zoom * centre
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    return cv2.warpAffine(part, matrix, (side, side), flags=cv2.INTER_LINEAR)


def texture_and_context(image_rgb: np.ndarray, box_xyxy: np.ndarray) -> np.ndarray:
    """Cut both crops of a face: uint8, (2, SIDE, SIDE, 3)."""
    scales = (TEXTURE, CONTEXT)
    return np.stack([cut(image_rgb, box_xyxy, scale, SIDE) for scale in scales])


def surroundings(image_rgb: np.ndarray, box_xyxy: np.ndarray) -> float:
    """Return which share of the context crop lies within the image, 0…1."""
    height, width = image_rgb.shape[:2]
    middle, longer = middle_and_side(box_xyxy)
    side = CONTEXT * longer
    seen = np.minimum(middle + side / 2, [width, height]) - np.maximum(middle - side / 2, 0)
    return float(np.prod(np.maximum(0, seen))) / side**2


def middle_and_side(box_xyxy: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the middle of a box, (2,), and its longer side, at least a pixel."""
    corners = box_xyxy.astype(np.float64).reshape(2, 2)
    return corners.mean(axis=0), max(1.0, *map(float, corners[1] - corners[0]))
