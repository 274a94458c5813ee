"""A cache of vectors on disk, by the content of their images, so that nothing is computed twice.

A cache is a folder of shards, which only grow. A shard is two files of rows: `*.vectors` has the
vectors, as plain numbers in the machine's order, `*.keys` the content id (16 bytes) and a checksum
of id and vector (CRC-32) of each. A run writes shards of its own, so that two at once do not
disturb each other. A row is whole when its key is written: an interrupted run keeps all but its
newest vectors, and of a damaged or cut shard only those rows count as missing. Opening a cache
reads the keys alone; vectors are mapped.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from facesync.cli import count
from facesync.errors import FileError

log = logging.getLogger(__name__)

ID_BYTES = 16

_KEY = np.dtype([("word", ">u8"), ("rest", "V8"), ("check", "<u4")])
_SHARD_BYTES = 1 << 27
_ROWS_PER_WRITE = 512
_RECENT = 1 << 17  # rows found again in a dict before they are sorted in
_SHARD_BITS = 32  # a place is the number of the shard, then that of the row
_ROW = (1 << _SHARD_BITS) - 1
# What np.load has been seen to raise; TypeError: the file is a single array, not an archive.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)


def content_id(data: bytes) -> bytes:
    """Identify an image by its bytes: the first 16 of their SHA-256."""
    return hashlib.sha256(data).digest()[:ID_BYTES]


class VectorCache:
    """Vectors of one kind by the content id of their images.

    In memory are 16 bytes for each vector. A cache can be pickled: another process maps the files
    itself, and the places stay as they are.

    Args:
        folder: for vectors of this kind only; made when the first are written.
        width: length of each vector; an attribute, too.
        dtype: of the vectors.
    """

    def __init__(self, folder: Path, width: int, dtype: Any = np.float32) -> None:
        self._folder, self.width, self._dtype = folder, width, np.dtype(dtype)
        self._shards: list[_Shard] = []
        self._index: tuple[np.ndarray, np.ndarray] | None = None  # sorted words, their places
        self._recent: dict[bytes, int] = {}
        self._own: _Shard | None = None  # that this run writes, …
        self._first = 0  # … and its first place
        self._new: list[tuple[bytes, np.ndarray]] = []

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return {**vars(self), "_index": None, "_recent": {}, "_own": None}

    def find(self, ids: Sequence[bytes]) -> np.ndarray:
        """Return the place of the vector of each id, int64; -1 where there is no whole one.

        Raises:
            FileError: vectors of the former layout cannot be taken over.
        """
        words, places = self._index or self._open()
        wanted = np.frombuffer(b"".join(ids), ">u8")[::2].astype(np.uint64)
        at = np.searchsorted(words, wanted)
        found = np.array([self._recent.get(id_, -1) for id_ in ids], np.int64)
        # More than one has an id if two runs computed it, or it was damaged.
        asked = np.flatnonzero(found < 0)
        while len(asked := asked[at[asked] < len(words)]):
            asked = asked[words[at[asked]] == wanted[asked]]
            there = places[at[asked]]
            for shard in np.unique(there >> _SHARD_BITS):
                mine = there >> _SHARD_BITS == shard
                whole = self._shards[shard].holds(there[mine] & _ROW, [ids[n] for n in asked[mine]])
                found[asked[mine]] = np.where(whole, there[mine], -1)
            asked = asked[found[asked] < 0]
            at[asked] += 1
        return found

    def take(self, places: np.ndarray) -> np.ndarray:
        """Return the vectors at places, one row each; NaN for -1."""
        self.flush()
        found = np.empty((len(places), self.width), self._dtype)
        shards = places >> _SHARD_BITS
        for number in np.unique(shards):
            mine = shards == number
            if number < 0:
                found[mine] = np.nan
            else:
                found[mine] = self._shards[number].vectors_at(places[mine] & _ROW)
        return found

    def add(self, ids: Sequence[bytes], vectors: np.ndarray) -> np.ndarray:
        """Keep the vectors of ids, one row each; every so often they are written.

        Returns:
            their places.

        Raises:
            FileError: they cannot be written.
        """
        rows = np.ascontiguousarray(vectors, self._dtype).reshape(len(ids), self.width)
        places = np.empty(len(ids), np.int64)
        for number, (id_, row) in enumerate(zip(ids, rows, strict=True)):
            if self._own is None or self._own.rows + len(self._new) >= self._rows_per_shard:
                self._start_shard()
            assert self._own
            place = self._first + self._own.rows + len(self._new)
            self._new.append((id_, row))
            self._recent[id_] = places[number] = place
            if len(self._new) >= _ROWS_PER_WRITE:
                self.flush()
        if len(self._recent) > _RECENT:
            self.flush()
            self._recent.clear()
            self._index = None
        return places

    def flush(self) -> None:
        """Write the new vectors.

        Raises:
            FileError: they cannot be written.
        """
        if self._new:
            assert self._own
            self._own.append(self._new)
            self._new = []

    @property
    def _rows_per_shard(self) -> int:
        return max(1, _SHARD_BYTES // (self.width * self._dtype.itemsize))

    @property
    def _kind(self) -> str:
        return f"-{self.width}-{self._dtype.name}"

    def _start_shard(self) -> None:
        self.flush()
        name = f"{secrets.token_hex(8)}{self._kind}.vectors"
        self._own = _Shard(self._folder / name, self.width, self._dtype)
        self._first = len(self._shards) << _SHARD_BITS
        self._shards.append(self._own)

    def _open(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the keys of all shards, also of those that other runs have written meanwhile."""
        self._take_over()
        known = {shard.path for shard in self._shards}
        files = self._folder.glob(f"*{self._kind}.*")
        for path in sorted({file.with_suffix(".vectors") for file in files} - known):
            self._shards.append(_Shard(path, self.width, self._dtype))
        parts = [shard.words() for shard in self._shards]
        words = np.concatenate([np.empty(0, np.uint64), *parts])
        places = np.concatenate(
            [
                np.empty(0, np.int64),
                *(np.arange(len(p)) + (n << _SHARD_BITS) for n, p in enumerate(parts)),
            ]
        )
        order = np.argsort(words, kind="stable")
        self._index = words[order], places[order]
        return self._index

    def _take_over(self) -> None:
        """Copy vectors of the former layout, many small `.npz` files, and remove these."""
        taken = 0
        for path in sorted(self._folder.glob("*.npz")):
            try:
                # Opened here: NumPy leaves a damaged file open.
                with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                    names, vectors = archive["ids"].astype(str), archive["vectors"]
                ids = [bytes.fromhex(name) for name in names.tolist()]
                if vectors.shape != (len(ids), self.width) or vectors.dtype != self._dtype:
                    raise ValueError(f"vectors of shape {vectors.shape}")
                if {len(id_) for id_ in ids} - {ID_BYTES}:
                    raise ValueError("ids of another length")
            except FileNotFoundError:
                continue  # another run has just done so
            except _DAMAGE as error:
                log.warning("%s is damaged and not used (%s)", path, error)
                continue
            self.add(ids, vectors)
            self.flush()
            path.unlink(missing_ok=True)
            taken += len(ids)
        if taken:
            found = count(taken, "vector", "vectors")
            log.info("%s: %s of the former layout written anew", self._folder, found)


class _Shard:
    """Two files of rows; see above."""

    def __init__(self, path: Path, width: int, dtype: np.dtype[Any]) -> None:
        self.path, self.rows = path, 0
        self._width, self._dtype = width, dtype
        self._damaged = False
        self._keys = np.empty(0, _KEY)
        self._vectors = np.empty((0, width), dtype)

    def __getstate__(self) -> dict[str, Any]:
        # Pickled, a map would be all that is in the file.
        return {**vars(self), "_keys": self._keys[:0].copy(), "_vectors": self._vectors[:0].copy()}

    @property
    def _keys_path(self) -> Path:
        return self.path.with_suffix(".keys")

    @property
    def _row_bytes(self) -> int:
        return self._width * self._dtype.itemsize

    def words(self) -> np.ndarray:
        """Return the first half of each id, uint64; says what is cut off."""
        keys = _size(self._keys_path) / _KEY.itemsize
        vectors = _size(self.path) / self._row_bytes
        self.rows = int(min(keys, vectors))
        self._map()
        if not self.rows == keys == vectors:
            log.warning(
                "%s was cut short: %s left, the others are computed again",
                self.path,
                count(self.rows, "vector is", "vectors are"),
            )
        return np.asarray(self._keys["word"], np.uint64)

    def holds(self, rows: np.ndarray, ids: Sequence[bytes]) -> np.ndarray:
        """Return whether rows are those of ids and as they were written, bool (rows,)."""
        self._map()
        keys = self._keys[rows]
        checks = [
            crc32(vector, crc32(id_)) for id_, vector in zip(ids, self._vectors[rows], strict=True)
        ]
        whole: np.ndarray = keys["check"] == np.array(checks, np.uint32)
        for number in np.flatnonzero(~whole).tolist():
            if not self._damaged and keys[number].tobytes().startswith(ids[number]):
                self._damaged = True
                log.warning("%s is damaged; what is damaged in it is computed again", self.path)
        return whole

    def vectors_at(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of some rows."""
        self._map()
        return self._vectors[rows]

    def append(self, new: Sequence[tuple[bytes, np.ndarray]]) -> None:
        """Write rows, first the vectors, then the keys."""
        keys = b"".join(id_ + crc32(row.data, crc32(id_)).to_bytes(4, "little") for id_, row in new)
        _write_at(self.path, self.rows * self._row_bytes, b"".join(row.tobytes() for _, row in new))
        _write_at(self._keys_path, self.rows * _KEY.itemsize, keys)
        self.rows += len(new)

    def _map(self) -> None:
        if len(self._keys) < self.rows:
            shape = (self.rows, self._width)
            try:
                keys = np.memmap(self._keys_path, _KEY, "r", shape=(self.rows,))
                vectors = np.memmap(self.path, self._dtype, "r", shape=shape)
            except (OSError, ValueError) as error:
                raise FileError(f"{self.path} was changed meanwhile; run again") from error
            self._keys, self._vectors = keys.view(np.ndarray), vectors.view(np.ndarray)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _write_at(path: Path, offset: int, data: bytes) -> None:
    """Write to a place in a file: what a full disk left of the last attempt is overwritten."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
            file.seek(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


class Rows:
    """Vectors of a cache in an order of its own, read when they are asked for.

    It is indexed like an array (rows, width); each time the rows in question are copied.

    Args:
        cache: has the vectors.
        places: where, int64 (rows,); -1: there is none, a row of NaN.
    """

    def __init__(self, cache: VectorCache, places: np.ndarray) -> None:
        self._cache, self._places = cache, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):
            return self[index[0]][..., index[1]]
        places = self._places[index]
        return self._cache.take(np.atleast_1d(places)).reshape(*np.shape(places), self._cache.width)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
