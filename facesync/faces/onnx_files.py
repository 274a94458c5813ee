"""Exported networks: an ONNX file with a JSON beside it, and the cache of exports.

The JSON describes the network and holds the SHA-256 of the ONNX file; if the two do not match, they
are refused. Opening them runs no code.

A torch network is exported once. The name of its ONNX file contains the SHA-256 of the weights, so
that it is found again without torch, and never used for other weights.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from facesync.errors import FileError, ModelError
from facesync.files import replacing, user_cache, write_json

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the JSON and of the export: a new number makes every export again."""

EXPORT = 2
"""Version of what a cached export says besides its weights, such as the crop of VGGFace2's: a new
number makes the caches again, and leaves models from `export_model.py` valid."""

Make = Callable[[], tuple[bytes, dict[str, Any]]]


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


def write(onnx: Path, content: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    """Write an ONNX file, and its description to the JSON beside it; return what is in that.

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
    """Read the JSON beside an ONNX file, and check that it describes this file.

    Raises:
        ModelError: either is missing or damaged, or has another format.
    """
    path = onnx.with_suffix(".json")
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ModelError(f"{path} has a format that this version does not know")
    if data.get("sha256") != sha256(onnx):
        raise ModelError(f"{onnx} is damaged: its checksum is not the one in {path.name}")
    return data


def exported(weights: Path, make: Make, *, beside: bool = True) -> tuple[Path, dict[str, Any]]:
    """Find the export of a weights file, or make it; return it and the content of its JSON.

    Args:
        weights: the file.
        make: returns the content of the ONNX file, and facts about it for the JSON.
        beside: keep the export beside the weights, and in `user_cache()` only if that folder is
            not writable; otherwise always in `user_cache()`.

    Raises:
        FileError: there is no export yet, and no writable folder for it.
        ModelError: the weights cannot be read.
    """
    digest = hashlib.sha256(f"{EXPORT} {sha256(weights)}".encode()).hexdigest()[:16]
    name = f"{weights.stem}-{digest}.onnx"
    folders = [weights.parent, user_cache()] if beside else [user_cache()]
    for folder in folders:
        if facts := _known(folder / name):
            return folder / name, facts
    for folder in folders:
        if not _writable(folder):
            continue
        # Hidden, and one for all exports of a model, so that lock files do not pile up.
        with FileLock(folder / f".{weights.stem}.lock"):
            facts = _known(folder / name)  # another process may have been faster
            if facts is None:
                content, made = make()
                facts = write(folder / name, content, made)
        if folder == weights.parent:
            _delete_older(folder / name)
        return folder / name, facts
    raise FileError(
        f"the exported {weights.name} cannot be kept: "
        f"{' and '.join(map(str, folders))} cannot be written"
    )


def _known(onnx: Path) -> dict[str, Any] | None:
    """Read an export's JSON; None if there is no export or it has to be made again."""
    if not onnx.exists():
        return None
    try:
        return read_description(onnx)
    except ModelError as error:
        log.warning("%s; making it again", error)
        return None


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.stat().st_mode & 0o222:
            return False  # read-only for everybody: respected even as root
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _delete_older(onnx: Path) -> None:
    """Delete exports of earlier weights of the same name."""
    stem = onnx.stem[: -len("-0123456789abcdef")]
    for path in onnx.parent.glob(f"{glob.escape(stem)}-*"):
        older = re.fullmatch(r"-[0-9a-f]{16}\.(onnx|json)", path.name[len(stem) :])
        if older and path.stem != onnx.stem:
            with suppress(OSError):
                path.unlink()
