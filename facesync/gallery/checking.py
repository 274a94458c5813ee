"""Everything that the app keeps about people, opened and looked at: `store check`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from facesync.errors import FaceSyncError
from facesync.gallery import samples
from facesync.gallery.keys import Key, place_in_words
from facesync.gallery.leftovers import managed_files
from facesync.gallery.people import Person
from facesync.gallery.store import Gallery
from facesync.images import decode_fault


def check(gallery: Gallery) -> tuple[list[str], list[str]]:
    """Open the store, the version before it and every image.

    Returns:
        What is there, and what is wrong with it, a line each.
    """
    facts: list[str] = []
    faults: list[str] = []
    people: list[Person] = []
    if not gallery.path.exists():
        facts.append(f"{gallery.path}: not there; nobody is registered")
    for path in (gallery.path, gallery.backup):
        if not path.exists():
            continue
        try:
            content = gallery.content_of(path)
        except FaceSyncError as error:
            faults.append(str(error))
            continue
        facts.append(f"{path}: whole, {len(content.people)} people, {_sealed(content.key)}")
        if path == gallery.path:
            people = content.people
    good = sum(_images(gallery, person, faults) for person in people)
    facts.append(f"{gallery.faces}: {good} images of {len(people)} people are whole")
    faults += [f"{path}: others may read it" for path in managed_files(gallery) if _open(path)]
    return facts, faults


def _sealed(key: Key | None) -> str:
    return "not encrypted" if key is None else f"encrypted with {place_in_words(key.header)}"


def _images(gallery: Gallery, person: Person, faults: list[str]) -> int:
    """Look at a person's images; return how many are whole."""
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
        if _open(path):
            faults.append(f"{path}: others may read it")
        good += not fault
    faults += [f"{path}: left by a save that was cut off" for path in samples.leftovers(folder)]
    return good


def _open(path: Path) -> bool:
    return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
