"""Files that appear whole or not at all, and names that are data rather than paths."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from facesync.errors import FileError

LOCK_SECONDS = 60.0
"""How long a writer waits for another process that is writing."""

# Names that Windows keeps for devices, whatever their suffix.
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)}


def temporary_beside(path: Path) -> Path:
    """Name of the temporary file that `replacing` writes before it takes `path`'s place.

    Always the same for one path: what a killed process left behind is overwritten by the next
    save instead of lying about for ever.
    """
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes `path`'s place only when the block ends well.

    The bytes go to a temporary file beside `path`, are flushed to the disk and renamed over it,
    so that a crash, Ctrl-C, `kill -9` or a full disk leaves the old file as it was. Missing
    folders are made. One writer at a time: lock where there may be two.

    Args:
        path: the file to write.
        private: readable and writable by its owner alone (mode 0600), as are folders that had
            to be made for it (mode 0700).

    Raises:
        FileError: the file cannot be written.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        if private:
            make_private_folder(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            temporary.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(temporary, flags, 0o600 if private else 0o666), "wb")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(path: Path, content: Any, *, indent: int | None = 1, private: bool = False) -> None:
    """Write plain data as JSON, whole or not at all; `private` as in `replacing`.

    Raises:
        FileError: the file cannot be written.
        ValueError: the data holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    with replacing(path, private=private) as file:
        # File names on Linux need not be valid text.
        file.write(text.encode("utf-8", "replace") + b"\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing a file, by a lock beside it.

    Raises:
        FileError: another process has it for too long, or the folder cannot be written.
    """
    import filelock

    lock = filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS, mode=0o600)
    try:
        make_private_folder(path.parent)
        lock.acquire(poll_interval=0.01)
    except filelock.Timeout as error:
        raise FileError(f"another program is changing {path}; try again when it is done") from error
    except OSError as error:
        raise FileError(f"cannot write to {path.parent}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone (mode 0700).

    Folders that are there already keep their mode: whoever made them may share them on purpose,
    and the current folder or a home is not this program's to close.
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def folder_name(name: str) -> str:
    """Make a folder name of any person's name: the name itself where that is safe everywhere.

    `Ada Lovelace` and `José` stay as they are; `../x`, `con`, 300 characters or an emoji become
    what is left of their letters and a hash, so that two names never share a folder. Names that
    differ only in case or in Unicode form are one name (see `same_name_key`).
    """
    name = unicodedata.normalize("NFC", name)
    kept = "".join(c for c in name if c.isalnum() or c in " ._-").strip(" .")
    reserved = kept.split(".")[0].strip().casefold() in _RESERVED
    if kept == name and kept and not reserved and len(kept.encode()) <= 100:
        return kept
    digest = hashlib.sha256(same_name_key(name).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = "".join(c for c in kept if c.isascii())[:40].strip(" .") or "name"
    return f"{stem}-{digest}"


def same_name_key(name: str) -> str:
    """Return what two spellings of one name share (case and Unicode form are set aside)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name).casefold())
