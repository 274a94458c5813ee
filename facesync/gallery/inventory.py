"""What is stored about people, file by file: where it is, how much, and whether it is sealed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facesync.errors import StoreError
from facesync.gallery import attempts, keys, leftovers, samples, sealing, trust
from facesync.gallery.keys import Key
from facesync.gallery.on_files import FileGallery
from facesync.gallery.server.gallery import ServerGallery
from facesync.gallery.store import IMAGES, PEOPLE, Gallery
from facesync.liveness import camera

_CAMERAS = "cameras, and how faces look to them"


@dataclass(frozen=True)
class Stored:
    """One kind of thing that is stored.

    Attributes:
        what: in words.
        where: the file or folder, or the system's keyring.
        items: number of people, images, lines or files; None if that cannot be read.
        bytes: size on disk; 0 in a keyring.
        sealed: whether it is encrypted; None for what holds no name and no face.
    """

    what: str
    where: str
    items: int | None
    bytes: int
    sealed: bool | None


def stored(gallery: Gallery) -> list[Stored]:
    """List everything that the app keeps of a gallery, and about it elsewhere; what exists.

    Raises:
        StoreError: the gallery cannot be read.
        FileError: the user has no home, where keys are kept.
    """
    if isinstance(gallery, ServerGallery):
        return _on_server(gallery)
    assert isinstance(gallery, FileGallery)
    return _in_files(gallery)


def _on_server(gallery: ServerGallery) -> list[Stored]:
    sizes = gallery.sizes()
    found = [
        Stored(what, gallery.where, *sizes[what], sealed=True) for what in sizes if sizes[what][0]
    ]
    known = camera.file_of(gallery.beside)
    if known.exists():
        found.append(_files(_CAMERAS, [known], None, 1))
    return [*found, *_log(gallery), *_keys(gallery.content().key)]


def _in_files(gallery: FileGallery) -> list[Stored]:
    content = gallery.content()
    found = []
    if gallery.path.exists():
        people, sealed = len(content.people), content.key is not None
        found.append(_files(PEOPLE, [gallery.path], sealed, people))
    if gallery.backup.exists():
        sealed = sealing.is_sealed(gallery.backup)
        before = _people_before(gallery)
        found.append(_files("the same before the last change", [gallery.backup], sealed, before))
    images = [path for each in samples.folders(gallery.faces) for path in samples.in_use(each)]
    if images:
        size, sealed = _bytes(images), all(map(samples.is_sealed, images))
        found.append(Stored(IMAGES, str(gallery.faces), len(images), size, sealed))
    found += _about_no_one(gallery)
    return [*found, *_log(gallery), *_keys(content.key)]


def _log(gallery: Gallery) -> Iterable[Stored]:
    log = gallery.audit_log
    if log is not None and log.exists():
        with log.open("rb") as file:
            lines = sum(1 for _ in file)
        yield _files("log of attempts and changes, with names", [log], False, lines)


def _about_no_one(gallery: FileGallery) -> list[Stored]:
    """List what holds no name that could be read, and no face; and what should not be there."""
    store = gallery.path
    counted = [attempts.file_of(store), attempts.damaged_file_of(store)]
    named = [store, gallery.backup, camera.file_of(store), *counted]
    interrupted = [path for path in leftovers.managed_files(store) if path not in named]
    found = []
    for what, paths, sealed in (
        ("failed attempts, by the hash of a name", counted, None),
        (_CAMERAS, [camera.file_of(store)], None),
        ("how the store was last saved", trust.files(gallery.given), None),
        ("left by an interruption; the next change removes it", interrupted, False),
    ):
        there = [path for path in paths if path.exists()]
        if there:
            found.append(_files(what, there, sealed, len(there)))
    return found


def _keys(key: Key | None) -> Iterable[Stored]:
    """List the key of the store, unless it is a passphrase, and other keys of this user."""
    others = sorted(keys.key_file("").parent.glob("*.key"))
    if key is not None and key.header["kind"] != "passphrase":
        what, file = "the key that opens what is encrypted", keys.key_file(key.header["id"])
        if file in others:
            others.remove(file)
            yield _files(what, [file], None, 1)
        else:
            yield Stored(what, "the system's keyring", 1, 0, None)
    if others:
        yield _files("keys of earlier backups or of other stores", others, None, len(others))


def _people_before(gallery: FileGallery) -> int | None:
    with suppress(StoreError):
        return len(gallery.read(gallery.backup).people)
    return None


def _files(what: str, paths: Sequence[Path], sealed: bool | None, items: int | None) -> Stored:
    where = paths[0] if len(paths) == 1 else paths[0].parent
    return Stored(what, str(where), items, _bytes(paths), sealed)


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
