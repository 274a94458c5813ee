"""A door: everybody in memory, and a thread that hears what other doors change.

While the server does not answer, or what it says cannot be trusted, the door goes on with what it
last knew. It says so once, tries again every second, and catches up by itself.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from facesync import cli
from facesync.errors import FaceSyncError, StoreError
from facesync.gallery import trust
from facesync.gallery.keys import KeyChain
from facesync.gallery.server.database import (
    ANSWER_SECONDS,
    CHANNEL,
    Gone,
    Server,
    cut,
    has_tables,
    limited,
)
from facesync.gallery.server.memory import Memory, catch_up
from facesync.gallery.server.sealed import DAMAGED
from facesync.gallery.trust import Mark

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 3.0
"""How often a door asks whether the server is still there; and how long it may take to answer."""
RETRY_SECONDS = 1.0
READ_SECONDS, CATCH_UP_SECONDS = 300.0, 15.0
"""How long reading everybody may take, and reading what others have changed."""

Counts = tuple[int, bytes] | None
"""How often the counts of failed attempts were saved, and these, sealed; None without any."""


class Door:
    """The connections of one process to a gallery on a server, and what it knows of it.

    Args:
        server: where it is.
        keys: where keys come from.
        heard: called with the counts of failed attempts, whenever the gallery was read.
        back: called when the server answers again.
    """

    def __init__(
        self,
        server: Server,
        keys: KeyChain,
        heard: Callable[[Memory, Counts], object],
        back: Callable[[], object],
    ) -> None:
        self.server = server
        self._keys, self._heard, self._back = keys, heard, back
        self._mutex = threading.RLock()  # of the server's connection
        self._swap = threading.Lock()  # of the memory
        self._memory: Memory | None = None
        self.connection: Any = None  # of the transaction that is open
        self._writer: int | None = None  # the thread that has a transaction open
        self._pending: Memory | None = None  # what is in it
        self._down: datetime | None = None
        self._why = ""
        self._warned = False
        self._stop = threading.Event()
        self._listening: Any = None
        self._thread: threading.Thread | None = None

    @property
    def memory(self) -> Memory:
        """The gallery as this door knows it, or as the transaction of this thread leaves it.

        The first call reads everybody and begins to listen.

        Raises:
            StoreError: it cannot be read now and was not before, or cannot be trusted.
        """
        if self._writer == threading.get_ident() and self._pending is not None:
            return self._pending
        if self._memory is None:
            with self._mutex:
                if self._memory is None:
                    self._read(self.server.connection())
                    self._thread = threading.Thread(
                        target=self._follow, daemon=True, name="gallery"
                    )
                    self._thread.start()
        assert self._memory is not None
        return self._memory

    @property
    def outage(self) -> str | None:
        """Why and since when this door goes on with what it knows; None while all is well."""
        if self._down is None:
            return None
        return f"{self._why}; this is what was known at {self._down:%H:%M:%S}"

    @contextmanager
    def transaction(self, lock: int, *, seconds: float = ANSWER_SECONDS) -> Iterator[Any]:
        """Change something on the server, alone among all doors; whole or not at all.

        Within another transaction of this thread it is part of that. One that may wait for a short
        time only does not wait at all while the server is known not to answer.

        Raises:
            Gone: the server does not answer, or another thread here is busy with it.
            StoreError: see `Server.transaction`.
        """
        if self._writer == threading.get_ident():
            self.connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
            yield self.connection
            return
        if self._down is not None and seconds < ANSWER_SECONDS:
            raise Gone(str(self.outage))
        if not self._mutex.acquire(timeout=seconds):
            raise Gone(f"this program is busy with {self.server.name}")
        try:
            with self.server.transaction(lock, seconds=seconds) as self.connection:
                self._writer = threading.get_ident()
                try:
                    yield self.connection
                finally:
                    self._writer = None
            if self._pending is not None:
                with self._swap:
                    self._memory = self._pending
                self.note(self._pending)
        finally:
            self._pending = None
            self._mutex.release()

    def begin(self) -> None:
        """Bring the memory up to date within the transaction of this thread."""
        mark = self.mark()
        with limited(self.connection, READ_SECONDS):
            memory = self._caught_up(self.connection, self._memory or Memory())
        self._trusted(memory, mark)
        self._pending = memory

    def leave(self, memory: Memory) -> None:
        """Say what the transaction of this thread leaves."""
        self._pending = memory

    def ask(self, query: str, values: Sequence[Any]) -> list[Any]:
        """Ask the server one question, in the transaction of this thread if it has one."""
        if self._writer == threading.get_ident():
            return list(self.connection.execute(query, values).fetchall())
        with self._mutex, self.server.failures():
            connection = self.server.connection()
            with limited(connection):
                return list(connection.execute(query, values).fetchall())

    def about(self) -> str:
        """Say which server answers, and whether the way to it is encrypted."""
        self.ask("SELECT 1", [])
        with self._mutex:
            return self.server.about()

    def header(self) -> Any:
        """Return the header of the gallery's key, unchecked; None if there is no gallery."""
        with self._mutex, self.server.failures():
            connection = self.server.connection()
            if not has_tables(connection):
                return None
            row = connection.execute("SELECT key FROM facesync_gallery").fetchone()
        try:
            return json.loads(row[0]) if row else None
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"{self.server.name}: {DAMAGED}") from error

    def refresh(self) -> None:
        """Catch up now."""
        with self._mutex:
            self._read(self.server.connection())

    def vacuum(self) -> None:
        """Free the space of deleted rows, so that it is written over; StoreError if that fails."""
        with self._mutex, self.server.failures():
            connection = self.server.connection()
            with limited(connection, READ_SECONDS):
                connection.execute("SET statement_timeout = '300s'")
                connection.execute("VACUUM facesync_people, facesync_images, facesync_attempts")

    def close(self) -> None:
        """End listening and close the connections."""
        self._stop.set()
        if self._listening is not None:
            cut(self._listening)
        if self._thread is not None:
            self._thread.join(HEARTBEAT_SECONDS)
        self.server.close()

    def mark(self) -> Mark | None:
        """Return what was last known here of the gallery."""
        return trust.read(self.server.place)

    def note(self, memory: Memory) -> None:
        """Write down what is known of the gallery; it is stored, so failing is a warning."""
        try:
            trust.record(self.server.place, mark_of(memory))
        except FaceSyncError as error:
            log.warning("an older gallery would not be noticed: %s", error)

    def adopt(self) -> Memory:
        """Trust the gallery as it is from now on, although another was here before."""
        with self._mutex, self.server.failures():
            memory, _ = self._snapshot(self.server.connection(), Memory())
            trust.record(self.server.place, mark_of(memory))
            return memory

    def _read(self, connection: Any) -> None:
        """Catch up, outside of a transaction."""
        base, mark = self._memory, self.mark()  # first: another process may be changing it
        memory, counts = self._snapshot(connection, base or Memory())
        if memory is not base:
            self._trusted(memory, mark)
        with self._swap:
            if self._memory is base:  # else this process has changed it meanwhile
                self._memory = memory
        self._heard(memory, counts)

    def _snapshot(self, connection: Any, base: Memory) -> tuple[Memory, Counts]:
        """Read what belongs together."""
        seconds = READ_SECONDS if base.seal is None else CATCH_UP_SECONDS
        with self.server.failures(), limited(connection, seconds):
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                connection.execute("SET LOCAL statement_timeout = '300s'")
                memory = self._caught_up(connection, base)
                counts = None
                if has_tables(connection):
                    query = "SELECT saves, sealed FROM facesync_attempts"
                    counts = connection.execute(query).fetchone()
                return memory, counts
            finally:
                with suppress(Exception):  # it may be what has failed
                    connection.execute("ROLLBACK")

    def _caught_up(self, connection: Any, base: Memory) -> Memory:
        try:
            return catch_up(connection, base, self._keys)
        except StoreError as error:
            raise StoreError(f"{self.server.name}: {error}") from error

    def _trusted(self, memory: Memory, mark: Mark | None) -> None:
        """Compare a gallery with what was last known here of it, and write down what is new.

        Raises:
            StoreError: it is another one, has another key, or is not there any more.
        """
        now = mark_of(memory)
        if mark is not None and mark.key is not None and mark.key != now.key:
            what = "is not the gallery, or has not the key," if memory.seal else "has no gallery"
            raise StoreError(
                f"{self.server.name} {what} that was last used here: somebody may have replaced "
                "it; if that was you, `store adopt` accepts it"
            )
        if mark is not None and mark.saves > now.saves:
            if not self._warned:
                self._warned = True
                log.warning(
                    "%s is not as it was saved last, but older: somebody put it back; if you did, "
                    "`store adopt` accepts it",
                    self.server.name,
                )
        elif mark != now and memory.seal is not None:
            self.note(memory)

    def _follow(self) -> None:
        """Listen, and again whenever the server was lost, until this door is closed."""
        while not self._stop.is_set():
            try:
                self._listen()
            except FaceSyncError as error:
                self._lost(error)
            self._stop.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        connection = self._listening = self.server.connect()
        try:
            with self.server.failures():
                with limited(connection, HEARTBEAT_SECONDS):
                    connection.execute(f"LISTEN {CHANNEL}")
                while not self._stop.is_set():
                    self._read(connection)
                    self._returned()
                    for _ in connection.notifies(timeout=HEARTBEAT_SECONDS, stop_after=1):
                        pass
                    with limited(connection, HEARTBEAT_SECONDS):
                        connection.execute("SELECT 1")
        finally:
            connection.close()

    def _lost(self, error: FaceSyncError) -> None:
        """Say once that the server does not answer, or cannot be trusted; nobody waits for it."""
        if isinstance(error, Gone):
            self.server.cut()
        if self._down is None and not self._stop.is_set():
            self._down, self._why = datetime.now(), str(error)
            known = len(self._memory.rows) if self._memory else 0
            log.warning(
                "%s; since %s this goes on with the %s it knows, and changes have to wait",
                error,
                f"{self._down:%H:%M:%S}",
                cli.count(known, "person", "people"),
            )

    def _returned(self) -> None:
        if self._down is not None:
            since, self._down = self._down, None
            log.info("%s answers again, after %s", self.server.name, f"{since:%H:%M:%S}")
            self._back()


def mark_of(memory: Memory) -> Mark:
    """Return the mark of a gallery that is as it should be."""
    if memory.seal is None:
        return Mark(True, memory.revision)
    return Mark(True, memory.revision, f"{memory.seal.gallery}/{memory.seal.key.header['id']}")
