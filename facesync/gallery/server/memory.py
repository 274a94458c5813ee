"""What a door has in memory of a gallery on a server, and how it catches up with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from facesync.errors import StoreError
from facesync.gallery.keys import KeyChain
from facesync.gallery.people import now
from facesync.gallery.server.database import VERSION, has_tables
from facesync.gallery.server.sealed import DAMAGED, TAG, Head, Row, Seal
from facesync.gallery.store_file import MOST_SAVES, Content

_INCOMPLETE = "people are missing there, or were put back as they were earlier"


@dataclass(frozen=True)
class Memory:
    """A gallery as it was at one revision.

    Attributes:
        seal: opens and seals; None while nobody was ever registered on the server.
        rows: everyone, by the id of their row.
        revision: how often the gallery was changed.
        created: when it was made.
    """

    seal: Seal | None = None
    rows: Mapping[str, Row] = field(default_factory=dict)
    revision: int = 0
    created: datetime = field(default_factory=now)

    @cached_property
    def ids(self) -> dict[str, str]:
        """The id of everybody's row, by their name."""
        return {row.person.name: row_id for row_id, row in self.rows.items()}

    @cached_property
    def content(self) -> Content:
        """Everyone as `Gallery.content` returns it; `plain` is b"" where there is a gallery."""
        people = [row.person for row in self.rows.values()]
        if self.seal is None:
            return Content(people, self.created)
        return Content(people, self.created, b"", self.seal.key, self.revision)

    @cached_property
    def head(self) -> Head:
        """Return what is sealed of it as a whole."""
        assert self.seal is not None
        total = self.seal.total(self.rows)
        return Head(self.revision, len(self.rows), total, self.created.isoformat())


def catch_up(connection: Any, known: Memory, keys: KeyChain) -> Memory:
    """Return the gallery as it is now: read what has changed since `known`, or everything.

    The caller is in a transaction in which what is read belongs together.

    Raises:
        StoreError: its key is not here; or something was changed, left out or put back by somebody
            who has not got the key.
    """
    if not has_tables(connection):
        return Memory()
    found = connection.execute(
        "SELECT version, gallery, key, revision, head FROM facesync_gallery"
    ).fetchone()
    if found is None:
        return Memory()
    version, gallery, header, revision, sealed = found
    if type(version) is not int or type(revision) is not int:
        raise StoreError(DAMAGED)
    if version != VERSION:
        raise StoreError(f"it has version {version}; this one reads {VERSION}: update FaceSync")
    seal = known.seal
    if seal is None or (seal.gallery, seal.header) != (gallery, header):
        seal, known = _new_seal(gallery, header, keys), Memory()
    head, created = _open_head(seal, sealed)
    if head.revision != revision or not 0 <= revision < MOST_SAVES:
        raise StoreError(DAMAGED)
    if known.revision == revision and known.seal is seal:
        if known.head == head:
            return known
    if known.revision >= revision:  # an older gallery: a backup, perhaps
        known = Memory()
    rows = dict(known.rows)
    rows |= _read(connection, seal, f"revision > {int(known.revision)}", head.people)
    memory = Memory(seal, rows, revision, created)
    if memory.head != head:
        rows = _without_what_is_gone(connection, seal, rows, head.people)
        memory = Memory(seal, rows, revision, created)
        if memory.head != head:
            raise StoreError(_INCOMPLETE)
    return memory


def _new_seal(gallery: Any, header: Any, keys: KeyChain) -> Seal:
    if not isinstance(gallery, str) or not isinstance(header, str):
        raise StoreError(DAMAGED)
    try:
        key = keys.find(json.loads(header))
    except (ValueError, RecursionError) as error:
        raise StoreError(DAMAGED) from error
    except StoreError as error:
        raise StoreError(f"{error}; `store key import` brings it from another door") from error
    return Seal(key, gallery)


def _open_head(seal: Seal, sealed: object) -> tuple[Head, datetime]:
    try:
        head = seal.open_head(sealed)
        return head, datetime.fromisoformat(head.created)
    except (ValueError, TypeError) as error:
        raise StoreError(DAMAGED) from error


def _without_what_is_gone(
    connection: Any, seal: Seal, rows: Mapping[str, Row], most: int
) -> dict[str, Row]:
    """Drop the rows that are not there any more, and read those that are others."""
    there: dict[str, tuple[int, bytes]] = {}
    with connection.cursor().copy(
        f"COPY (SELECT id, revision, substr(sealed, length(sealed) - {TAG - 1}) "
        "FROM facesync_people) TO STDOUT (FORMAT BINARY)"
    ) as copy:
        copy.set_types(["text", "int8", "bytea"])
        for row_id, revision, tag in copy.rows():
            there[row_id] = revision, tag
            _refuse_more(there, most)
    same = {i: row for i, row in rows.items() if there.get(i) == (row.revision, row.tag)}
    others = there.keys() - same.keys()
    if not others:
        return same
    least = min(there[row_id][0] for row_id in others)
    read = _read(connection, seal, f"revision >= {int(least)}", most)
    return same | {row_id: read[row_id] for row_id in others if row_id in read}


def _read(connection: Any, seal: Seal, which: str, most: int) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    with connection.cursor().copy(
        f"COPY (SELECT id, revision, sealed FROM facesync_people WHERE {which}) "
        "TO STDOUT (FORMAT BINARY)"
    ) as copy:
        copy.set_types(["text", "int8", "bytea"])
        for row_id, revision, sealed in copy.rows():
            rows[row_id] = seal.open_person(row_id, revision, sealed)
            _refuse_more(rows, most)
    return rows


def _refuse_more(rows: Sized, most: int) -> None:
    """Stop reading what cannot be right: the head says how many people there are."""
    if len(rows) > most:
        raise StoreError(_INCOMPLETE)
