"""An audit from its settings to its files."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from facesync import cli
from facesync.audit.contact_sheet import Entry, write_sheets
from facesync.audit.faults import find_faults
from facesync.audit.findings import (
    EXACT_COPY,
    KINDS,
    NEAR_COPY,
    SAME_PERSON,
    TWO_PEOPLE,
    Finding,
    write_findings,
)
from facesync.audit.settings import AuditSettings
from facesync.data.datasets import FaceDataset
from facesync.data.left_out import read_list, write_list
from facesync.devices import pick_device
from facesync.errors import DataError, ImageError, UsageError
from facesync.evaluation.embeddings import Embedder
from facesync.evaluation.images import DatasetImages
from facesync.faces.detection import FaceDetector
from facesync.faces.weights import load_face_model
from facesync.images import read_image_rgb
from facesync.spawning import default_workers

logger = logging.getLogger(__name__)

FINDINGS_NAME = "findings.csv"
_EMBEDDINGS = "embeddings"
_SHEETS = "sheets"
_FLAGGED_PER_ENTRY = 3
_IMAGES_IN_MEMORY = 256


@dataclass(frozen=True)
class Audit:
    """What an audit found and wrote.

    Attributes:
        dataset: the dataset, without images that were left out before.
        findings: at most one per image.
        csv: file of the findings.
        sheets: the pages of images.
        applied: whether the findings were added to the dataset's list.
    """

    dataset: FaceDataset
    findings: list[Finding]
    csv: Path
    sheets: list[Path]
    applied: bool

    def summary(self) -> str:
        """Return a few lines for the terminal."""
        total, found = len(self.dataset), len(self.findings)
        identities = len(self.dataset.class_names)
        counts = Counter(finding.kind for finding in self.findings)
        lines = [
            f"{cli.count(total, 'image', 'images')} of "
            f"{cli.count(identities, 'identity', 'identities')}: {found:,} should be left out "
            f"({found / total:.1%})"
        ]
        lines += [f"  {kind:15} {counts[kind]:8,}" for kind in KINDS if counts[kind]]
        lines.append(f"Findings: {self.csv}")
        if self.sheets:
            pages = cli.count(len(self.sheets), "page", "pages")
            lines.append(f"Contact sheets: {self.sheets[0].parent} ({pages})")
        if self.applied:
            path = self.dataset.list_path
            lines.append(f"Added to {path}; to bring images back, remove their lines")
        elif self.findings:
            lines.append(
                "Nothing has been left out yet: look at the sheets, then run again with --apply"
            )
        return "\n".join(lines)


def audit(settings: AuditSettings) -> Audit:
    """Find what is wrong with a dataset, write the findings and print a summary.

    Writes `findings.csv`, pages of images in `sheets/`, and embeddings for the next run. Images on
    the dataset's list are left out already and skipped. With `apply`, the findings are added
    to that list, which `FaceDataset` reads.

    Raises:
        UsageError: the output is among the images, where it would be taken for an identity.
        FaceSyncError: the dataset or the model cannot be used, or a file cannot be written.
    """
    output = _output_folder(settings.input, settings.output)
    device = pick_device(settings.device)
    model = load_face_model(settings.model, device, offline=settings.offline)
    print(f"Model: {model.source}")
    dataset = FaceDataset(settings.input, min_images=1, max_images=sys.maxsize)
    # As training sees the images: as they are, without detection.
    embedder = Embedder(model, None, output / _EMBEDDINGS, workers=default_workers())
    embedded = embedder.embed(DatasetImages(dataset))
    total, cached = len(dataset), len(dataset) - embedded.computed
    logger.info("%s of %s embeddings were in the cache", f"{cached:,}", f"{total:,}")
    findings = find_faults(dataset, embedded, FaceDetector(device))
    csv = output / FINDINGS_NAME
    write_findings(csv, findings, dataset.names)
    sheets = _write_all_sheets(output / _SHEETS, dataset, findings)
    applied = settings.apply and bool(findings)
    if applied:
        reasons = read_list(dataset.list_path)
        reasons.update((dataset.names[found.image], found.reason()) for found in findings)
        write_list(dataset.list_path, reasons)
    done = Audit(dataset, findings, csv, sheets, applied)
    print(done.summary())
    return done


def _output_folder(source: Path, output: Path | None) -> Path:
    """Check the paths before weights are loaded; return where the findings go."""
    if not source.exists():
        raise DataError(f"{source}: no such folder or pack")
    if output is None:
        beside = source.with_suffix("") if source.is_file() else source.resolve()
        return beside.with_name(f"{beside.name}_audit")
    if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"--output {output} is inside {source}, among the images; choose another folder"
        )
    return output


def _write_all_sheets(
    folder: Path, dataset: FaceDataset, findings: Sequence[Finding]
) -> list[Path]:
    @lru_cache(_IMAGES_IN_MEMORY)
    def image(index: int) -> np.ndarray | None:
        try:
            return read_image_rgb(dataset.encoded(index))
        except ImageError:
            return None

    sheets = []
    for kind in KINDS:
        entries = _entries([found for found in findings if found.kind == kind], dataset)
        sheets += write_sheets(folder, kind, entries, image)
    return sheets


def _entries(findings: Sequence[Finding], dataset: FaceDataset) -> list[Entry]:
    """Make one entry per finding, but a single one for all images of a part or an identity."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for found in findings:
        whole = found.kind in (TWO_PEOPLE, SAME_PERSON)
        label = dataset.labels[found.image]
        key = (label, found.evidence) if whole else (found.image,)
        groups.setdefault(key, []).append(found)
    entries = []
    for group in groups.values():
        first = group[0]
        title = dataset.names[first.image]
        if len(group) > 1:
            title += f" and {len(group) - 1} more of this identity"
        if first.kind in (EXACT_COPY, NEAR_COPY):
            title += f", copy of {first.other}"
        flagged = tuple(found.image for found in group[:_FLAGGED_PER_ENTRY])
        entries.append(Entry(flagged, first.compare, title, f"{first.evidence}: {first.action}"))
    return entries
