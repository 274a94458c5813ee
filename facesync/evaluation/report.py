"""The figures of one evaluation, and the plain data of `report.json` that they become."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facesync.errors import DataError
from facesync.evaluation.baseline import Baseline
from facesync.evaluation.groups import GroupRates
from facesync.evaluation.protocols import PairSet
from facesync.faces.calibration import Calibration
from facesync.faces.embedding import FaceModel
from facesync.metrics.open_set import OpenSetRate
from facesync.metrics.pairs import AllPairs, CountedPairs
from facesync.metrics.rates import (
    FARS,
    MIN_FALSE_MATCHES,
    Accuracy,
    Identification,
    TarAtFar,
    fold_accuracy,
    roc,
    supports,
    tar_at_far,
    wilson,
)
from facesync.version import __version__

RULE = (
    f"a TAR is reported only if at least {MIN_FALSE_MATCHES} false matches are expected at the "
    "FAR; intervals are 95 % bootstrap intervals over pairs, which are too narrow since pairs "
    "share images"
)


@dataclass(frozen=True)
class Rates:
    """TAR at each FAR that the impostor pairs support."""

    genuine_pairs: int
    impostor_pairs: int
    tar_at_far: dict[str, TarAtFar]

    @property
    def refused(self) -> dict[str, str]:
        """Why other FARs have no TAR."""
        return {
            far: f"needs {MIN_FALSE_MATCHES / float(far):,.0f} impostor pairs, "
            f"there are {self.impostor_pairs:,}"
            for far in FARS
            if not supports(float(far), self.impostor_pairs)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return their part of `report.json`."""
        found = self.tar_at_far.items()
        return {
            "genuine_pairs": self.genuine_pairs,
            "impostor_pairs": self.impostor_pairs,
            "tar_at_far": {far: at.tar for far, at in found},
            "tar_at_far_interval": {far: [at.low, at.high] for far, at in found},
            "threshold_at_far": {far: at.threshold for far, at in found},
            "tar_at_far_refused": self.refused,
        }


@dataclass(frozen=True)
class Verification:
    """Figures of a protocol's pairs."""

    accuracy: Accuracy
    auc: float
    eer: float
    rates: Rates

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.rates.genuine_pairs + self.rates.impostor_pairs

    def to_dict(self) -> dict[str, Any]:
        """Return their part of `report.json`."""
        return {
            "pairs": self.pairs,
            "accuracy_mean": self.accuracy.mean,
            "accuracy_std": self.accuracy.std,
            "accuracy_by_fold": self.accuracy.by_fold,
            "threshold": self.accuracy.threshold,
            "auc": self.auc,
            "eer": self.eer,
            **self.rates.to_dict(),
        }


@dataclass(frozen=True)
class AllPairsRates(Rates):
    """Figures of all pairs among the images that were embedded."""

    images: int
    identities: int

    def to_dict(self) -> dict[str, Any]:
        """Return their part of `report.json`."""
        return {"pictures": self.images, "identities": self.identities, **super().to_dict()}


@dataclass(frozen=True)
class ByGroup:
    """Error rates by group, all at one threshold."""

    threshold: float
    groups: dict[str, GroupRates]


@dataclass(frozen=True)
class Calibrated:
    """A calibration that was measured and stored.

    `by_gallery` has (people in the gallery, threshold at `fmr` or None if no similarity is high
    enough, whether it was measured or else extrapolated).
    """

    calibration: Calibration
    fmr: float
    by_gallery: list[tuple[int, float | None, bool]]
    written_to: str


@dataclass(frozen=True)
class InForce:
    """What the threshold that the app has for the model does to the pairs.

    Attributes:
        threshold: for one comparison, at the default false match rate.
        chosen_here: whether it was chosen on these very images.
        genuine: number of pairs of images of one person.
        refused: how many of them are not accepted, as no face was found or for their similarity.
        impostor: number of pairs of images of two people.
        let_in: how many of them are accepted.
    """

    threshold: float
    chosen_here: bool
    genuine: int
    refused: int
    impostor: int
    let_in: int

    def to_dict(self) -> dict[str, Any]:
        """Return their part of `report.json`."""
        return {
            **asdict(self),
            "fnmr": self.refused / self.genuine,
            "fnmr_interval": wilson(self.refused, self.genuine),
            "fmr": self.let_in / self.impostor,
            "fmr_interval": wilson(self.let_in, self.impostor),
        }


@dataclass(frozen=True)
class Report:
    """The result of one evaluation.

    Attributes:
        source: the pairs, for the user.
        folds_given: whether the source names the folds.
        images: number of images.
        failures: (image, reason) of each image without an embedding.
        embedded_now: number of images embedded in this run; the others came from the cache.
        baseline: what the figures are shown beside.
        in_force: what the app's threshold does.
        verification: figures of the pairs; one with a failure counts as rejected.
        without_failures: the same without such pairs.
        all_pairs: figures of all pairs among the images; None if identities are unknown.
        identification: open-set identification; None if nobody can be enrolled.
        open_set: FNIR at each FPIR, if asked for.
        notes: what else there is to say.
    """

    model: FaceModel
    source: str
    folds: int
    folds_given: bool
    images: int
    failures: list[tuple[str, str]]
    embedded_now: int
    baseline: Baseline
    in_force: InForce
    verification: Verification
    without_failures: Verification
    all_pairs: AllPairsRates | None
    identification: Identification | None
    open_set: list[OpenSetRate]
    by_group: ByGroup | None
    calibrated: Calibrated | None
    notes: list[str]
    seed: int
    seconds: float

    @property
    def title(self) -> str:
        """The model and the pairs, for the user."""
        return f"{self.model.source} on {self.source}"

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `report.json`."""
        found = self.identification
        content = {
            **self.verification.to_dict(),
            "without_failures": self.without_failures.to_dict(),
            "set": self.source,
            "folds": self.folds,
            "folds_given": self.folds_given,
            "pictures": self.images,
            "failed_to_enrol": len(self.failures),
            "failures": [{"picture": name, "reason": reason} for name, reason in self.failures],
            "embedded_now": self.embedded_now,
            "model": {
                "source": self.model.source,
                "fingerprint": self.model.fingerprint,
                "crop": self.model.crop.to_dict(),
            },
            "in_force": self.in_force.to_dict(),
            "seed": self.seed,
            "rule": RULE,
            "notes": self.notes,
            "version": __version__,
            "all_pairs": self.all_pairs and self.all_pairs.to_dict(),
            "identification": found and asdict(found),
            "seconds": self.seconds,
        }
        if self.open_set:
            content["open_set"] = [asdict(rate) for rate in self.open_set]
        if self.by_group:
            groups = {name: rates.to_dict() for name, rates in self.by_group.groups.items()}
            content["by_group"] = {"threshold": self.by_group.threshold, "groups": groups}
        if self.calibrated:
            content["calibration"] = {
                **self.calibrated.calibration.to_dict(),
                "fmr": self.calibrated.fmr,
                "by_gallery": self.calibrated.by_gallery,
                "written_to": self.calibrated.written_to,
            }
        return content


def verify(scores: np.ndarray, pairs: PairSet, seed: int) -> tuple[Verification, Verification]:
    """Compute the figures of pairs by their similarities, with NaN rejected and left out.

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
    genuine, impostor = scores[same], scores[~same]
    curve = roc(scores, same)
    rates = Rates(len(genuine), len(impostor), _tar_at_far(genuine, impostor, seed))
    return Verification(fold_accuracy(scores, same, fold), curve.auc, curve.eer, rates)


def in_force(
    model: FaceModel,
    pairs: PairSet,
    scores: np.ndarray,
    compared: AllPairs | CountedPairs | None,
    measured_on: str,
) -> InForce:
    """Count what the app's threshold does to pairs.

    Args:
        model: with the calibration that the app will use.
        pairs: the pairs.
        scores: their similarities, NaN after failures.
        compared: all pairs among the images, for more impostors; None if identities are unknown.
        measured_on: fingerprint of the images.
    """
    threshold = model.threshold_for()
    accepted = scores >= threshold  # NaN is not
    if compared is None:
        let_in, impostor = int((accepted & ~pairs.same).sum()), int((~pairs.same).sum())
    else:
        let_in, impostor = compared.let_in(threshold), len(compared.impostor)
    return InForce(
        threshold=threshold,
        chosen_here=model.calibration is not None
        and model.calibration.data_fingerprint == measured_on,
        genuine=int(pairs.same.sum()),
        refused=int((~accepted & pairs.same).sum()),
        impostor=impostor,
        let_in=let_in,
    )


def all_pairs_rates(pairs: AllPairs | CountedPairs, seed: int) -> AllPairsRates:
    """Compute the figures of all pairs among the images."""
    found = _measured({far: pairs.tar_at_far(float(far), seed) for far in FARS})
    counts = len(pairs.genuine), len(pairs.impostor)
    return AllPairsRates(*counts, found, pairs.images, pairs.identities)


def _tar_at_far(genuine: np.ndarray, impostor: np.ndarray, seed: int) -> dict[str, TarAtFar]:
    return _measured({far: tar_at_far(genuine, impostor, float(far), seed) for far in FARS})


def _measured(rates: dict[str, TarAtFar | None]) -> dict[str, TarAtFar]:
    return {far: found for far, found in rates.items() if found}
