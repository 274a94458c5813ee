"""The README's table: the models that the app knows, measured alike on people none has seen.

    python -m benchmarks.models --output cards

How many registered people are refused (two images each) and TAR at a FAR of 1e-5, for the people of
the last LFW fold and the frontal images of every fourth person of CFP; the false match rate within
each group of `benchmarks.group_faces` at the threshold that holds 0.1 % on the LFW fold; processor
time for one face and size on disk. The folder is that of `benchmarks.model_cards`, whose embeddings
it uses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.material import add_counts, processor_ms, shared_data_or_exit
from benchmarks.model_cards import LEFT_OUT, embed_images, lfw_images, on_one_face, within_groups
from benchmarks.rates_in_use import frontal_images
from facesync import cli
from facesync.evaluation.summary import percent
from facesync.faces.embedding import FaceModel
from facesync.faces.models import EDGEFACE, KNOWN, VGGFACE2_PUBLISHED, KnownModel
from facesync.faces.weights import load_face_model
from facesync.metrics.calibration import fit_thresholds
from facesync.metrics.open_set import open_set
from facesync.metrics.pairs import all_pairs
from facesync.metrics.thresholds import COMMON_FMR

MODELS = [*KNOWN.values(), VGGFACE2_PUBLISHED]
FAR = 1e-5
SETS = ("LFW", "CFP")
"""The last LFW fold, and the frontal images of every fourth person of CFP."""

HEAD = (
    "| | "
    + " | ".join(
        [
            *(name for of in SETS for name in (f"{of}: refused at 1 / 0.1 %", "TAR")),
            "false matches, groups from 13 years",
            "children's",
            "CPU ms",
            "MB",
        ]
    )
    + " |"
)


@dataclass(frozen=True)
class Measured:
    """What was measured of a model.

    Attributes:
        fnir: on each of `SETS`, at an FPIR of 1 and 0.1 %.
        tar: on each of `SETS`, at `FAR`.
        fmr: within each group, at the threshold that holds `COMMON_FMR` on the first of `SETS`.
    """

    fnir: list[list[float]]
    tar: list[float]
    fmr: dict[str, float]


def measure(model: FaceModel, data: Path, cache: Path) -> Measured:
    """Measure a model on the people it has never seen, and within groups."""
    images, last = lfw_images(data)
    found = Measured([], [], {})
    threshold = np.float64(1)
    for part in ([images[n] for n in np.flatnonzero(last)], frontal_images(data)):
        identities = [str(image.identity) for image in part]
        vectors = embed_images(model, part, cache)
        pairs = all_pairs(vectors, identities)
        if not found.tar:
            threshold = np.float64(fit_thresholds(pairs.impostor).at(float(COMMON_FMR)))
        found.fnir.append([rate.fnir for rate in open_set(vectors, identities)])
        found.tar.append(pairs.roc().tar_at(FAR))
    for name, pairs in within_groups(model, data, cache).items():
        found.fmr[name] = float((pairs.impostor >= threshold).mean())
    return found


def row(known: KnownModel, found: Measured, milliseconds: float) -> str:
    """Return a model's row of the README's table."""
    cells = [f"`{known.name}`"]
    for fnir, tar in zip(found.fnir, found.tar, strict=True):
        cells += [" / ".join(f"{100 * share:.1f}" for share in fnir) + " %", f"{tar:.3f}"]
    for names in (set(found.fmr) - set(LEFT_OUT), set(LEFT_OUT)):
        rates = [found.fmr[name] for name in names]
        cells.append(f"{100 * min(rates):.1f} … {100 * max(rates):.1f} %")
    return f"| {' | '.join([*cells, f'{milliseconds:.0f}', f'{known.size / 1e6:.0f}'])} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the models and print the table in Markdown."""
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=20)
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="of embeddings")
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    # By name where it is one of the app's; the published weights have their file only.
    loaded = {m.name: load_face_model(m.name if m.name in KNOWN else m.path) for m in MODELS}
    times = processor_ms({n: on_one_face(model) for n, model in loaded.items()}, args.rounds)
    found = {name: measure(model, data, args.output) for name, model in loaded.items()}
    print(HEAD + "\n|" + "---|" * HEAD.count(" | ") + "---|")
    for known in MODELS:
        print(row(known, found[known.name], times[known.name]))
    print(f"\n| false matches within | {' | '.join(loaded)} |\n|" + "---|" * (len(loaded) + 1))
    for group in found[EDGEFACE.name].fmr:
        counts = " (raises no threshold)" if group in LEFT_OUT else ""
        shares = [percent(of.fmr[group]) for of in found.values()]
        print(f"| {group}{counts} | {' | '.join(shares)} |")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
