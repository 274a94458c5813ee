"""A cache of vectors on disk, by the content of their images, so that nothing is computed twice.

A cache is a folder of `.npz` files (opened without pickle), each written whole: an interrupted run
keeps all but its newest vectors, and two runs at once do not disturb each other. A damaged file
costs its own vectors and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facesync.files import replacing

log = logging.getLogger(__name__)

_ROWS_PER_FILE = 512
# What np.load has been seen to raise; TypeError: the file is a single array, not an archive.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)


def content_id(data: bytes) -> str:
    """Identify an image by its bytes: 32 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


class VectorCache:
    """Vectors of one kind by the content id of their images.

    Args:
        folder: for vectors of this kind only; made when the first are written.
        width: length of each vector.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._folder = folder
        self._width = width
        self._new: dict[str, np.ndarray] = {}

    def stored(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield all ids and vectors, float32 (width,); one file at a time is in memory."""
        for path in sorted(self._folder.glob("*.npz")):
            try:
                # Opened here: NumPy leaves a damaged file open.
                with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                    ids, vectors = archive["ids"].astype(str), archive["vectors"]
                if vectors.shape != (len(ids), self._width) or vectors.dtype != np.float32:
                    raise ValueError(f"vectors of shape {vectors.shape}")
            except _DAMAGE as error:
                log.warning("%s is damaged and not used (%s)", path, error)
                continue
            yield from zip(ids.tolist(), vectors, strict=True)

    def add(self, key: str, vector: np.ndarray) -> None:
        """Keep a vector; every so often the new ones are written."""
        self._new[key] = np.asarray(vector, dtype=np.float32)
        if len(self._new) >= _ROWS_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Write the new vectors.

        Raises:
            FileError: they cannot be written.
        """
        if not self._new:
            return
        ids = np.array(list(self._new), dtype="S")
        # Named by what it holds: computed again, it replaces a damaged file.
        name = hashlib.sha256(ids.tobytes()).hexdigest()[:16]
        with replacing(self._folder / f"{name}.npz") as file:
            np.savez(file, ids=ids, vectors=np.stack(list(self._new.values())))
        self._new.clear()
