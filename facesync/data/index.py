"""The index of a RecordIO file: `train.idx`, a line `key<TAB>byte offset` for each record."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.errors import DataError

_LONGEST_LINE = 100
_MAX_FAULTS = 100
_SMALLEST_RECORD = 8  # bytes


@dataclass(slots=True)
class Fault:
    """A record that cannot be read, and the reason; `key` is None if unknown."""

    key: int | None
    offset: int
    reason: str


def read_index(path: Path, size: int) -> tuple[np.ndarray, np.ndarray, list[Fault]]:
    """Read an index: `key<TAB>byte offset` on each line.

    Reading ends with a fault where the file is not an index: at a long line, at many lines that are
    not rows, and at more rows than the `.rec` file has room for records.

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
        with open(path, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
                row = _row(line)
                if row:
                    keys.append(row[0])
                    offsets.append(row[1] if 0 <= row[1] < size else size)
                elif line.strip():
                    reason = f"line {number} of {path.name} is not a key and an offset"
                    faults.append(Fault(None, -1, reason))
                    if len(line) == _LONGEST_LINE or len(faults) == _MAX_FAULTS:
                        break
                if len(keys) > size // _SMALLEST_RECORD:
                    reason = f"{path.name} has more rows than there can be records"
                    faults.append(Fault(None, -1, reason))
                    break
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return as_numbers(keys), as_numbers(offsets), faults


def _row(line: bytes) -> tuple[int, int] | None:
    try:
        key, offset = map(int, line.split()[:2])
    except ValueError:
        return None
    return (key, offset) if -(1 << 63) <= key < 1 << 63 else None


def as_numbers(values: array[int]) -> np.ndarray:
    """View an array as int64, without a copy: packs have millions of records."""
    return np.frombuffer(values, dtype=np.int64)
