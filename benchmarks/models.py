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
from pathlib import Path

import numpy as np

from benchmarks.material import add_counts, processor_ms, shared_data_or_exit
from benchmarks.model_cards import LEFT_OUT, embed_images, lfw_images, on_one_face, within_groups
from benchmarks.rates_in_use import frontal_images
from facesync import cli
from facesync.evaluation.summary import percent
from facesync.faces.embedding import FaceModel
from facesync.faces.models import KNOWN, VGGFACE2_PUBLISHED, KnownModel
from facesync.faces.weights import load_face_model
from facesync.metrics.calibration import fit_thresholds
from facesync.metrics.open_set import open_set
from facesync.metrics.pairs import AllPairs, all_pairs
from facesync.metrics.thresholds import COMMON_FMR

MODELS = [*KNOWN.values(), VGGFACE2_PUBLISHED]
FAR = 1e-5
SETS = ("LFW's fifth fold", "held-out CFP, frontal")


def on_unseen_people(vectors: np.ndarray, identities: Sequence[str]) -> tuple[list[str], AllPairs]:
    """Return FNIR at each FPIR and TAR, as the table has them, and all pairs."""
    pairs = all_pairs(vectors, identities)
    found = [percent(rate.fnir) for rate in open_set(vectors, identities)]
    return [*found, f"{pairs.roc().tar_at(FAR):.3f}"], pairs


def column(known: KnownModel, model: FaceModel, data: Path, cache: Path) -> dict[str, str]:
    """Measure a model: what to print of it, by row."""
    images, last = lfw_images(data)
    sets = [images[n] for n in np.flatnonzero(last)], frontal_images(data)
    cells: dict[str, str] = {}
    everybody = []
    for name, part in zip(SETS, sets, strict=True):
        identities = [str(image.identity) for image in part]
        found, pairs = on_unseen_people(embed_images(model, part, cache), identities)
        everybody.append(pairs)
        for what, value in zip(
            ("refused where 1 % of strangers pass", "refused where 0.1 % pass", "TAR at FAR 1e-5"),
            found,
            strict=True,
        ):
            cells[f"{name}: {what}"] = value
    threshold = np.float64(fit_thresholds(everybody[0].impostor).at(float(COMMON_FMR)))
    for name, pairs in within_groups(model, data, cache).items():
        counts = "" if name not in LEFT_OUT else " (raises no threshold)"
        cells[f"false matches: {name}{counts}"] = percent((pairs.impostor >= threshold).mean())
    cells["MB"] = f"{known.size / 1e6:.1f}"
    return cells


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
    columns = [column(known, loaded[known.name], data, args.output) for known in MODELS]
    print(f"| | {' | '.join(loaded)} |\n" + "|---" * (len(loaded) + 1) + "|")
    for row in columns[0]:
        print(f"| {row} | {' | '.join(cells[row] for cells in columns)} |")
    print(f"| CPU ms a face | {' | '.join(f'{times[name]:.1f}' for name in loaded)} |")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
