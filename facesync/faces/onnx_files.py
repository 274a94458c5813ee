"""Exported nets: an ONNX file with a JSON beside it, and the cache of those the app makes itself.

The JSON holds plain data about the net, and the SHA-256 of the ONNX file, so that the two belong
together or are refused. Neither runs code when it is opened.

A net of torch's is exported once. Its ONNX file is named after the file of weights and that file's
SHA-256, so that it is found again without torch, and never for other weights.
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
from facesync.files import replacing, user_cache

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the JSON, and of how the nets are exported: a new number makes all caches anew."""

EXPORT = 2
"""Of what an export says beyond its weights, such as the crop that VGGFace2's are served with: a
new number makes the caches anew, and leaves exported models as good as they were."""

Make = Callable[[], tuple[bytes, dict[str, Any]]]


def sha256(path: Path) -> str:
    """Hash a file's content, in hexadecimal digits.

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
    """Write an ONNX file, and what is known of it, plain data, to the JSON beside it.

    Returns:
        What the JSON says.

    Raises:
        FileError: they cannot be written.
    """
    data = {"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), **facts}
    with replacing(onnx) as file:
        file.write(content)
    with replacing(onnx.with_suffix(".json")) as file:
        file.write(json.dumps(data, indent=2).encode())
    return data


def read_description(onnx: Path) -> dict[str, Any]:
    """Read the JSON beside an ONNX file, and check that the file is the one it speaks of.

    Raises:
        ModelError: one of the two is missing, damaged or of another format.
    """
    path = onnx.with_suffix(".json")
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: it is no JSON") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ModelError(f"{path} does not describe a model in a way that this version knows")
    if data.get("sha256") != sha256(onnx):
        raise ModelError(f"{onnx} is damaged: it is not the file that {path.name} describes")
    return data


def exported(weights: Path, make: Make, *, beside: bool = True) -> tuple[Path, dict[str, Any]]:
    """Find the export of a file of weights, or make it.

    Args:
        weights: the file.
        make: returns the bytes of the ONNX file, and facts about it for the JSON.
        beside: look, and write, beside the weights first and in `user_cache()` only where that
            folder cannot be written.

    Returns:
        The ONNX file and what its JSON says.

    Raises:
        FileError: there is no export yet, and no folder that it could be written to.
        ModelError: the weights cannot be read, or whatever `make` raises.
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
        # Hidden, and one for all exports of a model, so that it does not pile up.
        with FileLock(folder / f".{weights.stem}.lock"):
            facts = _known(folder / name)  # another process may have been faster
            if facts is None:
                content, made = make()
                facts = write(folder / name, content, made)
        if folder == weights.parent:
            _forget_others(folder / name)
        return folder / name, facts
    raise FileError(
        f"there is no folder to keep the exported {weights.name} in: "
        f"{' and '.join(map(str, folders))} cannot be written"
    )


def _known(onnx: Path) -> dict[str, Any] | None:
    """Read an export's JSON; None where there is none, or it has to be made again."""
    if not onnx.exists():
        return None
    try:
        return read_description(onnx)
    except ModelError as error:
        log.warning("%s; it is made anew", error)
        return None


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.stat().st_mode & 0o222:
            return False  # closed to everybody: what root may do all the same was not meant
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _forget_others(onnx: Path) -> None:
    """Delete the exports of what lay under the same name before."""
    stem = onnx.stem[: -len("-0123456789abcdef")]
    for path in onnx.parent.glob(f"{glob.escape(stem)}-*"):
        older = re.fullmatch(r"-[0-9a-f]{16}\.(onnx|json)", path.name[len(stem) :])
        if older and path.stem != onnx.stem:
            with suppress(OSError):
                path.unlink()
