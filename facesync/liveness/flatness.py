"""Does a face have depth? The nose of a head that turns moves as that of a photograph cannot.

Whatever is flat, or bent a little, and turned before a camera changes by an affine map, nearly. So
the map that takes the eyes and the corners of the mouth from one frame to another takes the nose
along, too; the nose of a head stands out, and is elsewhere. Against a replayed video of somebody
who turns their head this proves nothing: that takes a challenge whose order nobody knew.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facesync.faces.quality import pose

DEPTH = 0.20
"""Nose error from which a face has depth: `python evaluate_liveness.py --flatness` measures it."""

FRAMES = 3
"""How many frames must show it: depth is the third largest error, so that two bad ones do not."""

_SQUEEZED = 0.6  # least ratio of the affine map's two scales

_NOSE, _BASE = 2, [0, 1, 3, 4]

_FRONTAL = np.array([[-0.47, -0.5], [0.47, -0.5], [-0.38, 0.5], [0.38, 0.5]])
"""Eyes and mouth corners of a face seen from the front, in distances from eyes to mouth."""


def nose_error(one: np.ndarray, other: np.ndarray) -> float:
    """Return how far the nose is from where it would be if the face were flat.

    Args:
        one: landmarks, (5, 2) in the order of `Face`, of the face seen from the front.
        other: landmarks of the same face turned.

    Returns:
        The distance as a share of that from eyes to mouth in `other`; 0 where the points of `one`
        do not determine an affine map, or where it squeezes them as a tilt by over 50 degrees does:
        there a bent photograph has errors as large as a head has long before.
    """
    return float(_nose_errors(one, other[None])[0])


def continues(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether a head may have moved so from one frame's landmarks, (5, 2), to the next's.

    Two photographs of different angles, one shown after the other, are as far apart as a head that
    has turned, but at once, and however they are tilted; a head gets there by several frames.
    """
    return float(np.linalg.norm(_straightened_nose(one) - _straightened_nose(other))) < DEPTH


class Depth:
    """The depth of one face from a sequence of frames, as they come."""

    def __init__(self) -> None:
        self._landmarks: list[np.ndarray] = []
        self._turns: list[float] = []

    def add(self, landmarks: np.ndarray) -> None:
        """Take in the landmarks, (5, 2), of the next frame."""
        looks = pose(landmarks)
        self._landmarks.append(landmarks)
        self._turns.append(float(np.hypot(looks.yaw, looks.pitch)))

    @property
    def value(self) -> float:
        """Nose error of the sequence, see `FRAMES`; 0 for fewer than four frames.

        Every frame is compared with the one that looks straightest into the camera.
        """
        if len(self._landmarks) <= FRAMES:
            return 0.0
        front = self._landmarks[int(np.argmin(self._turns))]
        return float(np.sort(_nose_errors(front, np.stack(self._landmarks)))[-FRAMES])


def depth(landmarks: Iterable[np.ndarray]) -> float:
    """Return the depth of a whole sequence of landmarks; see `Depth.value`."""
    seen = Depth()
    for each in landmarks:
        seen.add(each)
    return seen.value


def _nose_errors(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return `nose_error` between one face, (5, 2), and each of others, (N, 5, 2): (N,)."""
    plane = np.column_stack([one[_BASE], np.ones(4)]).astype(np.float64)
    if np.linalg.matrix_rank(plane, rtol=1e-6) < 3:
        return np.zeros(len(others))
    affine = np.linalg.pinv(plane) @ others[:, _BASE].astype(np.float64)  # (N, 3, 2)
    expected = np.append(one[_NOSE], 1.0) @ affine
    scales = np.linalg.svd(affine[:, :2], compute_uv=False)
    across = np.linalg.norm(others[:, :2].mean(axis=1) - others[:, 3:].mean(axis=1), axis=1)
    off = np.linalg.norm(others[:, _NOSE] - expected, axis=1)
    telling = (across > 0) & (scales[:, 1] >= _SQUEEZED * scales[:, 0])
    return np.divide(off, across, out=np.zeros(len(others)), where=telling)


def _straightened_nose(landmarks: np.ndarray) -> np.ndarray:
    """Return where the nose is, (2,), once an affine map has taken the others to `_FRONTAL`."""
    plane = np.column_stack([landmarks[_BASE], np.ones(4)]).astype(np.float64)
    if np.linalg.matrix_rank(plane, rtol=1e-6) < 3:
        return np.full(2, np.nan)
    nose: np.ndarray = np.append(landmarks[_NOSE], 1.0) @ np.linalg.pinv(plane) @ _FRONTAL
    return nose
