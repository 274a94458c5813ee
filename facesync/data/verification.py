"""Whether a downloaded dataset is complete: its files, their checksums, its RecordIO packs."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facesync.cli import count
from facesync.data.index import Fault, read_index
from facesync.data.recordio import BrokenRecord, RecordFile
from facesync.errors import DataError
from facesync.files import write_json

INVENTORY = ".facesync-download.json"
"""In a dataset's folder: which dataset it is, and the size and CRC-32 of each of its files."""


@dataclass(frozen=True)
class VerifiedPack:
    """A RecordIO pack that was verified: rows of its index, and bytes of its `train.rec`."""

    folder: Path
    rows: int
    size: int


@dataclass(frozen=True)
class VerifiedDataset:
    """A dataset's folder that was verified: the packs in it and below it, and how many files.

    Files are those compared with the inventory, none without one; some datasets have no pack.
    """

    folder: Path
    packs: tuple[VerifiedPack, ...]
    files: int


def write_inventory(folder: Path, dataset: str, files: dict[str, tuple[int, int]]) -> None:
    """Write the size in bytes and CRC-32 of each file, by its path below `folder`."""
    write_json(folder / INVENTORY, {"dataset": dataset, "files": files}, indent=None)


def verify_folder(folder: Path, dataset: str, *, checksums: bool = False) -> VerifiedDataset:
    """Verify a dataset's folder, without network.

    Every file of the inventory must be there with its size, and every pack must have an index and
    whole records. A folder that was filled by hand has no inventory: only its packs are verified.

    Args:
        folder: where the dataset is.
        dataset: `owner/name` that it must be.
        checksums: read every file, too, and compare its CRC-32 (minutes on a slow disk).

    Raises:
        DataError: the folder is missing, holds something else, or is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: run without --verify-only to download it")
    files = _verify_files(folder, dataset, checksums)
    homes = {file.parent for name in ("train.rec", "train.idx") for file in folder.rglob(name)}
    packs = tuple(verify_pack(home) for home in sorted(homes))
    if not packs and not files:
        raise DataError(f"{folder} holds no RecordIO pack (train.rec with train.idx)")
    return VerifiedDataset(folder, packs, files)


def _verify_files(folder: Path, dataset: str, checksums: bool) -> int:
    """Compare the files with the inventory, if there is one; return how many."""
    path = folder / INVENTORY
    if not path.exists():
        return 0
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        owner, files = stored["dataset"], stored["files"]
        total = sum(size for size, _ in files.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
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
                raise DataError(f"{file} is damaged: its checksum differs from the original's")
    return len(files)


def _crc32(path: Path, bar: tqdm) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
            bar.update(len(chunk))
    return crc


def verify_pack(folder: Path) -> VerifiedPack:
    """Verify that each row of `folder/train.idx` points at a whole record in `folder/train.rec`.

    The images are not read: half a million records take seconds.

    Raises:
        DataError: a file is missing or empty, or rows do not point at records.
    """
    records, index = folder / "train.rec", folder / "train.idx"
    for path, other in ((records, index), (index, records)):
        if not path.is_file():
            raise DataError(f"{path} is missing beside {other.name}")
    file = RecordFile(records)
    keys, offsets, faults = read_index(index, file.size)
    if not len(keys) and not faults:
        raise DataError(f"{index} is empty")
    released = 0
    for row in np.argsort(offsets).tolist():  # so that a slow disk reads forward
        offset = int(offsets[row])
        try:
            file.end(offset)
        except BrokenRecord as broken:
            faults.append(Fault(int(keys[row]), offset, broken.reason))
        released = file.release(released, offset)
    if faults:
        bad = count(len(faults), "row does", "rows do")
        key = "" if faults[0].key is None else f"key {faults[0].key}: "
        raise DataError(
            f"{index}: {bad} not point at a record of {records.name} ({key}{faults[0].reason})"
        )
    return VerifiedPack(folder, len(keys), file.size)
