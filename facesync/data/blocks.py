"""Arrays that a long computation keeps in blocks, so that an interruption costs one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facesync.errors import FileError


def read_block(path: Path, rows: int | None, width: int | None = None) -> np.ndarray:
    """Read an array that was written with `np.save`; no code in it runs.

    Args:
        path: the file.
        rows: how many there must be; None if that is not known.
        width: of each row, if that is known.

    Raises:
        FileError: it is something else, or cut short.
    """
    try:
        found: np.ndarray
        with open(path, "rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
        sound = rows in (None, len(found)) and width in (None, *found.shape[1:2])
        sound = sound and np.isfinite(found).all()
    except (OSError, EOFError, ValueError, TypeError, MemoryError, OverflowError):
        sound = False
    if not sound:
        raise FileError(f"{path} is damaged; delete it, and it is made again")
    return found
