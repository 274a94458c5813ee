"""Failed attempts in a row: five pause a name, or all attempts without one.

Each further one doubles the pause. Names are kept as salted hashes only. `check` before an attempt
saves looking in vain; `record` after it checks again and counts in one step: attempts at the same
time learn no more than attempts one after the other.

Time is the system's clock. Setting it back makes a pause no longer than it was; setting it forward
ends the pause, as waiting would.

A gallery in files keeps the counts beside the store in `<store>.attempts`, JSON, so that they
survive a restart. A damaged file is renamed to `<store>.attempts.damaged`, with a
warning, and everybody then starts with four wrong attempts: one more pauses, nobody is locked out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from facesync.errors import StoreError
from facesync.files import locked, read_regular, write_json
from facesync.gallery.people import name_key

log = logging.getLogger(__name__)

ANYBODY = ""
"""What attempts are counted under when no name is claimed; nobody can be called that."""
FREE_ATTEMPTS = 5
"""Failed attempts in a row until the first pause."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 3600.0
"""The first pause; each further failed attempt doubles it, up to the longest."""

_MOST_BYTES = 1 << 22

T = TypeVar("T")


class Paused(StoreError):
    """There were too many failed attempts; the error says how long to wait."""


@dataclass(frozen=True)
class Count:
    """Failed attempts in a row for one name, and when the last was, in seconds since 1970."""

    wrong: int = 0
    last: float = 0.0


@dataclass
class State:
    """All counts, by a salted hash of the name; `others` is the count of names that have none."""

    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    counts: dict[str, Count] = field(default_factory=dict)
    others: int = 0  # above 0 once the counts were damaged

    def key(self, name: str) -> str:
        """Return what a name is counted under."""
        text = self.salt + name_key(name)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def of(self, name: str) -> Count:
        """Return the count of a name."""
        return self.counts.get(self.key(name), Count(self.others))

    def take(self, counts: Sequence[Count], name: str) -> None:
        """Count for a name the worst of some counts and its own."""
        counts = [self.of(name), *counts]
        worst = Count(max(c.wrong for c in counts), max(c.last for c in counts))
        if worst != counts[0]:
            self.counts[self.key(name)] = worst

    def keep(self, names: Iterable[str]) -> None:
        """Delete the counts of all names but some."""
        kept = {self.key(name) for name in names}
        self.counts = {key: count for key, count in self.counts.items() if key in kept}

    def paused(self, name: str, now: float) -> Paused | None:
        """Return the error of a name that is paused; None if it is not."""
        count = self.of(name)
        pause = pause_seconds(count.wrong)
        if pause and now < count.last:  # the clock was set back: the pause restarts, once
            self.counts[self.key(name)] = count = Count(count.wrong, now)
        left = count.last + pause - now
        if not pause or left <= 0:
            return None
        return Paused(f"{count.wrong} failed attempts in a row: try again in {_in_words(left)}")

    @staticmethod
    def damaged() -> State:
        """Return what counts where the counts were damaged: one more failed attempt pauses."""
        return State(others=FREE_ATTEMPTS - 1)


def file_of(store: Path) -> Path:
    """Return the file that counts failed attempts."""
    return store.with_name(store.name + ".attempts")


def damaged_file_of(store: Path) -> Path:
    """Where a damaged count is moved to."""
    return store.with_name(store.name + ".attempts.damaged")


def pause_seconds(wrong: int) -> float:
    """Return the pause after a number of failed attempts in a row: 0, 30, 60, 120 … seconds."""
    if wrong < FREE_ATTEMPTS:
        return 0.0
    doublings = min(wrong - FREE_ATTEMPTS, 20)
    return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**doublings))


class Attempts(ABC):
    """The counts of a gallery."""

    def check(self, name: str, now: float | None = None) -> None:
        """Check that an attempt for a name is allowed now.

        Raises:
            StoreError: there were too many failed ones; the error says how long to wait.
            FileError: the counts cannot be locked or written.
        """
        now = time.time() if now is None else now
        if self.any():
            paused = self.look(lambda state: state.paused(name, now))
            if paused:
                raise paused

    def record(self, name: str, accepted: str | None, now: float | None = None) -> None:
        """Check an attempt again and count it, in one step; a right one resets the count.

        Args:
            name: what the attempt is counted under.
            accepted: who was recognised; None if nobody was, and the attempt is a wrong one.
            now: seconds since 1970; by default the time it is.

        Raises:
            StoreError: `name` was paused by attempts made meanwhile, and this one is not counted;
                or whoever was recognised is paused, and it is counted as a wrong one.
            FileError: the counts cannot be locked or written.
        """
        now = time.time() if now is None else now
        if accepted is not None and not self.any():
            return
        paused, pause, wrong = self.change(lambda state: _count(state, name, accepted, now))
        if pause:
            log.warning("%d failed attempts in a row: paused for %s", wrong, _in_words(pause))
        if paused:
            raise paused

    def carry(self, names: Iterable[str], name: str) -> None:
        """Count for a name, from now on, the worst of what is counted for some names and for it."""
        if self.any():
            self.change(lambda state: state.take([state.of(each) for each in names], name))

    def keep(self, names: Iterable[str]) -> None:
        """Delete the counts of all names but some; that of attempts without a name stays."""
        if self.any():
            self.change(lambda state: state.keep((ANYBODY, *names)))

    def counts(self, names: Iterable[str]) -> dict[str, Count]:
        """Return the counts of some names, for `take`; of those that have one."""
        if not self.any():
            return {}
        found = self.look(lambda state: {name: state.of(name) for name in names})
        return {name: count for name, count in found.items() if count.wrong}

    def take(self, counts: Mapping[str, Count]) -> None:
        """Count at least as much for some names, from another gallery."""

        def step(state: State) -> None:
            for name, count in counts.items():
                state.take([count], name)

        if counts:
            self.change(step)

    @abstractmethod
    def any(self) -> bool:
        """Whether anything may be counted."""

    @abstractmethod
    def change(self, step: Callable[[State], T]) -> T:
        """Do a step with the counts that nobody else changes meanwhile; what it changes is kept."""

    def look(self, step: Callable[[State], T]) -> T:
        """Do a step with the counts, by which it changes nothing that has to be kept for long."""
        return self.change(step)


class FileAttempts(Attempts):
    """The counts of a gallery in files, beside its store."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def any(self) -> bool:
        """Whether there is a file of counts."""
        return file_of(self._store).exists()

    def change(self, step: Callable[[State], T]) -> T:
        """Do a step under the lock of the file."""
        with locked(file_of(self._store)):
            state = _read(self._store)
            before = dict(state.counts)
            done = step(state)
            if state.counts != before:
                write_json(file_of(self._store), asdict(state), private=True)
            return done


def nothing_counted() -> bytes:
    """Return what a file of counts has in it anyway."""
    return json.dumps(asdict(State("", {"": Count()}))).encode()


def _count(
    state: State, name: str, accepted: str | None, now: float
) -> tuple[Paused | None, float, int]:
    """Count an attempt: why it is refused, the pause that begins, and how many were wrong."""
    if paused := state.paused(name, now):
        return paused, 0.0, 0
    paused = None if accepted is None else state.paused(accepted, now)
    wrong = state.of(name).wrong + 1 if accepted is None or paused else 0
    if wrong or state.of(name).wrong:
        state.counts[state.key(name)] = Count(wrong, now)
    return paused, pause_seconds(wrong), wrong


def _read(store: Path) -> State:
    path = file_of(store)
    if not path.exists():
        return State()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        return decode(json.loads(read_regular(path)))
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        aside = damaged_file_of(store)
        with suppress(OSError):
            os.replace(path, aside)
        log.warning(
            "%s was damaged and is now %s; the next failed attempt starts a pause", path, aside
        )
        state = State.damaged()
        write_json(path, asdict(state), private=True)
        return state


def encoded(state: State) -> bytes:
    """Return counts as JSON."""
    return json.dumps(asdict(state)).encode()


def decode(data: Any) -> State:
    """Check and read counts; ValueError, TypeError, KeyError or AttributeError for others."""
    counts = {}
    for key, entry in data["counts"].items():
        wrong, last = entry["wrong"], entry["last"]
        if type(wrong) is not int or not 0 <= wrong < 10**6:
            raise ValueError("a count")
        if not isinstance(last, (int, float)) or not 0 <= last < 10**12:
            raise ValueError("a time")
        counts[key] = Count(wrong, float(last))
    if not isinstance(data["salt"], str) or data["others"] not in range(FREE_ATTEMPTS):
        raise ValueError("salt or others")
    return State(data["salt"], counts, int(data["others"]))


def _in_words(seconds: float) -> str:
    whole = int(-(-seconds // 1))
    return f"{whole} s" if whole < 120 else f"{-(-whole // 60)} minutes"
