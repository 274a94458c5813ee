"""An export from start to finish: write it, open it again, compare it, keep it if it is good."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import Any

from facesync.errors import ModelError
from facesync.export.compare import compare, table
from facesync.export.formats import FORMATS, Format
from facesync.export.images import calibration_crops, trial_of_copies, trial_of_pairs
from facesync.export.settings import ExportSettings
from facesync.faces import trust
from facesync.faces.onnx_files import read_description, write
from facesync.faces.torch_model import TorchModel, on_arrays
from facesync.faces.weights import as_torch, find_weights

log = logging.getLogger(__name__)

MOST_LOSS = 0.005
"""Loss of accuracy above which an export is refused."""


def export(settings: ExportSettings) -> Path:
    """Export a model, print how it compares with the original in torch, and return the file.

    The JSON beside the file holds what `FaceModel` needs to know about it, and the comparison.

    Raises:
        ModelError: the model cannot be loaded or exported, or loses too much accuracy.
        DataError: pairs or images cannot be used.
        FileError: the files cannot be written.
    """
    weights = find_weights(settings.model, offline=settings.offline)
    if weights.path.suffix == ".onnx":
        return _copy(weights.path, settings)
    chosen = FORMATS[settings.format]
    model = as_torch(weights)
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        draft = Path(folder) / f"model{chosen.ending}"
        log.info("Exporting %s as %s ...", weights.name, chosen.name)
        chosen.write(model, draft, _calibration(chosen, model, settings))
        found = _comparison(chosen, model, draft, settings)
        content = draft.read_bytes()
    found["megabytes"] = len(content) / 1e6
    found["torch_megabytes"] = weights.path.stat().st_size / 1e6
    print(table(chosen.name, found), flush=True)
    _check_loss(found, settings)
    path = settings.output / f"{weights.path.stem}{chosen.ending}"
    facts = model.facts()
    if not chosen.exact:
        facts = {**facts, **_inexact_facts(chosen, model, content)}
    write(path, content, {**facts, "description": f"{weights.path.name} as {chosen.name}",
                          "comparison": found})  # fmt: skip
    print(f"{path} ({found['megabytes']:.1f} MB), described in the .json next to it")
    return path


def _calibration(chosen: Format, model: TorchModel, settings: ExportSettings) -> list[Any]:
    if chosen.exact:
        return []
    crops_rgb = calibration_crops(settings.calibration_images, model.crop)
    return [model.crop.array(crop)[None] for crop in crops_rgb]


def _comparison(
    chosen: Format, model: TorchModel, draft: Path, settings: ExportSettings
) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)  # as for the exported model
    if settings.pairs and settings.images:
        trial = trial_of_pairs(settings.pairs, settings.images, model.crop)
    else:
        trial = trial_of_copies(model.crop)
    return compare(chosen.open(draft), on_arrays(model.network, "cpu"), model.crop, trial)


def _check_loss(found: dict[str, Any], settings: ExportSettings) -> None:
    if found["accuracy"] is None or settings.allow_loss:
        return
    loss = found["torch_accuracy"] - found["accuracy"]
    if loss > MOST_LOSS:
        raise ModelError(
            f"refused: the exported model loses {100 * loss:.2f} points of accuracy, more than "
            f"{100 * MOST_LOSS:.1f}; nothing was written (--allow-loss writes it anyway)"
        )


def _inexact_facts(chosen: Format, model: TorchModel, content: bytes) -> dict[str, Any]:
    """Return what differs for a model whose embeddings are not the original's.

    Its templates must not be mixed with the original's, and the original's thresholds were not
    measured on it: it gets its own fingerprint, and neither threshold nor calibration nor trust.
    """
    name = model.fingerprint.encode() + chosen.name.encode() + content
    return {
        "fingerprint": hashlib.sha256(name).hexdigest()[:16],
        "threshold": None,
        "calibration": None,
        trust.ENTRY: None,
        "remark": f"{model.remark}, {chosen.name}".removeprefix(", "),
    }


def _copy(onnx: Path, settings: ExportSettings) -> Path:
    """Check a model that is already ONNX, and copy it."""
    if settings.format != "onnx":
        raise ModelError(
            f"{onnx.name} is already ONNX and holds no torch weights; --format onnx copies it, for "
            "other formats name the checkpoint it was exported from"
        )
    facts = read_description(onnx)
    path = settings.output / onnx.name
    write(path, onnx.read_bytes(), facts)
    print(f"{path}: copied and verified, with its .json")
    return path
