"""A pack: a RecordIO file with an index, and what its records mean (InsightFace, im2rec).

InsightFace's packs have records without an image: key 0 has two labels (a, b); keys 1 … a-1 are
images; keys a … b-1 are bookkeeping, one for each identity, whose two labels are the range
[first, end) of that identity's keys. im2rec's packs have none of these, and key 0 is an image.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from facesync.data.index import Fault, as_numbers, read_index
from facesync.data.recordio import BrokenRecord, RecordFile, split_header
from facesync.errors import DataError

Kind = Literal["image", "bookkeeping", "header"]

_SEARCH_DEPTH = 2
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

    The index (`train.idx` beside `train.rec`) may be unsorted or cut short: records behind its
    last one are found. Without an index the file is scanned once, and the key of a record is its
    own id, or its position if ids are missing or repeated. A pack can be pickled: another process
    reopens the file.

    Args:
        source: the `.rec` file, or a folder with the pack in it or up to two levels down.

    Attributes:
        path: the `.rec` file.
        key_range: (a, b) of the header record (see above), or None.
        faults: what was found broken while the index was read or made.

    Raises:
        DataError: there is no pack, or it cannot be read.
    """

    def __init__(self, source: Path | str) -> None:
        self.path = find_pack(source)
        self._file = RecordFile(self.path)
        self.faults: list[Fault] = []
        keys = offsets = np.empty(0, np.int64)
        index = self.path.with_suffix(".idx")
        if index.is_file():
            keys, offsets, self.faults = read_index(index, self._file.size)
        if len(keys):
            keys, offsets = self._with_unindexed(keys, offsets)
        else:
            keys, offsets = self._scan(0)
        self._keys, self._offsets = self._without_duplicates(keys, offsets)
        if (self._offsets[1:] < self._offsets[:-1]).any():
            order = np.argsort(self._offsets, kind="stable")
            self._keys, self._offsets = self._keys[order], self._offsets[order]
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

    def _with_unindexed(
        self, keys: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add the records behind the last one in the index."""
        last = int(np.max(offsets, where=offsets < self._file.size, initial=-1))
        try:
            more_keys, more_offsets = self._scan(self._file.end(last), int(keys.max()) + 1)
        except BrokenRecord:
            return keys, offsets
        new = ~np.isin(more_keys, keys)
        if not new.any():
            return keys, offsets
        return np.append(keys, more_keys[new]), np.append(offsets, more_offsets[new])

    def _scan(self, start: int, first_key: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Scan for records from `start` on: keys and offsets; broken ones are added to `faults`.

        If their own ids cannot serve as keys, they are counted from `first_key`.
        """
        keys, offsets = array("q"), array("q")
        for offset, reason in self._file.scan(start):
            if reason is None:
                keys.append(_own_id(self._file.read(offset)))
                offsets.append(offset)
            else:
                key = _own_id(self._file.start_of_data(offset, _HEAD))
                where = f"at byte {offset}: {reason}"
                self.faults.append(Fault(None if key < 0 else key, offset, where))
        found = as_numbers(keys)
        if _repeats(found) or (found < 0).any():
            found = np.arange(first_key, first_key + len(found))
        return found, as_numbers(offsets)

    def _without_duplicates(
        self, keys: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Drop and report all rows of a key except the first."""
        if not _repeats(keys):
            return keys, offsets
        _, first = np.unique(keys, return_index=True)
        duplicate = np.ones(len(keys), dtype=bool)
        duplicate[first] = False
        for key, offset in zip(keys[duplicate].tolist(), offsets[duplicate].tolist(), strict=True):
            self.faults.append(Fault(key, offset, "the index has this key twice"))
        return keys[~duplicate], offsets[~duplicate]


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
        raise DataError(f"{source}: no such file or folder; name the folder that holds train.rec")
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
