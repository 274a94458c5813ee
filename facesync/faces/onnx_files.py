"""Exported networks: an ONNX file with a JSON beside it.

The JSON describes the network and holds the SHA-256 of the ONNX file; if the two do not match, they
are refused, as is an ONNX file that has weights in other files, which no checksum covers. Opening
them runs no code.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from facesync.errors import ModelError
from facesync.faces.onnx_external import names_other_files
from facesync.files import replacing, write_json

ASSETS = Path(__file__).resolve().parent.parent / "assets"
"""Small models and networks that ship, and what was measured of all models."""

FORMAT = 1
"""Version of the JSON."""

_MOST_BYTES = 1 << 20
"""The longest description that is read."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        ModelError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def write(
    onnx: Path,
    content: bytes,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Write an ONNX file, and its description to the JSON beside it; return what is in that.

    Args:
        onnx: the file to write.
        content: of it.
        facts: its description.

    Raises:
        FileError: they cannot be written.
        ModelError: the description cannot be JSON.
    """
    data = {"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), **facts}
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the description of {onnx.name} cannot be saved ({error})") from error
    with replacing(onnx) as file:
        file.write(content)
    write_json(onnx.with_suffix(".json"), data, indent=2)
    return data


def read_description(onnx: Path) -> dict[str, Any]:
    """Read the JSON beside an ONNX file, and check that it describes this file, the whole of it.

    Raises:
        ModelError: either is missing or damaged, or has another format; or the ONNX file has
            weights in other files.
    """
    path = onnx.with_suffix(".json")
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ModelError(f"{path} is too large to be a description")
        data = json.loads(text)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ModelError(f"{path} has a format that this version does not know")
    if data.get("sha256") != sha256(onnx):
        raise ModelError(f"{onnx} is damaged: its checksum is not the one in {path.name}")
    if names_other_files(onnx):
        raise ModelError(f"{onnx} has weights in other files; save it as one file")
    return data
