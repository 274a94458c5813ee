"""Search for a face among many: the app's way against numpy's product and sort, as ratios.

Run: python -m benchmarks.search [--sizes 1000 100000 1000000]
"""

from __future__ import annotations

import numpy as np

from benchmarks.material import add_counts, processor_ms
from facesync import cli, options
from facesync.gallery.search import NUMPY_UP_TO, best

BEST = 5
"""Number of results searched for."""
_BLOCK = 10_000


def units(number: int, chance: np.random.Generator) -> np.ndarray:
    """Make float32 (number, 512) rows of unit length, a block at a time: no second copy."""
    rows = np.empty((number, 512), np.float32)
    for start in range(0, number, _BLOCK):
        block = rows[start : start + _BLOCK]
        chance.standard_normal(dtype=np.float32, out=block)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def sorted_whole(embedding: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Find the most similar rows the obvious way."""
    return np.argsort(-(rows @ embedding), kind="stable")[:BEST]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--sizes", type=options.positive_int, nargs="+", metavar="N",
                        default=[1_000, 100_000, 1_000_000])  # fmt: skip
    add_counts(parser, queries=10)
    args = parser.parse_args()
    chance = np.random.default_rng(1)
    smallest: float | None = None
    for size in args.sizes:
        try:
            rows = units(size, chance)
        except MemoryError:
            print(f"{size:,}: skipped, not enough memory", flush=True)
            continue
        queries = units(args.queries, chance)
        same = sum(
            np.array_equal(best(query, rows, BEST), sorted_whole(query, rows)) for query in queries
        )
        times = processor_ms(
            {
                "product": lambda rows=rows, query=queries[0]: rows @ query,
                "sort": lambda rows=rows, query=queries[0]: sorted_whole(query, rows),
                "ours": lambda rows=rows, query=queries[0]: best(query, rows, BEST),
            },
            rounds=15,
        )
        smallest = smallest or times["ours"]
        way = "numpy" if size <= NUMPY_UP_TO else "faiss if it is installed"
        print(
            f"{size:,} templates ({way}): the same {BEST} as by sorting for {same} of "
            f"{len(queries)} faces; {times['sort'] / times['ours']:.1f} times as fast as sorting, "
            f"{times['ours'] / times['product']:.2f} times the product alone, "
            f"{times['ours'] / smallest:,.0f} times the first size",
            flush=True,
        )


if __name__ == "__main__":
    main()
