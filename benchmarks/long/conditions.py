"""How much bad conditions cost, and how much of it preprocessing the probe wins back.

    python -m benchmarks.long.conditions --pairs lfw/pairs.txt --images lfw --report output

The first image of a pair is the one somebody registered with and stays as it is; the second is the
probe and is degraded. The threshold is always that of the original pairs: the app has only one and
does not know the condition. A preprocessing helps if it corrects significantly more wrong answers
than it breaks right ones (exact McNemar test, 5 %). Embeddings are cached in --report.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.long.degradations import DEGRADATIONS
from benchmarks.material import add_counts, add_lfw_options, lfw_material
from facesync import cli
from facesync.evaluation.embeddings import Embedder, detector_label, mirrored
from facesync.evaluation.images import ImageRef
from facesync.evaluation.protocols import PairSet
from facesync.faces.detection import Detector, Face, FaceDetector
from facesync.faces.embedding import FaceModel, unit
from facesync.faces.lighting import brightness, equalize
from facesync.files import write_json
from facesync.metrics.rates import fold_accuracy

ORIGINAL = "original"
PREPROCESSINGS = ("none", "CLAHE", "gamma", "2x detection", "mirror mean")
SIGNIFICANCE = 0.05
MIDDLE_GREY = 0.45
ENLARGE = 2.0

Change = Callable[[np.ndarray, bytes], np.ndarray]  # (image_rgb, its content id) -> image_rgb


def correct_gamma(image_rgb: np.ndarray) -> np.ndarray:
    """Bring the mean brightness to `MIDDLE_GREY` by a power of 1/4 … 4."""
    mean = min(max(brightness(image_rgb), 1e-3), 1 - 1e-3)
    gamma = min(max(np.log(MIDDLE_GREY) / np.log(mean), 0.25), 4.0)
    table = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return cv2.LUT(image_rgb, table)


class EnlargingDetector:
    """Detects at twice the size where nothing is found; boxes are in the image's own pixels."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces."""
        faces = self._detector.detect(image_rgb)
        if faces:
            return faces
        larger = cv2.resize(image_rgb, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
        return [
            Face(face.box_xyxy / ENLARGE, face.landmarks / ENLARGE, face.probability)
            for face in self._detector.detect(larger)
        ]


class ChangingEmbedder(Embedder):
    """Changes each image before faces are detected in it."""

    def __init__(self, *args: Any, change: Change, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._change = change

    def decode(self, data: bytes, key: bytes, name: str = "") -> np.ndarray:
        """Decode and change an image."""
        return self._change(super().decode(data, key, name), key)


def sample_pairs(pairs: PairSet, of_each: int, seed: int) -> PairSet:
    """Draw this many genuine and impostor pairs; all if there are fewer."""
    generator = np.random.default_rng(seed)
    kept = np.zeros(len(pairs.same), dtype=bool)
    for kind in (True, False):
        members = np.flatnonzero(pairs.same == kind)
        kept[generator.permutation(members)[:of_each]] = True
    return pairs.subset(kept)


def significantly_better(new: np.ndarray, old: np.ndarray) -> bool:
    """Whether answers (right or wrong, bool by pair) improved: exact McNemar test."""
    won, lost = int((new & ~old).sum()), int((~new & old).sum())
    changed = won + lost
    if won <= lost:
        return False
    at_least = sum(math.comb(changed, k) for k in range(won, changed + 1))
    return 2 * at_least / 2**changed <= SIGNIFICANCE


class ConditionStudy:
    """Measures all conditions with one model on a sample of pairs, at one threshold."""

    def __init__(
        self,
        model: FaceModel,
        detector: FaceDetector,
        pairs: PairSet,
        threshold: float,
        cache: Path,
    ) -> None:
        self._model = model
        self._detector = detector
        self._pairs = pairs
        self._threshold = threshold
        self._cache = cache
        self._original = self._embedder("", lambda image_rgb, key: image_rgb)
        self._registered = self._original.embed(pairs.images, "Registered").vectors[:]
        mirror = self._embedder("", lambda image_rgb, key: image_rgb, mirror=True)
        self._registered_mean = unit(self._registered + mirror.embed(pairs.images).vectors[:])

    def _embedder(
        self, suffix: str, change: Change, *, enlarge: bool = False, mirror: bool = False
    ) -> Embedder:
        return ChangingEmbedder(
            self._model,
            EnlargingDetector(self._detector) if enlarge else self._detector,
            self._cache,
            detection_label=detector_label(self._detector) + suffix,
            label="plain-mirrored" if mirror else "plain",
            crop=mirrored(self._model.crop.cut) if mirror else None,
            change=change,
        )

    def answers(self, condition: str) -> tuple[dict[str, np.ndarray], int]:
        """Whether each answer is right, by preprocessing; and the number of probes without face."""
        suffix = f"-{condition}".replace(" ", "-") if condition in DEGRADATIONS else ""
        probes = [self._pairs.images[index] for index in self._pairs.right]

        def embed(name: str, preprocess: Callable[[np.ndarray], np.ndarray] | None = None,
                  images: Sequence[ImageRef] = probes, **keywords: bool) -> np.ndarray:  # fmt: skip
            def change(image_rgb: np.ndarray, key: bytes) -> np.ndarray:
                degraded = self._degrade(condition, image_rgb, key)
                return degraded if preprocess is None else preprocess(degraded)

            embedder = self._embedder(suffix + name, change, **keywords)
            return embedder.embed(images, f"{condition}{name}").vectors[:]

        plain = embed("")
        missed = np.flatnonzero(np.isnan(plain[:, 0]))
        larger = plain.copy()
        larger[missed] = embed("-larger", images=[probes[index] for index in missed], enlarge=True)
        mean = unit(plain + embed("", mirror=True))
        right = {
            "none": self._right(self._registered, plain),
            "CLAHE": self._right(self._registered, embed("-clahe", equalize)),
            "gamma": self._right(self._registered, embed("-gamma", correct_gamma)),
            "2x detection": self._right(self._registered, larger),
            "mirror mean": self._right(self._registered_mean, mean),
        }
        return right, len(missed)

    def _degrade(self, condition: str, image_rgb: np.ndarray, key: bytes) -> np.ndarray:
        face = self._original.face(image_rgb, key) if condition in DEGRADATIONS else None
        if face is None:
            return image_rgb
        generator = np.random.default_rng(int.from_bytes(key[:4], "big"))
        return DEGRADATIONS[condition](image_rgb, face, generator)

    def _right(self, registered: np.ndarray, probes: np.ndarray) -> np.ndarray:
        """Whether the answer for each pair is right; a probe without a face is rejected."""
        scores = np.einsum("ij,ij->i", registered[self._pairs.left], probes, dtype=np.float64)
        rejected = np.nan_to_num(scores, nan=-np.inf)
        return (rejected >= self._threshold) == self._pairs.same


def study(
    model: FaceModel, detector: FaceDetector, pairs: PairSet, of_each: int, seed: int, cache: Path
) -> dict[str, Any]:
    """Measure every condition; return accuracies and helpful preprocessings by condition."""
    whole = Embedder(model, detector, cache, detection_label=detector_label(detector))
    scores = np.nan_to_num(pairs.scores(whole.embed(pairs.images).vectors[:]), nan=-np.inf)
    threshold = fold_accuracy(scores, pairs.same, pairs.fold).threshold
    sample = sample_pairs(pairs, of_each, seed)
    measured = ConditionStudy(model, detector, sample, threshold, cache)
    print(f"{len(sample.same)} pairs, threshold {threshold:.3f}")
    print(f"{'accuracy':12}", *(f"{name:>12}" for name in PREPROCESSINGS), " no face  helps")
    accuracy, helps = {}, {}
    for condition in (ORIGINAL, *DEGRADATIONS):
        answers, no_face = measured.answers(condition)
        accuracy[condition] = {name: float(right.mean()) for name, right in answers.items()}
        helps[condition] = [
            name
            for name in PREPROCESSINGS[1:]
            if significantly_better(answers[name], answers["none"])
        ]
        cells = (f"{accuracy[condition][name]:12.3f}" for name in PREPROCESSINGS)
        print(f"{condition:12}", *cells, f"{no_face:8}  {', '.join(helps[condition]) or '-'}")
    return {"pairs": len(sample.same), "threshold": threshold, "accuracy": accuracy, "helps": helps}


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    add_lfw_options(parser)
    add_counts(parser, condition_pairs=150)
    parser.add_argument("--seed", type=int, default=42, help="of the sample")
    args = parser.parse_args(argv)
    model, detector, pairs, cache = lfw_material(args)
    found = study(model, detector, pairs, args.condition_pairs, args.seed, cache)
    write_json(args.report / "conditions.json", found)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
