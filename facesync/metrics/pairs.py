"""All pairs among some images: far more impostor pairs than a protocol lists.

LFW's ten folds hold 3,000 impostor pairs and so support a false-match rate of 1e-2, hardly one of
1e-3. The same images make millions of pairs of different people. They are not independent, since
each image is in thousands of them: rates measured on them vary more than their number says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_IMAGES = 8000
"""At most so many images are compared with each other: 32 million pairs, 130 MB."""

_BLOCK = 1024


@dataclass(frozen=True)
class AllPairs:
    """Similarities of all pairs among some images.

    Attributes:
        genuine: float32, of pairs of one person's images.
        impostor: float32, of pairs of two people's images.
        images: how many were compared.
        identities: of how many people.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    images: int
    identities: int


def all_pairs(vectors: np.ndarray, identities: Sequence[str], seed: int = 42) -> AllPairs:
    """Compare each image with each other; of more than `MAX_IMAGES`, people drawn by seed.

    Args:
        vectors: float32 (images, 512), unit length; rows of NaN are left out.
        identities: who is on each image.
        seed: of the draw.
    """
    names = np.unique(np.asarray(identities), return_inverse=True)[1]
    kept = _kept(names, ~np.isnan(vectors[:, 0]), seed)
    vectors, names = vectors[kept], names[kept]
    genuine = [np.empty(0, np.float32)]
    impostor = [np.empty(0, np.float32)]
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        similarity = vectors[rows] @ vectors[start:].T
        # Each pair once: what lies right of the diagonal.
        later = np.arange(len(vectors) - start) > np.arange(len(similarity))[:, None]
        same = names[rows, None] == names[None, start:]
        genuine.append(similarity[later & same])
        impostor.append(similarity[later & ~same])
    return AllPairs(
        np.concatenate(genuine),
        np.concatenate(impostor),
        len(vectors),
        len(np.unique(names)),
    )


def _kept(names: np.ndarray, usable: np.ndarray, seed: int) -> np.ndarray:
    if usable.sum() <= MAX_IMAGES:
        return usable
    order = np.random.default_rng(seed).permutation(names.max() + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    images = np.bincount(names[usable], minlength=len(order))[order]
    people = int(np.searchsorted(np.cumsum(images), MAX_IMAGES, side="right"))
    return usable & (place[names] < max(people, 2))
