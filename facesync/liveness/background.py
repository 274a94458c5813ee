"""Whether what is around a face moves along with it, as paper and screens do that show one.

Two frames between which the face has moved are compared around the face, beside and above it where
a body is not: once in place, as of a background that stands still, once shifted as the face was. A
printed or displayed background fits the second way. It takes a camera that stands still and an
attack that does not; so it can speak against a face, never for one.
"""

from __future__ import annotations

import cv2
import numpy as np

from facesync.faces.crops import similarity_transform
from facesync.faces.detection import Face
from facesync.liveness.crops import CONTEXT, middle_and_side

_MOVED = 0.06
"""Shift of the face, as a share of its box's longer side, that tells the two ways apart."""

_BETTER = 0.1
"""How much higher the correlation must be where the background is shifted along."""

_SIDE = 64  # pixels of the context that are compared
_LEAST = 200  # of them

_X, _Y = np.meshgrid(*[(np.arange(_SIDE) + 0.5) / _SIDE * CONTEXT - CONTEXT / 2] * 2)
_AROUND = ((np.abs(_X) > 0.75) & (_Y < 0.3)) | (_Y < -1.0)
"""Beside the head down to the mouth, and above it; in sides of the box from its middle."""


class Background:
    """Watches the surroundings of one face; see the module.

    Attributes:
        with_face: how many times they moved as the face did.
        without: how many times they did not.
    """

    def __init__(self) -> None:
        self.with_face = self.without = 0
        self._before: tuple[np.ndarray, Face, float] | None = None  # shrunk, where, by how much

    @property
    def moves_with_face(self) -> bool:
        """Whether the surroundings moved along, more often than not."""
        return self.with_face > self.without

    def look(self, image_rgb: np.ndarray, face: Face) -> None:
        """Take in the next frame: uint8 RGB, (height, width, 3)."""
        if self._before is None:
            self._keep(image_rgb, face)
            return
        old, before, zoom = self._before
        back = similarity_transform(face.landmarks, before.landmarks)
        middle, side = middle_and_side(face.box_xyxy)
        if not np.linalg.norm(back @ [*middle, 1.0] - middle) >= _MOVED * side:
            return
        back[:, 2] *= zoom  # it maps shrunk images now
        corner = zoom * middle_and_side(before.box_xyxy)[0] - _SIDE / 2
        place = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]], [0, 0, 1]])
        new = _shrunk(image_rgb, zoom)
        then, still, shifted = (
            _cut(image, matrix)
            for image, matrix in ((old, place), (new, place), (new, place @ [*back, [0, 0, 1]]))
        )
        seen = _AROUND & (then >= 0) & (still >= 0) & (shifted >= 0)
        if seen.sum() >= _LEAST:
            gain = _correlation(then[seen], shifted[seen]) - _correlation(then[seen], still[seen])
            self.with_face += bool(gain > _BETTER)
            self.without += bool(gain <= _BETTER)
        self._keep(image_rgb, face)

    def _keep(self, image_rgb: np.ndarray, face: Face) -> None:
        zoom = _SIDE / (CONTEXT * middle_and_side(face.box_xyxy)[1])
        self._before = _shrunk(image_rgb, zoom), face, zoom


def _shrunk(image_rgb: np.ndarray, zoom: float) -> np.ndarray:
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)


def _cut(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the square that a matrix, (3, 3), takes to the origin; -1 outside of the image."""
    size = (_SIDE, _SIDE)
    return cv2.warpAffine(image.astype(np.float32), matrix[:2], size, borderValue=-1.0)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two sets of grey values, -1…1; 0 if one of them is uniform."""
    one, other = one - one.mean(), other - other.mean()
    both = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / both if both > 0 else 0.0
