"""Is a downloaded dataset whole: its files, their checksums, and its RecordIO packs.

A RecordIO pack is `train.rec` with `train.idx`. The index has one `key<TAB>byte offset` a row; at
each offset the record file has a little-endian magic number and a word whose low 29 bits are the
length of what follows.
"""

from __future__ import annotations

import json
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesync.data.recordio import MAGIC
from facesync.errors import DataError
from facesync.files import replacing

if TYPE_CHECKING:
    import numpy as np

LENGTH_MASK = (1 << 29) - 1
HEAD_BYTES = 8
LIST_FILE = ".facesync-download.json"
"""In a dataset's folder: which dataset it is, and the size and CRC-32 of each of its files."""

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Pack:
    """A RecordIO pack that was verified."""

    folder: Path
    rows: int
    """Rows of the index: images and bookkeeping records."""
    size: int
    """Bytes of the record file."""


@dataclass(frozen=True)
class Verified:
    """A dataset's folder that was verified."""

    folder: Path
    packs: tuple[Pack, ...]
    """Packs in the folder and below it; a dataset of another kind has none."""
    files: int
    """Files compared with the list that the download left; 0 where there is no such list."""


def write_list(folder: Path, dataset: str, files: dict[str, tuple[int, int]]) -> None:
    """Leave in `folder` the size in bytes and CRC-32 of each file, by its path below `folder`."""
    with replacing(folder / LIST_FILE) as file:
        file.write(json.dumps({"dataset": dataset, "files": files}).encode())


def verify_folder(folder: Path, dataset: str, *, checksums: bool = False) -> Verified:
    """Verify a dataset's folder without network.

    Every listed file must be there with its size; every pack must have an index whose rows
    point at records. A folder that was filled by hand has no list: then only its packs count.

    Args:
        folder: where the dataset lies.
        dataset: `owner/name` that it must be.
        checksums: also read every listed file and compare its CRC-32 (minutes on a slow disk).

    Raises:
        DataError: the folder is missing, holds something else, or is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: run without --verify-only to download it")
    files = _verify_list(folder, dataset, checksums)
    homes = {file.parent for name in ("train.rec", "train.idx") for file in folder.rglob(name)}
    packs = tuple(verify_pack(home) for home in sorted(homes))
    if not packs and not files:
        raise DataError(f"{folder} holds no RecordIO pack (train.rec with train.idx)")
    return Verified(folder, packs, files)


def _verify_list(folder: Path, dataset: str, checksums: bool) -> int:
    from tqdm import tqdm

    path = folder / LIST_FILE
    if not path.exists():
        return 0
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        owner, files = stored["dataset"], stored["files"]
        total = sum(size for size, _ in files.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged") from error
    if owner != dataset:
        raise DataError(f"{folder} holds {owner}, not {dataset}: choose another --output")
    with tqdm(
        total=total, unit="B", unit_scale=True, desc="checksums", disable=not checksums
    ) as bar:
        for name, (size, crc) in files.items():
            file = folder / name
            if not file.is_file():
                raise DataError(f"{file} is missing")
            if (actual := file.stat().st_size) != size:
                raise DataError(f"{file} has {actual:,} bytes instead of {size:,}")
            if checksums and _crc32(file, bar) != crc:
                raise DataError(f"{file} is damaged: its checksum is not the one it came with")
    return len(files)


def _crc32(path: Path, bar: Any) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
            bar.update(len(chunk))
    return crc


def verify_pack(folder: Path) -> Pack:
    """Verify that each row of `folder/train.idx` points at a whole record in `folder/train.rec`.

    Half a million rows take seconds once the record file is in memory; its images are not read.

    Raises:
        DataError: a file is missing or empty, or rows do not point at records.
    """
    import numpy as np
    from tqdm import tqdm

    records, index = folder / "train.rec", folder / "train.idx"
    for file, other in ((records, index), (index, records)):
        if not file.is_file():
            raise DataError(f"{file} is missing beside {other.name}")
        if not file.stat().st_size:
            raise DataError(f"{file} is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # blank lines only, or a fraction for a number
            rows = np.loadtxt(index, dtype=np.int64, comments=None, ndmin=2, encoding="utf-8")
    except (ValueError, OverflowError, Warning) as error:
        raise DataError(f"{index} has rows that are not `key<TAB>offset`") from error
    if rows.shape[1] != 2:
        raise DataError(f"{index} has rows that are not `key<TAB>offset`")
    rows = rows[np.argsort(rows[:, 1])]  # so that a slow disk reads forward
    keys, offsets = rows[:, 0], rows[:, 1]
    size = records.stat().st_size
    _refuse(keys[(offsets < 0) | (offsets > size - HEAD_BYTES)], index, "point outside", records)

    data = np.memmap(records, np.uint8, "r")
    heads = np.empty((len(rows), HEAD_BYTES), np.uint8)
    starts = range(0, len(rows), _ROWS_AT_ONCE)
    for start in tqdm(starts, desc="index", disable=len(starts) < 3):
        part = slice(start, start + _ROWS_AT_ONCE)
        heads[part] = data[offsets[part, None] + np.arange(HEAD_BYTES)]
    magic, word = heads.view("<u4").T
    _refuse(keys[magic != int.from_bytes(MAGIC, "little")], index, "point at no record of", records)
    end = offsets + HEAD_BYTES + (word & LENGTH_MASK)
    _refuse(keys[end > size], index, "point at a record cut off at the end of", records)
    return Pack(folder, len(rows), size)


def _refuse(keys: np.ndarray, index: Path, fault: str, records: Path) -> None:
    if len(keys):
        raise DataError(
            f"{index}: {len(keys):,} rows {fault} {records.name}, the first with key {keys[0]}"
        )
