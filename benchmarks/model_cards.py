"""Measure what `faceid_app.py models` shows, and write it into the models' cards.

    python -m benchmarks.model_cards --output cards

The same for each model, in one run: how many owners are refused (open set) among the people of the
last LFW fold, whom none of them was trained on by us, and the processor time for one face. The
reports stay in the folder, so that a second run only measures the time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.held_out import write_lists
from benchmarks.material import add_counts, processor_ms, shared_data_or_exit
from facesync import cli
from facesync.evaluation.evaluate import evaluate
from facesync.evaluation.settings import EvaluateSettings
from facesync.faces.models import ASSETS, KNOWN
from facesync.faces.weights import load_face_model
from facesync.files import write_json


def on_one_face(name: str) -> Callable[[], np.ndarray]:
    """Return a way to embed one crop."""
    model = load_face_model(name, offline=True)
    sides = model.crop.crop_size, model.crop.crop_size, 3
    crop_rgb = np.random.default_rng(0).integers(0, 255, sides, np.uint8)
    return lambda: model.embed_crops([crop_rgb])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all models and write the cards."""
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=20)
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="for reports")
    args = parser.parse_args(argv)
    write_lists(shared_data_or_exit(), args.output)
    times = processor_ms({name: on_one_face(name) for name in KNOWN}, args.rounds)
    for name, model in KNOWN.items():
        report = args.output / name
        evaluate(
            EvaluateSettings(
                model=name, images=args.output / "lfw", open_set=True, offline=True, report=report
            )
        )
        found = json.loads((report / "report.json").read_text(encoding="utf-8"))
        rows = found["open_set"]
        card = {
            **model.card(),
            "open_set": rows,
            "open_set_on": f"{rows[0]['people']} of 422 people of LFW's fifth fold, "
            f"{rows[0]['enrolled']} images of each registered",
            "cpu_ms": round(times[name], 1),
        }
        write_json(ASSETS / f"{name}.json", card)
        print(f"{name}: {card['cpu_ms']} ms, {[row['fnir'] for row in rows]}", flush=True)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
