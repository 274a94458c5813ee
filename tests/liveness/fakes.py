"""Stand-ins for the liveness of tests: a passive model that is told its scores, heads, prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from facesync.faces.detection import Face
from facesync.faces.quality import _HEAD
from facesync.liveness.passive import PassiveScore, PassiveThresholds


class FakePassive:
    """A passive model whose scores are given, one a face; the last is repeated.

    Args:
        scores: 0…1.
        attack: what it would call an attack.
        surroundings: 0…1, of every face.
    """

    name = fingerprint = "fake"
    thresholds = PassiveThresholds(threshold=0.5, spoof_below=0.2, live_from=0.8)

    def __init__(
        self, scores: Iterable[float] = (0.9,), attack: str = "print", surroundings: float = 1.0
    ) -> None:
        self._scores = list(scores)
        self._attack = attack
        self._surroundings = surroundings
        self.calls = 0

    def score(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> list[PassiveScore]:
        """Give the next score to each face."""
        return [PassiveScore(self._next(), self._attack, self._surroundings) for _ in faces]

    def _next(self) -> float:
        score = self._scores[min(self.calls, len(self._scores) - 1)]
        self.calls += 1
        return score


def head(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, size: float = 1.5) -> np.ndarray:
    """Landmarks, (5, 2), of a head turned by degrees as in `Pose`; `size` in pixels a millimetre.

    Seen with perspective from half a metre.
    """
    return _seen(_HEAD @ _rotation(yaw, pitch, roll).T, size)


def photograph(
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    *,
    shows: np.ndarray | None = None,
    bent: float = 0.0,
    size: float = 1.5,
) -> np.ndarray:
    """Landmarks, (5, 2), of a photograph of a head that is turned by degrees.

    Args:
        yaw: of the sheet, as in `Pose`.
        pitch: of it.
        roll: of it.
        shows: landmarks that are printed on it; a frontal head by default.
        bent: angle in degrees over which the width of the face is bent around a vertical cylinder.
        size: pixels a millimetre.
    """
    flat = head(size=1.0) if shows is None else shows
    flat = flat - flat.mean(axis=0)
    x, y = flat[:, 0], flat[:, 1]
    depth = np.zeros(5)
    if bent:
        radius = 64 / np.radians(bent)
        x, depth = radius * np.sin(x / radius), radius * (np.cos(x / radius) - 1)
    return _seen(np.column_stack([x, y, depth]) @ _rotation(yaw, pitch, roll).T, size)


def face(landmarks: np.ndarray, x: float = 0.0) -> Face:
    """Make a face of landmarks, moved by x pixels to the right."""
    landmarks = landmarks + np.float32([x, 0])
    (left, top), (right, bottom) = landmarks.min(axis=0) - 30, landmarks.max(axis=0) + 30
    return Face(np.array([left, top, right, bottom], np.float32), landmarks, 0.99)


def _seen(points: np.ndarray, size: float, distance: float = 500.0) -> np.ndarray:
    near = distance / (distance - points[:, 2:])
    return (size * points[:, :2] * near + [320, 240]).astype(np.float32)


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation of points (right, down, towards the camera); see `Pose` for the signs."""
    turns = [(0, 1, 0, yaw), (1, 0, 0, pitch), (0, 0, 1, roll)]
    each = [cv2.Rodrigues(np.radians(angle) * np.array(axis, float))[0] for *axis, angle in turns]
    return each[2] @ each[0] @ each[1]
