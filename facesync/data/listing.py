"""List the images in a folder or a pack, and which of them cannot be read."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from facesync.data.index import Fault
from facesync.data.pack import Pack
from facesync.data.progress import BAR_AFTER_SECONDS, Progress
from facesync.images import fault_of_file, is_image, marker_fault, say_passed_over

_READERS = 16


def is_image_folder(folder: Path) -> bool:
    """Whether this is a folder of identity folders with images, and has no pack in it."""
    if not folder.is_dir() or any(folder.glob("*.rec")):
        return False
    return any(
        any(is_image(entry.path) for entry in _entries(identity.path) if not _is_hidden(entry))
        for identity in _entries(folder)
        if _is_identity(identity)
    )


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _is_identity(entry: os.DirEntry[str]) -> bool:
    return not _is_hidden(entry) and entry.is_dir()


def files_in_folder(folder: Path, left_out: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return file names by identity; what cannot be read is added to `left_out`.

    How many entries are not images, or images in no identity's folder, is logged.
    """
    entries = _entries(folder)
    identities = [entry.path for entry in entries if _is_identity(entry)]
    # Images of nobody.
    passed_over = [
        e.name for e in entries if not (_is_hidden(e) or e.is_dir()) and is_image(e.path)
    ]
    files: dict[str, list[str]] = {}
    # Threads, because a network folder is mostly waiting.
    with (
        ThreadPoolExecutor(_READERS) as readers,
        Progress(
            total=len(identities), unit=" identities", desc="Listing", delay=BAR_AFTER_SECONDS
        ) as bar,
    ):
        for path, (readable, faults, others) in zip(
            identities, readers.map(_readable_in, identities), strict=True
        ):
            identity = os.path.basename(path)
            if readable:
                files[identity] = readable
            left_out += [(f"{identity}/{name}", fault) for name, fault in faults]
            passed_over += [f"{identity}/{name}" for name in others]
            bar.update()
    say_passed_over(folder, passed_over)
    return files


def _readable_in(folder: str) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Return names of readable images, (key, reason) of the others, and names of other entries."""
    readable, faults, others = [], [], []
    for entry in _entries(folder):
        if _is_hidden(entry):
            continue
        if not is_image(entry.path):
            others.append(entry.name)
        elif fault := fault_of_file(entry.path):
            faults.append((os.path.splitext(entry.name)[0], fault))
        else:
            readable.append(entry.name)
    return readable, faults, others


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
