"""Embeddings by the million: writing, opening and measuring them, in seconds and memory.

    python -m benchmarks.scale
    python -m benchmarks.scale --embeddings 100000 --old 20000

Makes embeddings like a face model's: ten of each person, around a centre of their own, in some
hundred directions that matter. They are written to the cache, found in it by their ids, and
measured: two million pairs, open-set identification, all pairs of some. The way before, `.npz`
files of 512 rows that are all loaded, does the first of that in the same run at a smaller number.
Each step is a process of its own. Of its memory, its own is the most that was not a mapped file;
the pages of those are given back when others need them. The last columns are ten times as many:
what grows is taken from the steps at a tenth and at all of them.
"""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.material import add_counts
from facesync import cli
from facesync.evaluation.cache import Rows, VectorCache, content_id
from facesync.metrics.pairs import count_pairs
from facesync.metrics.rates import identification, roc, tar_at_far
from facesync.metrics.vectors import blocks

EACH = 10
"""Embeddings of each person."""
PAIRS = 2_000_000
_BLOCK = 8192
_FACTOR = 10


def made(rows: slice) -> np.ndarray:
    """Make embeddings, float32 (rows, 512), the same ones each time."""
    weights = 1 / np.sqrt(1 + np.arange(512) / 20)
    people = np.arange(rows.start // EACH, (rows.stop - 1) // EACH + 1)
    centres = np.stack([np.random.default_rng([1, n]).standard_normal(512) for n in people])
    own = np.random.default_rng([2, rows.start]).standard_normal((rows.stop - rows.start, 512))
    who = np.arange(rows.start, rows.stop) // EACH - people[0]
    found = (centres[who] + 1.3 * own) * weights
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def ids(rows: slice) -> list[bytes]:
    return [content_id(number.to_bytes(8, "big")) for number in range(rows.start, rows.stop)]


def everything(folder: Path, number: int) -> tuple[Rows, list[str]]:
    cache = VectorCache(folder, 512)
    places = np.concatenate([cache.find(ids(rows)) for rows in blocks(number, _BLOCK)])
    assert (places >= 0).all()
    names = [name for n in range(-(-number // EACH)) for name in [str(n)] * EACH]
    return Rows(cache, places), names[:number]


def write(folder: Path, number: int) -> str:
    cache = VectorCache(folder, 512)
    for rows in blocks(number, _BLOCK):
        cache.add(ids(rows), made(rows))
    cache.flush()
    return f"{len(list(folder.iterdir()))} files"


def find(folder: Path, number: int) -> str:
    everything(folder, number)
    return "all found, each checked"


def pairs(folder: Path, number: int) -> str:
    vectors, _ = everything(folder, number)
    left, right = np.random.default_rng(0).integers(0, number, (2, PAIRS))
    right[::2] = left[::2] // EACH * EACH + (left[::2] + 1) % EACH
    scores = np.empty(PAIRS)
    for part in blocks(PAIRS, _BLOCK):
        scores[part] = np.einsum("ij,ij->i", vectors[left[part]], vectors[right[part]])
    same = left // EACH == right // EACH
    found = tar_at_far(scores[same], scores[~same], 1e-4)
    assert found
    return f"TAR {found.tar:.4f} at FAR 1e-4, EER {roc(scores, same).eer:.4f}"


def one_to_many(folder: Path, number: int) -> str:
    found = identification(*everything(folder, number), most=2000)
    assert found
    searches = found.probes + found.strangers
    return f"{searches:,} searches among {found.gallery:,}: DIR {found.dir or 0:.4f} at FPIR 1e-2"


def all_of_some(folder: Path, number: int) -> str:
    found = count_pairs(*everything(folder, number), images=30_000)
    at = found.tar_at_far(1e-6)
    tar = "too few" if at is None else f"{at.tar:.4f}"
    return f"{len(found.impostor):,} impostor pairs: TAR {tar} at FAR 1e-6"


def old_write(folder: Path, number: int) -> str:
    folder.mkdir()
    for rows in blocks(number, 512):
        names = np.array([key.hex() for key in ids(rows)], "S")
        np.savez(folder / f"{rows.start:09d}.npz", ids=names, vectors=made(rows))
    return f"{len(list(folder.iterdir()))} files"


def old_find(folder: Path, number: int) -> str:
    known: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            known.update(zip(archive["ids"].astype(str).tolist(), archive["vectors"], strict=True))
    vectors = np.stack([known[key.hex()] for rows in blocks(number, 512) for key in ids(rows)])
    return f"{vectors.nbytes / 1e6:,.0f} MB loaded twice"


class Cost(NamedTuple):
    """What a step took, and what it says."""

    seconds: float
    own_mb: float
    all_mb: float
    says: str


def _status(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _measured(step: Callable[[Path, int], str], folder: Path, number: int) -> Cost:
    peak, done = [_status("RssAnon")], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], _status("RssAnon"))

    threading.Thread(target=watch, daemon=True).start()
    started = time.perf_counter()
    says = step(folder, number)
    seconds = time.perf_counter() - started
    done.set()
    return Cost(seconds, peak[0], _status("VmHWM"), says)


def cost(step: Callable[[Path, int], str], folder: Path, number: int) -> Cost:
    """Run a step in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, step, folder, number).result()


def rows_of(
    title: str, steps: list[Callable[[Path, int], str]], folder: Path, number: int
) -> Iterator[str]:
    """Run steps at a tenth and at all of a number; yield lines of the table."""
    for step in steps:
        name = step.__name__
        few = cost(step, folder / f"{title} tenth", number // _FACTOR)
        many = cost(step, folder / title, number)
        seconds = many.seconds * _FACTOR
        if step is all_of_some:  # the same number of pairs each time
            seconds = many.seconds * (_FACTOR * number / 30_000) ** 2
        each = (many.own_mb - few.own_mb) / (number - number // _FACTOR)
        memory = many.own_mb + each * (_FACTOR - 1) * number
        yield (
            f"| {title}: {name} | {many.seconds:,.1f} s | {few.own_mb:,.0f} → {many.own_mb:,.0f} MB"
            f" | {many.all_mb:,.0f} MB | {seconds:,.0f} s | {many.own_mb:,.0f} + {_FACTOR - 1} x "
            f"{each * number:,.0f} = {memory:,.0f} MB | {many.says} |"
        )


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, embeddings=1_000_000, old=100_000)
    parser.add_argument("--folder", type=Path, help="for what is written (default: the system's)")
    args = parser.parse_args()
    steps = [write, find, pairs, one_to_many, all_of_some]
    with tempfile.TemporaryDirectory(prefix="facesync-", dir=args.folder) as name:
        print(f"{args.embeddings:,} embeddings; the way before at {args.old:,}\n")
        print(
            "| step | time | own memory, a tenth and all | with mapped files | time at ten times "
            "as many | memory then | result |\n|---|---|---|---|---|---|---|"
        )
        for line in rows_of("before", [old_write, old_find], Path(name), args.old):
            print(line, flush=True)
        for line in rows_of("same number", [write, find], Path(name), args.old):
            print(line, flush=True)
        for line in rows_of("now", steps, Path(name), args.embeddings):
            print(line, flush=True)


if __name__ == "__main__":
    main()
