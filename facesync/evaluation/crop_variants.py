"""Ways to cut a face for a model, the common ones and the common mistakes, to be compared.

Each is a `Cut`: (image_rgb, face) -> crop_rgb 160 x 160, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from facesync.evaluation.embeddings import Cut
from facesync.faces.crops import TEMPLATE_112, cut_aligned, cut_square
from facesync.faces.detection import Detector, Face, main_face

SIZE = 160

Resize = Callable[[np.ndarray], np.ndarray]


def opencv(interpolation: int) -> Resize:
    """Resize with one of OpenCV's filters, whatever the direction."""
    return lambda crop: cv2.resize(crop, (SIZE, SIZE), interpolation=interpolation)


def pillow(name: str) -> Resize:
    """Resize with one of Pillow's filters, which widen (antialias) when they shrink."""

    def resize(crop_rgb: np.ndarray) -> np.ndarray:
        from PIL import Image

        how = Image.Resampling[name]
        return np.asarray(Image.fromarray(crop_rgb).resize((SIZE, SIZE), how))

    return resize


AREA = opencv(cv2.INTER_AREA)


def box_facenet_pytorch(margin: int, resize: Resize = AREA) -> Cut:
    """Cut as facenet-pytorch does: the box with a margin in pixels of the result.

    It is cut off at the image's edge and stretched to a square.
    """

    def cut(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        left, top, right, bottom = (float(v) for v in face.box_xyxy)
        dx = margin * (right - left) / (SIZE - margin) / 2
        dy = margin * (bottom - top) / (SIZE - margin) / 2
        return _stretched(image_rgb, (left - dx, top - dy, right + dx, bottom + dy), resize)

    return cut


def box_facenet(margin: int, resize: Resize | None = None) -> Cut:
    """Cut as the original facenet (D. Sandberg's) does, whose author published 0.9965.

    The box with half the margin in pixels of the *photograph* on each side, cut off at the image's
    edge and stretched to a square.
    """
    resize = resize or pillow("BILINEAR")

    def cut(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        left, top, right, bottom = (float(v) for v in face.box_xyxy)
        more = margin / 2
        return _stretched(image_rgb, (left - more, top - more, right + more, bottom + more), resize)

    return cut


def _stretched(
    image_rgb: np.ndarray, box: tuple[float, float, float, float], resize: Resize
) -> np.ndarray | None:
    height, width = image_rgb.shape[:2]
    left, top = int(max(box[0], 0)), int(max(box[1], 0))
    right, bottom = int(min(box[2], width)), int(min(box[3], height))
    if right - left < 2 or bottom - top < 2:
        return None
    return resize(np.ascontiguousarray(image_rgb[top:bottom, left:right]))


def square(scale: float, resize: Resize | None = None) -> Cut:
    """Cut a square of `scale` times the box's longer side; nothing is stretched.

    Resized as the app does (`facesync.faces.crops.resize`) unless told otherwise.
    """
    if resize is None:
        return lambda image_rgb, face: cut_square(image_rgb, face.box_xyxy, scale, SIZE)
    return lambda image_rgb, face: resize(cut_square(image_rgb, face.box_xyxy, scale))


def five_points(wider: float, interpolation: int = cv2.INTER_LINEAR) -> Cut:
    """Align on five landmarks: InsightFace's template at 160 px, seeing `wider` times as much."""
    middle = np.array([56.0, 56.0])
    template = ((TEMPLATE_112 - middle) / wider + middle) * (SIZE / 112)

    def cut(image_rgb: np.ndarray, face: Face) -> np.ndarray:
        return cut_aligned(image_rgb, face.landmarks, template, SIZE, interpolation)

    return cut


def again(detector: Detector, first: Cut, second: Cut) -> Cut:
    """Crop of a crop: find the face once more in what was cut, and cut that."""

    def cut(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        crop_rgb = first(image_rgb, face)
        if crop_rgb is None:
            return None
        faces = detector.detect(crop_rgb)
        return second(crop_rgb, main_face(faces, crop_rgb)) if faces else None

    return cut


def swapped(cut: Cut) -> Cut:
    """Red and blue change places: what a model gets that is handed OpenCV's frames."""
    return partial(_swapped, cut)


def _swapped(cut: Cut, image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
    crop = cut(image_rgb, face)
    return None if crop is None else np.ascontiguousarray(crop[:, :, ::-1])


def mirrored(cut: Cut) -> Cut:
    """Make the mirror image of a cut."""
    return partial(_mirrored, cut)


def _mirrored(cut: Cut, image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
    crop = cut(image_rgb, face)
    return None if crop is None else np.ascontiguousarray(crop[:, ::-1])


class SwappedDetector:
    """A detector that is handed BGR by mistake."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces."""
        return self._detector.detect(np.ascontiguousarray(image_rgb[:, :, ::-1]))
