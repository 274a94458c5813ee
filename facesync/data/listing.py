"""List the images in a folder or a pack, and which of them cannot be read."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from facesync.data.index import Fault
from facesync.data.pack import Pack
from facesync.data.progress import BAR_AFTER_SECONDS, Progress
from facesync.images import IMAGE_SUFFIXES, MARKER_HEAD, MARKER_TAIL, marker_fault

_READERS = 16


def is_image_folder(folder: Path) -> bool:
    """Whether this is a folder of identity folders with images, and has no pack in it."""
    if not folder.is_dir() or any(folder.glob("*.rec")):
        return False
    return any(
        any(_is_image(entry) for entry in _entries(identity.path))
        for identity in _entries(folder)
        if _is_identity(identity)
    )


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _is_identity(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir()


def _is_image(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    return suffix in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()


def files_in_folder(folder: Path, left_out: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return file names by identity; what cannot be read is added to `left_out`."""
    identities = [entry.path for entry in _entries(folder) if _is_identity(entry)]
    files: dict[str, list[str]] = {}
    # Threads, because a network folder is mostly waiting.
    with (
        ThreadPoolExecutor(_READERS) as readers,
        Progress(
            total=len(identities), unit=" identities", desc="Listing", delay=BAR_AFTER_SECONDS
        ) as bar,
    ):
        for path, (readable, faults) in zip(
            identities, readers.map(_readable_in, identities), strict=True
        ):
            identity = os.path.basename(path)
            if readable:
                files[identity] = readable
            left_out += [(f"{identity}/{name}", fault) for name, fault in faults]
            bar.update()
    return files


def _readable_in(folder: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the names of readable images in a folder, and (key, reason) of the others."""
    readable, faults = [], []
    for entry in _entries(folder):
        if _is_image(entry):
            fault = _fault_of_file(entry.path)
            if fault is None:
                readable.append(entry.name)
            else:
                faults.append((os.path.splitext(entry.name)[0], fault))
    return readable, faults


def _fault_of_file(path: str) -> str | None:
    """Return the `marker_fault` of a file; only its two ends are read."""
    try:
        with open(path, "rb", buffering=0) as file:
            ends = file.read(MARKER_HEAD + MARKER_TAIL)
            if len(ends) == MARKER_HEAD + MARKER_TAIL:
                file.seek(-MARKER_TAIL, os.SEEK_END)
                ends = ends[:MARKER_HEAD] + file.read(MARKER_TAIL)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return marker_fault(ends)


def files_in_pack(pack: Pack, left_out: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return keys by identity, as `files_in_folder` does, but without a suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    faults = list(pack.faults)
    with Progress(total=len(pack), unit=" records", desc="Listing", delay=BAR_AFTER_SECONDS) as bar:
        for record in pack.records():
            bar.update()
            if isinstance(record, Fault):
                faults.append(record)
            elif record.kind == "image":
                fault = marker_fault(record.data)
                if fault is None:
                    files[record.identity].append(str(record.key))
                else:
                    left_out.append((f"{record.identity}/{record.key}", fault))
    left_out += [(f"record {fault.key}", fault.reason) for fault in faults]
    return files
