"""Unpack a downloaded zip into a dataset's folder, whole or not at all."""

from __future__ import annotations

import errno
import logging
import lzma
import os
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from facesync.cli import count
from facesync.data.verification import write_inventory
from facesync.errors import DataError, DownloadError, FileError
from facesync.files import is_reserved

CHUNK_BYTES = 1 << 16

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_METHOD_NAMES = {9: "Deflate64", 93: "Zstandard", 95: "xz", 99: "AES encryption"}

# Images and text are packed a few times; a gigabyte of zeros a thousand times.
_BOMB_RATIO = 100
_BOMB_BYTES = 100 << 20

# What a file system says to a name, or to a file where it has a folder.
_NAME_ERRORS = {
    errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOTDIR,
}  # fmt: skip
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\x00-\x1f]|[ .]$')

_log = logging.getLogger(__name__)


def unpack(archive: Path, folder: Path, dataset: str) -> None:
    """Unpack the zip beside `folder`, verify each checksum, then rename the result to `folder`.

    Raises:
        DownloadError: the zip is damaged, as a broken transfer leaves it; it is deleted.
        DataError: it is whole but cannot be unpacked, or would write outside the folder; it is
            kept.
        FileError: there is no room.
        OSError: the folder cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with _explained(archive, folder), zipfile.ZipFile(archive) as packed:
            targets = _targets(packed, temporary, folder.name)
            total = sum(entry.file_size for entry in targets)
            if total > max(_BOMB_BYTES, _BOMB_RATIO * archive.stat().st_size):
                raise _Unusable(f"a zip bomb: it would unpack to {readable(total)}")
            require_room(folder.parent, total)
            _extract(packed, targets, total)
        files = {
            target.relative_to(temporary).as_posix(): (entry.file_size, entry.CRC)
            for entry, target in targets.items()
        }
        write_inventory(temporary, dataset, files)
        if folder.exists():
            folder.rmdir()  # it is empty, or `download` would have verified it
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Unusable(Exception):
    """The zip is whole, but cannot be unpacked for a reason."""


@contextmanager
def _explained(archive: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    # RuntimeError: zipfile's for what it does not support.
    except (_Unusable, RuntimeError, UnicodeError) as error:
        reason = "a name in it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise DataError(
            f"{archive} cannot be unpacked: {reason}; it is kept: if you trust it, unpack it into "
            f"{folder} with another program, then run again"
        ) from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        # bz2's error for damaged data has no number; a place before the file's start is EINVAL.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        archive.unlink()
        raise DownloadError(
            f"the downloaded zip is damaged ({error}) and was deleted: run the same command again"
        ) from error


def _targets(packed: zipfile.ZipFile, folder: Path, name: str) -> dict[zipfile.ZipInfo, Path]:
    """Map each file of the zip to its place; a top folder named like the dataset is dropped."""
    base = os.path.abspath(folder)
    inside: dict[zipfile.ZipInfo, Path] = {}
    foreign = 0
    for entry in packed.infolist():
        # Some programs of Windows write backslashes between folders, against the zip's standard.
        written = entry.filename.replace("\\", "/")
        foreign += written != entry.filename
        path = os.path.abspath(os.path.join(base, written))
        if not path.startswith(base + os.sep):
            raise DataError(
                f"{packed.filename} would write outside its folder ({entry.filename!r}): nothing "
                "was unpacked; do not trust this dataset"
            )
        if not written.endswith("/"):
            inside[entry] = Path(path).relative_to(base)
            _require_usable(entry, inside[entry])
    if foreign:
        names = count(foreign, "name", "names")
        _log.info("%s: backslashes in %s are taken for folders.", packed.filename, names)
    _require_distinct(inside)
    shortened = {
        entry: Path(*path.parts[1:]) if path.parts[0] == name and len(path.parts) > 1 else path
        for entry, path in inside.items()
    }
    # With both `name/x` and `x` in it, the folder must stay.
    clash = len(set(shortened.values())) < len(shortened)
    return {entry: folder / path for entry, path in (inside if clash else shortened).items()}


def _require_usable(entry: zipfile.ZipInfo, path: Path) -> None:
    if entry.flag_bits & 1:
        raise _Unusable(f"{entry.filename!r} is encrypted")
    method = entry.compress_type
    if method not in _METHODS | {getattr(zipfile, "ZIP_ZSTANDARD", None)}:
        name = _METHOD_NAMES.get(method, f"method {method}")
        raise _Unusable(f"{entry.filename!r} is compressed with {name}, which Python lacks")
    if sys.platform == "win32":
        for part in path.parts:
            if _NOT_ON_WINDOWS.search(part) or is_reserved(part):
                raise _Unusable(f"Windows cannot hold the name {entry.filename!r}")


def _require_distinct(inside: dict[zipfile.ZipInfo, Path]) -> None:
    seen: dict[Path, zipfile.ZipInfo] = {}
    for entry, path in inside.items():
        first = seen.setdefault(path, entry)
        if first is not entry:
            raise _Unusable(f"two entries have one name, {first.filename!r} and {entry.filename!r}")


def _extract(packed: zipfile.ZipFile, targets: dict[zipfile.ZipInfo, Path], total: int) -> None:
    with tqdm(desc="unpack", total=total, unit="B", unit_scale=True) as bar:
        for entry, target in targets.items():
            # zipfile verifies the checksum at the end of an entry.
            with packed.open(entry) as source, _create(entry, target) as file:
                while chunk := source.read(CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))


def _create(entry: zipfile.ZipInfo, target: Path) -> BinaryIO:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except OSError as error:
        if error.errno in _NAME_ERRORS:
            reason = f"{entry.filename!r} cannot be saved here ({error.strerror})"
            raise _Unusable(reason) from error
        raise


def require_room(folder: Path, needed: int) -> None:
    """Raise `FileError` if fewer than `needed` bytes are free where a folder is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FileError(
            f"not enough room in {folder}: {readable(needed)} needed, {readable(free)} free; "
            "make room or choose another folder with --output"
        )


def readable(size: int) -> str:
    """Return a number of bytes as `2.8 GB` or `0.1 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
