"""Exact search for the templates most similar to a face, as fast as reading them all once.

    numbers, similarities = best(embedding, matrix, k)

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


def best(embedding: np.ndarray, matrix: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows most similar to an embedding.

    Args:
        embedding: (512,) of unit length.
        matrix: float32 (n, 512), rows of unit length.
        k: how many; fewer if there are fewer rows.

    Returns:
        Row numbers, int64 (k,), and their cosines, float32 (k,), most similar first; ties are in
        the order of their rows.

    Raises:
        ValueError: k is below 1, or the shapes do not fit.
    """
    if matrix.ndim != 2 or embedding.shape != matrix.shape[1:] or k < 1:
        raise ValueError(f"{embedding.shape} against {matrix.shape}, k {k}")
    k = min(k, len(matrix))
    query = np.ascontiguousarray(embedding, dtype=np.float32)
    if not k:
        return np.empty(0, np.int64), np.empty(0, np.float32)
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


def _ordered(numbers: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((numbers, -scores))
    return numbers[order], scores[order]


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
