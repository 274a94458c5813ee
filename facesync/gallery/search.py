"""Exact search for the templates most similar to a face, as fast as reading them all once.

    numbers = best(embedding, matrix, k)

`matrix` is float32 (n, 512), rows of unit length, in C order, made once and kept. NumPy multiplies
up to `NUMPY_UP_TO` rows; beyond that faiss-cpu searches the matrix in place, without an index or a
copy. Without faiss NumPy does that too, in blocks; a warning says so once.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

NUMPY_UP_TO = 100_000
"""With more rows than this, faiss is used if it is installed."""

_BLOCK = 65_536


def best(embedding: np.ndarray, matrix: np.ndarray, k: int) -> np.ndarray:
    """Return the numbers, int64, of the k rows most similar to an embedding, most similar first.

    Ties are in the order of their rows; k is at least 1 and at most the number of rows.
    """
    query = np.ascontiguousarray(embedding, dtype=np.float32)
    faiss = _faiss() if len(matrix) > NUMPY_UP_TO else None
    if faiss is not None:
        rows = np.ascontiguousarray(matrix, dtype=np.float32)
        found, numbers = faiss.knn(query[None], rows, k, metric=faiss.METRIC_INNER_PRODUCT)
        return _ordered(numbers[0].astype(np.int64), found[0])
    numbers = np.empty(0, np.int64)
    scores = np.empty(0, np.float32)
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK] @ query
        few = _top(block, k)
        numbers = np.concatenate([numbers, few + start])
        scores = np.concatenate([scores, block[few]])
    few = _top(scores, k)
    return _ordered(numbers[few], scores[few])


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    if k == 1:
        return np.array([scores.argmax()])
    return np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(len(scores))


def _ordered(numbers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return numbers[np.lexsort((numbers, -scores))]


@cache
def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        log.warning(
            "More than %d people: installing faiss-cpu may make the search faster (it is exact "
            "either way)",
            NUMPY_UP_TO,
        )
        return None
    return faiss
