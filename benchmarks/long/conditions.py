"""How much bad conditions cost, and how much of it the app's remedies win back.

The first image of a pair is the one somebody registered with and stays as it is; the second is
the one before the camera and suffers. The threshold stays the one of the untouched pairs, whatever
the condition and the remedy: the app has one only, and does not know the condition. A remedy is
said to help where it turns significantly more wrong answers into right ones than the other way
round (exact McNemar test, 5 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facesync.evaluation.crop_variants import mirrored
from facesync.evaluation.degradations import DEGRADATIONS, Degradation
from facesync.evaluation.embeddings import Embedder, detector_label
from facesync.evaluation.images import ImageRef
from facesync.evaluation.protocols import PairSet
from facesync.evaluation.settings import EvaluateSettings
from facesync.faces.detection import Detector, Face, FaceDetector
from facesync.faces.embedding import FaceModel, unit
from facesync.faces.lighting import correct_gamma, detect_enlarged, equalize

PLAIN = "as they are"
REMEDIES = ("nothing", "CLAHE", "gamma", "larger", "mirror")
HEADING = (
    "condition", "nothing done", "CLAHE", "gamma", "search at twice the size", "mirror mean",
    "no face, nothing done", "helps",
)  # fmt: skip

_SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class _Subset:
    """The pairs that are tried, and the embeddings of their images as they are."""

    pairs: PairSet
    registered: np.ndarray
    registered_mirrored: np.ndarray
    threshold: float


def study(
    settings: EvaluateSettings,
    model: FaceModel,
    detector: FaceDetector,
    pairs: PairSet,
    threshold: float,
    cache: Path,
) -> dict[str, Any]:
    """Measure every condition with every remedy on a seeded sample of the pairs.

    Args:
        settings: say how many pairs, and the seed.
        model: what embeds.
        detector: what finds faces.
        pairs: the sample is drawn from them.
        threshold: chosen on all of them, untouched.
        cache: folder of all caches.

    Returns:
        `title`, `table` (rows of text, the first the heading), `accuracy` (condition to remedy to
        share of right answers) and `helps` (condition to remedies).
    """
    sample = sample_pairs(pairs, settings.condition_pairs, settings.seed)
    runner = _Runner(model, detector, cache)
    subset = runner.prepare(sample, threshold)
    accuracy: dict[str, dict[str, float]] = {}
    helps: dict[str, list[str]] = {}
    rows: list[list[str]] = [list(HEADING)]
    for condition in (PLAIN, *DEGRADATIONS):
        answers, no_face = runner.answers(condition, subset)
        accuracy[condition] = {name: float(right.mean()) for name, right in answers.items()}
        helps[condition] = [
            name for name in REMEDIES[1:] if significantly_better(answers[name], answers["nothing"])
        ]
        cells = [f"{accuracy[condition][name]:.3f}" for name in REMEDIES]
        rows.append([condition, *cells, str(no_face), ", ".join(helps[condition]) or "-"])
    genuine = int(sample.same.sum())
    return {
        "title": f"Accuracy under bad conditions: {genuine} genuine and "
        f"{len(sample.same) - genuine} impostor pairs, threshold {threshold:.3f}",
        "pairs": len(sample.same),
        "threshold": threshold,
        "table": rows,
        "accuracy": accuracy,
        "helps": helps,
    }


def sample_pairs(pairs: PairSet, of_each: int, seed: int) -> PairSet:
    """Draw so many genuine and so many impostor pairs; all where there are fewer."""
    generator = np.random.default_rng(seed)
    kept = np.zeros(len(pairs.same), dtype=bool)
    for kind in (True, False):
        members = np.flatnonzero(pairs.same == kind)
        kept[generator.permutation(members)[:of_each]] = True
    return pairs.subset(kept)


def significantly_better(new: np.ndarray, old: np.ndarray) -> bool:
    """Whether right answers (bool, by pair) were won rather than lost: exact McNemar test."""
    won, lost = int((new & ~old).sum()), int((~new & old).sum())
    changed = won + lost
    if won <= lost:
        return False
    at_least = sum(math.comb(changed, k) for k in range(won, changed + 1))
    return 2 * at_least / 2**changed <= _SIGNIFICANCE


class _Enlarging:
    """Searches at twice the size where nothing is found."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        return detect_enlarged(self._detector, image_rgb)


class _Runner:
    def __init__(self, model: FaceModel, detector: FaceDetector, cache: Path) -> None:
        self._model = model
        self._detector = detector
        self._cache = cache
        self._clean = self._embedder("", None)

    def _embedder(
        self,
        suffix: str,
        change: Callable[[np.ndarray, str], np.ndarray] | None,
        *,
        enlarging: bool = False,
        mirror: bool = False,
    ) -> Embedder:
        return Embedder(
            self._model,
            _Enlarging(self._detector) if enlarging else self._detector,
            self._cache,
            detection_label=detector_label(self._detector) + suffix,
            label="plain-mirrored" if mirror else "plain",
            change=change,
            cut=mirrored(self._model.crop.cut) if mirror else None,
        )

    def prepare(self, pairs: PairSet, threshold: float) -> _Subset:
        vectors = self._clean.embed(pairs.images, "Registered").vectors
        other = self._embedder("", None, mirror=True).embed(pairs.images, "Mirrored").vectors
        return _Subset(pairs, vectors, unit(vectors + other), threshold)

    def answers(self, condition: str, subset: _Subset) -> tuple[dict[str, np.ndarray], int]:
        """Right or wrong for each pair, by remedy; and how many probes show no face untreated."""
        degrade = self._degrade(DEGRADATIONS[condition]) if condition in DEGRADATIONS else None
        suffix = f"-{condition}".replace(" ", "-") if degrade else ""
        probes = [subset.pairs.images[index] for index in subset.pairs.right]

        def embed(name: str, remedy: Callable[[np.ndarray], np.ndarray] | None = None,
                  images: Sequence[ImageRef] = probes, **options: bool) -> np.ndarray:  # fmt: skip
            def change(image_rgb: np.ndarray, key: str) -> np.ndarray:
                changed = image_rgb if degrade is None else degrade(image_rgb, key)
                return changed if remedy is None else remedy(changed)

            embedder = self._embedder(suffix + name, change, **options)
            return embedder.embed(images, f"{condition}{name}").vectors

        nothing = embed("")
        missed = np.flatnonzero(np.isnan(nothing[:, 0]))
        larger = nothing.copy()
        larger[missed] = embed(
            "-larger", images=[probes[index] for index in missed], enlarging=True
        )
        right = {
            "nothing": _right(subset, nothing),
            "CLAHE": _right(subset, embed("-clahe", equalize)),
            "gamma": _right(subset, embed("-gamma", correct_gamma)),
            "larger": _right(subset, larger),
            "mirror": _right(subset, unit(nothing + embed("", mirror=True)), mirror=True),
        }
        return right, len(missed)

    def _degrade(self, degradation: Degradation) -> Callable[[np.ndarray, str], np.ndarray]:
        def change(image_rgb: np.ndarray, key: str) -> np.ndarray:
            face = self._clean.face(image_rgb, key)
            if face is None:
                return image_rgb
            return degradation(image_rgb, face, np.random.default_rng(int(key[:8], 16)))

        return change


def _right(subset: _Subset, probes: np.ndarray, *, mirror: bool = False) -> np.ndarray:
    """Say for each pair whether the answer is right; a probe without a face is refused."""
    registered = subset.registered_mirrored if mirror else subset.registered
    scores = np.einsum("ij,ij->i", registered[subset.pairs.left], probes, dtype=np.float64)
    refused = np.nan_to_num(scores, nan=-np.inf)
    return (refused >= subset.threshold) == subset.pairs.same
