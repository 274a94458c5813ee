"""An export from start to finish: write it, open it again, compare it, keep it if it is good."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import Any

from facesync.errors import ModelError, UsageError
from facesync.export.compare import compare, table
from facesync.export.formats import FORMATS, Format
from facesync.export.images import (
    Trial,
    calibration_inputs,
    trial_of_copies,
    trial_of_pairs,
    trial_of_samples,
)
from facesync.export.original import Original, find_original
from facesync.export.settings import ExportSettings
from facesync.faces import trust
from facesync.faces.onnx_files import read_description, write

log = logging.getLogger(__name__)

MOST_LOSS = 0.005
"""Loss of accuracy above which an export is refused."""


def export(settings: ExportSettings) -> Path:
    """Export a model, print how it compares with the original, and return the file.

    The JSON beside the file holds what the app needs to know about it, and the comparison.

    Raises:
        ModelError: the model cannot be loaded or exported, or loses too much accuracy.
        UsageError: the images to compare on are for another kind of model.
        DataError: pairs or images cannot be used.
        FileError: the files cannot be written.
    """
    original = find_original(settings.model, offline=settings.offline)
    if settings.format == "onnx" and original.path.suffix == ".onnx":
        return _copy(original, settings)
    chosen = FORMATS[settings.format]
    trial = _trial(original, settings)
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        draft = Path(folder) / f"model{chosen.ending}"
        log.info("Exporting %s as %s ...", original.name, chosen.name)
        calibration = (
            [] if chosen.exact else calibration_inputs(settings.calibration_images, original)
        )
        chosen.write(original.network, original.shape, draft, calibration)
        found = compare(chosen.open(draft), original.run, trial)
        content = draft.read_bytes()
    found["megabytes"] = len(content) / 1e6
    found["original_megabytes"] = original.path.stat().st_size / 1e6
    print(table(chosen.name, original.runtime, found), flush=True)
    _check_loss(found, settings)
    path = settings.output / f"{original.path.stem}{chosen.ending}"
    facts = original.facts if chosen.exact else _inexact_facts(chosen, original, content)
    write(path, content, {**facts, "description": f"{original.path.name} as {chosen.name}",
                          "comparison": found})  # fmt: skip
    print(f"{path} ({found['megabytes']:.1f} MB), described in the .json next to it")
    return path


def _trial(original: Original, settings: ExportSettings) -> Trial:
    embeds = original.threshold is None
    if settings.data and embeds:
        raise UsageError("--data is for a liveness model; --pairs and --images are for this one")
    if settings.pairs and not embeds:
        raise UsageError("--pairs and --images are for models of faces; --data is for this one")
    if settings.data:
        return trial_of_samples(settings.data, original)
    if settings.pairs and settings.images:
        return trial_of_pairs(settings.pairs, settings.images, original)
    return trial_of_copies(original)


def _check_loss(found: dict[str, Any], settings: ExportSettings) -> None:
    if found["accuracy"] is None or settings.allow_loss:
        return
    loss = found["original_accuracy"] - found["accuracy"]
    if loss > MOST_LOSS:
        raise ModelError(
            f"refused: the exported model loses {100 * loss:.2f} points of accuracy, more than "
            f"{100 * MOST_LOSS:.1f}; nothing was written (--allow-loss writes it anyway)"
        )


def _inexact_facts(chosen: Format, original: Original, content: bytes) -> dict[str, Any]:
    """Return the description of a model whose output is not the original's.

    A liveness model keeps its thresholds: the comparison tells which decisions they change. Of a
    model of faces, templates must not be mixed with the original's, and what was measured on the
    original was not measured on it: it gets its own fingerprint, and neither threshold nor
    calibration nor trust.
    """
    facts = original.facts
    if original.threshold is not None:
        return facts
    name = facts["fingerprint"].encode() + chosen.name.encode() + content
    remark = facts.get("remark") or ""
    return {
        "crop": facts["crop"],
        "input": facts["input"],
        "fingerprint": hashlib.sha256(name).hexdigest()[:16],
        "remark": f"{remark}, {chosen.name}".removeprefix(", "),
        "threshold": None,
        "calibration": None,
        trust.ENTRY: None,
    }


def _copy(original: Original, settings: ExportSettings) -> Path:
    """Copy a model that is already ONNX; it was checked when it was found."""
    path = settings.output / original.path.name
    facts = read_description(original.path)
    write(path, original.network, {**facts, "input": original.facts["input"]})
    print(f"{path}: copied and verified, with its .json")
    return path
