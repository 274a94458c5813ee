"""Which images do not belong to their identity, and which identities are not one person.

From embeddings (unit vectors) alone. Similarities are cosines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from facesync.data.progress import BAR_AFTER_SECONDS, Progress
from facesync.faces.embedding import unit

_ROWS = 2048
_ROUNDS = 10


@dataclass(frozen=True)
class Centroids:
    """The mean embedding of each identity, without outliers.

    Attributes:
        sums: float32 (identities, 512), sum of the embeddings that count; zeros if none does.
        counts: bool (images,), which embeddings count.
    """

    sums: np.ndarray
    counts: np.ndarray

    @property
    def directions(self) -> np.ndarray:
        """Float32 (identities, 512), unit vectors or zeros."""
        return unit(self.sums)


def members_of(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each label with the indices that have it, ascending."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        if len(members):
            yield int(labels[members[0]]), members


def centroids(vectors: np.ndarray, labels: np.ndarray, usable: np.ndarray) -> Centroids:
    """Average the usable images of each identity (labels from 0), without outliers.

    In two rounds, images less than half as similar to the mean as the identity's median are
    excluded, so that a few images of other people do not move it.
    """
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]), dtype=np.float32)
    counts = np.zeros(len(labels), dtype=bool)
    for label, members in members_of(labels):
        kept = members[usable[members]]
        for _ in range(2):
            similarity = vectors[kept] @ unit(vectors[kept].sum(axis=0))
            if len(kept):
                kept = kept[similarity >= np.median(similarity) / 2]
        sums[label] = vectors[kept].sum(axis=0)
        counts[kept] = True
    return Centroids(sums, counts)


def own_similarity(vectors: np.ndarray, labels: np.ndarray, means: Centroids) -> np.ndarray:
    """Similarity of each image to the centroid of its identity's others; NaN without others."""
    result = np.full(len(labels), np.nan, dtype=np.float32)
    for label, members in members_of(labels):
        own = vectors[members]
        others = means.sums[label] - own * means.counts[members, None]
        exist = means.counts[members].sum() - means.counts[members] > 0
        result[members] = np.where(exist, (own * unit(others)).sum(axis=1), np.nan)
    return result


def nearest_other_person(
    vectors: np.ndarray, labels: np.ndarray, directions: np.ndarray, person: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest centroid of another person for each image.

    Args:
        vectors: (images, 512).
        labels: (images,), the identity of each.
        directions: (identities, 512), the centroids.
        person: (identities,), equal for identities of one person.

    Returns:
        The identity, -1 if there is none, and the similarity to it, (images,) each.
    """
    nearest = np.full(len(labels), -1)
    best = np.full(len(labels), -1, dtype=np.float32)
    for start in _blocks(len(labels)):
        rows = slice(start, start + _ROWS)
        similarity = vectors[rows] @ directions.T
        similarity[person[labels[rows], None] == person[None, :]] = -1
        nearest[rows] = similarity.argmax(axis=1)
        best[rows] = similarity.max(axis=1)
    nearest[best <= -1] = -1
    return nearest, best


def impostor_similarity(vectors: np.ndarray, labels: np.ndarray, directions: np.ndarray) -> float:
    """Return the median similarity of a sample of images to centroids of other identities."""
    rows = np.linspace(0, len(labels) - 1, min(len(labels), _ROWS)).astype(int)
    similarity = vectors[rows] @ directions.T
    others = labels[rows, None] != np.arange(len(directions))[None, :]
    return float(np.median(similarity[others])) if others.any() else 0.0


def split_in_two(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Split embeddings (n, 512), n > 1, into two clusters (2-means).

    Returns:
        Which are in the smaller cluster, bool (n,), and the similarity of the two centroids.
    """
    centred = vectors - vectors.mean(axis=0)
    # Start from the first principal component.
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    group = centred @ axes[0] > 0
    for _ in range(_ROUNDS):
        if group.all() or not group.any():
            return np.zeros(len(vectors), dtype=bool), 1.0
        one, other = (unit(vectors[part].sum(axis=0)) for part in (group, ~group))
        regrouped = vectors @ one > vectors @ other
        if (regrouped == group).all():
            break
        group = regrouped
    return (group if group.sum() * 2 <= len(group) else ~group), float(one @ other)


def similar_pairs(vectors: np.ndarray, least: float) -> Iterator[tuple[int, int, float]]:
    """Yield two rows, ascending, and their similarity, for all at least this similar.

    They are compared block by block: memory stays flat.
    """
    for start in _blocks(len(vectors)):
        for other in range(start, len(vectors), _ROWS):
            block = vectors[start : start + _ROWS] @ vectors[other : other + _ROWS].T
            if other == start:
                block[np.tril_indices(len(block))] = -1
            one, two = np.nonzero(block >= least)
            found = (one + start).tolist(), (two + other).tolist(), block[one, two].tolist()
            yield from zip(*found, strict=True)


def _blocks(rows: int) -> Progress:
    return Progress(
        range(0, rows, _ROWS), unit=" blocks", desc="Comparing", delay=BAR_AFTER_SECONDS
    )


def coherence(vectors: np.ndarray) -> float:
    """Return the mean similarity of all pairs of embeddings (n, 512); 0 without pairs."""
    total, count = vectors.sum(axis=0), len(vectors)
    return float((total @ total - count) / (count * (count - 1))) if count > 1 else 0.0
