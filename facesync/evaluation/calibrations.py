"""Store a calibration where its model is, or in the user's cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from facesync.evaluation.images import ImageRef
from facesync.faces.calibration import Calibration, user_calibration_path
from facesync.faces.onnx_files import read_description
from facesync.faces.torch_model import read_checkpoint, write_checkpoint
from facesync.faces.weights import find_weights
from facesync.files import write_json


def data_fingerprint(images: Sequence[ImageRef]) -> str:
    """Hash images' names and identities, in any order, to 16 hexadecimal digits.

    Not their bytes: it tells datasets apart and does not prove that a file is intact.
    """
    digest = hashlib.sha256()
    for line in sorted(f"{image.identity}\0{image.name}" for image in images):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]


def store_calibration(choice: str, calibration: Calibration) -> Path:
    """Store the calibration of a model, as the user named it, and return the file.

    It goes into the checkpoint or the JSON beside an ONNX file, where all else is kept; that of a
    model that ships with FaceSync goes to the user's cache.

    Raises:
        FileError: it cannot be written.
    """
    found = find_weights(choice)
    weights = found.path
    entry = {"calibration": calibration.to_dict()}
    if found.known is not None:
        path = user_calibration_path(calibration.model_fingerprint)
        write_json(path, entry, private=True)
        return path
    if weights.suffix == ".onnx":
        path = weights.with_suffix(".json")
        write_json(path, {**read_description(weights), **entry})
        return path
    write_checkpoint(weights, {**read_checkpoint(weights), **entry})
    return weights
