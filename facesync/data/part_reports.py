"""What the parts of a conversion that run side by side leave for the last one to join.

Each part of N writes `conversion_report.I-of-N.json`. Whichever finds all N of them joins them to
the report of the whole and removes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facesync.data.index import Fault
from facesync.data.shards import Shard
from facesync.errors import FileError
from facesync.files import locked, read_text, write_json

REPORT_NAME = "conversion_report.json"
_LOCK = f"{REPORT_NAME}.lock"


@dataclass
class Tally:
    """The outcome of converting some records."""

    written: int = 0
    already_there: int = 0
    bookkeeping: int = 0
    identities: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the outcome of other records."""
        self.written += other.written
        self.already_there += other.already_there
        self.bookkeeping += other.bookkeeping
        self.identities |= other.identities
        self.faults += other.faults


def part_path(output: Path, shard: Shard) -> Path:
    """Return the file of a part."""
    return output / f"conversion_report.{shard.number}-of-{shard.of}.json"


def remove_parts(output: Path, shard: Shard | None) -> None:
    """Remove the file of a part, or of all parts of earlier runs."""
    parts = output.glob("conversion_report.*-of-*.json")
    for path in [part_path(output, shard)] if shard else [*parts, output / _LOCK]:
        path.unlink(missing_ok=True)


def write_part(output: Path, shard: Shard, done: Tally, seconds: float, about: list[Any]) -> None:
    """Write the file of a part; `about` is what all parts must have in common.

    Raises:
        FileError: it cannot be written.
    """
    content = {**asdict(done), "identities": sorted(done.identities)}
    write_json(part_path(output, shard), {**content, "seconds": seconds, "about": about})


@contextmanager
def joined(output: Path, of: int, about: list[Any]) -> Iterator[tuple[Tally, float] | None]:
    """Yield all parts together and the time of the longest; None if some are not done yet.

    Their files are removed if the block ends without an error.

    Raises:
        FileError: a file of a part cannot be used.
    """
    report = output / REPORT_NAME
    parts = [part_path(output, Shard(number, of)) for number in range(1, of + 1)]
    with locked(report):  # two may end at the same time
        if not all(part.exists() for part in parts):
            yield None
            if report.exists():  # the other one was first
                _remove_lock(output)
            return
        whole, longest = Tally(), 0.0
        for part in parts:
            done, seconds = _read_part(part, about)
            whole.add(done)
            longest = max(longest, seconds)
        yield whole, longest
        for part in parts:
            part.unlink()
        _remove_lock(output)


def _remove_lock(output: Path) -> None:
    with suppress(OSError):  # on Windows it is open
        (output / _LOCK).unlink()


def _read_part(path: Path, about: list[Any]) -> tuple[Tally, float]:
    try:
        content = json.loads(read_text(path))
        if content["about"] != about:
            raise ValueError
        done = Tally(
            int(content["written"]),
            int(content["already_there"]),
            int(content["bookkeeping"]),
            {str(name) for name in content["identities"]},
            [
                Fault(fault["key"], int(fault["offset"]), str(fault["reason"]))
                for fault in content["faults"]
            ],
        )
        return done, float(content["seconds"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(
            f"{path} is damaged, or of another pack or other options; remove it and run that "
            "part again"
        ) from error
