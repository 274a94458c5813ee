"""How often attacks pass and live people are refused: on people, and on whole datasets, not seen.

Run: python -m benchmarks.liveness [--output DIR] [--model embedded|FILE]

The first table is measured here, by video, on each set of ../shared/data/liveness at the model's
own threshold; only the people of Replay-Attack's development part were not trained on. The second
is what the training measured: each dataset left out in turn, with and without simulated attacks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.material import shared_data_or_exit
from facesync.evaluation.liveness import evaluate_liveness
from facesync.evaluation.liveness_settings import LivenessSettings
from facesync.liveness.passive import load_passive

SETS = {
    "Replay-Attack, development people": "replay_attack/devel",
    "Replay-Attack, training people": "replay_attack/train",
    "NUAA": "nuaa",
    "CelebA-Spoof": "celeba_spoof",
    "webcam crops": "webcam_crops",
}


def percent(share: float | None) -> str:
    """Write a share for the tables."""
    return "" if share is None else f"{100 * share:.1f} %"


def row(name: str, rates: dict[str, Any]) -> str:
    """Write the rates of one set as a row."""
    kinds = ", ".join(f"{kind} {percent(apcer)}" for kind, apcer in rates["apcer"].items())
    cells = (name, kinds, percent(rates["bpcer"]), f"{rates['auc']:.3f}", percent(rates["eer"]))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("reports/liveness"), metavar="DIR")
    parser.add_argument("--model", default="embedded", metavar="embedded|FILE")
    args = parser.parse_args()
    data = shared_data_or_exit() / "liveness"
    head = (
        "| | attacks that pass (APCER) | live refused (BPCER) | AUC | EER |\n|---|---|---|---|---|"
    )
    rows = []
    for name, folder in SETS.items():
        report = args.output / folder.replace("/", "-")
        settings = LivenessSettings(data=data / folder, report=report, model=args.model)
        rows.append(row(name, evaluate_liveness(settings).to_dict()["by_video"]))
    print(f"\nBy video, at the model's threshold\n\n{head}", *rows, sep="\n")
    print("\nWhole datasets left out of the training, by video\n")
    print("| left out | AUC, EER | without simulated attacks |\n|---|---|---|")
    for name, both in load_passive(args.model).facts["left_out"].items():
        cells = [f"{rates['auc']:.3f}, {percent(rates['eer'])}" for rates in both.values()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
