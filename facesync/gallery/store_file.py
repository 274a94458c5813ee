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

MOST_SAVES = 10**18


@dataclass(frozen=True)
class Content:
    """What a file of the store holds.

    Attributes:
        people: everyone in it, as stored.
        created: when the store was created.
        plain: the pickle that the file is, or that is sealed in it; None without a file.
        key: the key that seals it; None if it is not sealed.
        saves: how often the store was saved; each save counts one more.
    """

    people: list[Person]
    created: datetime
    plain: bytes | None = None
    key: Key | None = None
    saves: int = 0


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
    saves = data.get("saves")
    known = type(saves) is int and 0 <= saves < MOST_SAVES  # format 1 and the older form have none
    return Content(people, created, plain, key, saves if known else 0)


def write(
    path: Path, people: Sequence[Person], created: datetime, key: Key | None, saves: int
) -> None:
    """Write people, sealed if there is a key; raises FileError."""
    write_plain(path, encoded(people, created, saves), key)


def encoded(people: Sequence[Person], created: datetime, saves: int) -> bytes:
    """Return the pickle of a store."""
    return dumps_plain({**encode(people, created), "saves": saves})


def write_plain(path: Path, plain: bytes, key: Key | None) -> None:
    """Write the pickle of a store, sealed if there is a key; raises FileError."""
    with replacing(path, private=True) as file:
        file.write(sealing.seal(plain, key, sealing.STORE))
