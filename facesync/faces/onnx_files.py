"""Exported networks: an ONNX file with a JSON beside it, and the cache of exports.

The JSON describes the network and holds the SHA-256 of the ONNX file; if the two do not match, they
are refused, as is an ONNX file that has weights in other files, which no checksum covers. Opening
them runs no code.

A torch network is exported once. The name of its ONNX file contains the SHA-256 of the weights, so
that it is found again without torch, and never used for other weights. It is kept in a folder that
is the user's alone: whoever may write where the weights are could put another network there.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from facesync.errors import FileError, ModelError
from facesync.faces.onnx_external import names_other_files
from facesync.files import make_private_folder, replacing, user_cache, write_json

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the JSON and of the export: a new number makes every export again."""

EXPORT = 4
"""Version of what a cached export says besides its weights, such as the crop of VGGFace2's: a new
number makes the caches again, and leaves models from `export_model.py` valid."""

_MOST_BYTES = 1 << 20
"""The longest description that is read."""

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


def write(
    onnx: Path, content: bytes, facts: dict[str, Any], *, private: bool = False
) -> dict[str, Any]:
    """Write an ONNX file, and its description to the JSON beside it; return what is in that.

    Args:
        onnx: the file to write.
        content: of it.
        facts: its description.
        private: as in `facesync.files.replacing`.

    Raises:
        FileError: they cannot be written.
        ModelError: the description cannot be JSON.
    """
    data = {"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), **facts}
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the description of {onnx.name} cannot be saved ({error})") from error
    with replacing(onnx, private=private) as file:
        file.write(content)
    write_json(onnx.with_suffix(".json"), data, indent=2, private=private)
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


def exports_folder() -> Path:
    """Return where exports are kept, a folder that nobody else may read or write; it is made.

    Raises:
        FileError: it cannot be made, or somebody else has made it.
    """
    folder = user_cache() / "exports"
    try:
        make_private_folder(folder)
        if not _is_own(folder, stat.S_ISDIR):
            raise FileError(f"{folder} is not the user's own; delete it")
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise FileError(f"exports cannot be kept in {folder}: {error.strerror}") from error
    return folder


def is_own_file(path: Path) -> bool:
    """Whether a file is the user's own, not a link, and nobody else may write it."""
    return _is_own(path, stat.S_ISREG)


def _is_own(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether it is the user's own folder or file, not a link, which only they may change."""
    found = os.lstat(path)
    if os.name != "posix":  # Windows: the user's folders are theirs by access lists
        return kind(found.st_mode)
    writable = stat.S_ISREG(found.st_mode) and found.st_mode & 0o022
    return kind(found.st_mode) and found.st_uid == os.geteuid() and not writable


def exported(weights: Path, make: Make, changed: str = "") -> tuple[Path, dict[str, Any]]:
    """Find the export of a weights file, or make it; return it and the content of its JSON.

    Args:
        weights: the file.
        make: returns the content of the ONNX file, and facts about it for the JSON.
        changed: distinguishes an export of something else than the file as it is.

    Raises:
        FileError: there is no export yet, and no folder for it.
        ModelError: the weights cannot be read.
    """
    digest = hashlib.sha256(f"{EXPORT}{changed} {sha256(weights)}".encode()).hexdigest()[:32]
    place = hashlib.sha256(os.fsencode(weights.resolve())).hexdigest()[:8]
    folder = exports_folder()
    stem = f"{weights.stem[:60]}-{place}"
    onnx = folder / f"{stem}-{digest}.onnx"
    if facts := _known(onnx):
        return onnx, facts
    try:
        # Hidden, and one for all exports of a model, so that lock files do not pile up.
        with FileLock(folder / f".{stem}.lock", mode=0o600):
            facts = _known(onnx)  # another process may have been faster
            if facts is None:
                content, made = make()
                facts = write(onnx, content, made, private=True)
                _delete_older(onnx, stem)
    except OSError as error:
        raise FileError(f"exports cannot be kept in {folder}: {error.strerror}") from error
    return onnx, facts


def _known(onnx: Path) -> dict[str, Any] | None:
    """Read an export's JSON; None if there is no export or it has to be made again."""
    try:
        if not all(is_own_file(path) for path in (onnx, onnx.with_suffix(".json"))):
            raise ModelError(f"{onnx} is not the user's own")
        return read_description(onnx)
    except FileNotFoundError:
        return None
    except ModelError as error:
        log.warning("%s; making it again", error)
        return None


def _delete_older(onnx: Path, stem: str) -> None:
    """Delete exports of earlier weights of the same file."""
    for path in onnx.parent.glob(f"{glob.escape(stem)}-*"):
        older = re.fullmatch(r"-[0-9a-f]{32}\.(onnx|json)", path.name[len(stem) :])
        if older and path.stem != onnx.stem:
            with suppress(OSError):
                path.unlink()
