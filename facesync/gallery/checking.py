"""`store check`: everything that the app keeps about people, opened and checked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from facesync.cli import count
from facesync.errors import FaceSyncError
from facesync.gallery import samples, store_file
from facesync.gallery.keys import Key, place_in_words
from facesync.gallery.leftovers import managed_files
from facesync.gallery.people import Person
from facesync.gallery.store import Gallery
from facesync.images import decode_fault

_READABLE = "other users may read it"


def check(gallery: Gallery) -> tuple[list[str], list[str]]:
    """Open everything that is stored; return what there is and what is wrong, a line each."""
    facts: list[str] = []
    faults: list[str] = []
    people: list[Person] = []
    if not gallery.path.exists():
        facts.append(f"{gallery.path}: does not exist; nobody is registered")
    for path in (gallery.path, gallery.backup):
        if not path.exists():
            continue
        try:
            content = store_file.read(path, gallery.keys)
        except FaceSyncError as error:
            faults.append(str(error))
            continue
        held = count(len(content.people), "person", "people")
        facts.append(f"{path}: intact, {held}, {_sealed(content.key)}")
        if path == gallery.path:
            people = content.people
    good = count(sum(_images(gallery, person, faults) for person in people), "image", "images")
    facts.append(f"{gallery.faces}: {good} intact, {count(len(people), 'person', 'people')}")
    faults += [
        f"{path}: {_READABLE}" for path in managed_files(gallery.path) if _readable_by_others(path)
    ]
    return facts, faults


def _sealed(key: Key | None) -> str:
    return "not encrypted" if key is None else f"encrypted with {place_in_words(key.header)}"


def _images(gallery: Gallery, person: Person, faults: list[str]) -> int:
    """Check a person's images and return how many are intact."""
    folder = gallery.folder(person.name)
    good = 0
    for path in samples.in_use(folder):
        try:
            fault = decode_fault(samples.read_one(path, gallery.keys))
        except FaceSyncError as error:
            faults.append(str(error))
            continue
        if fault:
            faults.append(f"{path}: {fault}")
        if _readable_by_others(path):
            faults.append(f"{path}: {_READABLE}")
        good += not fault
    faults += [f"{path}: left by an interrupted save" for path in samples.leftovers(folder)]
    return good


def _readable_by_others(path: Path) -> bool:
    return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
