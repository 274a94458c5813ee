"""Thresholds by false match rate: measured for some rates, extrapolated below the smallest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

COMMON_FMR = "1e-3"
"""The rate at which groups of people are compared, and that each has to support."""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of one model, and the tail beyond them.

    Attributes:
        thresholds: false match rate, written `1e-3`, to the lowest cosine similarity that is
            accepted. Only rates that the data supports, at least one.
        tail_scale: scale of the generalised Pareto distribution of impostor similarities above the
            threshold of the smallest rate measured; gives the thresholds of smaller rates.
        tail_shape: its shape: 0 for an exponential tail, below 0 for a shorter one.
        tail_fmr: false match rate above whose threshold the tail was fitted.
    """

    thresholds: Mapping[str, float]
    tail_scale: float
    tail_shape: float
    tail_fmr: float

    def at(self, rate: float) -> float:
        """Return the threshold of one comparison at this false match rate, above 0.

        Between two measured rates the threshold is interpolated over the logarithm of the rate.
        Below the smallest one it is extrapolated: the excesses over a high threshold follow a
        generalised Pareto distribution (peaks over threshold; Pickands, 1975), whose shape is at
        most 0 here since similarities end at 1. The result may be above 1 all the same: then the
        model cannot keep the rate. Rates above the largest measured one get that one's threshold.
        """
        points = self.points
        if rate >= points[0][0]:
            return points[0][1]
        for (high, low_threshold), (low, high_threshold) in pairwise(points):
            if rate >= low:
                share = math.log(high / rate) / math.log(high / low)
                return low_threshold + share * (high_threshold - low_threshold)
        smallest, largest_threshold = points[-1]
        beyond = math.log(smallest / rate)
        if self.tail_shape < 0:
            # Tends to `beyond` where the shape tends to 0; expm1 keeps the digits on the way.
            beyond = math.expm1(self.tail_shape * beyond) / self.tail_shape
        return largest_threshold + self.tail_scale * beyond

    def supports(self, rate: float) -> bool:
        """Whether the threshold of this rate is measured rather than extrapolated."""
        return rate >= self.points[-1][0] * (1 - 1e-6)

    @property
    def points(self) -> list[tuple[float, float]]:
        """Measured (rate, threshold) in descending order of rate."""
        return sorted(((float(k), v) for k, v in self.thresholds.items()), reverse=True)
