"""What each `--fmr` costs owners and lets pass of strangers, on people no model has seen.

    python -m benchmarks.rates_in_use --output cards

A cell is the threshold that the app takes from the model's card for a search among so many people,
with a star if it is extrapolated, and FNIR / FPIR in percent for the people of the last LFW fold,
then for every fourth person of CFP (frontal images). Two images of each are registered. The folder
is that of `benchmarks.model_cards`, whose embeddings it uses. The rates of LFW go into the
models' cards, by which the app says what a setting costs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.held_out import OF_CFP
from benchmarks.material import shared_data_or_exit
from benchmarks.model_cards import embed_images, lfw_images
from facesync import cli
from facesync.data.datasets import FaceDataset
from facesync.errors import ModelError
from facesync.evaluation.images import DatasetImages, ImageRef
from facesync.faces.calibration import Calibration
from facesync.faces.models import ASSETS, KNOWN
from facesync.faces.weights import load_face_model
from facesync.files import write_json
from facesync.metrics.open_set import Searches, searches

FMRS = (0.1, 0.05, 0.02, 0.01, 1e-3, 1e-4)
PEOPLE = (1, 3, 15)
SEARCHES = 1200


def frontal_images(data: Path) -> list[ImageRef]:
    """Return the frontal images of the people of CFP who were held out."""
    images = DatasetImages(FaceDataset(data / "cfp", min_images=1, max_images=2**31))
    people = sorted({str(image.identity) for image in images})[OF_CFP - 1 :: OF_CFP]
    return [i for i in images if i.identity in people and "frontal" in i.name]


def searched(vectors: np.ndarray, images: Sequence[ImageRef], people: int) -> Searches:
    """Register so many people and search for them and for the others, 1,200 times for each set."""
    identities = [str(image.identity) for image in images]
    found = searches(vectors, identities, people=people, draws=SEARCHES // people)
    assert found is not None  # both sets have enough people
    return found


def cell(sets: Sequence[Searches], calibration: Calibration, fmr: float) -> str:
    """Return the threshold, with a star if extrapolated, and FNIR and FPIR on each set."""
    people = sets[0].people
    try:
        threshold = calibration.threshold(fmr, people)
    except ModelError:
        return "no similarity is high enough"
    star = "" if calibration.is_measured(fmr, people) else "*"
    rates = [
        f"{100 * found.fnir(threshold):.1f} / {100 * found.fpir(threshold):.2f}" for found in sets
    ]
    return f"{cli.decimals(threshold)}{star}: {', '.join(rates)}"


def row(found: Searches, calibration: Calibration, fmr: float) -> dict[str, Any]:
    """Return the rates on one set as a card has them; None if no similarity is high enough."""
    try:
        threshold = calibration.threshold(fmr, found.people)
    except ModelError:
        return {"fmr": fmr, "people": found.people, "fnir": None, "fpir": None}
    rates = {"fnir": found.fnir(threshold), "fpir": found.fpir(threshold)}
    return {"fmr": fmr, "people": found.people, **rates}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each model, and write what is said of LFW into its card."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="of embeddings")
    parser.add_argument("--models", nargs="+", choices=[*KNOWN], default=[*KNOWN])
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    images, last = lfw_images(data)
    sets = [[images[n] for n in np.flatnonzero(last)], frontal_images(data)]
    for name in args.models:
        model = load_face_model(name, offline=True)
        card = KNOWN[name].card()
        calibration = Calibration.from_dict(card["calibration"])
        vectors = [embed_images(model, part, args.output) for part in sets]
        found = {
            people: [searched(*of, people) for of in zip(vectors, sets, strict=True)]
            for people in PEOPLE
        }
        registered = [cli.count(people, "person", "people") for people in PEOPLE]
        print(f"\n| {name}, `--fmr` | {' | '.join(registered)} |\n" + "|---" * 4 + "|")
        for fmr in FMRS:
            cells = [cell(found[people], calibration, fmr) for people in PEOPLE]
            print(f"| {fmr:g} | {' | '.join(cells)} |", flush=True)
        rows = [row(found[people][0], calibration, fmr) for fmr in FMRS for people in PEOPLE]
        write_json(ASSETS / f"{name}.json", {**card, "rates_in_use": rows})
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
