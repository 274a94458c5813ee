"""Whom a face may be, out of very many people: a short list that misses nobody who matters.

RaBitQ (Gao and Long, SIGMOD 2024, arXiv:2405.12497) keeps the signs of the 512 numbers of a row
after a random rotation, 72 bytes with two factors, and estimates from them the cosine of the row to
any other. The estimate is unbiased, whatever the rows: its error depends on the rotation only, with
a standard deviation of sqrt((1 / 0.8² - 1) / 511) = 0.033. So the estimates say which rows can be
as similar as a decision needs, and only those are compared, exactly. faiss-cpu reads them; without
it, everybody is compared, which is as exact.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from facesync.faces.embedding import EMBEDDING_SIZE

log = logging.getLogger(__name__)

EXACT_UP_TO = 100_000
"""As many people are compared each with a face; of more, a short list if faiss is installed."""

ERROR = 0.2
"""A similarity is above its estimate by less: six standard deviations, missed by one row in 1e9."""

THREADS = min(os.cpu_count() or 1, 8)

BLOCK = 16_384
"""Rows that are rotated at once."""


class Shortlist:
    """Rows of which the most similar to an embedding are found by estimates; it keeps no row.

    Args:
        count: number of rows.
        blocks: the rows, float32 (n, 512) of unit length; one with NaN is never found.
        threads: that search at once.
    """

    def __init__(self, count: int, blocks: Iterable[np.ndarray], threads: int = THREADS) -> None:
        faiss = faiss_or_none()
        square = np.random.default_rng(0).standard_normal((EMBEDDING_SIZE, EMBEDDING_SIZE))
        self._rotation = np.linalg.qr(square)[0].astype(np.float32)
        self._parts = [
            faiss.IndexRaBitQFastScan(EMBEDDING_SIZE, faiss.METRIC_INNER_PRODUCT)
            for _ in range(threads)
        ]
        for part in self._parts:
            # Its centre stays zero: about another, the error would not be the same for all rows.
            part.train(np.zeros((1, EMBEDDING_SIZE), np.float32))
        done = 0
        for block in blocks:
            part = self._parts[done * threads // count]
            part.add(np.nan_to_num(block) @ self._rotation)
            done += len(block)
        self._pool = ThreadPoolExecutor(threads)

    def near(self, embedding: np.ndarray, k: int) -> tuple[np.ndarray, float]:
        """Find the rows that seem most similar to an embedding, (512,) of unit length.

        Returns:
            The numbers, int64, of at most k rows, and a similarity that no other row reaches.
        """
        query = (embedding.astype(np.float32) @ self._rotation)[None]
        found = self._pool.map(lambda part: part.search(query, k), self._parts)
        all_estimates, all_numbers = [], []
        first = 0
        for part, (estimates, numbers) in zip(self._parts, found, strict=True):
            some = numbers[0] >= 0  # the others were not there
            all_estimates.append(estimates[0][some])
            all_numbers.append(numbers[0][some] + first)
            first += part.ntotal
        scores = np.concatenate(all_estimates)
        best = np.argsort(-scores, kind="stable")[:k]
        return np.concatenate(all_numbers)[best], float(scores[best[-1]]) + ERROR


def in_blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows, which may be mapped into memory from a file, into blocks."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


@cache
def faiss_or_none() -> Any:
    """Return the module faiss; None, after one warning, if it is not installed or too old."""
    try:
        import faiss

        faiss.IndexRaBitQFastScan  # noqa: B018
    except (ImportError, AttributeError):
        log.warning(
            "More than %d people: installing faiss-cpu (1.13 or newer) makes the search faster; it "
            "decides the same either way",
            EXACT_UP_TO,
        )
        return None
    return faiss
