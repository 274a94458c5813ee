"""Failed attempts in a row: five pause a name, or all attempts without one.

Each further one doubles the pause. The counts are kept beside the store in `<store>.attempts`,
JSON, so that they survive a restart. Names are in it as salted hashes only. `check` before an
attempt saves looking in vain; `record` after it checks again and counts in one step: attempts at
the same time learn no more than attempts one after the other.

Time is the system's clock. Setting it back makes a pause no longer than it was; setting it forward
ends the pause, as waiting would. A damaged file is renamed to `<store>.attempts.damaged`, with a
warning, and everybody then starts with four wrong attempts: one more pauses, nobody is locked out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


class Paused(StoreError):
    """There were too many failed attempts; the error says how long to wait."""


@dataclass(frozen=True)
class _Count:
    """Failed attempts in a row for one name, and when the last was, in seconds since 1970."""

    wrong: int = 0
    last: float = 0.0


@dataclass
class _State:
    salt: str
    counts: dict[str, _Count]
    others: int = 0  # the count of names that have none; above 0 once a file was damaged

    def key(self, name: str) -> str:
        text = self.salt + name_key(name)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def of(self, name: str) -> _Count:
        return self.counts.get(self.key(name), _Count(self.others))


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


def check(store: Path, name: str, now: float | None = None) -> None:
    """Check that an attempt for a name is allowed now.

    Raises:
        StoreError: there were too many failed ones; the error says how long to wait.
        FileError: the counts cannot be locked or written.
    """
    now = time.time() if now is None else now
    if not file_of(store).exists():
        return
    with locked(file_of(store)):
        _check(store, _read(store), name, now)


def record(store: Path, name: str, accepted: str | None, now: float | None = None) -> None:
    """Check an attempt again and count it, in one step; a right one resets the count.

    Args:
        store: the store.
        name: what the attempt is counted under.
        accepted: who was recognised; None if nobody was, and the attempt is a wrong one.
        now: seconds since 1970; by default the time it is.

    Raises:
        StoreError: `name` was paused by attempts made meanwhile, and this one is not counted; or
            whoever was recognised is paused, and it is counted as a wrong one.
        FileError: the counts cannot be locked or written.
    """
    now = time.time() if now is None else now
    if accepted is not None and not file_of(store).exists():
        return
    paused = None
    with locked(file_of(store)):
        state = _read(store)
        _check(store, state, name, now)
        if accepted is not None:
            try:
                _check(store, state, accepted, now)
            except StoreError as error:
                paused = error
        wrong = state.of(name).wrong + 1 if accepted is None or paused else 0
        if wrong or state.of(name).wrong:
            state.counts[state.key(name)] = _Count(wrong, now)
            _write(store, state)
    if pause := pause_seconds(wrong):
        log.warning("%d failed attempts in a row: paused for %s", wrong, _in_words(pause))
    if paused:
        raise paused


def carry(store: Path, names: Iterable[str], name: str) -> None:
    """Count for a name, from now on, the worst of what is counted for some names and for it."""
    if not file_of(store).exists():
        return
    with locked(file_of(store)):
        state = _read(store)
        counts = [state.of(each) for each in (name, *names)]
        worst = _Count(max(c.wrong for c in counts), max(c.last for c in counts))
        if worst != state.of(name):
            state.counts[state.key(name)] = worst
            _write(store, state)


def keep(store: Path, names: Iterable[str]) -> None:
    """Delete the counts of all names but some; that of attempts without a name stays."""
    if not file_of(store).exists():
        return
    with locked(file_of(store)):
        state = _read(store)
        kept = {state.key(name) for name in (ANYBODY, *names)}
        state.counts = {key: count for key, count in state.counts.items() if key in kept}
        _write(store, state)


def nothing_counted() -> bytes:
    """Return what a file of counts has in it anyway."""
    return json.dumps(asdict(_State("", {"": _Count()}))).encode()


def _check(store: Path, state: _State, name: str, now: float) -> None:
    """Raise a StoreError if a name is paused; call it under the lock."""
    count = state.of(name)
    pause = pause_seconds(count.wrong)
    if pause and now < count.last:  # the clock was set back: the pause restarts, once
        state.counts[state.key(name)] = count = _Count(count.wrong, now)
        _write(store, state)
    left = count.last + pause - now
    if pause and left > 0:
        raise Paused(f"{count.wrong} failed attempts in a row: try again in {_in_words(left)}")


def _read(store: Path) -> _State:
    path = file_of(store)
    if not path.exists():
        return _State(secrets.token_hex(16), {})
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        return _decode(json.loads(read_regular(path)))
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        aside = damaged_file_of(store)
        with suppress(OSError):
            os.replace(path, aside)
        log.warning(
            "%s was damaged and is now %s; the next failed attempt starts a pause", path, aside
        )
        state = _State(secrets.token_hex(16), {}, others=FREE_ATTEMPTS - 1)
        _write(store, state)
        return state


def _decode(data: Any) -> _State:
    counts = {}
    for key, entry in data["counts"].items():
        wrong, last = entry["wrong"], entry["last"]
        if type(wrong) is not int or not 0 <= wrong < 10**6:
            raise ValueError("a count")
        if not isinstance(last, (int, float)) or not 0 <= last < 10**12:
            raise ValueError("a time")
        counts[key] = _Count(wrong, float(last))
    if not isinstance(data["salt"], str) or data["others"] not in range(FREE_ATTEMPTS):
        raise ValueError("salt or others")
    return _State(data["salt"], counts, int(data["others"]))


def _write(store: Path, state: _State) -> None:
    write_json(file_of(store), asdict(state), private=True)


def _in_words(seconds: float) -> str:
    whole = int(-(-seconds // 1))
    return f"{whole} s" if whole < 120 else f"{-(-whole // 60)} minutes"
