"""Fit a model's calibration to the similarities of all pairs among images."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from facesync.cli import one_line
from facesync.faces.calibration import Calibration
from facesync.metrics.calibration import fit_logistic, fit_thresholds, worst
from facesync.metrics.pairs import AllPairs
from facesync.metrics.rates import MIN_FALSE_MATCHES, supports
from facesync.metrics.thresholds import COMMON_FMR

log = logging.getLogger(__name__)


def calibrate(
    pairs: AllPairs,
    *,
    groups: Mapping[str, AllPairs] | None = None,
    left_out: Collection[str] = (),
    seed: int = 42,
    **about: Any,
) -> Calibration:
    """Fit a calibration to the similarities of all pairs.

    Args:
        pairs: all pairs among the images.
        groups: all pairs within each group of people. Every threshold is that of the worst of them.
            A group with too few impostor pairs is left out, with a warning.
        left_out: groups that are measured but do not raise the thresholds.
        seed: of the sample of pairs that the probabilities are fitted to.
        about: `crop`, `model_fingerprint`, `data` and `data_fingerprint` of the `Calibration`.

    Raises:
        DataError: there are too few pairs for any rate, or one has no threshold below 1.
    """
    everybody = fit_thresholds(pairs.impostor)
    enough = {name: part for name, part in (groups or {}).items() if _is_enough(name, part)}
    fitted = {name: fit_thresholds(part.impostor) for name, part in enough.items()}
    counted = {name: found for name, found in fitted.items() if name not in left_out}
    rate = float(COMMON_FMR)
    hardest = max(counted, key=lambda name: counted[name].at(rate), default=None)
    strangers = pairs if hardest is None else enough[hardest]
    slope, intercept = fit_logistic(pairs.genuine, strangers.impostor, seed)
    common = np.float64(everybody.at(rate))  # compared as float32 it would be rounded
    measured = {
        name: {
            "fmr": float((enough[name].impostor >= common).mean()),
            "threshold": found.at(rate),
            "identities": enough[name].identities,
            "impostor_pairs": len(enough[name].impostor),
            "counts": name in counted,
        }
        for name, found in fitted.items()
    }
    return Calibration(
        **asdict(worst([everybody, *counted.values()])),
        slope=slope,
        intercept=intercept,
        images=pairs.images,
        identities=pairs.identities,
        genuine_pairs=len(pairs.genuine),
        impostor_pairs=len(pairs.impostor),
        groups=measured or None,
        **about,
    )


def _is_enough(name: str, pairs: AllPairs) -> bool:
    """Whether a group has the impostor pairs that the common rate needs; a warning if not."""
    if supports(float(COMMON_FMR), len(pairs.impostor)):
        return True
    log.warning(
        "%s: %s impostor pairs are too few to calibrate on (it needs %s, which are those of 142 "
        "people with an image each): left out",
        one_line(name),
        f"{len(pairs.impostor):,}",
        f"{MIN_FALSE_MATCHES / float(COMMON_FMR):,.0f}",
    )
    return False
