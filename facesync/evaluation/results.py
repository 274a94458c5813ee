"""All figures of one evaluation, as plain data for `report.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from facesync.errors import DataError
from facesync.evaluation.protocols import PairSet
from facesync.faces.calibration import MIN_FALSE_MATCHES
from facesync.metrics.pairs import AllPairs
from facesync.metrics.rates import (
    FARS,
    fold_accuracy,
    identification,
    roc,
    supports,
    tar_at_far,
)

RULE = (
    f"a TAR is given only where {MIN_FALSE_MATCHES} false matches or more are expected at the FAR; "
    "intervals are 95 % bootstrap intervals over pairs, and rather too narrow, since pairs share "
    "pictures"
)


def verification(scores: np.ndarray, pairs: PairSet, seed: int) -> dict[str, Any]:
    """Figures of the protocol's pairs, and the same without pairs that could not be compared.

    Raises:
        DataError: one kind of pair is missing altogether.
    """
    compared = ~np.isnan(scores)
    if not (compared & pairs.same).any() or not (compared & ~pairs.same).any():
        raise DataError(
            f"{pairs.source}: after failures to enrol there are no genuine or no impostor pairs"
        )
    refused = np.nan_to_num(scores, nan=-np.inf)
    found = _figures(refused, pairs.same, pairs.fold, seed)
    found["without_failures"] = _figures(
        scores[compared], pairs.same[compared], pairs.fold[compared], seed
    )
    return found


def _figures(scores: np.ndarray, same: np.ndarray, fold: np.ndarray, seed: int) -> dict[str, Any]:
    accuracy = fold_accuracy(scores, same, fold)
    curve = roc(scores, same)
    return {
        "pairs": len(scores),
        "genuine_pairs": int(same.sum()),
        "impostor_pairs": int((~same).sum()),
        "accuracy_mean": accuracy.mean,
        "accuracy_std": accuracy.std,
        "accuracy_by_fold": accuracy.by_fold,
        "threshold": accuracy.threshold,
        "auc": curve.auc,
        "eer": curve.eer,
        **rates(scores[same], scores[~same], seed),
    }


def rates(genuine: np.ndarray, impostor: np.ndarray, seed: int) -> dict[str, Any]:
    """TAR at each FAR that the impostor pairs support, and why the others are refused."""
    at = {
        far: found
        for far in FARS
        if (found := tar_at_far(genuine, impostor, float(far), seed)) is not None
    }
    return {
        "tar_at_far": {far: found.tar for far, found in at.items()},
        "tar_at_far_interval": {far: [found.low, found.high] for far, found in at.items()},
        "threshold_at_far": {far: found.threshold for far, found in at.items()},
        "tar_at_far_refused": {
            far: f"needs {MIN_FALSE_MATCHES / float(far):,.0f} impostor pairs, "
            f"there are {len(impostor):,}"
            for far in FARS
            if not supports(float(far), len(impostor))
        },
    }


def of_all_pairs(pairs: AllPairs, seed: int) -> dict[str, Any]:
    """Figures over all pairs among the images (of those that were embedded)."""
    return {
        "pictures": pairs.images,
        "identities": pairs.identities,
        "genuine_pairs": len(pairs.genuine),
        "impostor_pairs": len(pairs.impostor),
        **rates(pairs.genuine, pairs.impostor, seed),
    }


def open_set(vectors: np.ndarray, identities: Sequence[str], seed: int) -> dict[str, Any] | None:
    """Figures of open-set identification, or None where nobody can be enrolled."""
    found = identification(vectors, identities, seed)
    return None if found is None else asdict(found)
