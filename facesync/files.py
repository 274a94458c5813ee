"""Files written whole or not at all, locks, and folder names for any person's name."""

from __future__ import annotations

import codecs
import csv
import errno
import hashlib
import io
import json
import logging
import os
import stat
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from facesync.errors import FileError

log = logging.getLogger(__name__)

NAME_ENCODING = ("utf-8", "surrogateescape")
"""To encode file names with, which on Linux need not be valid text."""

LOCK_SECONDS = 60.0
"""How long to wait for another process that is writing."""

BUSY_SECONDS = 5.0 if os.name == "nt" else 0.0
"""How long to wait for a reader: on Windows, a file that is open cannot be replaced."""

# Names that Windows reserves for devices, with any suffix.
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)}


def temporary_beside(path: Path) -> Path:
    """Return the temporary file that `replacing` writes before it replaces `path`.

    It is always the same for a path: the next save overwrites what a killed process left.
    """
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` only if the block ends without an error.

    The bytes go to a temporary file beside `path`, are flushed to disk and renamed over it, so that
    a crash, Ctrl-C, `kill -9` or a full disk leaves the old file unchanged. Missing folders are
    made. Only one writer at a time: if there may be two, use `locked`.

    Args:
        path: the file to write.
        private: for the owner alone (mode 0600), as are folders made for it (mode 0700).

    Raises:
        FileError: the file cannot be written.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    refuse_device(path)
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
        move(temporary, path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def refuse_device(path: Path) -> None:
    """Raise a FileError if a path leads to a pipe or a device, which a file would replace.

    Root may do that to `/dev/null`, and nothing on the machine works any more.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileError(f"cannot write {path}: it is a pipe or a device, not a file")


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


def read_text(path: Path, *, most: int = 1 << 30) -> str:
    """Read a text file, UTF-8 with or without a mark, or UTF-16 with one.

    Raises:
        FileError: it cannot be read, or has more than `most` bytes.
    """
    try:
        with path.open("rb") as file:  # once: it may be a pipe, `<(…)` of a shell
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"it has more than {most} bytes")
        # Windows' editors and shell (`>`) write UTF-16.
        utf_16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        text = data.decode("utf-16" if utf_16 else "utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"cannot read {path}: {reason}") from error


def read_regular(path: Path, *, follow: bool = True, most: int | None = None) -> bytes:
    """Read a file, unless it is a pipe or a device, which may never end.

    Args:
        path: the file.
        follow: whether it may be a link.
        most: its largest size in bytes, if there is one.

    Raises:
        OSError: it cannot be read; `strerror` says why.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow and path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link", str(path))
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MB", str(path))
        return file.read()


def private(path: str, flags: int) -> int:
    """Open a file, as the opener of `open`; if it is new, for its owner alone (mode 0600)."""
    return os.open(path, flags, 0o600)


def write_csv(
    path: Path, heading: Iterable[str], rows: Iterable[Iterable[Any]], *, line_end: str = "\r\n"
) -> None:
    """Write a table as CSV, whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerow(heading)
    writer.writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode(*NAME_ENCODING))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing a file, by a lock beside it.

    Raises:
        FileError: another process holds the lock for too long, or the folder cannot be written.
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
    """Make a folder and its missing parents for their owner alone (mode 0700).

    Existing folders keep their mode: they may be shared on purpose.
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def move(old: Path, new: Path) -> None:
    """Rename a file over another, which may be open in another program for a moment."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            os.replace(old, new)
            break
        except PermissionError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.02)
    sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed, made or removed in a folder survive a power cut.

    It is done already, so failing is not an error. Some drives (network, WSL, Android) cannot do
    it, and Windows has no call for it.
    """
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            log.warning("%s: a power cut could undo the last change: %s", folder, error.strerror)


def user_cache() -> Path:
    """Return the user's cache folder: `$XDG_CACHE_HOME/facesync`, or the platform's own place."""
    home = os.environ.get("XDG_CACHE_HOME")
    if home is None and sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA")
    return expanded(home or "~/.cache") / "facesync"


def config_folder() -> Path:
    """Return the folder of the app's configuration, where the system wants it."""
    if sys.platform == "win32":
        return expanded(os.environ.get("APPDATA", "~/AppData/Roaming")) / "facesync"
    if sys.platform == "darwin":
        return expanded("~/Library/Application Support/facesync")
    return expanded(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "facesync"


def expanded(path: str) -> Path:
    """Return a path with the user's home folder for `~`.

    Raises:
        FileError: there is none, as for a user id without an account and without HOME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileError("you have no home folder: set HOME to a folder of your own") from error


def folder_name(name: str) -> str:
    """Make a folder name from any person's name: the name itself if it is safe everywhere.

    `Ada Lovelace` and `José` are kept; `../x`, `con`, 300 characters or an emoji become the letters
    that are left and a hash, so that two names never share a folder. Names that differ only in case
    or Unicode form are one name (see `same_name_key`).
    """
    name = unicodedata.normalize("NFC", name)
    kept = "".join(c for c in name if c.isalnum() or c in " ._-").strip(" .")
    if kept == name and kept and not is_reserved(kept) and len(kept.encode()) <= 100:
        return kept
    digest = hashlib.sha256(same_name_key(name).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = "".join(c for c in kept if c.isascii())[:40].strip(" .") or "name"
    return f"{stem}-{digest}"


def is_reserved(name: str) -> bool:
    """Whether Windows takes a file name for a device: `con`, `NUL.txt`."""
    return name.split(".")[0].strip().casefold() in _RESERVED


def same_name_key(name: str) -> str:
    """Return a key that all spellings of a name share; case and Unicode form do not matter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name).casefold())
