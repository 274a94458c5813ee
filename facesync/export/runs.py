"""One export from beginning to end: written, opened again, compared, kept only if it is good."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facesync.errors import ModelError
from facesync.export.compare import compare, table
from facesync.export.formats import FORMATS, Format
from facesync.export.images import calibration_crops, trial_of_copies, trial_of_pairs
from facesync.faces.onnx_files import read_description, write
from facesync.faces.torch_model import TorchModel, on_arrays, open_torch_model
from facesync.faces.weights import find_weights

log = logging.getLogger(__name__)

MOST_LOSS = 0.005
"""An export that loses more accuracy than this is refused."""


@dataclass(frozen=True)
class ExportSettings:
    """What to export, and how.

    Attributes:
        model: `vggface2`, `embedded` or a file.
        format: a key of `FORMATS`.
        output: folder for the file and the JSON beside it.
        allow_loss: keep it whatever accuracy it loses.
        calibration_images: folder of images for int8; varied photographs when None.
        pairs: LFW's list of pairs; varied photographs when None.
        images: the images that `pairs` names.
        offline: open no connection.
    """

    model: str
    format: str
    output: Path
    allow_loss: bool = False
    calibration_images: Path | None = None
    pairs: Path | None = None
    images: Path | None = None
    offline: bool = False


def export(settings: ExportSettings) -> Path:
    """Export a model, print how it compares with torch's, and return the file.

    The JSON beside the file holds what `FaceModel` needs to know of it, and the comparison.

    Raises:
        ModelError: the model cannot be had or exported, or loses too much accuracy.
        DataError: pairs or images cannot be used.
        FileError: the files cannot be written.
    """
    weights = find_weights(settings.model, offline=settings.offline)
    if weights.path.suffix == ".onnx":
        return _copy(weights.path, settings)
    chosen = FORMATS[settings.format]
    model = open_torch_model(weights.path)
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        draft = Path(folder) / f"model{chosen.ending}"
        log.info("Exporting %s as %s ...", weights.name, chosen.name)
        chosen.write(model, draft, _calibration(chosen, model, settings))
        found = _compared(chosen, model, draft, settings)
        content = draft.read_bytes()
    found["megabytes"] = len(content) / 1e6
    found["torch_megabytes"] = weights.path.stat().st_size / 1e6
    print(table(chosen.name, found), flush=True)
    _check_loss(found, settings)
    path = settings.output / f"{weights.path.stem}{chosen.ending}"
    facts = model.facts()
    if not chosen.exact:
        facts = {**facts, **_of_its_own(chosen, model, content)}
    write(path, content, {**facts, "description": f"{weights.path.name} as {chosen.name}",
                          "comparison": found})  # fmt: skip
    print(f"{path} ({found['megabytes']:.1f} MB), and what is known of it in the .json beside it")
    return path


def _calibration(chosen: Format, model: TorchModel, settings: ExportSettings) -> list[Any]:
    if chosen.exact:
        return []
    crops_rgb = calibration_crops(settings.calibration_images, model.crop)
    return [model.crop.array(crop)[None] for crop in crops_rgb]


def _compared(
    chosen: Format, model: TorchModel, draft: Path, settings: ExportSettings
) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)  # as the exported model gets
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
            f"{100 * MOST_LOSS:.1f}; nothing was written (--allow-loss writes it all the same)"
        )


def _of_its_own(chosen: Format, model: TorchModel, content: bytes) -> dict[str, Any]:
    """Facts of a model whose embeddings are not the original's.

    Its templates must not be mixed with the original's, nor its thresholds be taken for measured:
    it gets a fingerprint of its own, and neither threshold nor calibration.
    """
    name = model.fingerprint.encode() + chosen.name.encode() + content
    return {
        "fingerprint": hashlib.sha256(name).hexdigest()[:16],
        "threshold": None,
        "calibration": None,
        "remark": f"{model.remark}, {chosen.name}".removeprefix(", "),
    }


def _copy(onnx: Path, settings: ExportSettings) -> Path:
    """Copy a model that is ONNX already, once it has been checked."""
    if settings.format != "onnx":
        raise ModelError(
            f"{onnx.name} is ONNX already and has no weights of torch's; --format onnx copies it, "
            "for other formats name the checkpoint it was made from"
        )
    facts = read_description(onnx)
    path = settings.output / onnx.name
    write(path, onnx.read_bytes(), facts)
    print(f"{path}: a checked copy, with its .json")
    return path
