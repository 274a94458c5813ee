"""Vectors kept on disk by what they were computed from, so that nothing is computed twice.

A cache is a folder of `.npz` files (NumPy's own, opened without pickle), each written whole: an
interrupted run loses the vectors of its last minute, and two runs at once do not disturb each
other. A damaged file costs its vectors and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
import zipfile
from pathlib import Path

import numpy as np

from facesync.errors import FileError
from facesync.files import replacing

log = logging.getLogger(__name__)

_ROWS_PER_FILE = 64


def content_id(data: bytes) -> str:
    """Name an image by its bytes: 32 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


class VectorCache:
    """Vectors of one kind, float32 (width,), by the id of what they were computed from.

    Args:
        folder: holds the vectors of this kind alone; made when the first are written.
        width: length of each vector.

    Raises:
        FileError: the folder cannot be read.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._folder = folder
        self._width = width
        self._new: dict[str, np.ndarray] = {}
        self._vectors: dict[str, np.ndarray] = {}
        try:
            files = sorted(folder.glob("*.npz"))
        except OSError as error:
            raise FileError(f"cannot read {folder}: {error.strerror}") from error
        for file in files:
            self._read(file)

    def _read(self, file: Path) -> None:
        try:
            # Opened here: NumPy forgets to close a file that turns out damaged.
            with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
                ids, vectors = stored["ids"], stored["vectors"]
            if vectors.shape != (len(ids), self._width) or vectors.dtype != np.float32:
                raise ValueError(f"vectors of {vectors.shape}")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged and not used (%s)", file, error)
            return
        self._vectors.update(zip(map(str, ids), vectors, strict=True))

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, key: str) -> np.ndarray | None:
        """Return the vector of this id, or None where it was not computed yet."""
        return self._vectors.get(key)

    def add(self, key: str, vector: np.ndarray) -> None:
        """Keep a vector; now and then, those that are new go to the disk."""
        self._new[key] = self._vectors[key] = np.asarray(vector, dtype=np.float32)
        if len(self._new) >= _ROWS_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Write what is new.

        Raises:
            FileError: it cannot be written.
        """
        if not self._new:
            return
        with replacing(self._folder / f"{uuid.uuid4().hex}.npz") as file:
            np.savez(file, ids=list(self._new), vectors=np.stack(list(self._new.values())))
        self._new.clear()
