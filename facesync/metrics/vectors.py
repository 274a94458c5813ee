"""Embeddings that need not be in memory: read a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

_ROWS = 8192


class Vectors(Protocol):
    """What metrics need of embeddings (images, 512): an array, or rows that lie in files."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> np.ndarray: ...


def blocks(rows: int, size: int = _ROWS) -> Iterator[slice]:
    """Yield the slices of consecutive blocks."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def usable(vectors: Vectors) -> np.ndarray:
    """Return which rows are finite, bool (images,); others are images without an embedding."""
    found = np.empty(len(vectors), dtype=bool)
    for rows in blocks(len(vectors)):
        found[rows] = np.isfinite(vectors[rows]).all(axis=1)
    return found


def people_of(identities: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the people, in order of appearance, and the number of each image's, int (images,).

    np.unique would need an array of the names, each as long as the longest.
    """
    numbers: dict[str, int] = {}
    who = [numbers.setdefault(name, len(numbers)) for name in identities]
    return list(numbers), np.array(who, dtype=np.int64)


def images_by_person(who: np.ndarray, people: int) -> list[np.ndarray]:
    """Return the indices, ascending, of each person's images; `who` is int (images,)."""
    ends = np.cumsum(np.bincount(who, minlength=people))
    return np.split(np.argsort(who, kind="stable"), ends[:-1])


def in_order_of_names(identities: Sequence[str]) -> np.ndarray:
    """Return the number of each image's person, by name in ascending order, int (images,)."""
    people, who = people_of(identities)
    rank = np.empty(len(people), dtype=np.int64)
    rank[sorted(range(len(people)), key=people.__getitem__)] = np.arange(len(people))
    return rank[who]
