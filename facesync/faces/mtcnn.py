"""MTCNN's cascade (Zhang et al., 2016, arXiv:1604.02878) in NumPy and OpenCV around three networks.

The steps and constants are those of facenet-pytorch's `detect_face`, so the same faces are found,
with one deliberate difference: where a candidate's square extends outside the image, R-Net and
O-Net see black there, as in the authors' code. facenet-pytorch clips the square, stretches what is
left to the network's input, and yet scales the answer by the whole square, which moves the
landmarks of faces at the edge of an image by more than a tenth of the face.

The networks are passed in as functions, whether they run in ONNX Runtime or in torch. Their inputs
are averages over the same windows as in `torch.nn.functional.interpolate(mode="area")`, computed
from one integral image, whatever their number and size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

CELL = 12  # Side of P-Net's window in pixels.
STRIDE = 2  # Step of the window.
SHRINK = 0.709  # From one level of the pyramid to the next.
THRESHOLDS = (0.6, 0.7, 0.7)  # Least probability of a face, for P-, R- and O-Net.

Net = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Nets:
    """The three networks; each takes float32 (N, 3, S, S) in 0…255 and returns a list of float32.

    Attributes:
        pnet: any height and width of at least 12; returns shifts (N, 4, h, w), probability of a
            face (N, h, w).
        rnet: S = 24; returns shifts (N, 4), probability (N,).
        onet: S = 48; returns shifts (N, 4), landmarks (N, 10), probability (N,).
        batch: crops per call of the latter two; does not change results.
    """

    pnet: Net
    rnet: Net
    onet: Net
    batch: int


class Candidates(NamedTuple):
    """Faces found: boxes_xyxy float32 (N, 4), landmarks float32 (N, 5, 2), probabilities (N,)."""

    boxes_xyxy: np.ndarray
    landmarks: np.ndarray
    probabilities: np.ndarray


NOTHING = Candidates(
    np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
)


class AreaSampler:
    """Cuts windows from an image and resizes them to a network's input.

    Args:
        image_rgb: uint8, (height, width, 3).
    """

    def __init__(self, image_rgb: np.ndarray) -> None:
        self.height, self.width = image_rgb.shape[:2]
        # Sums may wrap around in very large images; their differences are still correct. Of four
        # channels, because NumPy is twice as fast at copying 16 bytes as it is at 12.
        rgba = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2RGBA)
        self._sums: np.ndarray = cv2.integral(rgba, sdepth=cv2.CV_32S)

    def resize(self, size_hw: tuple[int, int]) -> np.ndarray:
        """Resize the whole image to (height, width), as `sample` does; float32 (1, 3, h, w)."""
        y0, y1 = _windows_from_0(self.height, size_hw[0])
        x0, x1 = _windows_from_0(self.width, size_hw[1])
        rows = self._sums.take(y1, axis=0)
        rows -= self._sums.take(y0, axis=0)
        sums = rows.take(x1, axis=1)
        sums -= rows.take(x0, axis=1)
        return _means(sums[None], ((y1 - y0)[:, None] * (x1 - x0))[None])

    def sample(self, corners: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """Resize parts of the image, averaging pixels (or repeating them, to enlarge).

        Output pixel i of n covers the input pixels from floor(i L / n) to ceil((i + 1) L / n), as
        in torch's adaptive average pooling.

        Args:
            corners: int (N, 4): left, top, right, bottom; right and bottom are exclusive. Outside
                the image everything is black.
            size_hw: height and width of the result.

        Returns:
            float32, (N, 3, height, width), 0…255.
        """
        left, top, right, bottom = np.asarray(corners, np.int64).T
        y0, y1 = _windows(top, bottom, size_hw[0])
        x0, x1 = _windows(left, right, size_hw[1])
        areas = (y1 - y0)[:, :, None] * (x1 - x0)[:, None, :]
        y0, y1 = (np.clip(y, 0, self.height) for y in (y0, y1))
        x0, x1 = (np.clip(x, 0, self.width) for x in (x0, x1))
        row0, row1 = (y * (self.width + 1) for y in (y0[:, :, None], y1[:, :, None]))
        x0, x1 = x0[:, None, :], x1[:, None, :]
        flat = self._sums.reshape(-1, 4)
        sums = flat.take(row1 + x1, axis=0)
        sums -= flat.take(row1 + x0, axis=0)
        sums -= flat.take(row0 + x1, axis=0)
        sums += flat.take(row0 + x0, axis=0)
        return _means(sums, areas)


@lru_cache(64)
def _windows_from_0(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of `size` windows on 0…length; frames have the same again and again."""
    first, last = _windows(np.array([0]), np.array([length]), size)
    return first[0], last[0]


def _means(sums: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Divide sums, int32 (N, h, w, 4), by numbers of pixels (N, h, w): float32 (N, 3, h, w)."""
    means = np.empty((len(sums), 3, *areas.shape[1:]), np.float32)
    shares = np.float32(1) / areas.astype(np.float32)
    np.multiply(
        sums[..., :3].transpose(0, 3, 1, 2),
        shares[:, None],
        out=means,
        dtype=np.float32,
        casting="unsafe",
    )
    return means


def _windows(start: np.ndarray, end: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of `size` windows on each of N ranges, each (N, size)."""
    steps = np.arange(size + 1)
    length = (end - start)[:, None]
    first = start[:, None] + steps[:-1] * length // size
    last = start[:, None] + -(-steps[1:] * length // size)
    return first, last


def search(nets: Nets, image_rgb: np.ndarray, min_face: int) -> Candidates:
    """Find faces of at least `min_face` pixels in an image, uint8 RGB (height, width, 3)."""
    sampler = AreaSampler(image_rgb)
    return refine(nets, sampler, _proposals(nets.pnet, sampler, min_face))


def refine(nets: Nets, sampler: AreaSampler, squares_xyxy: np.ndarray) -> Candidates:
    """Let R-Net and O-Net look for a face in each of these squares, float32 (N, 4)."""
    boxes, corners = _pixels(sampler, squares_xyxy)
    if not len(boxes):
        return NOTHING
    shifts, scores = _run(nets.rnet, nets.batch, sampler, corners, 24)
    passed = scores > THRESHOLDS[1]
    boxes, shifts, scores = boxes[passed], shifts[passed], scores[passed]
    kept = suppress(boxes, scores, 0.7)
    boxes, corners = _pixels(sampler, squared(_shifted(boxes[kept], shifts[kept])))
    if not len(boxes):
        return NOTHING
    shifts, points, scores = _run(nets.onet, nets.batch, sampler, corners, 48)
    passed = scores > THRESHOLDS[2]
    boxes, shifts, points, scores = boxes[passed], shifts[passed], points[passed], scores[passed]
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    relative = points.reshape(-1, 2, 5).transpose(0, 2, 1)
    landmarks = relative * sizes[:, None] + boxes[:, None, :2] - 1
    boxes = _shifted(boxes, shifts)
    kept = _suppress_contained(boxes, scores, 0.7)
    return Candidates(boxes[kept], landmarks[kept], scores[kept])


def _proposals(pnet: Net, sampler: AreaSampler, min_face: int) -> np.ndarray:
    """Return the squares, float32 (N, 4), that P-Net finds at all levels of the image pyramid."""
    height, width = sampler.height, sampler.width
    scale = CELL / min_face
    shorter = min(height, width) * scale
    parts: list[tuple[np.ndarray, ...]] = []
    while shorter >= CELL:
        size_hw = int(height * scale + 1), int(width * scale + 1)
        level_shifts, probability = pnet(sampler.resize(size_hw))
        rows, columns = np.nonzero(probability[0] >= THRESHOLDS[0])
        if len(rows):
            level = np.full((len(rows), 2), (scale, len(parts)), np.float32)
            cells = np.stack([columns, rows], axis=1)
            at = 0, slice(None), rows, columns
            parts.append((level, cells, level_shifts[at], probability[0, rows, columns]))
        scale *= SHRINK
        shorter *= SHRINK
    if not parts:
        return NOTHING.boxes_xyxy
    level, cells, shifts, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    corner = cells.astype(np.float32) * STRIDE + 1
    boxes = np.floor(np.concatenate([corner, corner + (CELL - 1)], axis=1) / level[:, :1])
    # Each level by itself, as if they were side by side; then between them.
    apart = level[:, 1:] * np.float32(2 * max(height, width))
    kept = suppress(boxes + apart, scores, 0.5)
    kept = kept[suppress(boxes[kept], scores[kept], 0.7)]
    boxes, shifts = boxes[kept], shifts[kept]
    sizes = boxes[:, 2:] - boxes[:, :2]
    return squared(boxes + shifts * np.tile(sizes, 2))


def _pixels(sampler: AreaSampler, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes that overlap the image, and their corners for `sample`."""
    corners = np.floor(boxes).astype(np.int64)
    corners[:, :2] -= 1  # boxes count pixels from 1 and include the last one
    inside = (corners[:, 2:] > 0) & (corners[:, :2] < (sampler.width, sampler.height))
    inside &= corners[:, 2:] > corners[:, :2]
    inside = inside.all(axis=1)
    return boxes[inside], corners[inside]


def _run(
    net: Net, batch: int, sampler: AreaSampler, corners: np.ndarray, side: int
) -> list[np.ndarray]:
    """Run a network on what is in each box (at least one); return its outputs."""
    starts = range(0, len(corners), batch)
    outputs = [net(sampler.sample(corners[i : i + batch], (side, side))) for i in starts]
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def _shifted(boxes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Move the sides of boxes by a network's output, in units of their width and height."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + shifts * np.tile(sizes, 2)


def squared(boxes: np.ndarray) -> np.ndarray:
    """Return squares with the boxes' centres and longer sides, float32 (N, 4)."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    side = sizes.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sizes * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side], axis=1)


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Of boxes that overlap with an IoU above `most`, keep the best; return the indices kept."""
    if not len(boxes):
        return np.empty(0, np.intp)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(xywh, scores, 0.0, most)  # type: ignore[arg-type]
    return np.asarray(kept, np.intp)


def _suppress_contained(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Like `suppress`, with the smaller area in place of the union: no face inside another."""
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
