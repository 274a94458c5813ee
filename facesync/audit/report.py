"""An audit from its options to its files: `preprocessing_dataset.py --audit`."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from facesync.audit.cache import embed_set
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
from facesync.data.datasets import FaceDataset
from facesync.data.left_out import read_list, write_list
from facesync.errors import DataError, ImageError, UsageError
from facesync.faces.detection import Detector
from facesync.faces.embedding import FaceModel
from facesync.images import read_image_rgb

logger = logging.getLogger(__name__)

FINDINGS_NAME = "findings.csv"
_CACHE = "embeddings"
_SHEETS = "sheets"
_FLAGGED = 3
_KEPT = 256


@dataclass(frozen=True)
class Audit:
    """What an audit found and wrote.

    Attributes:
        dataset: the set, without what was on its list before.
        findings: at most one for each image.
        csv: where they are written.
        sheets: the pages of images.
        applied: whether the findings are on the set's list now.
    """

    dataset: FaceDataset
    findings: list[Finding]
    csv: Path
    sheets: list[Path]
    applied: bool

    def summary(self) -> str:
        """Return a few lines for the terminal."""
        total = len(self.dataset)
        counts = Counter(found.kind for found in self.findings)
        lines = [
            f"{total:,} images of {len(self.dataset.class_names):,} identities: "
            f"{len(self.findings):,} should be left out ({len(self.findings) / total:.1%})"
        ]
        lines += [f"  {kind:15} {counts[kind]:8,}" for kind in KINDS if counts[kind]]
        lines.append(f"Findings: {self.csv}")
        if self.sheets:
            lines.append(f"Images: {self.sheets[0].parent} ({len(self.sheets)} pages)")
        if self.applied:
            lines.append(
                f"Left out by {self.dataset.list_path}; remove a line, or the file, to take "
                "images back"
            )
        elif self.findings:
            lines.append("Nothing is left out yet: look at them, then add --apply")
        return "\n".join(lines)


def check_paths(source: Path, output: Path | None) -> Path:
    """Check, before weights are loaded, where a set is read and its audit goes.

    Returns:
        The output folder: beside the set, `<set>_audit`, where none is named.

    Raises:
        DataError: there is no such set.
        UsageError: the output lies among the images, where it would be taken for an identity.
    """
    if not source.exists():
        raise DataError(f"{source}: no such folder or pack")
    if output is None:
        beside = source.with_suffix("") if source.is_file() else source.resolve()
        return beside.with_name(f"{beside.name}_audit")
    if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"--output {output} lies in {source}, among the images; name another")
    return output


def audit(
    source: Path, output: Path, model: FaceModel, detector: Detector, *, apply: bool = False
) -> Audit:
    """Find what is wrong with a folder of images or a pack, and say so in files.

    Writes `findings.csv`, pages of images in `sheets/`, and embeddings, which the next run
    takes up. Images on the set's list are left out already and not looked at.

    Args:
        source: folder of identity folders, folder of a pack, or `.rec` file.
        output: folder for it all; made if missing.
        model: what embeds the images.
        detector: tells whether there is a face.
        apply: add what was found to the list that `FaceDataset` reads.

    Raises:
        DataError: the set cannot be used.
        FileError: a file cannot be written.
    """
    dataset = FaceDataset(source, min_images=1, max_images=sys.maxsize)
    embedded = embed_set(dataset, model, output / _CACHE)
    logger.info(
        "%s of %s embeddings were there already",
        f"{len(dataset) - embedded.computed:,}",
        f"{len(dataset):,}",
    )
    findings = find_faults(dataset, embedded, detector)
    csv = output / FINDINGS_NAME
    write_findings(csv, findings, dataset.names)
    sheets = _write_all_sheets(output / _SHEETS, dataset, findings)
    if apply and findings:
        reasons = read_list(dataset.list_path)
        reasons.update((dataset.names[found.image], found.reason()) for found in findings)
        write_list(dataset.list_path, reasons)
    return Audit(dataset, findings, csv, sheets, applied=apply and bool(findings))


def _write_all_sheets(
    folder: Path, dataset: FaceDataset, findings: Sequence[Finding]
) -> list[Path]:
    @lru_cache(_KEPT)
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
    """Make one entry of each finding, but one of all images of a part or an identity."""
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
        flagged = tuple(found.image for found in group[:_FLAGGED])
        entries.append(Entry(flagged, first.compare, title, f"{first.evidence}: {first.action}"))
    return entries
