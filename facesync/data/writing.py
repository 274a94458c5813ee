"""Many images into folders of identities, each of them whole or not at all.

An image is written in a temporary folder and renamed into its place, so that a killed run leaves
no half image. They are not flushed to the disk one by one: `kill -9` cannot take back what the
system has been given, flushing 490,000 files takes hours, and what a power cut may leave behind
(short or empty files) is found by its size and written again by the next run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = ".conversion.tmp"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


@contextmanager
def temporary_folder(output: Path) -> Iterator[Path]:
    """Make an empty folder in `output` for half-written images; one left behind goes first."""
    folder = output / _TEMPORARY
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ImageWriter:
    """Writes images for one process of several that share an output folder.

    The images of an identity that has no folder yet are gathered in a temporary one, which
    `publish` renames as a whole: a rename for each image costs a quarter of the time.

    Args:
        output: holds a folder for each identity.
        temporary: from `temporary_folder`.
    """

    def __init__(self, output: Path, temporary: Path) -> None:
        self._output = str(output)
        # Several processes write there, hence the number.
        self._temporary = f"{temporary}/{os.getpid()}"
        self._gathered: set[str] = set()
        self._present: set[str] = set()

    def write(self, identity: str, name: str, data: bytes) -> bool:
        """Write one image to `<identity>/<name>`; False if one of that size is there already.

        Raises:
            OSError: it cannot be written.
        """
        if self._gather(identity):
            _write(f"{self._temporary}.{identity}/{name}", data)
            return True
        path = f"{self._output}/{identity}/{name}"
        if _size_of(path) == len(data):
            return False
        _write(self._temporary, data)
        os.replace(self._temporary, path)
        return True

    def publish(self) -> None:
        """Put into its place what was gathered."""
        for identity in self._gathered:
            folder, place = f"{self._temporary}.{identity}", f"{self._output}/{identity}"
            try:
                os.rename(folder, place)
            except OSError:  # another process has put its share of this identity there
                for name in os.listdir(folder):
                    os.replace(f"{folder}/{name}", f"{place}/{name}")
        self._present |= self._gathered
        self._gathered.clear()

    def _gather(self, identity: str) -> bool:
        """Whether the images of this identity are being gathered; begins it where it can."""
        if identity in self._gathered:
            return True
        if identity in self._present or os.path.lexists(f"{self._output}/{identity}"):
            self._present.add(identity)
            return False
        os.makedirs(f"{self._temporary}.{identity}", exist_ok=True)
        self._gathered.add(identity)
        return True


def _write(path: str, data: bytes) -> None:
    # Python's file object would take a third of the time of an image.
    handle = os.open(path, _WRITE, 0o666)
    try:
        while data := data[os.write(handle, data) :]:
            pass  # a disk that is nearly full takes a part, and refuses the rest
    finally:
        os.close(handle)


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
