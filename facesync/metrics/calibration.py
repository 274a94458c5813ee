"""Fit a calibration to similarities: thresholds, the tail beyond them, and probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facesync.errors import DataError
from facesync.metrics.rates import MIN_FALSE_MATCHES, supports, threshold_at
from facesync.metrics.thresholds import Thresholds

FMRS = ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5")

_ONE = 1 - 1e-5  # the cosine of an image and itself, as float32 sums round it
_TAIL_PAIRS = 500  # the tail is fitted to about this many of the largest impostor similarities
_LOGISTIC_PAIRS = 200_000


def fit_thresholds(impostor: np.ndarray) -> Thresholds:
    """Fit thresholds and tail to the similarities of impostor pairs.

    Raises:
        DataError: there are too few pairs for any rate, or only a similarity of 1 would hold one.
    """
    impostor_desc = np.sort(impostor)[::-1]
    supported = [fmr for fmr in FMRS if supports(float(fmr), len(impostor))]
    if not supported:
        needed = f"{MIN_FALSE_MATCHES / float(FMRS[0]):.0f}"
        raise DataError(
            f"{len(impostor)} impostor pairs are too few to calibrate on: it needs {needed}"
        )
    rates = [float(fmr) for fmr in supported]
    tail_fmr = next((r for r in reversed(rates) if r * len(impostor) >= _TAIL_PAIRS), rates[0])
    thresholds = {fmr: threshold_at(impostor_desc, float(fmr)) for fmr in supported}
    for fmr, threshold in thresholds.items():
        if threshold >= _ONE:
            raise DataError(
                f"no threshold below 1 keeps a false match rate of {fmr}: the same image is there "
                "under several names (audit_dataset.py finds such), or the model tells nobody apart"
            )
    start = threshold_at(impostor_desc, tail_fmr)
    tail = impostor_desc[: int(tail_fmr * len(impostor))].astype(np.float64) - start
    scale, shape = fit_tail(tail)
    # Above a higher threshold the distribution has the same shape and a smaller scale.
    scale = max(1e-6, scale + shape * (thresholds[supported[-1]] - start))
    return Thresholds(thresholds, scale, shape, tail_fmr)


def worst(found: Sequence[Thresholds]) -> Thresholds:
    """Return the highest of several thresholds at each rate: those of the worst group.

    Rates end where the worst group's threshold is extrapolated. From there on the tail is that of
    the group whose threshold is highest three decades further, where a search of a thousand people
    is.
    """
    thresholds: dict[str, float] = {}
    for fmr in FMRS:
        highest = max(found, key=lambda group: group.at(float(fmr)))
        if not highest.supports(float(fmr)):
            break
        thresholds[fmr] = highest.at(float(fmr))
    last = float(list(thresholds)[-1])
    far = max(found, key=lambda group: group.at(last / 1000))
    moved = far.tail_shape * (far.at(last) - far.points[-1][1])
    return Thresholds(thresholds, max(1e-6, far.tail_scale + moved), far.tail_shape, far.tail_fmr)


def fit_tail(excesses: np.ndarray) -> tuple[float, float]:
    """Fit a generalised Pareto distribution to the excesses over a threshold, by two moments.

    The shape is limited to -0.5 … 0: similarities end at 1, which rules out positive shapes, and
    a few extreme pairs can mimic shapes below -0.5 (Hosking and Wallis, 1987).

    Returns:
        scale, shape.
    """
    mean, variance = float(excesses.mean()), float(excesses.var())
    shape = 0.5 * (1 - mean**2 / variance) if variance > 0 else 0.0
    shape = min(0.0, max(-0.5, shape))
    return mean * (1 - shape), shape


def fit_logistic(genuine: np.ndarray, impostor: np.ndarray, seed: int = 42) -> tuple[float, float]:
    """Fit P(same person | s) = 1 / (1 + exp(-(slope s + intercept))), both kinds equally weighted.

    Newton's method on the likelihood, with Platt's (1999) targets just inside 0 and 1, so that
    the slope stays finite even if the similarities separate perfectly. Of very many impostor pairs
    a sample is taken, drawn by `seed`.

    Returns:
        slope, intercept.

    Raises:
        DataError: there are fewer than two genuine pairs, or they are no more similar than
            impostor pairs.
    """
    if len(genuine) < 2:
        raise DataError(f"{len(genuine)} genuine pairs are too few to calibrate on")
    if len(impostor) > _LOGISTIC_PAIRS:
        impostor = np.random.default_rng(seed).choice(impostor, _LOGISTIC_PAIRS, replace=False)
    x = np.concatenate([genuine, impostor]).astype(np.float64)
    many, others = len(genuine), len(impostor)
    target = np.concatenate(
        [np.full(many, (many + 1) / (many + 2)), np.full(others, 1 / (others + 2))]
    )
    weight = np.concatenate([np.full(many, 0.5 / many), np.full(others, 0.5 / others)])
    design = np.column_stack([x, np.ones_like(x)])
    middle = (float(genuine.mean()) + float(impostor.mean())) / 2
    theta = np.array([10.0, -10.0 * middle])
    loss = _loss(design @ theta, target, weight)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(design @ theta, -500, 500)))
        gradient = design.T @ (weight * (chance - target))
        curvature = weight * chance * (1 - chance) + 1e-12
        step = np.linalg.solve((design * curvature[:, None]).T @ design, gradient)
        size = 1.0  # halved until the loss falls: a full Newton step may overshoot
        while (better := _loss(design @ (theta - size * step), target, weight)) > loss:
            size /= 2
            if size < 1e-8:
                return _rising(theta)
        theta = theta - size * step
        if loss - better < 1e-12:
            break
        loss = better
    return _rising(theta)


def _rising(theta: np.ndarray) -> tuple[float, float]:
    slope, intercept = theta.tolist()
    if slope <= 0:
        raise DataError(
            "images of one person are not more similar than those of two people: the model tells "
            "nobody apart, or images are under wrong names"
        )
    return slope, intercept


def _loss(logit: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    return float(weight @ (np.logaddexp(0, logit) - target * logit))
