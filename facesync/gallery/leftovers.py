"""What is left of somebody: the search that follows a deletion.

Everything that the app manages beside a store is read, and opened where it is sealed: the store,
the version before it, what a killed save may have left, the count of attempts and the person's
folder of images. Copies that somebody made elsewhere (`store backup`, `export`), a log of
attempts, and what a disk keeps of files that were removed, are out of its reach.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facesync.errors import FileError, StoreError
from facesync.files import temporary_beside
from facesync.gallery import attempts, samples, sealing
from facesync.gallery.people import Person

if TYPE_CHECKING:
    from facesync.gallery.store import Gallery


def find(gallery: Gallery, names: Iterable[str], people: Sequence[Person]) -> list[Path]:
    """List what still holds something of somebody.

    Args:
        gallery: where to look.
        names: theirs, as typed and as stored.
        people: what was stored of them, in the store and in the version before.
    """
    names = set(names)
    wanted = [vector.tobytes() for person in people for vector in _vectors(person)]
    wanted += [token for name in names for token in _tokens(name)]
    left = []
    for path in managed_files(gallery):
        content = _content(path, gallery)
        if content is None or any(part in content for part in wanted):
            left.append(path)
    for folder in sorted({gallery.folder(name) for name in names}):
        left += [*samples.in_use(folder), *samples.leftovers(folder)]
    return left


def managed_files(gallery: Gallery) -> list[Path]:
    """List the files that the app keeps beside a store, and that are there."""
    kept = [gallery.path, gallery.backup, attempts.file_of(gallery.path)]
    kept += [temporary_beside(path) for path in kept]
    kept.append(attempts.file_of(gallery.path).with_name(f"{gallery.path.name}.attempts.damaged"))
    return [path for path in kept if path.exists()]


def _vectors(person: Person) -> list[np.ndarray]:
    return [person.embedding, *person.sample_embeddings]


def _tokens(name: str) -> set[bytes]:
    """Write a name as it stands in a pickle or in JSON, in every Unicode form.

    The name alone would be found in longer names, Ada in Adam.
    """
    tokens = set()
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        text = unicodedata.normalize(form, name).encode("utf-8", "surrogatepass")
        short = b"\x8c" + bytes([len(text)]) if len(text) < 256 else b""
        tokens |= {short + text, b"X" + len(text).to_bytes(4, "little") + text, b'"%b"' % text}
    return tokens


def _content(path: Path, gallery: Gallery) -> bytes | None:
    """Read a file as it was before it was sealed; None where that is not possible."""
    if path.suffix in (".attempts", ".damaged"):
        return path.read_bytes()
    try:
        plain, _ = sealing.read(path, gallery.keys, sealing.STORE)
    except (FileError, StoreError):
        return None
    return plain
