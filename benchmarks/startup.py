"""How long `faceid_app.py list` takes, compared with only importing torch and facenet-pytorch.

Run: python -m benchmarks.startup
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.material import ROOT, add_counts, in_turns
from facesync import cli
from facesync.pickles import save_plain


def seconds(*arguments: str) -> float:
    """Run Python once and return how long it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        store = Path(folder) / "face_embeddings.pkl"
        random = np.random.default_rng(0)
        people = {f"person {n}": random.standard_normal(512).astype(np.float32) for n in range(100)}
        save_plain(people, store)
        ways = {
            "import torch, facenet_pytorch": lambda: seconds("-c", "import torch, facenet_pytorch"),
            "faceid_app.py list, 100 people": lambda: seconds(
                "faceid_app.py", "list", "--embeddings", str(store)
            ),
        }
        times = in_turns(ways, args.rounds)  # the first round fills the disk cache
    theirs, ours = (statistics.median(taken) for taken in times.values())
    for way, taken in times.items():
        each = ", ".join(f"{value:.2f}" for value in taken)
        print(f"{way}: {statistics.median(taken):.2f} s  ({each})")
    print(f"the list takes {ours / theirs:.2f} of the time of the imports")


if __name__ == "__main__":
    main()
