"""All pairs among a set of images: far more impostor pairs than a protocol lists.

LFW's ten folds have 3,000 impostor pairs, enough for a false match rate of 1e-2 but hardly for
1e-3. The same images form millions of impostor pairs. These are not independent, since each image
is in thousands of them: rates measured on them vary more than their number suggests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facesync.metrics.rates import Roc, roc

MAX_IMAGES = 8000
"""Limit on the number of images compared: 32 million pairs, 130 MB."""

_BLOCK = 1024


@dataclass(frozen=True)
class AllPairs:
    """Similarities of all pairs among a set of images.

    Attributes:
        genuine: float32, pairs of images of one person.
        impostor: float32, pairs of images of two people.
        images: number of images compared.
        identities: number of people.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    images: int
    identities: int

    def roc(self) -> Roc:
        """Return the curve over all of them."""
        scores = np.concatenate([self.genuine, self.impostor])
        return roc(scores, np.arange(len(scores)) < len(self.genuine))


def all_pairs(vectors: np.ndarray, identities: Sequence[str], seed: int = 42) -> AllPairs:
    """Compare all images with each other, or of more than `MAX_IMAGES` those of a sample of people.

    `vectors` is float32 (images, 512), unit length; rows of NaN are left out.
    """
    names = np.unique(np.asarray(identities), return_inverse=True)[1]
    kept = _kept(names, ~np.isnan(vectors[:, 0]), seed)
    vectors, names = vectors[kept], names[kept]
    genuine = [np.empty(0, np.float32)]
    impostor = [np.empty(0, np.float32)]
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        similarity = vectors[rows] @ vectors[start:].T
        # Each pair once: above the diagonal.
        later = np.arange(len(vectors) - start) > np.arange(len(similarity))[:, None]
        same = names[rows, None] == names[None, start:]
        genuine.append(similarity[later & same])
        impostor.append(similarity[later & ~same])
    return AllPairs(
        np.concatenate(genuine), np.concatenate(impostor), len(vectors), len(np.unique(names))
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
