"""Search for a face among many: the app's way against other ways, in turns in one run.

Run: OMP_NUM_THREADS=1 python -m benchmarks.search --output cards [--sizes 1000 100000 1000000]

The embeddings are made up, spread as those of real people are (`benchmarks.crowd`); the first table
compares the two. The templates are in a file that is mapped into memory. A time is that of the
whole decision about one face, wall and processor (that of one thread). Found is who is the most
similar of all people (recall@1). The folder is that of `benchmarks.model_cards`, whose embeddings
it uses.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.crowd import Crowd
from benchmarks.material import add_counts, in_turns, shared_data_or_exit
from facesync import cli, options
from facesync.app.settings import AppSettings
from facesync.faces.calibration import Calibration
from facesync.faces.models import EDGEFACE, KNOWN
from facesync.faces.weights import load_face_model
from facesync.gallery.matching import Decision, Matcher
from facesync.gallery.people import Person
from facesync.gallery.search import BLOCK, faiss_or_none, in_blocks
from facesync.metrics.pairs import all_pairs

SHARES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_SIGNS, _DECIDED, _ROUNDS = 500, 100, 30
_EMPTY = np.empty((0, 512), np.float32)


def compare(crowd: Crowd) -> None:
    """Print how similar different people are, the real and the made-up."""
    real = np.concatenate(crowd.groups)
    print(
        "| similarity reached by this share of different people | real | made up |\n|---|---|---|"
    )
    tops = [
        np.quantile(all_pairs(rows, [*map(str, range(len(rows)))]).impostor, 1 - np.array(SHARES))
        for rows in (real, crowd.people(len(real)))
    ]
    for share, *similarities in zip(SHARES, *tops, strict=True):
        print(f"| {share:g} | {' | '.join(map(cli.decimals, similarities))} |")
    rows = crowd.people(10_000)
    made = (rows * crowd.again(rows)).sum(axis=1)
    order = np.argsort(crowd.genuine)
    places = np.searchsorted(crowd.weights[order].cumsum(), (0.01, 0.1, 0.5))
    print("| that this share of one person's pairs does not reach | | |")
    for share, place in zip((0.01, 0.1, 0.5), places, strict=True):
        real_one = crowd.genuine[order[place]]
        print(f"| {share:g} | {real_one:.3f} | {np.quantile(made, share):.3f} |")


def anonymous_mb() -> float:
    """Return this process' memory but for files mapped into it; NaN where it is not told."""
    status = Path("/proc/self/status")
    text = status.read_text() if status.exists() else ""
    return int(text.partition("RssAnon:")[2].split()[0]) / 1024 if "RssAnon" in text else np.nan


def exact(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return each query's similarity to the row that is most similar to it."""
    best = np.full(len(queries), -2, np.float32)
    for block in in_blocks(rows):
        np.maximum(best, (queries @ block.T).max(axis=1), out=best)
    return best


def by_signs(rows: np.ndarray) -> Callable[[np.ndarray], object]:
    """Return NumPy's way: those with the fewest other signs, then their exact similarities."""
    mean = rows[:BLOCK].mean(axis=0)
    packed = [np.packbits(block > mean, axis=1).view(np.uint64) for block in in_blocks(rows)]

    def way(query: np.ndarray) -> int:
        bits = np.packbits(query > mean).view(np.uint64)
        far = [np.bitwise_count(block ^ bits).sum(axis=1, dtype=np.uint16) for block in packed]
        near = np.argpartition(np.concatenate(far), min(_SIGNS, len(rows) - 1))[:_SIGNS]
        return int(near[(rows[near] @ query).argmax()])

    return way


def timed(way: Callable[[np.ndarray], object], queries: Iterator[np.ndarray]) -> np.ndarray:
    """Return the milliseconds that the next query takes, wall and processor."""
    query = next(queries)
    started = np.array([time.perf_counter(), time.process_time()])
    way(query)
    return 1000 * (np.array([time.perf_counter(), time.process_time()]) - started)


def measure(crowd: Crowd, size: int, file: Path, queries: int, threshold: float) -> None:
    """Print what one size of gallery costs, each way."""
    rows = np.lib.format.open_memmap(file, "w+", np.float32, (size, 512))
    for start in range(0, size, BLOCK):
        rows[start : start + BLOCK] = crowd.people(min(BLOCK, size - start))
    mated = crowd.again(rows[crowd.chance.choice(size, queries)])
    strangers = crowd.people(queries)
    before = anonymous_mb()
    people = [
        Person(f"Person {n}", row, "model", None, 1, None, _EMPTY) for n, row in enumerate(rows)
    ]
    objects, made = anonymous_mb() - before, time.perf_counter()
    matcher = Matcher(people)

    def decide(query: np.ndarray) -> Decision:
        return matcher.decide(query, threshold, AppSettings.margin)

    decide(mated[0])
    mb, seconds = anonymous_mb() - before - objects, time.perf_counter() - made
    found = []
    for probes in (mated, strangers):
        similar = np.array([decide(probe).similarity for probe in probes])
        best = exact(probes, rows)
        same = np.abs(similar - best) < 1e-5
        high = best >= threshold
        found += [same[high].mean() if high.any() else np.nan, same.mean()]
        found.append(int((similar >= threshold).sum()) - int(high.sum()))
    print(
        f"\n{size:,} people, threshold {cli.decimals(threshold)}: the app finds {found[0]:.4f} of "
        f"those who reach it, {found[1]:.4f} of all; of strangers {found[3]:.4f}, {found[4]:.4f}; "
        f"{found[5]:+} strangers reach it\nbeside the templates ({rows.nbytes / 1e6:.0f} MB, "
        f"mapped): {mb:.0f} MB, made in {seconds:.1f} s, and {objects:.0f} MB of names and objects"
    )

    def everybody(query: np.ndarray) -> Decision:
        return matcher._decide_exactly(query, threshold, AppSettings.margin, np.inf)

    probes = [*mated[:_DECIDED], *strangers[:_DECIDED]]
    same = sum(decide(probe).name == everybody(probe).name for probe in probes)
    print(f"the same name, or none, as by comparing everybody: {same} of {len(probes)}")
    ways: dict[str, Callable[[np.ndarray], object]] = {
        "the app": decide,
        "comparing everybody": everybody,
        "NumPy, signs": by_signs(rows),
    }
    if faiss := faiss_or_none():
        kind = faiss.METRIC_INNER_PRODUCT
        ways["faiss, exact"] = lambda query: faiss.knn(query[None], rows, 2, metric=kind)
    turns = iter(np.tile(mated, (len(ways), 1)))
    times = in_turns(
        {name: lambda way=way: timed(way, turns) for name, way in ways.items()},
        min(_ROUNDS, queries - 1),
    )
    for name, taken in times.items():
        wall, processor = np.transpose(taken)
        print(
            f"  {name}: {statistics.median(wall):.2f} ms (fastest {wall.min():.2f}), processor "
            f"{statistics.median(processor):.2f} ms"
        )
    sys.stdout.flush()


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="of embeddings")
    parser.add_argument("--sizes", type=options.positive_int, nargs="+", metavar="N",
                        default=[1_000, 100_000, 1_000_000])  # fmt: skip
    add_counts(parser, queries=1000)
    args = parser.parse_args()
    data = shared_data_or_exit()
    crowd = Crowd(load_face_model(EDGEFACE.name, offline=True), data, args.output)
    compare(crowd)
    card = Calibration.from_dict(KNOWN[EDGEFACE.name].card()["calibration"])
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
            threshold = card.threshold(people=size)
            measure(crowd, size, Path(folder) / "rows.npy", args.queries, threshold)


if __name__ == "__main__":
    main()
