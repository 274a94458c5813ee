"""Fit a calibration to similarities: thresholds, the tail beyond them, and probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facesync.errors import DataError
from facesync.metrics.rates import supports, threshold_at

FMRS = ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5")
_TAIL_PAIRS = 500  # the tail is fitted to about this many of the largest impostor similarities
_LOGISTIC_PAIRS = 200_000


@dataclass(frozen=True)
class CalibrationFit:
    """The fitted part of `facesync.faces.calibration.Calibration`, which explains the fields."""

    thresholds: dict[str, float]
    tail_scale: float
    tail_shape: float
    tail_fmr: float
    slope: float
    intercept: float


def fit_calibration(genuine: np.ndarray, impostor: np.ndarray, seed: int = 42) -> CalibrationFit:
    """Fit thresholds, tail and probabilities to the similarities of genuine and impostor pairs.

    The logistic mapping is fitted to a sample of the impostor pairs, drawn by `seed`.

    Raises:
        DataError: there are too few pairs for any rate.
    """
    impostor_desc = np.sort(impostor)[::-1]
    supported = [fmr for fmr in FMRS if supports(float(fmr), len(impostor))]
    if not supported or len(genuine) < 2:
        raise DataError(
            f"{len(impostor)} impostor and {len(genuine)} genuine pairs are too few to calibrate on"
        )
    rates = [float(fmr) for fmr in supported]
    tail_fmr = next((r for r in reversed(rates) if r * len(impostor) >= _TAIL_PAIRS), rates[0])
    # An image listed under two identities would put a threshold above 1.
    thresholds = {fmr: min(1.0, threshold_at(impostor_desc, float(fmr))) for fmr in supported}
    start = threshold_at(impostor_desc, tail_fmr)
    tail = impostor_desc[: int(tail_fmr * len(impostor))].astype(np.float64) - start
    scale, shape = fit_tail(tail)
    sample = impostor_desc
    if len(impostor) > _LOGISTIC_PAIRS:
        sample = np.random.default_rng(seed).choice(sample, _LOGISTIC_PAIRS, replace=False)
    slope, intercept = fit_logistic(genuine, sample)
    return CalibrationFit(
        thresholds=thresholds,
        # Above a higher threshold the distribution has the same shape and a smaller scale.
        tail_scale=max(1e-6, scale + shape * (thresholds[supported[-1]] - start)),
        tail_shape=shape,
        tail_fmr=tail_fmr,
        slope=slope,
        intercept=intercept,
    )


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


def fit_logistic(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """Fit P(same person | s) = 1 / (1 + exp(-(slope s + intercept))), both kinds equally weighted.

    Newton's method on the likelihood, with Platt's (1999) targets just inside 0 and 1, so that
    the slope stays finite even if the similarities separate perfectly.

    Returns:
        slope, intercept.
    """
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
                return float(theta[0]), float(theta[1])
        theta = theta - size * step
        if loss - better < 1e-12:
            break
        loss = better
    return float(theta[0]), float(theta[1])


def _loss(logit: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    return float(weight @ (np.logaddexp(0, logit) - target * logit))
