"""All pairs among a set of images: far more impostor pairs than a protocol lists.

LFW's ten folds have 3,000 impostor pairs, enough for a false match rate of 1e-2 but hardly for
1e-3. The same images form millions of impostor pairs. These are not independent, since each image
is in thousands of them: rates measured on them vary more than their number suggests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facesync.metrics.histogram import BINS_PER_UNIT, Histogram
from facesync.metrics.rates import (
    Roc,
    TarAtFar,
    counted_roc,
    counted_tar_at_far,
    roc,
    tar_at_far,
)
from facesync.metrics.vectors import Vectors, blocks, in_order_of_names, usable

MAX_IMAGES = 8000
"""Limit on the number of images compared: 32 million pairs, 130 MB."""

_BLOCK = 1024
_ROWS = 8192  # compared with a block at a time: all images are read once for each


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

    def tar_at_far(self, far: float, seed: int = 42) -> TarAtFar | None:
        """Return the TAR at a FAR; None if the pairs do not support the rate."""
        return tar_at_far(self.genuine, self.impostor, far, seed)

    def let_in(self, threshold: float) -> int:
        """Return how many impostor pairs reach a threshold."""
        return int((self.impostor >= threshold).sum())


@dataclass(frozen=True)
class CountedPairs:
    """The same as `AllPairs`, for any number of images: similarities are counted, not kept."""

    genuine: Histogram
    impostor: Histogram
    images: int
    identities: int

    def roc(self) -> Roc:
        """Return the curve at the edges of the bins."""
        return counted_roc(self.genuine, self.impostor)

    def tar_at_far(self, far: float, seed: int = 42) -> TarAtFar | None:
        """Return the TAR at a FAR, at a threshold that is at most one bin too high."""
        return counted_tar_at_far(self.genuine, self.impostor, far, seed)

    def let_in(self, threshold: float) -> int:
        """Return how many impostor pairs reach a threshold, or are in one bin with it."""
        return int(self.impostor.at_least(threshold))


def all_pairs(vectors: Vectors, identities: Sequence[str], seed: int = 42) -> AllPairs:
    """Compare all images with each other, or of more than `MAX_IMAGES` those of a sample of people.

    `vectors` is float32 (images, 512), unit length; rows of NaN are left out.
    """
    names = in_order_of_names(identities)
    kept = np.flatnonzero(_kept(names, usable(vectors), MAX_IMAGES, seed))
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


def count_pairs(
    vectors: Vectors, identities: Sequence[str], images: int, seed: int = 42
) -> CountedPairs:
    """Compare all images with each other, or of more than `images` those of a sample of people.

    Memory stays flat however many they are; the time grows with their square.
    """
    names = in_order_of_names(identities)
    kept = np.flatnonzero(_kept(names, usable(vectors), images, seed))
    kept = kept[np.argsort(names[kept], kind="stable")]
    names = names[kept]
    genuine, impostor = Histogram(), Histogram()
    for rows in blocks(len(kept), _ROWS):
        left = vectors[kept[rows]] * np.float32(BINS_PER_UNIT)  # exact: a power of two
        for columns in blocks(len(kept), _BLOCK):
            if columns.stop <= rows.start:
                continue
            scaled = left @ vectors[kept[columns]].T
            if names[rows.stop - 1] < names[columns.start] and rows.stop <= columns.start:
                impostor.add_scaled(scaled)  # people are in order: nobody is in both
                continue
            # Each pair once: above the diagonal.
            later = (
                np.arange(columns.start, columns.stop) > np.arange(rows.start, rows.stop)[:, None]
            )
            same = names[rows, None] == names[None, columns]
            genuine.add_scaled(scaled[later & same])
            impostor.add_scaled(scaled[later & ~same])
    return CountedPairs(genuine, impostor, len(kept), len(np.unique(names)))


def _kept(names: np.ndarray, usable: np.ndarray, most: int, seed: int) -> np.ndarray:
    if usable.sum() <= most:
        return usable
    order = np.random.default_rng(seed).permutation(names.max() + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    images = np.bincount(names[usable], minlength=len(order))[order]
    people = int(np.searchsorted(np.cumsum(images), most, side="right"))
    return usable & (place[names] < max(people, 2))
