"""MTCNN's cascade (Zhang et al., 2016, arXiv:1604.02878) in NumPy and OpenCV around three nets.

The same steps and constants as facenet-pytorch's `detect_face`, so that the same faces come out;
whoever runs the nets (ONNX Runtime, torch on CUDA) hands them in as functions. All images that
the nets see are averages over the windows that `torch.nn.functional.interpolate(mode="area")` and
facenet-pytorch use; they are read off one integral image, whatever their number and size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

CELL = 12  # Side of P-Net's window in pixels, and its step.
STRIDE = 2
SHRINK = 0.709  # From one level of the pyramid to the next.
THRESHOLDS = (0.6, 0.7, 0.7)  # Least probability of a face, for P-, R- and O-Net.
BATCH = 512  # Crops given to a net at once: a bound on memory, not on results.

Net = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Nets:
    """The three nets; each takes float32 (N, 3, S, S) in -1…1 and returns a list of float32.

    Attributes:
        pnet: any height and width from 12 on; returns shifts (N, 4, h, w), probabilities
            (N, 2, h, w).
        rnet: S = 24; returns shifts (N, 4), probabilities (N, 2).
        onet: S = 48; returns shifts (N, 4), landmarks (N, 10), probabilities (N, 2).
    """

    pnet: Net
    rnet: Net
    onet: Net


class Candidates(NamedTuple):
    """Faces found: boxes_xyxy float32 (N, 4), landmarks float32 (N, 5, 2), probabilities (N,)."""

    boxes_xyxy: np.ndarray
    landmarks: np.ndarray
    probabilities: np.ndarray


NOTHING = Candidates(
    np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
)


class AreaSampler:
    """Cuts windows from an image and averages them down to a net's input.

    Args:
        image_rgb: uint8, (height, width, 3).
    """

    def __init__(self, image_rgb: np.ndarray) -> None:
        self.height, self.width = image_rgb.shape[:2]
        # Sums may wrap around in very large images; their differences are right all the same.
        self._sums = cv2.integral(image_rgb, sdepth=cv2.CV_32S).reshape(-1, 3)

    def sample(self, corners: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """Average parts of the image down (or repeat pixels up) to a size.

        Output pixel i of n covers the input pixels from floor(i L / n) to ceil((i + 1) L / n), as
        in torch's adaptive average pooling.

        Args:
            corners: int (N, 4): left, top, right, bottom; right and bottom are not included.
            size_hw: height and width of the result.

        Returns:
            float32, (N, 3, height, width), scaled from 0…255 to -1…1.
        """
        left, top, right, bottom = np.asarray(corners, np.int64).T
        y0, y1 = _windows(top, bottom, size_hw[0])
        x0, x1 = _windows(left, right, size_hw[1])
        area = ((y1 - y0)[:, :, None] * (x1 - x0)[:, None, :]).astype(np.float32)
        row0, row1 = (y * (self.width + 1) for y in (y0[:, :, None], y1[:, :, None]))
        x0, x1 = x0[:, None, :], x1[:, None, :]
        sums = self._sums.take(row1 + x1, axis=0)
        sums -= self._sums.take(row1 + x0, axis=0)
        sums -= self._sums.take(row0 + x1, axis=0)
        sums += self._sums.take(row0 + x0, axis=0)
        means = sums.transpose(0, 3, 1, 2).astype(np.float32) / area[:, None]
        return (means - np.float32(127.5)) * np.float32(1 / 128)


def _windows(start: np.ndarray, end: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last-but-one pixel of each of `size` windows on N stretches, each (N, size)."""
    steps = np.arange(size + 1)
    length = (end - start)[:, None]
    first = start[:, None] + steps[:-1] * length // size
    last = start[:, None] + -(-steps[1:] * length // size)
    return first, last


def search(nets: Nets, image_rgb: np.ndarray, min_face: int) -> Candidates:
    """Find the faces in an image, uint8 RGB (height, width, 3), from `min_face` pixels on."""
    sampler = AreaSampler(image_rgb)
    return refine(nets, sampler, _proposals(nets.pnet, sampler, min_face))


def refine(nets: Nets, sampler: AreaSampler, squares_xyxy: np.ndarray) -> Candidates:
    """Let R-Net and O-Net decide about squares, float32 (N, 4), in which a face may be."""
    boxes, corners = _pixels(sampler, squares_xyxy)
    if not len(boxes):
        return NOTHING
    shifts, scores = _ask(nets.rnet, sampler, corners, 24)
    sure = scores[:, 1] > THRESHOLDS[1]
    boxes, shifts, scores = boxes[sure], shifts[sure], scores[sure, 1]
    kept = suppress(boxes, scores, 0.7)
    boxes, corners = _pixels(sampler, squared(_shifted(boxes[kept], shifts[kept])))
    if not len(boxes):
        return NOTHING
    shifts, points, scores = _ask(nets.onet, sampler, corners, 48)
    sure = scores[:, 1] > THRESHOLDS[2]
    boxes, shifts, points, scores = boxes[sure], shifts[sure], points[sure], scores[sure, 1]
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    relative = points.reshape(-1, 2, 5).transpose(0, 2, 1)
    landmarks = relative * sizes[:, None] + boxes[:, None, :2] - 1
    boxes = _shifted(boxes, shifts)
    kept = _suppress_contained(boxes, scores, 0.7)
    return Candidates(boxes[kept], landmarks[kept], scores[kept])


def _proposals(pnet: Net, sampler: AreaSampler, min_face: int) -> np.ndarray:
    """Squares, float32 (N, 4), that P-Net finds at all levels of the image's pyramid."""
    height, width = sampler.height, sampler.width
    whole = np.array([[0, 0, width, height]])
    scale = CELL / min_face
    shorter = min(height, width) * scale
    boxes, shifts, scores = [], [], []
    while shorter >= CELL:
        size_hw = int(height * scale + 1), int(width * scale + 1)
        level_shifts, probabilities = pnet(sampler.sample(whole, size_hw))
        rows, columns = np.nonzero(probabilities[0, 1] >= THRESHOLDS[0])
        corner = np.stack([columns, rows], axis=1).astype(np.float32) * STRIDE + 1
        ends = np.concatenate([corner, corner + (CELL - 1)], axis=1)
        level = np.floor(ends / np.float32(scale))
        level_scores = probabilities[0, 1, rows, columns]
        kept = suppress(level, level_scores, 0.5)
        boxes.append(level[kept])
        shifts.append(level_shifts[0][:, rows, columns].T[kept])
        scores.append(level_scores[kept])
        scale *= SHRINK
        shorter *= SHRINK
    if not boxes:
        return NOTHING.boxes_xyxy
    found, shift, score = (np.concatenate(parts) for parts in (boxes, shifts, scores))
    kept = suppress(found, score, 0.7)
    found, shift = found[kept], shift[kept]
    sizes = found[:, 2:] - found[:, :2]
    return squared(found + shift * np.tile(sizes, 2))


def _pixels(sampler: AreaSampler, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes that show part of the image, and their corners for `sample`."""
    corners = np.trunc(boxes).astype(np.int64)
    corners[:, :2] = np.maximum(corners[:, :2], 1) - 1
    corners[:, 2:] = np.minimum(corners[:, 2:], (sampler.width, sampler.height))
    inside = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    return boxes[inside], corners[inside]


def _ask(net: Net, sampler: AreaSampler, corners: np.ndarray, side: int) -> list[np.ndarray]:
    """Show a net what is in each box, at least one; returns its outputs."""
    starts = range(0, len(corners), BATCH)
    outputs = [net(sampler.sample(corners[i : i + BATCH], (side, side))) for i in starts]
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def _shifted(boxes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Move the sides of boxes by a net's answer, in units of their width and height."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + shifts * np.tile(sizes, 2)


def squared(boxes: np.ndarray) -> np.ndarray:
    """Squares with the boxes' centres and longer sides, float32 (N, 4)."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    side = sizes.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sizes * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side], axis=1)


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Keep the best of boxes that overlap by an IoU above `most`; returns their indices."""
    if not len(boxes):
        return np.empty(0, np.intp)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(xywh, scores, 0.0, most)  # type: ignore[arg-type]
    return np.asarray(kept, np.intp)


def _suppress_contained(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Like `suppress`, with the smaller box in place of the union: no face inside another one."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    areas = sizes[:, 0] * sizes[:, 1]
    order = np.argsort(scores)[::-1]
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        width, height = np.maximum(0, high - low + 1).T
        overlap = width * height / np.minimum(areas[best], areas[order])
        order = order[overlap <= most]
    return np.array(kept, np.intp)
