"""The index of a RecordIO file: `train.idx`, a line `key<TAB>byte offset` for each record."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.errors import DataError


@dataclass(slots=True)
class Fault:
    """A record that cannot be read, and the reason; `key` is None if unknown."""

    key: int | None
    offset: int
    reason: str


def read_index(path: Path, size: int) -> tuple[np.ndarray, np.ndarray, list[Fault]]:
    """Read an index: `key<TAB>byte offset` on each line.

    Args:
        path: the `.idx` file.
        size: bytes of the `.rec` file; an offset outside it is returned as `size`.

    Returns:
        Keys and offsets, int64, in the order of the file; and a fault for each line that is neither
        blank nor a row.

    Raises:
        DataError: it cannot be read.
    """
    keys, offsets, faults = array("q"), array("q"), []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                fields = line.split()
                try:
                    key, offset = int(fields[0]), int(fields[1])
                    keys.append(key)
                except (ValueError, IndexError, OverflowError):
                    if fields:
                        reason = f"line {number} of {path.name} is not a key and an offset"
                        faults.append(Fault(None, -1, reason))
                    continue
                offsets.append(offset if 0 <= offset < size else size)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return as_numbers(keys), as_numbers(offsets), faults


def as_numbers(values: array[int]) -> np.ndarray:
    """View an array as int64, without a copy: packs have millions of records."""
    return np.frombuffer(values, dtype=np.int64)
