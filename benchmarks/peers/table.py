"""One table in one run: FaceSync's models and other projects, each as its documentation says.

Run: make bench-peers    (or python -m benchmarks.peers.table [--pairs 60])

LFW: accuracy on the last fold at the threshold that is best on the others; two images of each of
its people are registered for FNIR (owners refused) at an FPIR (strangers let in) of 1 and 0.1 %.
An image without a face counts as unlike all others. Processor time, one thread, in turns, for a
640 x 480 frame with one face; peak memory and start-up of a fresh process that embeds this frame.
`vggface2` and `embedded` learnt from the other folds, so that the threshold from these suits them
less.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame_to_decision import camera_frame
from benchmarks.material import ROOT, add_counts, in_turns, processor_ms, shared_data_or_exit
from benchmarks.model_cards import lfw_images
from benchmarks.peers.ways import WAYS, Way
from facesync import cli, options
from facesync.errors import FaceSyncError
from facesync.evaluation.protocols import PairSet, read_lfw_pairs
from facesync.images import read_image_rgb
from facesync.metrics.open_set import open_set
from facesync.metrics.rates import fold_accuracy

PUBLISHED = {
    "insightface buffalo_l": ("99.83 %", "its model zoo"),
    "insightface buffalo_sc": ("99.70 %", "its model zoo"),
    "DeepFace, default pipeline": ("87.2 %", "its README"),
    "DeepFace, best pipeline": ("98.4 %", "its README"),
    "OpenCV SFace": ("99.40 %", "OpenCV's model zoo"),
}
"""LFW, all ten folds, of projects that download their models at first use."""
HEAD = (
    "| | LFW, last fold | FNIR at FPIR 1 % / 0.1 % | CPU ms: find | embed | peak MB | "
    "MB: models | packages | start-up s |"
)


def few_of_each(pairs: PairSet, number: int) -> PairSet:
    """Keep so many pairs of each kind in each fold but the last, which is kept whole."""
    place = np.zeros(len(pairs.same), int)
    for fold in range(pairs.folds - 1):
        for same in (True, False):
            chosen = (pairs.fold == fold) & (pairs.same == same)
            place[chosen] = np.arange(chosen.sum())
    return pairs.subset(place < number)


def accuracy(way: Way, data: Path, number: int) -> list[str]:
    """Return the cells of LFW: accuracy and FNIR."""
    known: dict[bytes, np.ndarray] = {}

    def embed(content: bytes) -> np.ndarray:
        if content not in known:
            found = way.unit_embedding(read_image_rgb(content))
            known[content] = np.full(1, np.nan, np.float32) if found is None else found
        return known[content]

    def rows(images: Any) -> np.ndarray:
        found = [embed(image.read()) for image in images]
        size = max(map(len, found))
        return np.stack([row if len(row) == size else np.full(size, np.nan) for row in found])

    pairs = few_of_each(read_lfw_pairs(data / "lfw" / "pairs.txt", data / "lfw"), number)
    scores = np.nan_to_num(pairs.scores(rows(pairs.images)), nan=-1)
    right = fold_accuracy(scores, pairs.same, pairs.fold).by_fold[-1]
    images, last = lfw_images(data)
    mine = [images[n] for n in np.flatnonzero(last)]
    rates = open_set(rows(mine), [str(image.identity) for image in mine])
    return [f"{100 * right:.1f} %", " / ".join(f"{100 * rate.fnir:.1f}" for rate in rates) + " %"]


def fresh(name: str, frame: Path) -> dict[str, float]:
    """Embed the frame in a fresh process; return what it says and the seconds it took."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.peers.ways", name, str(frame)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return {**said, "seconds": time.perf_counter() - started}


def opened() -> dict[str, Way]:
    """Return the ways there are; print why the others are left out."""
    ways = {}
    for name, make in WAYS.items():
        try:
            ways[name] = make()
        except (ImportError, FaceSyncError, SystemExit) as error:  # one exits when imported
            print(f"{name}: left out: {str(error) or 'its models are not installed'}")
    return ways


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--pairs", type=options.positive_int, default=300, metavar="N",
                        help="of each kind from each fold but the last (default: all)")  # fmt: skip
    add_counts(parser, rounds=10)
    args = parser.parse_args()
    data = shared_data_or_exit()
    frame = camera_frame()
    ways = opened()
    actions: dict[str, Callable[[], object]] = {}
    for name, way in ways.items():
        face = way.find(frame)
        actions[f"find {name}"] = lambda way=way: way.find(frame)
        actions[f"embed {name}"] = lambda way=way, face=face: way.embed(frame, face)
    times = processor_ms(actions, args.rounds)
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        file = Path(folder) / "frame.npy"
        np.save(file, frame)
        started = in_turns({name: lambda name=name: fresh(name, file) for name in ways}, 3)
    print(HEAD + "\n|" + "---|" * (HEAD.count(" | ") + 1))
    for name, way in ways.items():
        models = sum(path.stat().st_size for path in way.models) / 1e6
        runs = started[name]
        cells = [
            name,
            *accuracy(way, data, args.pairs),
            *(f"{times[f'{what} {name}']:.1f}" for what in ("find", "embed")),
            f"{max(run['peak_mb'] for run in runs):.0f}",
            f"{models:.0f}",
            f"{runs[0]['packages_mb']:.0f}",
            f"{statistics.median(run['seconds'] for run in runs):.1f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    for name, (figure, source) in PUBLISHED.items():
        cells = [f"{name} (published: {source}; ten folds; not measured here)", figure]
        print(f"| {' | '.join(cells)} |{' |' * (HEAD.count(' | ') - 1)}")


if __name__ == "__main__":
    main()
