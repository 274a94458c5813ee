"""One evaluation from settings to report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from facesync.cli import count
from facesync.data.datasets import FaceDataset
from facesync.data.shards import Shard, shard_in_force
from facesync.devices import pick_device
from facesync.errors import DataError, FaceSyncError, FileError, ModelError
from facesync.evaluation import summary
from facesync.evaluation.baseline import read_baseline
from facesync.evaluation.calibrations import data_fingerprint, store_calibration
from facesync.evaluation.cfp import cfp_pairs
from facesync.evaluation.embeddings import Embedded, Embedder, detector_label, mirrored
from facesync.evaluation.groups import group_pairs, group_rates, read_groups
from facesync.evaluation.held_out import held_out_images
from facesync.evaluation.images import DatasetImages, ImageRef
from facesync.evaluation.page import page
from facesync.evaluation.protocols import PairSet, draw_pairs, read_bin, read_lfw_pairs
from facesync.evaluation.report import (
    ByGroup,
    Calibrated,
    Report,
    all_pairs_rates,
    in_force,
    verify,
)
from facesync.evaluation.settings import EvaluateSettings
from facesync.faces.calibration import Calibration
from facesync.faces.detection import FaceDetector
from facesync.faces.embedding import FaceModel, unit
from facesync.faces.fitting import calibrate
from facesync.faces.weights import load_face_model
from facesync.files import replacing, write_json
from facesync.metrics.open_set import OpenSetRate, open_set
from facesync.metrics.pairs import AllPairs, all_pairs, count_pairs
from facesync.metrics.rates import identification
from facesync.metrics.vectors import Vectors
from facesync.spawning import default_workers

log = logging.getLogger(__name__)

REPORT_NAME, PAGE_NAME = "report.json", "report.html"
_GALLERIES = (1, 10, 100, 1000, 10_000)
_DEFAULT_FAR = "1e-3"


def evaluate(settings: EvaluateSettings) -> list[Report]:
    """Evaluate a model, print the figures and write `report.json` and `report.html`.

    For several sets of pairs (`--bin`, `--protocol cfp`), each has its report in a folder of its
    name, and `report.json` has all of them by that name under `sets`.

    Returns:
        The report of each set of pairs; none with `shard`, which only fills the cache.

    Raises:
        FaceSyncError: the model or the data cannot be used, or the report cannot be written.
    """
    # Data before model: weights are not downloaded if a file is missing.
    for path in settings.bin:
        if not path.is_file():
            raise FileError(f"there is no file {path}")
    (first, read_first), *others = _sets(settings).items()
    pairs = read_first()
    if settings.by_group:
        read_groups(settings.by_group, pairs.images)
    read_baseline(settings.baseline, pairs.source)
    device = pick_device(settings.device)
    model = load_face_model(settings.model, device, offline=settings.offline)
    detector = None if settings.crops or settings.bin else FaceDetector(device)
    if shard := shard_in_force(settings.shard):
        for read in (lambda: pairs, *(read for _, read in others)):
            _embed_share(settings, shard, model, detector, read())
        return []
    if not others:
        return [_evaluate_pairs(settings, model, detector, pairs, settings.report)]
    reports = {first: _evaluate_pairs(settings, model, detector, pairs, settings.report / first)}
    for name, read in others:
        reports[name] = _evaluate_pairs(settings, model, detector, read(), settings.report / name)
    sets = {name: report.to_dict() for name, report in reports.items()}
    write_json(settings.report / REPORT_NAME, {"sets": sets})
    return list(reports.values())


def _sets(settings: EvaluateSettings) -> dict[str, Callable[[], PairSet]]:
    """Return what reads each set of pairs, by its name: a large one is read when its turn comes."""
    if settings.bin:
        return {path.stem: partial(read_bin, path) for path in settings.bin}
    folder = settings.data or settings.images
    assert folder is not None
    if settings.pairs:
        return {"pairs": partial(read_lfw_pairs, settings.pairs, folder)}
    if settings.protocol:
        drawn = cfp_pairs(folder, settings.seed)
        return {name: partial(drawn.__getitem__, name) for name in drawn}
    return {"pairs": partial(_drawn_pairs, settings, folder)}


def _drawn_pairs(settings: EvaluateSettings, folder: Path) -> PairSet:
    """Draw pairs of all people of a dataset, or of those whom the model's training held out."""
    images = held_out_images(Path(settings.model), folder) if settings.held_out else None
    return draw_pairs(folder, settings.impostors, settings.seed, images)


def _evaluate_pairs(
    settings: EvaluateSettings,
    model: FaceModel,
    detector: FaceDetector | None,
    pairs: PairSet,
    folder: Path,
) -> Report:
    started = time.monotonic()
    embedder = _embedder(settings, model, detector)
    mirrors = _embedder(settings, model, detector, mirror=True) if settings.mirror else None
    embedded = _embed(pairs.images, embedder, mirrors)
    vectors = embedded.vectors
    scores = pairs.scores(vectors)
    verification, without_failures = verify(scores, pairs, settings.seed)
    every, found, by_group, calibrated, compared, counted = None, None, None, None, None, None
    identities = [image.identity for image in pairs.images if image.identity is not None]
    if len(identities) == len(pairs.images):
        compared = all_pairs(vectors, identities, settings.seed)
        if settings.all_pairs:
            counted = count_pairs(vectors, identities, settings.all_pairs, settings.seed)
        every = all_pairs_rates(counted or compared, settings.seed)
        found = identification(vectors, identities, settings.seed)
        within: dict[str, AllPairs] = {}
        if settings.by_group:
            # At the app's default rate, if the images support it.
            threshold = every.tar_at_far.get(_DEFAULT_FAR, verification.accuracy).threshold
            groups = read_groups(settings.by_group, pairs.images)
            within = group_pairs(groups, vectors, identities)
            by_group = ByGroup(threshold, group_rates(groups, within, vectors, threshold))
        if settings.calibrate:
            calibrated = _calibrate(settings, settings.calibrate, model, pairs, compared, within)
            model = replace(model, calibration=calibrated.calibration)
    searched: list[OpenSetRate] = []
    if settings.open_set:
        if _names_some(settings):
            everybody = _everybody(settings)
            vectors = _embed(everybody, embedder, mirrors).vectors
            identities = [str(image.identity) for image in everybody]
        searched = _open_set(settings, vectors, identities)
    report = Report(
        model=model,
        source=pairs.source,
        folds=pairs.folds,
        folds_given=pairs.folds_given,
        images=len(pairs.images),
        failures=[(pairs.images[n].name, why) for n, why in sorted(embedded.failures.items())],
        embedded_now=embedded.computed,
        baseline=read_baseline(settings.baseline, pairs.source),
        in_force=in_force(
            model, pairs, scores, counted or compared, data_fingerprint(pairs.images)
        ),
        verification=verification,
        without_failures=without_failures,
        all_pairs=every,
        identification=found,
        open_set=searched,
        by_group=by_group,
        calibrated=calibrated,
        notes=_notes(settings, model),
        seed=settings.seed,
        seconds=time.monotonic() - started,
    )
    _publish(report, pairs, scores, embedder, folder)
    return report


def _embed_share(
    settings: EvaluateSettings,
    shard: Shard,
    model: FaceModel,
    detector: FaceDetector | None,
    pairs: PairSet,
) -> None:
    """Embed one share of the images that the evaluation will need, into the cache."""
    for images in (pairs.images, *([_everybody(settings)] if _names_some(settings) else [])):
        share = [images[number] for number in shard.range_of(len(images))]
        computed = 0
        for mirror in (False, True) if settings.mirror else (False,):
            computed += _embedder(settings, model, detector, mirror=mirror).embed(share).computed
        print(
            f"Share {shard}: {count(len(share), 'image', 'images')}, {computed:,} embedded now. "
            "When all shares are done, run the command again without --shard.",
            flush=True,
        )


def _names_some(settings: EvaluateSettings) -> bool:
    """Whether a list names only some of the images that --open-set needs."""
    return bool(settings.open_set and settings.pairs and settings.images)


def _everybody(settings: EvaluateSettings) -> Sequence[ImageRef]:
    assert settings.images
    return DatasetImages(FaceDataset(settings.images, min_images=1, max_images=2**31))


def _embed(images: Sequence[ImageRef], embedder: Embedder, mirrors: Embedder | None) -> Embedded:
    """Embed images, each as the mean with its mirror image if an embedder of those is given."""
    embedded = embedder.embed(images)
    if mirrors is not None:
        other = mirrors.embed(images, "Mirrored")
        embedded.vectors = unit(np.asarray(embedded.vectors) + np.asarray(other.vectors))
        embedded.computed += other.computed
    return embedded


def _open_set(
    settings: EvaluateSettings, vectors: Vectors, identities: list[str]
) -> list[OpenSetRate]:
    """Measure FNIR at each FPIR.

    Raises:
        DataError: too few people have enough images.
    """
    rates = open_set(
        vectors,
        identities,
        enrolled=settings.enrol,
        people=settings.people,
        seed=settings.seed,
    )
    if not rates:
        raise DataError(
            f"--open-set needs at least two people with over "
            f"{count(settings.enrol, 'image', 'images')} each"
        )
    return rates


def _embedder(
    settings: EvaluateSettings,
    model: FaceModel,
    detector: FaceDetector | None,
    *,
    mirror: bool = False,
) -> Embedder:
    return Embedder(
        model,
        detector,
        settings.cache_folder,
        detection_label="" if detector is None else detector_label(detector),
        label="plain-mirrored" if mirror else "plain",
        crop=mirrored(model.crop.cut) if mirror else None,
        workers=settings.workers or default_workers(),
    )


def _notes(settings: EvaluateSettings, model: FaceModel) -> list[str]:
    notes = []
    if settings.crops or settings.bin:
        expected = f"{model.crop.kind} crops of {model.crop.crop_size} pixels"
        notes.append(f"The images were used as face crops; the model expects {expected}.")
    if settings.mirror:
        notes.append("Each embedding is the mean of an image and its mirror image.")
    return notes


def _calibrate(
    settings: EvaluateSettings,
    fmr: float,
    model: FaceModel,
    pairs: PairSet,
    compared: AllPairs,
    within: Mapping[str, AllPairs],
) -> Calibrated:
    measured = calibrate(
        compared,
        groups=within,
        seed=settings.seed,
        crop=model.crop,
        model_fingerprint=model.fingerprint,
        data=f"{pairs.source}: all pairs among the images",
        data_fingerprint=data_fingerprint(pairs.images),
    )
    path = store_calibration(settings.model, measured)
    log.info("The calibration was written to %s", path)
    by_gallery = [
        (people, _threshold(measured, fmr, people), measured.is_measured(fmr, people))
        for people in _GALLERIES
    ]
    return Calibrated(measured, fmr, by_gallery, str(path))


def _threshold(measured: Calibration, fmr: float, people: int) -> float | None:
    try:
        return measured.threshold(fmr, people)
    except ModelError:  # no similarity is high enough
        return None


def _publish(
    report: Report, pairs: PairSet, scores: np.ndarray, embedder: Embedder, folder: Path
) -> None:
    """Write both files and print the tables."""

    def crop(index: int) -> np.ndarray | None:
        try:
            return embedder.crop(pairs.images[index])
        except FaceSyncError:
            return None

    write_json(folder / REPORT_NAME, report.to_dict())
    with replacing(folder / PAGE_NAME) as file:
        file.write(page(report, pairs, scores, crop).encode("utf-8", "xmlcharrefreplace"))
    print(summary.as_text(report))
    print(f"\nReport: {folder / PAGE_NAME}", flush=True)
