"""Thresholds of the passive model, from scores of people and datasets not learnt from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facesync.liveness.camera import LARGEST_OFFSET
from facesync.liveness.passive import PassiveThresholds
from facesync.metrics.attacks import attack_rates

SURE = 0.02
"""Share of live faces that may score below `spoof_below`, and of attacks above `live_from`, in the
worst of all measurements."""

UNKNOWN_CAMERA = 2.0
"""How far below `threshold`, on the logit, a score must be at least to be surely an attack: by so
much may a camera be off that nobody has registered with. What is surely live is above it by the
largest offset of a camera, so that no offset accepts what is below `threshold`."""


@dataclass(frozen=True)
class Scores:
    """Scores of videos that were not trained on: medians of their frames.

    Attributes:
        live: of the live ones.
        attacks: by kind.
    """

    live: np.ndarray
    attacks: dict[str, np.ndarray]


def choose(unseen: Scores, left_out: Sequence[Scores]) -> PassiveThresholds:
    """Choose the thresholds.

    Args:
        unseen: of people not trained on: where their worst kind of attack and their live faces are
            mistaken equally often is `threshold`.
        left_out: of whole datasets not trained on; with `unseen`, they say what is sure.
    """
    attacks = list(unseen.attacks.values())
    scores = np.unique(np.concatenate([[0.0], unseen.live, *attacks, [1.0]]))
    tried = (scores[:-1] + scores[1:]) / 2  # between two scores, where rounding changes nothing
    wrong = [
        max(float((unseen.live < t).mean()), *(float((kind >= t).mean()) for kind in attacks))
        for t in tried
    ]
    best = np.flatnonzero(np.array(wrong) == min(wrong))
    threshold = float(np.clip(tried[best].mean(), 0.02, 0.98))
    everything = [unseen, *left_out]
    below = min(float(np.quantile(found.live, SURE)) for found in everything)
    above = max(
        float(np.quantile(kind, 1 - SURE))
        for found in everything
        for kind in found.attacks.values()
    )
    return PassiveThresholds(
        threshold=threshold,
        spoof_below=max(0.001, min(below, _moved(threshold, -UNKNOWN_CAMERA))),
        live_from=min(0.999, max(above, _moved(threshold, LARGEST_OFFSET))),
    )


def _moved(score: float, by: float) -> float:
    """Move a score on the logit."""
    return float(1 / (1 + (1 / score - 1) * np.exp(-by)))


def rates_at(found: Scores, threshold: float) -> dict[str, Any]:
    """Return the rates as JSON holds them, with four decimals."""
    rates = asdict(attack_rates(found.live, found.attacks, threshold))
    return json.loads(json.dumps(rates), parse_float=lambda text: round(float(text), 4))
