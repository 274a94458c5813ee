"""The figures of one evaluation, and the plain data of `report.json` that they become."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import facesync
from facesync.errors import DataError
from facesync.evaluation.groups import GroupRates
from facesync.evaluation.protocols import PairSet
from facesync.faces.calibration import Calibration
from facesync.faces.embedding import FaceModel
from facesync.metrics.pairs import AllPairs
from facesync.metrics.rates import (
    FARS,
    MIN_FALSE_MATCHES,
    Identification,
    fold_accuracy,
    roc,
    supports,
    tar_at_far,
)

RULE = (
    f"a TAR is reported only if at least {MIN_FALSE_MATCHES} false matches are expected at the "
    "FAR; intervals are 95 % bootstrap intervals over pairs, which are too narrow since pairs "
    "share images"
)


@dataclass(frozen=True)
class Rates:
    """TAR at each FAR that the impostor pairs support, and why the others are refused."""

    genuine_pairs: int
    impostor_pairs: int
    tar_at_far: dict[str, float]
    tar_at_far_interval: dict[str, list[float]]
    threshold_at_far: dict[str, float]
    tar_at_far_refused: dict[str, str]


@dataclass(frozen=True)
class Verification(Rates):
    """Figures of a protocol's pairs."""

    pairs: int
    accuracy_mean: float
    accuracy_std: float
    accuracy_by_fold: list[float]
    threshold: float
    auc: float
    eer: float


@dataclass(frozen=True)
class AllPairsRates(Rates):
    """Figures of all pairs among the images that were embedded."""

    images: int
    identities: int


@dataclass(frozen=True)
class ByGroup:
    """Error rates by group, all at one threshold."""

    threshold: float
    groups: dict[str, GroupRates]


@dataclass(frozen=True)
class Calibrated:
    """A calibration that was measured and stored.

    Attributes:
        calibration: the calibration.
        fmr: false match rate that `by_gallery` is for.
        by_gallery: (people in the gallery, threshold, whether it was measured or extrapolated).
        written_to: the file.
    """

    calibration: Calibration
    fmr: float
    by_gallery: list[tuple[int, float, bool]]
    written_to: str


@dataclass(frozen=True)
class Report:
    """The result of one evaluation.

    Attributes:
        model: the model.
        pairs: the pairs compared.
        failures: (image, reason) of each image without an embedding.
        embedded_now: number of images embedded in this run; the others came from the cache.
        verification: figures of `pairs`; a pair with a failure counts as rejected.
        without_failures: the same without such pairs.
        all_pairs: figures of all pairs among the images; None if identities are unknown.
        identification: open-set identification; None if nobody can be enrolled.
        by_group: if asked for.
        calibrated: if asked for.
        notes: what else there is to say.
        seed: of all random draws.
        seconds: time taken.
    """

    model: FaceModel
    pairs: PairSet
    failures: list[tuple[str, str]]
    embedded_now: int
    verification: Verification
    without_failures: Verification
    all_pairs: AllPairsRates | None
    identification: Identification | None
    by_group: ByGroup | None
    calibrated: Calibrated | None
    notes: list[str]
    seed: int
    seconds: float

    @property
    def title(self) -> str:
        """The model and the pairs, in words."""
        return f"{self.model.source} on {self.pairs.source}"

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `report.json`."""
        found = self.identification
        content = {
            **asdict(self.verification),
            "without_failures": asdict(self.without_failures),
            "set": self.pairs.source,
            "folds": self.pairs.folds,
            "folds_given": self.pairs.folds_given,
            "pictures": len(self.pairs.images),
            "failed_to_enrol": len(self.failures),
            "failures": [{"picture": name, "reason": reason} for name, reason in self.failures],
            "embedded_now": self.embedded_now,
            "model": {
                "source": self.model.source,
                "fingerprint": self.model.fingerprint,
                "crop": self.model.crop.to_dict(),
            },
            "seed": self.seed,
            "rule": RULE,
            "notes": self.notes,
            "version": facesync.__version__,
            "all_pairs": None if self.all_pairs is None else _plain(self.all_pairs),
            "identification": None if found is None else asdict(found),
            "seconds": self.seconds,
        }
        if self.by_group:
            groups = {name: _plain(rates) for name, rates in self.by_group.groups.items()}
            content["by_group"] = {"threshold": self.by_group.threshold, "groups": groups}
        if self.calibrated:
            content["calibration"] = {
                **self.calibrated.calibration.to_dict(),
                "fmr": self.calibrated.fmr,
                "by_gallery": self.calibrated.by_gallery,
                "written_to": self.calibrated.written_to,
            }
        return content


def _plain(figures: AllPairsRates | GroupRates) -> dict[str, Any]:
    plain = asdict(figures)
    return {"pictures": plain.pop("images"), **plain}  # the name in files from the beginning


def verify(scores: np.ndarray, pairs: PairSet, seed: int) -> tuple[Verification, Verification]:
    """Compute the figures of a protocol's pairs, with failures rejected and left out.

    Args:
        scores: similarity of each pair; NaN if it could not be compared.
        pairs: the pairs.
        seed: of the bootstrap.

    Raises:
        DataError: there are no genuine or no impostor pairs.
    """
    compared = ~np.isnan(scores)
    if not (compared & pairs.same).any() or not (compared & ~pairs.same).any():
        raise DataError(
            f"{pairs.source}: after failures to enrol there are no genuine or no impostor pairs"
        )
    rejected = np.nan_to_num(scores, nan=-np.inf)
    return (
        _verification(rejected, pairs.same, pairs.fold, seed),
        _verification(scores[compared], pairs.same[compared], pairs.fold[compared], seed),
    )


def _verification(
    scores: np.ndarray, same: np.ndarray, fold: np.ndarray, seed: int
) -> Verification:
    accuracy = fold_accuracy(scores, same, fold)
    curve = roc(scores, same)
    return Verification(
        **_rates(scores[same], scores[~same], seed),
        pairs=len(scores),
        accuracy_mean=accuracy.mean,
        accuracy_std=accuracy.std,
        accuracy_by_fold=accuracy.by_fold,
        threshold=accuracy.threshold,
        auc=curve.auc,
        eer=curve.eer,
    )


def all_pairs_rates(pairs: AllPairs, seed: int) -> AllPairsRates:
    """Compute the figures of all pairs among the images."""
    return AllPairsRates(
        **_rates(pairs.genuine, pairs.impostor, seed),
        images=pairs.images,
        identities=pairs.identities,
    )


def _rates(genuine: np.ndarray, impostor: np.ndarray, seed: int) -> dict[str, Any]:
    """Compute the fields of `Rates`."""
    measured = {
        far: found
        for far in FARS
        if (found := tar_at_far(genuine, impostor, float(far), seed)) is not None
    }
    return {
        "genuine_pairs": len(genuine),
        "impostor_pairs": len(impostor),
        "tar_at_far": {far: found.tar for far, found in measured.items()},
        "tar_at_far_interval": {far: [found.low, found.high] for far, found in measured.items()},
        "threshold_at_far": {far: found.threshold for far, found in measured.items()},
        "tar_at_far_refused": {
            far: f"needs {MIN_FALSE_MATCHES / float(far):,.0f} impostor pairs, "
            f"there are {len(impostor):,}"
            for far in FARS
            if not supports(float(far), len(impostor))
        },
    }
