"""Error rates: ROC, AUC, EER, TAR at FAR, LFW's accuracy, open-set identification.

A pair is accepted if its similarity is at least the threshold. FAR (false accepts over impostor
pairs) is what ISO/IEC 19795-1 calls FMR; 1 - TAR is its FNMR. A pair that could not be compared
has similarity minus infinity and is never accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facesync.metrics.histogram import Histogram
from facesync.metrics.vectors import (
    Vectors,
    blocks,
    images_by_person,
    in_order_of_names,
    usable,
)

FARS = ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6")

MIN_FALSE_MATCHES = 10
"""A rate is measured only where at least this many false matches are expected at it."""

FPIR = 0.01
"""The false-positive identification rate that open-set identification holds."""

MOST_ENROLLED = 10_000
MOST_SEARCHES = 1_000_000
"""Limits of `identification`: above them it would take days and say nothing more."""

_RESAMPLES = 2000
_PROBES = 4096


@dataclass(frozen=True)
class Roc:
    """Rates at each threshold, strictest first, starting at (0, 0) with threshold infinity."""

    thresholds: np.ndarray
    far: np.ndarray
    tar: np.ndarray

    @property
    def auc(self) -> float:
        """Area under the curve, by the trapezoidal rule."""
        return float(np.sum(np.diff(self.far) * (self.tar[1:] + self.tar[:-1]) / 2))

    def tar_at(self, far: float) -> float:
        """Return the TAR at a FAR, interpolated."""
        return float(np.interp(far, self.far, self.tar))

    @property
    def eer(self) -> float:
        """Rate at which FAR and 1 - TAR are equal, interpolated between thresholds."""
        gap = self.far - (1 - self.tar)  # rises from -1 to 1
        after = int(np.argmax(gap >= 0))
        before = max(after - 1, 0)
        step = gap[after] - gap[before]
        share = -gap[before] / step if step > 0 else 0.0
        return float(self.far[before] + share * (self.far[after] - self.far[before]))


def counted_roc(genuine: Histogram, impostor: Histogram) -> Roc:
    """Compute the curve from counts, at the edges of their bins."""
    rates = (kind.reached_desc / max(1, len(kind)) for kind in (impostor, genuine))
    return Roc(np.append(np.inf, genuine.edges_desc), *(np.append(0.0, rate) for rate in rates))


def roc(scores: np.ndarray, same: np.ndarray) -> Roc:
    """Compute the curve from pairs, some genuine and some impostor."""
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], same[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # of equals
    accepted = np.cumsum(truth)[last]
    false = last + 1 - accepted
    return Roc(
        np.append(np.inf, ordered[last]),
        np.append(0.0, false / max(1, int((~truth).sum()))),
        np.append(0.0, accepted / max(1, int(truth.sum()))),
    )


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the most accurate threshold, midway between two similarities; of ties the middle one.

    Pairs that could not be compared are rejected whatever the threshold, so they do not count.
    """
    compared = np.isfinite(scores)
    if not compared.any():
        return 1.0
    order = np.argsort(-scores[compared], kind="stable")
    ordered, truth = scores[compared][order], same[compared][order]
    accepted = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))
    accepted = np.append(0, accepted)  # how many each possible threshold accepts
    right = np.append(0, np.cumsum(np.where(truth, 1, -1)))[accepted]
    best = np.flatnonzero(right == right.max())
    count = accepted[best[len(best) // 2]]
    if count == 0:
        return float(np.nextafter(ordered[0], np.inf))
    if count == len(ordered):
        return float(ordered[-1])
    return float((ordered[count - 1] + ordered[count]) / 2)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy by LFW's protocol: one value and one threshold for each fold."""

    by_fold: list[float]
    thresholds: list[float]

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.by_fold))

    @property
    def std(self) -> float:
        """Population standard deviation over the folds."""
        return float(np.std(self.by_fold))

    @property
    def threshold(self) -> float:
        """Mean of the thresholds."""
        return float(np.mean(self.thresholds))


def fold_accuracy(scores: np.ndarray, same: np.ndarray, fold: np.ndarray) -> Accuracy:
    """Evaluate each fold at the threshold that is best on the other folds."""
    by_fold, thresholds = [], []
    for number in np.unique(fold):
        held_out = fold == number
        threshold = best_threshold(scores[~held_out], same[~held_out])
        right = (scores[held_out] >= threshold) == same[held_out]
        by_fold.append(float(right.mean()))
        thresholds.append(threshold)
    return Accuracy(by_fold, thresholds)


@dataclass(frozen=True)
class TarAtFar:
    """TAR at a FAR, the lowest threshold that holds the FAR, and a 95 % bootstrap interval."""

    tar: float
    threshold: float
    low: float
    high: float


def supports(far: float, impostors: int) -> bool:
    """Whether this many impostor pairs support a rate: `MIN_FALSE_MATCHES` are expected at it.

    With fewer, the threshold depends on a handful of pairs: with three, the true rate may be half
    or twice the stated one (Doddington's rule of 30 is stricter still).
    """
    return far * impostors >= MIN_FALSE_MATCHES * (1 - 1e-9)


def threshold_at(impostor_desc: np.ndarray, far: float) -> float:
    """Return the lowest threshold that accepts at most this share of impostor pairs (sorted)."""
    allowed = int(far * len(impostor_desc) + 1e-9)
    if allowed >= len(impostor_desc):
        return -1.0
    return max(-1.0, float(np.nextafter(np.float64(impostor_desc[allowed]), np.inf)))


def tar_at_far(
    genuine: np.ndarray, impostor: np.ndarray, far: float, seed: int = 42
) -> TarAtFar | None:
    """TAR at a FAR with a 95 % bootstrap interval; None if the pairs do not support the rate.

    Genuine and impostor pairs are resampled separately. The k-th largest of n resampled values is
    the one at rank floor(n U), U ~ Beta(k, n - k + 1), and the number accepted of m genuine draws
    is binomial. Drawing both directly is the same bootstrap without sorting millions of pairs two
    thousand times. Pairs that share images are not independent, so the interval is too narrow.
    """
    if not supports(far, len(impostor)) or not len(genuine):
        return None
    impostor_desc = np.sort(impostor)[::-1]
    ordered = np.sort(genuine.astype(np.float64))  # in float32 the threshold would be rounded away

    def accepted(threshold: np.ndarray | float) -> np.ndarray:
        return 1 - np.searchsorted(ordered, threshold, side="left") / len(ordered)

    def above(rank: np.ndarray) -> np.ndarray:
        return np.nextafter(impostor_desc[rank].astype(np.float64), np.inf)

    threshold = threshold_at(impostor_desc, far)
    low, high = _resampled(far, len(impostor), len(genuine), above, accepted, seed)
    tar = float((ordered >= threshold).mean())
    return TarAtFar(tar, threshold, low, high)


def counted_tar_at_far(
    genuine: Histogram, impostor: Histogram, far: float, seed: int = 42
) -> TarAtFar | None:
    """TAR at a FAR as `tar_at_far` gives it, from counts; see `facesync.metrics.histogram`."""
    impostors, pairs = len(impostor), len(genuine)
    if not supports(far, impostors) or not pairs:
        return None
    allowed = int(far * impostors + 1e-9)
    threshold = max(-1.0, float(impostor.above_rank(allowed))) if allowed < impostors else -1.0

    def accepted(threshold: np.ndarray | float) -> np.ndarray:
        return genuine.at_least(threshold) / pairs

    low, high = _resampled(far, impostors, pairs, impostor.above_rank, accepted, seed)
    return TarAtFar(float(accepted(threshold)), threshold, low, high)


def _resampled(
    far: float,
    impostors: int,
    genuine: int,
    above: Callable[[np.ndarray], np.ndarray],
    accepted: Callable[[np.ndarray], np.ndarray],
    seed: int,
) -> tuple[float, float]:
    """Return the interval of `tar_at_far`.

    `above` gives the lowest threshold that refuses the impostor similarity of a rank (from 0),
    `accepted` the share of genuine pairs that reach a threshold.
    """
    generator = np.random.default_rng(seed)
    k = int(far * impostors + 1e-9) + 1  # rank of the largest impostor similarity that is rejected
    place = (generator.beta(k, max(impostors - k + 1, 1), _RESAMPLES) * impostors).astype(int)
    share = accepted(above(np.minimum(place, impostors - 1)))
    low, high = np.percentile(generator.binomial(genuine, share) / genuine, [2.5, 97.5])
    return float(low), float(high)


def wilson(errors: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a rate (Wilson, 1927); (0, 1) if there are no trials."""
    if not total:
        return 0.0, 1.0
    z, rate = 1.959964, errors / total
    middle = rate + z * z / (2 * total)
    spread = z * np.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, float((middle - spread) / scale)), min(1.0, float((middle + spread) / scale))


@dataclass(frozen=True)
class Identification:
    """Open-set identification (Grother and Ngan, 2014).

    Attributes:
        gallery: number of people enrolled, with one image each.
        probes: number of other images of them.
        strangers: number of images of people who are not enrolled.
        fpir: false-positive identification rate: share of `strangers` accepted as somebody.
        dir: detection and identification rate: share of the probes whose most similar template is
            their own and is accepted; None if there are too few strangers for the rate.
        rank1: the same without a threshold.
        threshold: that holds `fpir`.
    """

    gallery: int
    probes: int
    strangers: int
    fpir: float
    dir: float | None
    rank1: float
    threshold: float | None


def identification(
    vectors: Vectors, identities: Sequence[str], seed: int = 42, most: int = MOST_ENROLLED
) -> Identification | None:
    """Enrol half of the people who have two or more images; everybody else is a stranger.

    At most `most` people are enrolled, and of probes and strangers each at most `MOST_SEARCHES`
    drawn at random are searched for.

    Args:
        vectors: float32 (images, 512), unit length; rows of NaN count as rejected.
        identities: who each image shows.
        seed: of the draw of who is enrolled, and with which image.
        most: people to enrol at most.

    Returns:
        The rates, or None if nobody can be enrolled.
    """
    generator = np.random.default_rng(seed)
    who = in_order_of_names(identities)
    members = images_by_person(who, int(who.max()) + 1)
    several = np.flatnonzero([len(images) > 1 for images in members])
    enrolled = np.sort(generator.permutation(several)[: min(len(several) // 2, most)])
    valid = usable(vectors)
    templates, probes = [], []
    for person in enrolled:
        images = generator.permutation(members[person])
        first = next((p for p in images if valid[p]), None)
        if first is not None:
            templates.append(first)
            probes += [p for p in images if p != first]
    if not templates:
        return None
    outside = np.ones(len(members), dtype=bool)
    outside[enrolled] = False
    strangers = _at_most(MOST_SEARCHES, np.flatnonzero(outside[who]), generator)
    searched = _at_most(MOST_SEARCHES, np.array(probes), generator)
    best, which = _most_similar(vectors, searched, np.array(templates))
    right = who[templates][which] == who[searched]
    false, _ = _most_similar(vectors, strangers, np.array(templates))
    threshold, rate = None, None
    if supports(FPIR, len(strangers)):
        threshold = threshold_at(np.sort(false)[::-1], FPIR)
        rate = float((right & (best >= threshold)).mean())
    rank1 = float((right & (best > -np.inf)).mean())
    counts = len(templates), len(searched), len(strangers)
    return Identification(*counts, FPIR, rate, rank1, threshold)


def _at_most(number: int, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if len(images) <= number:
        return images
    return np.sort(generator.choice(images, number, replace=False))


def _most_similar(
    vectors: Vectors, probes: np.ndarray, templates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each probe's highest similarity, minus infinity for NaN rows, and its template."""
    best = np.full(len(probes), -np.inf)
    which = np.zeros(len(probes), dtype=int)
    gallery = vectors[templates]
    for part in blocks(len(probes), _PROBES):
        rows = vectors[probes[part]]
        for some in blocks(len(gallery)):
            similarity = np.nan_to_num(rows @ gallery[some].T, nan=-np.inf)
            highest = similarity.max(axis=1)
            better = highest > best[part]
            which[part] = np.where(better, similarity.argmax(axis=1) + some.start, which[part])
            best[part] = np.maximum(best[part], highest)
    return best, which
