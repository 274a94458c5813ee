"""What each `--fmr` costs owners and lets pass of strangers, on people no model has seen.

    python -m benchmarks.rates_in_use --output cards

The thresholds are those that the app takes from each model's card: of the worst group, for a search
among so many people. The people are those of the last LFW fold and the frontal images of every
fourth person of CFP; two images of each are registered. The folder is that of
`benchmarks.model_cards`, whose embeddings it uses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.held_out import OF_CFP
from benchmarks.material import shared_data_or_exit
from benchmarks.model_cards import embed_images, lfw_images
from facesync import cli
from facesync.data.datasets import FaceDataset
from facesync.errors import ModelError
from facesync.evaluation.images import ImageRef, dataset_image_refs
from facesync.evaluation.summary import percent
from facesync.faces.calibration import Calibration
from facesync.faces.embedding import FaceModel
from facesync.faces.models import KNOWN
from facesync.faces.weights import load_face_model
from facesync.metrics.open_set import Searches, searches

FMRS = (0.1, 0.03, 0.01, 0.003, 1e-3, 1e-4)
PEOPLE = 20


def frontal_images(data: Path) -> list[ImageRef]:
    """Return the frontal images of the people of CFP who were held out."""
    images = dataset_image_refs(FaceDataset(data / "cfp", min_images=1, max_images=2**31))
    people = sorted({str(image.identity) for image in images})[OF_CFP - 1 :: OF_CFP]
    return [i for i in images if i.identity in people and "frontal" in i.name]


def searched(model: FaceModel, images: Sequence[ImageRef], cache: Path) -> Searches:
    """Register people and search for them and for the others."""
    vectors = embed_images(model, images, cache)
    found = searches(vectors, [str(image.identity) for image in images], people=PEOPLE)
    assert found is not None  # both sets have enough people
    return found


def row(found: Searches, calibration: Calibration, fmr: float) -> str:
    """Return threshold, FNIR and FPIR as cells; a star where the threshold is extrapolated."""
    try:
        threshold = calibration.threshold(fmr, found.people)
    except ModelError:
        return "none | 100 % | 0 %"
    star = "" if calibration.is_measured(fmr, found.people) else "*"
    rates = percent(found.fnir(threshold)), percent(found.fpir(threshold))
    return f"{cli.decimals(threshold)}{star} | {rates[0]} | {rates[1]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each model."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="of embeddings")
    parser.add_argument("--models", nargs="+", choices=[*KNOWN], default=[*KNOWN])
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    images, last = lfw_images(data)
    sets = {
        "LFW, last fold": [images[n] for n in np.flatnonzero(last)],
        "CFP, frontal": frontal_images(data),
    }
    print("| model, `--fmr` | " + " | ".join(f"{s}: threshold | FNIR | FPIR" for s in sets) + " |")
    print("|---" * (1 + 3 * len(sets)) + "|")
    for name in args.models:
        model = load_face_model(name, offline=True)
        calibration = Calibration.from_dict(KNOWN[name].card()["calibration"])
        found = [searched(model, part, args.output) for part in sets.values()]
        for fmr in FMRS:
            cells = " | ".join(row(each, calibration, fmr) for each in found)
            print(f"| {name}, {fmr:g} | {cells} |", flush=True)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
