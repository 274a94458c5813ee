"""Similarities of any number of pairs, counted in narrow bins: memory stays flat.

A bin is 2^-15 of similarity wide (3.05e-5), and its edges are exact in floating point. Counts from
an edge on are exact, and thresholds are edges: the lowest one that holds a false accept rate is at
most one bin above that of the similarities themselves and never below it, and the TAR is exactly
what that threshold gives.
"""

from __future__ import annotations

import numpy as np

BINS_PER_UNIT = 1 << 15
"""A power of two: similarities are multiplied by it without rounding."""

_BINS = 2 * BINS_PER_UNIT + 2  # from -1 to 1, and what rounding puts above 1


class Histogram:
    """Counts of similarities, cosines -1 … 1, by bin."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def add_scaled(self, scaled: np.ndarray) -> None:
        """Count similarities that are already times `BINS_PER_UNIT`, float32; it is changed."""
        np.floor(scaled, out=scaled)
        bins = scaled.astype(np.int64).ravel()
        bins += BINS_PER_UNIT
        np.clip(bins, 0, _BINS - 1, out=bins)
        self._counts += np.bincount(bins, minlength=_BINS)

    @property
    def edges_desc(self) -> np.ndarray:
        """Lower edges of the bins, from the highest."""
        return np.arange(_BINS)[::-1] / BINS_PER_UNIT - 1

    @property
    def reached_desc(self) -> np.ndarray:
        """How many similarities reach each of `edges_desc`, int64."""
        return self._counts[::-1].cumsum()

    def at_least(self, threshold: np.ndarray | float) -> np.ndarray:
        """Return how many reach a threshold: exact at an edge, else with all of its bin."""
        above = np.append(self.reached_desc[::-1], 0)
        edge = np.floor(np.asarray(threshold, np.float64) * BINS_PER_UNIT) + BINS_PER_UNIT
        return above[np.clip(edge, 0, _BINS).astype(np.int64)]

    def above_rank(self, rank: np.ndarray | int) -> np.ndarray:
        """Return the upper edge of the bin of the similarity of a rank, 0 for the largest."""
        place = np.searchsorted(self.reached_desc, rank, side="right")
        return (BINS_PER_UNIT + 2 - place) / BINS_PER_UNIT
