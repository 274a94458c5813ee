"""`store check`: everything that the app keeps about people, opened and checked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from facesync.cli import count
from facesync.errors import FaceSyncError
from facesync.gallery import samples, trust
from facesync.gallery.keys import Key, place_in_words
from facesync.gallery.leftovers import managed_files
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person, now
from facesync.gallery.server.gallery import ServerGallery
from facesync.gallery.store import Gallery
from facesync.gallery.store_file import Content
from facesync.images import decode_fault

_READABLE = "other users may read it"


def check(gallery: Gallery) -> tuple[list[str], list[str]]:
    """Open everything that is stored; return what there is and what is wrong, a line each."""
    if isinstance(gallery, ServerGallery):
        return _server(gallery)
    assert isinstance(gallery, FileGallery)
    return _files(gallery)


def _server(gallery: ServerGallery) -> tuple[list[str], list[str]]:
    content = gallery.content()
    if content.key is None:
        return [f"{gallery.where}: nobody is registered"], []
    good, faults = gallery.faults()
    held = count(len(content.people), "person", "people")
    images = count(good, "image", "images")
    return [f"{gallery.where}: {images} intact, {held}, {_sealed(content.key)}"], faults


def _files(gallery: FileGallery) -> tuple[list[str], list[str]]:
    facts: list[str] = []
    faults: list[str] = []
    if not gallery.path.exists():
        facts.append(f"{gallery.path}: does not exist; nobody is registered")
    if missing := gallery.missing():
        faults.append(missing)
    read = {path: _read(gallery, path, facts, faults) for path in (gallery.path, gallery.backup)}
    content = read[gallery.path]
    people = content.people if content else []
    good = count(
        sum(_images(gallery, person, content, faults) for person in people), "image", "images"
    )
    facts.append(f"{gallery.faces}: {good} intact, {count(len(people), 'person', 'people')}")
    if all(read.values()):  # else it is not known whose images belong here
        known = {person.name for each in read.values() if each for person in each.people}
        faults += _orphans(gallery, known)
    faults += [
        f"{path}: {_READABLE}" for path in managed_files(gallery.path) if _readable_by_others(path)
    ]
    return facts, faults


def _read(gallery: FileGallery, path: Path, facts: list[str], faults: list[str]) -> Content | None:
    """Read the store or the version before; None if it cannot be read."""
    if path.is_symlink():
        faults.append(f"{path}: is a link; what it points at is not deleted with the store")
    if not path.exists():
        return Content([], now())
    try:
        mark = trust.read(gallery.given)
        content = gallery.read(path)
    except FaceSyncError as error:
        faults.append(str(error))
        return None
    held = count(len(content.people), "person", "people")
    facts.append(f"{path}: intact, {held}, {_sealed(content.key)}")
    if path == gallery.path and (older := trust.older(path, content, mark)):
        faults.append(older)
    return content


def _orphans(gallery: FileGallery, names: set[str]) -> list[str]:
    """Find images of people who are neither in the store nor in the version before."""
    known = [folder for folder in map(gallery.folder, names) if folder.exists()]
    return [
        f"{folder}: images of somebody who is not registered; `delete` removes them"
        for folder in samples.folders(gallery.faces)
        if not any(folder == other or folder.samefile(other) for other in known)
    ]


def _sealed(key: Key | None) -> str:
    return "not encrypted" if key is None else f"encrypted with {place_in_words(key.header)}"


def _images(
    gallery: FileGallery, person: Person, content: Content | None, faults: list[str]
) -> int:
    """Check a person's images and return how many are intact."""
    folder = gallery.folder(person.name)
    paths = samples.in_use(folder)
    good = 0
    for path in paths:
        try:
            fault = decode_fault(samples.read_one(path, gallery.keys))
        except FaceSyncError as error:
            faults.append(str(error))
            continue
        if fault:
            faults.append(f"{path}: {fault}")
        if _readable_by_others(path):
            faults.append(f"{path}: {_READABLE}")
        if content and content.key and not samples.is_sealed(path):
            faults.append(f"{path}: not encrypted, although the store is")
        good += not fault
    if folder.is_symlink():
        faults.append(f"{folder}: is a link; sample images are kept in {gallery.faces} only")
    elif person.registered and len(paths) != person.samples:  # the older form kept no count
        held = f"{count(person.samples, 'sample', 'samples')} of {person.name}"
        faults.append(f"{folder}: {count(len(paths), 'image', 'images')} for {held}")
    faults += [f"{path}: left by an interrupted save" for path in samples.leftovers(folder)]
    return good


def _readable_by_others(path: Path) -> bool:
    return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
