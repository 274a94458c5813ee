"""Copies of one photograph: exact ones by their bytes, and slightly changed ones.

To a model, two photographs of one person can be as similar as two copies of one photograph. So the
embeddings only propose pairs, and the pixels decide: the fine detail of one image (its difference
from a blurred version) is searched for in the other, also mirrored and at several sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import cv2
import numpy as np

from facesync.audit.identities import similar_pairs

PROPOSED = 0.86
"""The pixels of two images are compared if their embeddings are at least this similar."""

SAME_PIXELS = 0.88
"""Two images are copies of one photograph if their fine detail correlates at least this much."""

_SIDE = 64
_PART = 44  # side of the template; leaves room for shifts of up to a tenth each way
_SIZES = (0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12)
_BLUR = 4.0
_LEAST_DETAIL = 1.0  # standard deviation, of 255 grey levels
_DETAILS_IN_MEMORY = 4096


def fine_detail(image_rgb: np.ndarray) -> np.ndarray:
    """Return the detail of an image, uint8 RGB: float32 (64, 64), grey minus its blur."""
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small - cv2.GaussianBlur(small, (0, 0), _BLUR)


def detail_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation, -1…1, of two images' fine detail where they match best.

    The middle of one is searched for in the other (normalised cross-correlation), as it is and
    mirrored, slightly smaller and larger. 0 if one of them has no detail: uniform images have
    nothing to compare, and rounding errors would match perfectly.
    """
    middle = slice((_SIDE - _PART) // 2, (_SIDE + _PART) // 2)
    if min(one[middle, middle].std(), other[middle, middle].std()) < _LEAST_DETAIL:
        return 0.0
    best = -1.0
    for image in (one, one[:, ::-1]):
        for size in _SIZES:
            sized = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_LINEAR)
            edge = (len(sized) - _PART) // 2
            part = np.ascontiguousarray(sized[edge : edge + _PART, edge : edge + _PART])
            found = cv2.matchTemplate(other, part, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(found.max()))
    return best


def same_bytes(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the indices, ascending, of each content id that occurs more than once."""
    order = np.argsort(ids, kind="stable")
    for group in np.split(order, np.flatnonzero(ids[order][1:] != ids[order][:-1]) + 1):
        if len(group) > 1:
            yield group


def changed_copies(
    vectors: np.ndarray, candidate: np.ndarray, image: Callable[[int], np.ndarray]
) -> Iterator[tuple[int, int, float, float]]:
    """Find pairs of images that are slightly changed copies of one photograph.

    Args:
        vectors: float32 (images, 512), unit length.
        candidate: bool (images,), which to compare; one that is cleared meanwhile is skipped.
        image: returns the image (uint8 RGB) of an index.

    Yields:
        Both indices, ascending, their similarity and the correlation of their detail.
    """

    @lru_cache(_DETAILS_IN_MEMORY)
    def detail(index: int) -> np.ndarray:
        return fine_detail(image(index))

    for one, other, similarity in similar_pairs(vectors, PROPOSED):
        if candidate[one] and candidate[other]:
            correlation = detail_correlation(detail(one), detail(other))
            if correlation >= SAME_PIXELS:
                yield one, other, similarity, correlation
