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


def depth(landmarks: Sequence[np.ndarray]) -> float:
    """Return the nose error of a sequence of one face; 0 for fewer than four frames.

    It is the third largest, so that two bad frames prove nothing. Every frame is compared with the
    one that looks straightest into the camera.
    """
    if len(landmarks) < 4:
        return 0.0
    turned = [_turn(points) for points in landmarks]
    front = landmarks[int(np.argmin(turned))]
    return sorted(nose_error(front, points) for points in landmarks)[-3]


def _turn(landmarks: np.ndarray) -> float:
    looks = pose(landmarks)
    return float(np.hypot(looks.yaw, looks.pitch))
