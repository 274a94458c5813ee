"""A pack: a RecordIO file with an index, and what its records mean (InsightFace, im2rec).

InsightFace's packs have records without an image: key 0 has two labels (a, b); keys 1 … a-1 are
images; keys a … b-1 are bookkeeping, one for each identity, whose two labels are the range
[first, end) of that identity's keys. im2rec's packs have none of these, and key 0 is an image.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from facesync.cli import count
from facesync.data.index import Fault, as_numbers, read_index
from facesync.data.recordio import BrokenRecord, RecordFile, split_header
from facesync.errors import DataError

logger = logging.getLogger(__name__)

Kind = Literal["image", "bookkeeping", "header"]

_SEARCH_DEPTH = 2
_MOST_BROKEN = 100_000  # and a tenth of the records: what is wrong with each is kept in memory
_HEAD = 64  # enough for a header with a few labels


@dataclass(slots=True)
class Record:
    """A record that was read.

    Attributes:
        key: its key in the index; without an index its own id.
        offset: where it starts in the file, in bytes.
        kind: `image`; `bookkeeping` (the keys of one identity) or `header` (key 0).
        labels: the first label of an image is its identity, a whole number.
        data: the encoded image, or empty.
    """

    key: int
    offset: int
    kind: Kind
    labels: tuple[float, ...]
    data: bytes

    @property
    def identity(self) -> str:
        """The identity's name: its number as text."""
        return str(int(self.labels[0]))


class Pack:
    """Records by key, or all of them in the order of the file.

    The file is walked once, and what it holds is believed. The index (`train.idx` beside
    `train.rec`) gives the records their keys; if there is none, or it does not fit the file, the
    key of a record is its own id, or its position if ids are missing or repeated. A pack can be
    pickled: another process reopens the file, and does not walk it again.

    Args:
        source: the `.rec` file, or a folder with the pack in it or up to two levels down.

    Attributes:
        path: the `.rec` file.
        key_range: (a, b) of the header record (see above), or None.
        faults: what is broken, in the file or at an offset of the index.

    Raises:
        DataError: there is no pack, or it cannot be read.
    """

    def __init__(self, source: Path | str) -> None:
        self.path = find_pack(source)
        self._file = RecordFile(self.path)
        self.faults: list[Fault] = []
        self._offsets, broken = self._walk()
        keys = self._keys_of_index(broken)
        self._keys = self._own_keys() if keys is None else keys
        for offset, reason in broken.items():
            key = _own_id(self._file.start_of_data(offset, _HEAD))
            where = f"at byte {offset}: {reason}"
            self.faults.append(Fault(None if key < 0 else key, offset, where))
        self.key_range = self._read_key_range()

    def __len__(self) -> int:
        return len(self._keys)

    @cached_property
    def _by_key(self) -> np.ndarray:
        return np.argsort(self._keys)

    def read(self, key: int) -> Record:
        """Return the record with this key.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        place = int(np.searchsorted(self._keys, key, sorter=self._by_key))
        row = self._by_key[place] if place < len(self) else None
        if row is None or self._keys[row] != key:
            raise DataError(f"{self.path}: there is no record with key {key}")
        record = self._record(key, int(self._offsets[row]))
        if isinstance(record, Fault):
            raise DataError(f"{self.path}: record {key}: {record.reason}")
        return record

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[Record | Fault]:
        """Yield each record, or why it cannot be read, in the order of the file.

        Memory use does not grow with the pack. What is in `faults` is not repeated. `start` and
        `stop` are positions in the file, as of a slice.
        """
        rows = slice(start, stop)
        released = None
        for key, offset in zip(
            self._keys[rows].tolist(), self._offsets[rows].tolist(), strict=True
        ):
            yield self._record(key, offset)
            released = self._file.release(offset if released is None else released, offset)
        if released is not None:
            self._file.release(released, offset + 1, every=0)

    def _record(self, key: int, offset: int) -> Record | Fault:
        try:
            labels, _, data = split_header(self._file.read(offset))
        except BrokenRecord as broken:
            return Fault(key, offset, broken.reason)
        kind = self._kind(key, labels, data)
        if kind == "image" and labels[0] % 1 != 0:
            return Fault(key, offset, f"label {labels[0]} is not a whole number")
        return Record(key, offset, kind, labels, data)

    def _kind(self, key: int, labels: tuple[float, ...], data: bytes) -> Kind:
        """Decide by the header's range of keys if there is one, else by the content.

        A record with content is an image whatever the header says, so that no image is lost.
        """
        if data:
            return "image"
        if self.key_range is None:
            return "bookkeeping" if len(labels) == 2 else "image"
        if key == 0:
            return "header"
        return "image" if key < self.key_range[0] else "bookkeeping"

    def _read_key_range(self) -> tuple[int, int] | None:
        self.key_range = None
        zero = np.flatnonzero(self._keys == 0)
        record = self._record(0, int(self._offsets[zero[0]])) if len(zero) else None
        if not isinstance(record, Record) or record.data or len(record.labels) != 2:
            return None
        first, end = record.labels
        return (int(first), int(end)) if 1 <= first <= end < float("inf") else None

    def _walk(self) -> tuple[np.ndarray, dict[int, str]]:
        """Walk the file: offsets of the records, and what is wrong at other offsets."""
        offsets, broken = array("q"), {}
        for offset, reason in self._file.scan():
            if reason is None:
                offsets.append(offset)
            else:
                broken[offset] = reason
                if len(broken) > _MOST_BROKEN + len(offsets) // 10:
                    raise DataError(
                        f"{self.path}: too damaged, {len(broken):,} records in it are broken; "
                        "get it again"
                    )
        return as_numbers(offsets), broken

    def _keys_of_index(self, broken: dict[int, str]) -> np.ndarray | None:
        """Return the key of each record by the index; None if it does not fit the file.

        It fits if each record has one row, with a key of its own. Other rows are added to `faults`,
        and what they name is removed from `broken`.
        """
        index = self.path.with_suffix(".idx")
        if not index.is_file():
            return None
        keys, offsets, _ = read_index(index, self._file.size)
        order = np.argsort(offsets, kind="stable")
        keys, offsets = keys[order], offsets[order]
        found = np.isin(offsets, self._offsets)
        if _repeats(keys) or not np.array_equal(offsets[found], self._offsets):
            logger.warning(
                "%s does not fit %s: not used; the whole file was searched, %s found",
                index,
                self.path.name,
                count(len(self._offsets), "record", "records"),
            )
            return None
        for key, offset in zip(keys[~found].tolist(), offsets[~found].tolist(), strict=True):
            outside = offset == self._file.size
            reason = "outside the file" if outside else "no record starts here"
            self.faults.append(Fault(key, offset, broken.pop(offset, reason)))
        return keys[found]

    def _own_keys(self) -> np.ndarray:
        """Return the own id of each record, or its position if ids are missing or repeated."""
        found, released = array("q"), 0
        for offset in self._offsets.tolist():
            found.append(_own_id(self._file.read(offset)))
            released = self._file.release(released, offset)
        keys = as_numbers(found)
        if _repeats(keys) or (keys < 0).any():
            return np.arange(len(keys))
        return keys


def _repeats(values: np.ndarray) -> bool:
    """Whether any value occurs twice (np.unique takes four times the memory)."""
    ordered = np.sort(values)
    return bool((ordered[1:] == ordered[:-1]).any())


def _own_id(data: bytes) -> int:
    """Return the id in the header of a record; -1 if it has none."""
    try:
        own_id = split_header(data)[1]
    except BrokenRecord:
        return -1
    return own_id if own_id < 1 << 63 else -1


def find_pack(source: Path | str) -> Path:
    """Return the `.rec` file that a path stands for: itself, or the one that `packs_in` finds.

    Raises:
        DataError: there is none, or more than one.
    """
    source = Path(source)
    if source.is_file():
        return source
    if not source.is_dir():
        raise DataError(
            f"{source}: no such file or folder; name the one that holds train.rec or the images"
        )
    found = packs_in(source)
    if not found:
        raise DataError(f"{source}: no RecordIO pack (train.rec) in it or up to two levels down")
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(source)) for path in found[:5])
        raise DataError(f"{source}: several packs in it ({names}); choose one of them")
    return found[0]


def packs_in(folder: Path) -> list[Path]:
    """List the packs in a folder, or those one or two levels down: the nearest level that has any.

    If a `train.rec` is among them, other names are ignored.
    """
    for depth in range(_SEARCH_DEPTH + 1):
        found = sorted(folder.glob("*/" * depth + "*.rec"))
        if found:
            return [path for path in found if path.name == "train.rec"] or found
    return []
