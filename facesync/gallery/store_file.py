"""One file of a store: read, opened where it is sealed, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from facesync.files import replacing
from facesync.gallery import sealing
from facesync.gallery.keys import Key, KeyChain
from facesync.gallery.people import Person, decode, encode
from facesync.pickles import dumps_plain


@dataclass(frozen=True)
class Content:
    """What a file of the store holds.

    Attributes:
        people: everyone in it, as stored.
        created: when the store was created.
        plain: the pickle that the file is, or that is sealed in it; None without a file.
        key: the key that seals it; None if it is not sealed.
    """

    people: list[Person]
    created: datetime
    plain: bytes | None = None
    key: Key | None = None


def backup_of(store: Path) -> Path:
    """Where the version of a store before its last save is kept."""
    return store.with_name(store.name + ".bak")


def read(path: Path, keys: KeyChain) -> Content:
    """Read a store, or the version before its last save.

    Raises:
        StoreError: it cannot be read or opened, or is damaged.
    """
    data, plain, key = sealing.load(path, keys, sealing.STORE)
    created, people = decode(data, path)
    return Content(people, created, plain, key)


def write(path: Path, people: Sequence[Person], created: datetime, key: Key | None) -> None:
    """Write people, sealed if there is a key; raises FileError."""
    write_plain(path, dumps_plain(encode(people, created)), key)


def write_plain(path: Path, plain: bytes, key: Key | None) -> None:
    """Write the pickle of a store, sealed if there is a key; raises FileError."""
    with replacing(path, private=True) as file:
        file.write(sealing.seal(plain, key, sealing.STORE))
