"""One evaluation from settings to report."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

import facesync
from facesync.devices import pick_device
from facesync.errors import FaceSyncError, FileError
from facesync.evaluation import calibrate as calibration
from facesync.evaluation import groups, results, summary
from facesync.evaluation.crop_variants import mirrored
from facesync.evaluation.embeddings import Embedded, Embedder, detector_label
from facesync.evaluation.page import page
from facesync.evaluation.protocols import PairSet, draw_pairs, read_bin, read_lfw_pairs
from facesync.evaluation.settings import EvaluateSettings
from facesync.faces.detection import FaceDetector
from facesync.faces.embedding import FaceModel, unit
from facesync.faces.weights import load_face_model
from facesync.files import replacing
from facesync.metrics.pairs import AllPairs, all_pairs

log = logging.getLogger(__name__)

REPORT_NAME, PAGE_NAME = "report.json", "report.html"
_GALLERIES = (1, 10, 100, 1000, 10_000)


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Evaluate a model, print the tables, write the reports and return `report.json`'s content.

    Of several `.bin` sets each has its report in a folder of its name, and `report.json` holds
    all of them by that name, under `sets`.

    Raises:
        FaceSyncError: the model or the data cannot be used, or nothing can be written.
    """
    # The data first: weights are not downloaded for a file that is not there.
    for path in settings.bin:
        if not path.is_file():
            raise FileError(f"there is no file {path}")
    pairs = _pairs(settings)
    if settings.by_group:
        groups.read_groups(settings.by_group, pairs.images)
    device = pick_device(settings.device)
    model = load_face_model(settings.model, device, offline=settings.offline)
    if len(settings.bin) < 2:
        detector = None if settings.crops or settings.bin else FaceDetector(device)
        return _evaluate_one(settings, model, detector, pairs, settings.report)
    sets = {}
    for number, path in enumerate(settings.bin):
        if number:
            pairs = read_bin(path)
        sets[path.stem] = _evaluate_one(settings, model, None, pairs, settings.report / path.stem)
    _write_json(settings.report / REPORT_NAME, {"sets": sets})
    return {"sets": sets}


def _pairs(settings: EvaluateSettings) -> PairSet:
    if settings.bin:
        return read_bin(settings.bin[0])
    if settings.data:
        return draw_pairs(settings.data, settings.impostors, settings.seed)
    assert settings.pairs is not None and settings.images is not None
    return read_lfw_pairs(settings.pairs, settings.images)


def _evaluate_one(
    settings: EvaluateSettings,
    model: FaceModel,
    detector: FaceDetector | None,
    pairs: PairSet,
    folder: Path,
) -> dict[str, Any]:
    started = time.monotonic()
    cache = settings.cache or settings.report / "cache"
    embedder = _embedder(model, detector, cache)
    embedded = embedder.embed(pairs.images)
    vectors = embedded.vectors
    if settings.mirror:
        other = _embedder(model, detector, cache, mirror=True).embed(pairs.images, "Mirrored")
        embedded.computed += other.computed
        vectors = unit(vectors + other.vectors)
    scores = pairs.scores(vectors)
    report = _report(settings, model, pairs, embedded, scores)
    identities = [image.identity for image in pairs.images]
    named = [identity for identity in identities if identity is not None]
    report |= {"all_pairs": None, "identification": None}
    if len(named) == len(identities):
        every = all_pairs(vectors, named, settings.seed)
        report["all_pairs"] = results.of_all_pairs(every, settings.seed)
        report["identification"] = results.open_set(vectors, named, settings.seed)
        if settings.by_group:
            report["by_group"] = _by_group(settings.by_group, report, pairs, vectors, named)
        if settings.calibrate:
            report["calibration"] = _calibrate(settings, model, pairs, every)
        if settings.conditions:
            from facesync.evaluation.conditions import study

            assert detector is not None
            report["conditions"] = study(
                settings, model, detector, pairs, report["threshold"], cache
            )
    report["seconds"] = time.monotonic() - started
    _write_json(folder / REPORT_NAME, report)
    with replacing(folder / PAGE_NAME) as file:
        look = _looker(embedder, pairs)
        file.write(page(report, pairs, scores, look).encode("utf-8", "xmlcharrefreplace"))
    print(summary.as_text(report))
    print(f"\nReport: {folder / PAGE_NAME}", flush=True)
    return report


def _embedder(
    model: FaceModel, detector: FaceDetector | None, cache: Path, *, mirror: bool = False
) -> Embedder:
    return Embedder(
        model,
        detector,
        cache,
        detection_label="" if detector is None else detector_label(detector),
        label="plain-mirrored" if mirror else "plain",
        cut=mirrored(model.crop.cut) if mirror else None,
    )


def _report(
    settings: EvaluateSettings,
    model: FaceModel,
    pairs: PairSet,
    embedded: Embedded,
    scores: np.ndarray,
) -> dict[str, Any]:
    said = []
    if settings.crops or settings.bin:
        said.append(f"Images were taken as ready crops; the model was made for {model.crop}.")
    if settings.mirror:
        said.append("Each embedding is the mean of a face and its mirror image.")
    return {
        **results.verification(scores, pairs, settings.seed),
        "set": pairs.source,
        "folds": pairs.folds,
        "folds_given": pairs.folds_given,
        "pictures": len(pairs.images),
        "failed_to_enrol": len(embedded.failures),
        "failures": [{"picture": name, "reason": reason} for name, reason in embedded.failures],
        "embedded_now": embedded.computed,
        "model": {
            "source": model.source,
            "fingerprint": model.fingerprint,
            "crop": model.crop.to_dict(),
        },
        "seed": settings.seed,
        "rule": results.RULE,
        "notes": said,
        "version": facesync.__version__,
    }


def _by_group(
    path: Path,
    report: dict[str, Any],
    pairs: PairSet,
    vectors: np.ndarray,
    identities: list[str],
) -> dict[str, Any]:
    members = groups.read_groups(path, pairs.images)
    # Where the app would set it, if the images support that rate.
    threshold = report["all_pairs"]["threshold_at_far"].get("1e-3", report["threshold"])
    return {
        "threshold": threshold,
        "groups": groups.group_rates(members, vectors, identities, threshold),
    }


def _calibrate(
    settings: EvaluateSettings, model: FaceModel, pairs: PairSet, every: AllPairs
) -> dict[str, Any]:
    assert settings.calibrate is not None
    measured = calibration.calibrate(
        model,
        every,
        f"{pairs.source}: all pairs among the images",
        calibration.fingerprint_of(pairs.images),
        settings.seed,
    )
    home = calibration.calibration_home(settings.model)
    calibration.write_calibration(home, measured)
    log.info("The calibration was written to %s", home)
    return {
        **measured.to_dict(),
        "fmr": settings.calibrate,
        "by_gallery": [
            [
                people,
                measured.threshold(settings.calibrate, people),
                measured.is_measured(settings.calibrate, people),
            ]
            for people in _GALLERIES
        ],
        "written_to": str(home),
    }


def _looker(embedder: Embedder, pairs: PairSet) -> Any:
    def look(index: int) -> np.ndarray | None:
        try:
            return embedder.crop(pairs.images[index])
        except FaceSyncError:
            return None

    return look


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
