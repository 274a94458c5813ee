"""The gallery on a server: everyone who is registered, for all doors that have the key."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from facesync.errors import StoreError
from facesync.gallery import samples
from facesync.gallery.keys import Key, KeyChain
from facesync.gallery.people import Person, with_name
from facesync.gallery.server.attempts import ServerAttempts
from facesync.gallery.server.database import CHANGE_LOCK, VERSION, Server, limited, notify
from facesync.gallery.server.door import Door
from facesync.gallery.server.memory import Memory
from facesync.gallery.server.sealed import TAG, Row, Seal
from facesync.gallery.store import IMAGES, PEOPLE, Gallery, Images
from facesync.gallery.store_file import Content
from facesync.images import decode_fault

log = logging.getLogger(__name__)

_COUNTS = "failed attempts, by the hash of a name"


class ServerGallery(Gallery):
    """A gallery on a PostgreSQL server, which keeps sealed bytes only.

    What it knows is in memory: reading never waits for the server, once it has been read.

    Args:
        address: `postgresql://USER@HOST/DATABASE`; see `facesync.gallery.server.address`.
        beside: the file beside which what is known of this machine's cameras is kept.
        insecure: do not check who answers on another machine.
        offline: refuse another machine.
        keys: where keys come from.
        audit_log: log, on this machine, that says when people were embedded again.

    Raises:
        UsageError, StoreError: see `facesync.gallery.server.address.parameters`.
    """

    def __init__(
        self,
        address: str,
        beside: Path,
        *,
        insecure: bool = False,
        offline: bool = False,
        keys: KeyChain | None = None,
        audit_log: Path | None = None,
    ) -> None:
        server = Server(address, insecure=insecure, offline=offline)
        attempts = ServerAttempts()
        super().__init__(attempts, keys, audit_log)
        self.door = attempts.door = Door(server, self.keys, attempts.heard, self._returned)
        self._counted = attempts
        self.where, self.beside = server.name, beside
        self._forgotten = False

    @property
    def outage(self) -> str | None:  # type: ignore[override]
        """Since when the server does not answer, in words; None while it does."""
        return self.door.outage

    def close(self) -> None:
        """End listening to the server."""
        self.door.close()

    def content(self) -> Content:
        """Return who is there, from memory."""
        return self.door.memory.content

    def version(self) -> tuple[int, int] | None:
        """Return what is another one after each change, at any door; None without a gallery."""
        memory = self.door.memory
        return None if memory.seal is None else (memory.revision, id(memory))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all others from changing anything; what fails or is killed inside is undone."""
        self._forgotten = False
        _ = self.door.memory  # it begins to listen, even if the first thing it does is a change
        with self.door.transaction(CHANGE_LOCK):
            self.door.begin()
            yield
        if self._forgotten:
            self._vacuum()

    def to_seal(self, content: Content) -> Content:
        """Return the content with the key for its next save; call it under the lock."""
        return content if content.key else replace(content, key=self.keys.new())

    def change(
        self, content: Content, people: Sequence[Person], images: Images, *, add: bool = False
    ) -> None:
        """Replace everyone, and the images of some; call it under the lock.

        A person keeps the row, and its id, for as long as they keep the name.
        """
        before = self.door.memory
        assert content.key is not None
        seal = self._seal(before, content.key)
        rows: dict[str, Row] = {}
        changed: list[tuple[str, int, bytes]] = []
        given: list[tuple[str, str, bytes]] = []
        emptied: list[str] = []
        mark = self.door.mark()
        revision = 1 + max(before.revision, mark.saves if mark else 0)
        for person in people:
            row_id = before.ids.get(person.name) or secrets.token_hex(16)
            row, new = before.rows.get(row_id), images.get(person.name)
            if row and row.person is person and new is None and seal is before.seal:
                rows[row_id] = row
                continue
            kept: Mapping[str, bytes] = row.images if row and (new is None or add) else {}
            if row and not kept:
                emptied.append(row_id)
            sealed = {name: seal.image(row_id, name, data) for name, data in (new or {}).items()}
            given += [(row_id, name, data) for name, data in sealed.items()]
            digests = {name: hashlib.sha256(data).digest() for name, data in sealed.items()}
            unsealed = Row(person, revision, {**kept, **digests})
            changed.append((row_id, revision, seal.person(row_id, unsealed)))
            rows[row_id] = replace(unsealed, tag=changed[-1][-1][-TAG:])
        gone = [*before.rows.keys() - rows.keys()]
        after = Memory(seal, rows, revision, content.created)
        connection = self.door.connection
        with limited(connection):
            _delete_rows(connection, gone, emptied)
            _write_rows(connection, changed, given)
            _write_head(connection, after)
        self.door.leave(after)

    def _seal(self, before: Memory, key: Key) -> Seal:
        if before.seal is None:
            return Seal(key, secrets.token_hex(16))
        if before.seal.key == key:
            return before.seal
        return Seal(key, before.seal.gallery)

    def replace_people(
        self, content: Content, gone: Sequence[Person], people: Sequence[Person], images: Images
    ) -> None:
        """Do as `change`, so that nothing is left of how some people, who are `gone`, were."""
        self.change(content, people, images)
        self.attempts.keep([person.name for person in people])
        self._forgotten = True

    def image_names(self, name: str) -> list[str]:
        """List the images of who has just this name, in the order they were taken."""
        memory = self.door.memory
        row_id = memory.ids.get(name)
        return sorted(memory.rows[row_id].images, key=samples.number) if row_id else []

    def read_image(self, name: str, image: str, *, sealed: bool = False) -> bytes:
        """Read one encoded image from the server, where all are sealed.

        Raises:
            StoreError: the server does not answer, or it is not the image that was stored last.
        """
        known = self.door.memory
        try:
            return self._read_image(known, name, image)
        except StoreError:
            if self.outage is None and known is self.door.memory:
                self.door.refresh()  # another door may have changed it just now
            if known is self.door.memory:
                raise
        return self._read_image(self.door.memory, name, image)

    def _read_image(self, memory: Memory, name: str, image: str) -> bytes:
        row_id = memory.ids.get(name, "")
        digest = memory.rows[row_id].images.get(image) if row_id else None
        query = "SELECT sealed FROM facesync_images WHERE person = %s AND image = %s"
        found = self.door.ask(query, [row_id, image]) if digest else []
        if digest is None or not found or memory.seal is None:
            raise StoreError(f"{self.where}: an image of {name} is not there")
        try:
            return memory.seal.open_image(row_id, image, found[0][0], digest)
        except StoreError as error:
            raise StoreError(f"{self.where}: an image of {name}: {error}") from error

    def adopt(self) -> Content:
        """Trust the gallery as it is from now on, although another was here before."""
        return self.door.adopt().content

    def key_id(self) -> str | None:
        """Return the id of the gallery's key, whoever has it; None if there is no gallery.

        Raises:
            StoreError: the server does not answer, or not as it should.
        """
        found = self.door.header()
        key_id = found.get("id") if isinstance(found, dict) else found
        if not isinstance(key_id, str | None):
            raise StoreError(f"{self.where}: the description of its key cannot be read")
        return key_id

    def reseal(self, new_key: Callable[[], Key] | None) -> int:
        """Seal everything with a new key, which the other doors then need; return how many people.

        Raises:
            StoreError: there is no gallery, or it was to be decrypted.
        """
        if new_key is None:
            raise StoreError("on a server everything stays encrypted; `store pull` takes it away")
        with self.locked():
            content = self.content()
            if content.plain is None:
                raise StoreError(f"there is no gallery on {self.where}")
            images = {each.name: self.encoded_images(each.name) for each in content.people}
            self._counted.send()
            self.change(replace(content, key=new_key()), content.people, images)
            self._counted.reseal(self.door.connection)
            self._forgotten = True
        return len(content.people)

    def delete_all(self) -> list[str]:
        """Forget everybody; return their names. The gallery stays, with its key, and is empty."""
        with self.locked():
            content = self.content()
            if content.plain is not None:
                self.replace_people(content, content.people, [], {})
        return sorted(person.name for person in content.people)

    def _delete(self, name: str) -> str | None:
        content = self.content()
        same, others = with_name(content.people, name)
        if not same:
            return None
        rows = [self.door.memory.ids[person.name] for person in same]
        self.replace_people(content, same, others, {})
        for table, column in (("people", "id"), ("images", "person")):
            query = f"SELECT count(*) FROM facesync_{table} WHERE {column} = ANY(%s)"
            if self.door.ask(query, [rows]) != [(0,)]:
                raise StoreError(f"something of {same[0].name} is left on {self.where}")
        return same[0].name

    def searched(self) -> str:
        """Say where nothing was found after a deletion."""
        return f"the tables on {self.where}"

    def about(self) -> str:
        """Say what the server is and how it is connected to; StoreError if it does not answer."""
        return self.door.about()

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return how many of each kind the server keeps, and their bytes."""
        self.content()  # or there may be no tables
        found = {}
        for what, table in ((PEOPLE, "people"), (IMAGES, "images"), (_COUNTS, "attempts")):
            query = f"SELECT count(*), coalesce(sum(octet_length(sealed)), 0) FROM facesync_{table}"
            number, size = self.door.ask(query, [])[0] if self.version() else (0, 0)
            found[what] = int(number), int(size)
        return found

    def faults(self) -> tuple[int, list[str]]:
        """Open every image; return how many are intact, and what is wrong, a line each."""
        self.door.refresh()
        good, faults = 0, []
        for person in self.people():
            for image in self.image_names(person.name):
                try:
                    fault = decode_fault(self.read_image(person.name, image))
                except StoreError as error:
                    faults.append(str(error))
                    continue
                good += not fault
                if fault:
                    faults.append(f"{self.where}: an image of {person.name}: {fault}")
        return good, faults

    def _vacuum(self) -> None:
        """Free the space of what was deleted, so that it is written over."""
        try:
            self.door.vacuum()
        except StoreError as error:
            log.warning("what was deleted, sealed, may stay in the files of the server: %s", error)

    def _returned(self) -> None:
        self.embedded_again.clear()  # some may not have been, only because the server was gone
        self._counted.send()


def _delete_rows(connection: Any, gone: list[str], emptied: list[str]) -> None:
    connection.execute("DELETE FROM facesync_images WHERE person = ANY(%s)", [gone + emptied])
    connection.execute("DELETE FROM facesync_people WHERE id = ANY(%s)", [gone])


def _write_rows(
    connection: Any, rows: list[tuple[str, int, bytes]], images: list[tuple[str, str, bytes]]
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO facesync_people (id, revision, sealed) VALUES (%s, %s, %s) "
            "ON CONFLICT (id) DO UPDATE "
            "SET revision = excluded.revision, sealed = excluded.sealed",
            rows,
        )
        cursor.executemany(
            "INSERT INTO facesync_images (person, image, sealed) VALUES (%s, %s, %s) "
            "ON CONFLICT (person, image) DO UPDATE SET sealed = excluded.sealed",
            images,
        )


def _write_head(connection: Any, memory: Memory) -> None:
    assert memory.seal is not None
    connection.execute(
        "INSERT INTO facesync_gallery (version, gallery, key, revision, head) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (one) DO UPDATE SET version = excluded.version, "
        "key = excluded.key, revision = excluded.revision, head = excluded.head",
        [
            VERSION,
            memory.seal.gallery,
            memory.seal.header,
            memory.revision,
            memory.seal.head(memory.head),
        ],
    )
    notify(connection, memory.revision)
