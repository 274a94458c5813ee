"""Failed attempts at all doors of a gallery, counted on its server; and here while it is gone.

A door remembers the latest counts: cutting it off from the server gives nobody more attempts at it.
What it counts meanwhile is added once the server is back, the worse of both for each name.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from typing import Any

from facesync.errors import StoreError
from facesync.gallery.attempts import Attempts, Count, State, T
from facesync.gallery.server.database import ATTEMPTS_LOCK, Gone, notify
from facesync.gallery.server.door import Counts, Door
from facesync.gallery.server.memory import Memory
from facesync.gallery.server.sealed import Seal

log = logging.getLogger(__name__)

SECONDS = 2.0
"""How long a verification waits for the server before it counts here."""


class ServerAttempts(Attempts):
    """The counts of a gallery on a server; `door` is set once there is one."""

    door: Door

    def __init__(self) -> None:
        self._state, self._saves = State(""), 0
        self._unsent = False
        self._lock = threading.Lock()

    def any(self) -> bool:
        """Whether anything may be counted."""
        return bool(self.door.memory.seal)

    def look(self, step: Callable[[State], T]) -> T:
        """Do a step with the latest counts known here: this does not wait for the server."""
        with self._lock:
            return step(copy.deepcopy(self._state))

    def change(self, step: Callable[[State], T]) -> T:
        """Do a step with the counts on the server or, while it does not answer, with those here."""
        try:
            with self.door.transaction(ATTEMPTS_LOCK, seconds=SECONDS) as connection:
                seal = self.door.memory.seal
                assert seal is not None
                row = connection.execute("SELECT saves, sealed FROM facesync_attempts").fetchone()
                state, saves = self._latest(seal, row)
                before = copy.deepcopy(state)
                done = step(state)
                if state != before or self._unsent:
                    saves += 1
                    _write(connection, seal, state, saves)
        except Gone:
            with self._lock:
                self._unsent = True
                return step(self._state)
        with self._lock:
            self._state, self._saves, self._unsent = state, saves, False
        return done

    def heard(self, memory: Memory, row: Counts) -> None:
        """Remember the counts that were read together with the gallery."""
        if memory.seal is not None:
            state, saves = self._latest(memory.seal, row)
            with self._lock:
                self._state, self._saves = state, saves

    def send(self) -> None:
        """Add to the counts of the server what was counted here while it was gone."""
        if self._unsent:
            self.change(lambda state: None)

    def reseal(self, connection: Any) -> None:
        """Save the counts again with the key that the gallery has now, in its transaction."""
        connection.execute("DELETE FROM facesync_attempts")
        self._unsent = True
        self.send()

    def _latest(self, seal: Seal, row: Counts) -> tuple[State, int]:
        """Return the counts of the server, and those here where they are worse or later."""
        with self._lock:
            here, seen, unsent = copy.deepcopy(self._state), self._saves, self._unsent
        here.salt = seal.salt
        if row is None:
            return here if unsent or seen else State(seal.salt), seen
        saves, sealed = row
        try:
            if type(saves) is not int:
                saves = seen
                raise TypeError("saves")
            state = seal.open_counts(sealed, saves)
        except (StoreError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            log.warning("the counts of failed attempts on the server were damaged")
            return _worst(here, State(seal.salt, others=State.damaged().others)), saves
        if saves < seen:  # somebody put older ones back
            return _worst(here, state), seen
        return _worst(here, state) if unsent else state, saves


def _write(connection: Any, seal: Seal, state: State, saves: int) -> None:
    """Save counts, in a transaction."""
    connection.execute(
        "INSERT INTO facesync_attempts (saves, sealed) VALUES (%s, %s) "
        "ON CONFLICT (one) DO UPDATE SET saves = excluded.saves, sealed = excluded.sealed",
        [saves, seal.counts(state, saves)],
    )
    notify(connection, "attempts")


def _worst(one: State, other: State) -> State:
    """Return, for each name, the worse count of two."""
    counts = dict(other.counts)
    for key, count in one.counts.items():
        there = counts.get(key, Count(other.others))
        counts[key] = Count(max(count.wrong, there.wrong), max(count.last, there.last))
    return State(other.salt, counts, max(one.others, other.others))
