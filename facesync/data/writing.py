"""Write many images into folders of identities, each of them whole or not at all.

An image is written in a temporary folder and renamed into place, so that a killed run leaves no
partial image. Images are not flushed to disk one by one: flushing 490,000 files takes hours, the
system writes them even after `kill -9`, and the next run finds what a power cut may leave (short or
empty files) by its size.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facesync.data.shards import Shard

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


@contextmanager
def temporary_folder(output: Path, shard: Shard | None = None) -> Iterator[Path]:
    """Make an empty folder in `output` for partial images; an old one is removed first.

    Each share of a conversion has its own.
    """
    folder = output / (
        f".conversion-{shard.number}-of-{shard.of}.tmp" if shard else ".conversion.tmp"
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ImageWriter:
    """Writes images for one of several processes that share an output folder.

    The images of an identity that has no folder yet are collected in a temporary one, which
    `publish` renames: one rename for each image would take a quarter of the time.
    """

    def __init__(self, output: Path, temporary: Path) -> None:
        self._output = str(output)
        # One for each process.
        self._temporary = f"{temporary}/{os.getpid()}"
        self._collected: set[str] = set()
        self._present: set[str] = set()

    def write(self, identity: str, name: str, data: bytes) -> bool:
        """Write one image to `<identity>/<name>`; return False if a file of that size is there.

        Raises:
            OSError: it cannot be written.
        """
        if self._collects(identity):
            _write(f"{self._temporary}.{identity}/{name}", data)
            return True
        path = f"{self._output}/{identity}/{name}"
        if _size_of(path) == len(data):
            return False
        _write(self._temporary, data)
        os.replace(self._temporary, path)
        return True

    def publish(self) -> None:
        """Move the collected images into place."""
        for identity in self._collected:
            folder, place = f"{self._temporary}.{identity}", f"{self._output}/{identity}"
            try:
                os.rename(folder, place)
            except OSError:  # another process has made the folder
                for name in os.listdir(folder):
                    os.replace(f"{folder}/{name}", f"{place}/{name}")
        self._present |= self._collected
        self._collected.clear()

    def _collects(self, identity: str) -> bool:
        """Whether images of this identity are being collected; starts to collect if possible."""
        if identity in self._collected:
            return True
        if identity in self._present or os.path.lexists(f"{self._output}/{identity}"):
            self._present.add(identity)
            return False
        os.makedirs(f"{self._temporary}.{identity}", exist_ok=True)
        self._collected.add(identity)
        return True


def _write(path: str, data: bytes) -> None:
    # Python's file objects would add a third to the time.
    handle = os.open(path, _WRITE, 0o666)
    try:
        while data := data[os.write(handle, data) :]:
            pass  # a disk that is almost full takes a part, and refuses the rest
    finally:
        os.close(handle)


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
