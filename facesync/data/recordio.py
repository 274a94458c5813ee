"""RecordIO files as MXNet writes them (CASIA-WebFace comes as one), without MXNet.

A record is a little-endian uint32 magic 0xCED7230A; a uint32 whose top 3 bits say which part of a
record this is (0 whole, 1 first, 2 middle, 3 last) and whose low 29 bits give the length; the data;
and zeros up to a multiple of 4. A writer splits a record where its data holds the magic at a
multiple of 4, and drops the magic; the reader puts it back (dmlc-core, recordio.h).

The data of an image starts with the 24 bytes `<IfQQ` flag, label, id, id2; a `flag` above 0 is the
number of float32 labels that follow and replace `label` (mxnet.recordio.IRHeader). For the meaning
of the records of a pack see `facesync.data.pack`.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from errno import ENXIO
from pathlib import Path
from typing import BinaryIO

from facesync.errors import DataError
from facesync.files import replacing
from facesync.images import read_image_rgb

MAGIC = struct.pack("<I", 0xCED7230A)
_PREFIX = struct.Struct("<4sI")
_LENGTH_BITS = 29
_MAX_LENGTH = (1 << _LENGTH_BITS) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<IfQQ")
_RELEASE_EVERY = 4 << 20
_LARGEST = 64 << 20  # bytes of a record; more is not an image, and each process reads them whole
_MOST_PARTS = 1000
_MOST_LABELS = 10_000


class BrokenRecord(DataError):
    """There is no whole record at an offset; `reason` says what is wrong."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.reason = reason


class RecordFile:
    """Records of a `.rec` file by offset, through a memory map; the file is never loaded whole.

    It can be pickled: another process reopens the file.

    Raises:
        DataError: the file is missing, empty, or has no record in it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self.size = os.fstat(file.fileno()).st_size
                if not self.size:
                    raise DataError(f"{self.path}: the file is empty (0 bytes)")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error
        if self._next_start(0) == self.size:
            raise DataError(f"{self.path}: not a RecordIO pack, there is no record in it")

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        RecordFile.__init__(self, path)

    def read(self, offset: int) -> bytes:
        """Return the data of the record at `offset`, with the magic between its parts.

        Raises:
            BrokenRecord: no whole record starts there.
        """
        return MAGIC.join([self._map[start:stop] for start, stop in self._parts(offset)])

    def end(self, offset: int) -> int:
        """Return the offset after the record at `offset`; raises `BrokenRecord` as `read` does."""
        stop = self._parts(offset)[-1][1]
        return stop + -stop % 4

    def start_of_data(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes that follow a magic at `offset`, whole record or not."""
        data = self._map[offset : offset + _PREFIX.size + length]
        return data[_PREFIX.size :] if data.startswith(MAGIC) else b""

    def scan(self, start: int = 0) -> Iterator[tuple[int, str | None]]:
        """Scan the file: yield `(offset, None)` for a record, `(offset, reason)` for a broken one.

        After a broken one the scan continues at the next magic that can start a record.
        """
        offset = released = start
        while offset < self.size:
            reason = None
            try:
                following = self.end(offset)
                if following < self.size and not self._starts(following):
                    # A length that is too large reaches past the magic of the next record, which
                    # a writer never leaves in the data, and does not end at a record either.
                    inside = self._next_start(offset + 4)
                    if inside < following:
                        following, reason = inside, "wrong length: another record starts within"
            except BrokenRecord as broken:
                following, reason = self._next_start(offset + 4), broken.reason
            yield offset, reason
            offset = following
            released = self.release(released, offset)

    def release(self, start: int, stop: int, every: int = _RELEASE_EVERY) -> int:
        """Release the memory of bytes that were read, once there are `every` of them.

        Pages of the map count as memory of this process; releasing them lets a pack of any length
        be read in a few MB. Returns the offset of the first byte that is still held.
        """
        if stop - start < every:
            return start
        if hasattr(self._map, "madvise"):  # not on Windows, which does so by itself
            start -= start % mmap.PAGESIZE
            length = min(stop, self.size) - start
            if length > 0:
                self._map.madvise(mmap.MADV_DONTNEED, start, length)
        return stop

    def _parts(self, offset: int) -> list[tuple[int, int]]:
        """Return where the data of each part of the record at `offset` starts and stops."""
        record = offset
        parts: list[tuple[int, int]] = []
        read = 0
        while True:
            if not 0 <= offset <= self.size - _PREFIX.size:
                reason = "truncated: its last part is missing" if parts else "outside the file"
                raise self._broken(record, reason)
            magic, word = _PREFIX.unpack_from(self._map, offset)
            part, length = word >> _LENGTH_BITS, word & _MAX_LENGTH
            if magic != MAGIC or offset % 4 or part > _LAST:
                reason = "one of its parts is broken" if parts else "no record starts here"
                raise self._broken(record, reason)
            if (part in (_MIDDLE, _LAST)) != bool(parts):
                reason = "its last part is missing" if parts else "the middle of another record"
                raise self._broken(record, reason)
            start = offset + _PREFIX.size
            if start + length > self.size:
                reason = f"truncated: only {self.size - start} of {length} bytes are there"
                raise self._broken(record, reason)
            parts.append((start, start + length))
            read += length
            if read > _LARGEST or len(parts) > _MOST_PARTS:
                limit = f"longer than any image ({_LARGEST >> 20} MB)"
                raise self._broken(record, limit)
            if part in (_WHOLE, _LAST):
                return parts
            offset = start + length + -length % 4

    def _broken(self, offset: int, reason: str) -> BrokenRecord:
        return BrokenRecord(f"{self.path}: byte {offset}", reason)

    def _starts(self, offset: int) -> bool:
        """Whether a whole record or the first part of one starts at `offset`."""
        if offset % 4 or offset > self.size - _PREFIX.size:
            return False
        magic, word = _PREFIX.unpack_from(self._map, offset)
        return magic == MAGIC and word >> _LENGTH_BITS in (_WHOLE, _FIRST)

    def _next_start(self, offset: int) -> int:
        """Return the next offset from `offset` on where a record can start, or the size."""
        released = offset
        while offset < self.size:
            # In steps, to release what was searched: a pack may be a hole of many GB.
            found = self._map.find(MAGIC, offset, offset + _RELEASE_EVERY)
            if found >= 0 and self._starts(found):
                return found
            # Records start at multiples of four, and so do the steps.
            if found >= 0:
                offset = found - found % 4 + 4
            else:
                offset = self._behind_hole(offset + _RELEASE_EVERY)
            released = self.release(released, offset)
        return self.size

    def _behind_hole(self, offset: int) -> int:
        """Skip a hole of a sparse file at `offset`, where the system can tell."""
        if not hasattr(os, "SEEK_DATA"):
            return offset
        try:
            with open(self.path, "rb") as file:
                return os.lseek(file.fileno(), offset, os.SEEK_DATA) // 4 * 4
        except OSError as error:
            return self.size if error.errno == ENXIO else offset  # no data up to the end


def split_header(data: bytes) -> tuple[tuple[float, ...], int, bytes]:
    """Split the data of a record into labels (at least one), id and content.

    Raises:
        BrokenRecord: it is shorter than its header and labels.
    """
    if len(data) < _HEADER.size:
        reason = f"{len(data)} bytes are less than the header of {_HEADER.size}"
        raise BrokenRecord("record", reason)
    flag, label, own_id, _ = _HEADER.unpack_from(data)
    if not flag:
        return (label,), own_id, data[_HEADER.size :]
    end = _HEADER.size + 4 * flag
    if end > len(data) or flag > _MOST_LABELS:
        raise BrokenRecord("record", f"{flag} labels announced, but the record ends before them")
    return struct.unpack_from(f"<{flag}f", data, _HEADER.size), own_id, data[end:]


def join_header(labels: tuple[float, ...], own_id: int, data: bytes) -> bytes:
    """Put a header before `data`: a single label goes into it, more labels after it."""
    if len(labels) == 1:
        return _HEADER.pack(0, labels[0], own_id, 0) + data
    head = _HEADER.pack(len(labels), 0.0, own_id, 0)
    return head + struct.pack(f"<{len(labels)}f", *labels) + data


def write_record(file: BinaryIO, data: bytes) -> None:
    """Append a record to a `.rec` file, split where the data holds the magic."""
    pieces, begin, at = [], 0, data.find(MAGIC)
    while at >= 0:
        if at % 4 == 0:
            pieces.append(data[begin:at])
            begin = at + 4
        at = data.find(MAGIC, begin if at % 4 == 0 else at + 1)
    pieces.append(data[begin:])
    for number, piece in enumerate(pieces):
        if len(pieces) == 1:
            part = _WHOLE
        else:
            part = _FIRST if not number else _LAST if number == len(pieces) - 1 else _MIDDLE
        file.write(_PREFIX.pack(MAGIC, part << _LENGTH_BITS | len(piece)))
        file.write(piece + bytes(-len(piece) % 4))


def write_pack(folder: Path | str, images: Iterable[tuple[int, bytes]]) -> Path:
    """Write `train.rec`, `train.idx` and `property` in InsightFace's layout; return the first.

    `images` are identities and encoded images, grouped by identity.

    Raises:
        ValueError: the images are not grouped by identity.
        FileError: a file cannot be written.
    """
    folder = Path(folder)
    ranges: dict[int, tuple[int, int]] = {}
    key, last, height, width = 0, None, 0, 0
    with replacing(folder / "train.rec") as rec, replacing(folder / "train.idx") as idx:

        def write(key: int, data: bytes) -> None:
            idx.write(b"%d\t%d\n" % (key, rec.tell()))
            write_record(rec, data)

        for key, (label, image) in enumerate(images, 1):
            if label != last and label in ranges:
                raise ValueError(f"the images of identity {label} are not grouped together")
            if key == 1:
                height, width = read_image_rgb(image).shape[:2]
            ranges[label] = (ranges.get(label, (key,))[0], key + 1)
            last = label
            write(key, join_header((label,), key, image))
        for number, (first_key, end_key) in enumerate(ranges.values(), key + 1):
            write(number, join_header((first_key, end_key), number, b""))
        write(0, join_header((key + 1, key + 1 + len(ranges)), 0, b""))
    with replacing(folder / "property") as file:
        file.write(b"%d,%d,%d" % (len(ranges), height, width))
    return folder / "train.rec"
