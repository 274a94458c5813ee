"""Boxes around faces: left, top, right, bottom in pixels."""

from __future__ import annotations

import numpy as np


def iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of each of (N, 4) boxes with each of (M, 4): (N, M), 0…1."""
    corner = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    opposite = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    shared = np.clip(opposite - corner, 0, None).prod(axis=2)
    areas = [
        np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (a_xyxy, b_xyxy)
    ]
    return shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-9)


def overlap(one_xyxy: np.ndarray, other_xyxy: np.ndarray) -> float:
    """Intersection over union of two boxes, each (4,)."""
    return float(iou(one_xyxy[None], other_xyxy[None])[0, 0])
