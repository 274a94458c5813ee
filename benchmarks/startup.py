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

from benchmarks.material import ROOT
from facesync import cli, options
from facesync.pickles import save_plain


def seconds(arguments: list[str]) -> float:
    """Run Python once and return how long it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--rounds", type=options.positive_int, default=5, metavar="N")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        store = Path(folder) / "face_embeddings.pkl"
        random = np.random.default_rng(0)
        people = {f"person {n}": random.standard_normal(512).astype(np.float32) for n in range(100)}
        save_plain(people, store)
        ways = {
            "import torch, facenet_pytorch": ["-c", "import torch, facenet_pytorch"],
            "faceid_app.py list, 100 people": ["faceid_app.py", "list", "--embeddings", str(store)],
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(args.rounds + 1):
            for way, arguments in ways.items():
                taken = seconds(arguments)
                if number:  # the first round fills the disk cache
                    times[way].append(taken)
    theirs, ours = (statistics.median(taken) for taken in times.values())
    for way, taken in times.items():
        each = ", ".join(f"{value:.2f}" for value in taken)
        print(f"{way}: {statistics.median(taken):.2f} s  ({each})")
    print(f"the list takes {ours / theirs:.2f} of the time of the imports")


if __name__ == "__main__":
    main()
