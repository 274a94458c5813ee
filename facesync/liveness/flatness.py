"""Does a face have depth? The nose of a head that turns moves as that of a photograph cannot.

Whatever is flat, or bent a little, and turned before a camera changes by an affine map, nearly. So
the map that takes the eyes and the corners of the mouth from one frame to another takes the nose
along, too; the nose of a head stands out, and is elsewhere. Against a replayed video of somebody
who turns their head this proves nothing: that takes a challenge whose order nobody knew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facesync.faces.quality import pose

DEPTH = 0.20
"""Nose error from which a face has depth: `python evaluate_liveness.py --flatness` measures it."""

_NOSE, _BASE = 2, [0, 1, 3, 4]


def nose_error(one: np.ndarray, other: np.ndarray) -> float:
    """Return how far the nose is from where it would be if the face were flat.

    Args:
        one: landmarks, (5, 2) in the order of `Face`, of the face seen from the front.
        other: landmarks of the same face turned.

    Returns:
        The distance as a share of that from eyes to mouth in `other`; 0 where the points of `one`
        do not determine an affine map.
    """
    plane = np.column_stack([one[_BASE], np.ones(4)]).astype(np.float64)
    affine, _, rank, _ = np.linalg.lstsq(plane, other[_BASE].astype(np.float64), rcond=1e-6)
    across = float(np.linalg.norm(other[:2].mean(axis=0) - other[3:].mean(axis=0)))
    if rank < 3 or not across > 0:
        return 0.0
    expected = np.append(one[_NOSE], 1.0) @ affine
    return float(np.linalg.norm(other[_NOSE] - expected)) / across


class Turns:
    """The nose errors of one face's frames, each against the one that looks straightest so far."""

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []
        self._errors: list[float] = []
        self._front = np.zeros((5, 2))
        self._straightest = np.inf

    def add(self, landmarks: np.ndarray) -> None:
        """Take in the landmarks, (5, 2), of the next frame."""
        self._frames.append(landmarks)
        turned = _turn(landmarks)
        if turned < self._straightest:
            self._straightest, self._front = turned, landmarks
            self._errors = [nose_error(landmarks, points) for points in self._frames]
        else:
            self._errors.append(nose_error(self._front, landmarks))

    @property
    def depth(self) -> float:
        """Third largest nose error, so that two bad frames prove nothing; 0 for under four."""
        return sorted(self._errors)[-3] if len(self._errors) >= 4 else 0.0


def depth(landmarks: Sequence[np.ndarray]) -> float:
    """Return the depth of a sequence of one face, as `Turns` does."""
    turns = Turns()
    for points in landmarks:
        turns.add(points)
    return turns.depth


def _turn(landmarks: np.ndarray) -> float:
    looks = pose(landmarks)
    return float(np.hypot(looks.yaw, looks.pitch))
