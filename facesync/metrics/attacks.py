"""Error rates of presentation attack detection (ISO/IEC 30107-3).

A presentation is taken for live if its score is at least the threshold. APCER: share of attacks of
one kind that are; BPCER: share of live (bona fide) presentations that are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from facesync.metrics.rates import Roc, roc, wilson

DRAWS = 1000


@dataclass(frozen=True)
class AttackRates:
    """Rates at one threshold, and over all.

    Attributes:
        bpcer: of the live presentations.
        apcer: by kind of attack; None where there is nothing of the kind.
        apcer_worst: the largest of them.
        worst: the kind it is of.
        auc: area under the curve of 1 - BPCER over APCER, all attacks together.
        eer: rate where APCER and BPCER are equal, all attacks together.
        eer_threshold: where they are closest to each other.
    """

    bpcer: float
    apcer: dict[str, float | None]
    apcer_worst: float
    worst: str
    auc: float
    eer: float
    eer_threshold: float


def attack_rates(
    live: np.ndarray, attacks: Mapping[str, np.ndarray], threshold: float
) -> AttackRates:
    """Compute the rates.

    Args:
        live: scores of live presentations, 0…1, at least one.
        attacks: scores by kind of attack; at least one kind has some.
        threshold: a score from here on is live.
    """
    known = {
        kind: float((found >= threshold).mean()) for kind, found in attacks.items() if len(found)
    }
    worst = max(known, key=lambda kind: known[kind])
    curve = attack_curve(live, np.concatenate(list(attacks.values())))
    closest = int(np.argmin(np.abs(curve.far - (1 - curve.tar))))
    return AttackRates(
        bpcer=float((live < threshold).mean()),
        apcer={kind: known.get(kind) for kind in attacks},
        apcer_worst=known[worst],
        worst=worst,
        auc=curve.auc,
        eer=curve.eer,
        # At the very start it is infinite: nothing is live.
        eer_threshold=float(min(1.0, curve.thresholds[closest])),
    )


def attack_curve(live: np.ndarray, attack: np.ndarray) -> Roc:
    """Return APCER as `far` and 1 - BPCER as `tar` at each threshold."""
    scores = np.concatenate([live, attack])
    return roc(scores, np.arange(len(scores)) < len(live))


def interval_by_person(
    wrong: np.ndarray, people: np.ndarray, seed: int = 42
) -> tuple[float, float]:
    """Return the 95 % interval of a share of errors, where one person's errors hang together.

    It is a bootstrap over people, and at least Wilson's interval: where there is no error, no
    sample has one. Of one person, or nobody, it is 0 to 1: that says nothing of others.

    Args:
        wrong: bool (N,), whether each decision is an error.
        people: who each of them shows, (N,).
        seed: of the resampling.
    """
    _, person = np.unique(people, return_inverse=True)
    trials = np.bincount(person)
    errors = np.bincount(person, weights=wrong)
    count = len(trials)
    if count < 2:
        return 0.0, 1.0
    low, high = wilson(int(wrong.sum()), len(wrong))
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    drawn = np.percentile((weights @ errors) / (weights @ trials), [2.5, 97.5])
    return min(low, float(drawn[0])), max(high, float(drawn[1]))
