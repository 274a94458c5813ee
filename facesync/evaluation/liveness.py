"""One evaluation of liveness from settings to report."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

import numpy as np

from facesync.data.progress import Progress
from facesync.errors import DataError, ImageError
from facesync.evaluation import liveness_page
from facesync.evaluation.cache import content_id
from facesync.evaluation.embeddings import detector_label
from facesync.evaluation.evaluate import PAGE_NAME, REPORT_NAME
from facesync.evaluation.faces import CachedFaces
from facesync.evaluation.liveness_report import LivenessReport, Mistake, Scored
from facesync.evaluation.liveness_settings import LivenessSettings
from facesync.faces.detection import FaceDetector
from facesync.files import replacing, write_json
from facesync.liveness.crops import CONTEXT, cut
from facesync.liveness.passive import PassiveModel, load_passive
from facesync.liveness.samples import LIVE, Sample, frames, read_samples

log = logging.getLogger(__name__)

_SHOWN_SIDE = 96


def evaluate_liveness(settings: LivenessSettings) -> LivenessReport:
    """Evaluate a model, print the figures and write `report.json` and `report.html`.

    Raises:
        FaceSyncError: the model or the samples cannot be used, or the report cannot be written.
    """
    assert settings.data and settings.report and settings.cache_folder
    samples = read_samples(settings.data)
    model = load_passive(settings.model)
    detector = FaceDetector()
    faces = CachedFaces(detector, settings.cache_folder, detector_label(detector))
    looked = _Looked(model, faces)
    started = time.monotonic()
    try:
        for sample in Progress(samples, unit=" files", desc="Looking"):
            looked.at(sample)
    finally:
        faces.flush()
    report = looked.report(settings.data, [sample.kind for sample in samples], started)
    _publish(report, settings.report)
    return report


class _Looked:
    """What has been seen of the samples so far."""

    def __init__(self, model: PassiveModel, faces: CachedFaces) -> None:
        self._model = model
        self._faces = faces
        self._scores: list[tuple[Sample, float]] = []
        self._no_face: Counter[str] = Counter()
        self._unreadable: list[tuple[str, str]] = []
        self._mistakes: dict[str, Mistake] = {}

    def at(self, sample: Sample) -> None:
        """Look at every frame of a sample."""
        try:
            for image_rgb in frames(sample):
                self._frame(sample, image_rgb)
        except ImageError as error:
            log.warning("%s; left out", error)
            reason = str(error).removeprefix(f"{sample.path}: ")
            self._unreadable.append((str(sample.path), reason))

    def _frame(self, sample: Sample, image_rgb: np.ndarray) -> None:
        face = self._faces.face(image_rgb, content_id(image_rgb.tobytes()))
        if face is None:
            self._no_face[sample.kind] += 1
            return
        (found,) = self._model.score(image_rgb, [face])
        self._scores.append((sample, found.live))
        off = found.live - self._model.thresholds.threshold
        wrong = off < 0 if sample.kind == LIVE else off >= 0
        known = self._mistakes.get(sample.video)
        if wrong and (known is None or abs(off) > known.off):
            crop_rgb = cut(image_rgb, face.box_xyxy, CONTEXT, _SHOWN_SIDE)
            mistake = Mistake(sample.kind, sample.video, found.live, abs(off), crop_rgb)
            self._mistakes[sample.video] = mistake

    def report(self, data: Path, kinds: list[str], started: float) -> LivenessReport:
        """Sum up.

        Raises:
            DataError: no face was found in any live image, or in any attack.
        """
        by_kind = {
            kind: Scored(
                np.array([score for sample, score in self._scores if sample.kind == kind]),
                np.array([sample.person for sample, _ in self._scores if sample.kind == kind]),
                np.array([sample.video for sample, _ in self._scores if sample.kind == kind]),
            )
            for kind in [LIVE, *sorted(set(kinds) - {LIVE})]
        }
        with_faces = {kind for kind, scored in by_kind.items() if len(scored.scores)}
        for needed, what in (({LIVE}, LIVE), (set(by_kind) - {LIVE}, "the attacks")):
            if not with_faces & needed:
                raise DataError(f"{data}: no face was found in {what}, so there is nothing to rate")
        return LivenessReport(
            model=self._model,
            data=str(data),
            frames=by_kind,
            no_face={kind: self._no_face[kind] for kind in by_kind},
            unreadable=self._unreadable,
            mistakes=sorted(self._mistakes.values(), key=lambda mistake: -mistake.off),
            seconds=time.monotonic() - started,
        )


def _publish(report: LivenessReport, folder: Path) -> None:
    """Write both files and print the tables."""
    write_json(folder / REPORT_NAME, report.to_dict())
    with replacing(folder / PAGE_NAME) as file:
        file.write(liveness_page.page(report).encode("utf-8", "xmlcharrefreplace"))
    print(liveness_page.as_text(report))
    print(f"\nReport: {folder / PAGE_NAME}", flush=True)
