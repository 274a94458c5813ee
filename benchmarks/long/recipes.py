"""The two presets of train_model.py on the same images, for several seeds: docs/training.md.

    python -m benchmarks.long.recipes    # 2 epochs, 3 seeds: an hour and a half
    python -m benchmarks.long.recipes --epochs 1 --seeds 42 --max-images 5

Each run is train_model.py as a user runs it. A fifth of the identities is never trained on;
closed-set accuracy is that of the validation images, TAR that of all pairs of images of held-out
identities at a FAR of 1e-3, and LFW is evaluate_model.py on the first folds of the shared part.
"Before" are the VGGFace2 weights that all runs start from, on the same images. The command can be
interrupted; results that are already there are not computed again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import ROOT, add_counts, shared_data_or_exit, vggface2_or_none
from facesync import cli
from facesync.errors import FaceSyncError

PRESETS = ("paper", "best")
HOLDOUT = 0.2
MEASURES = {
    "accuracy": "closed-set accuracy",
    "tar": "unseen identities' TAR at FAR 1e-3",
    "lfw": "LFW accuracy",
    "lfw_tar": "LFW TAR at FAR 1e-3",
    "seconds": "seconds",
}


def run(script: str, *arguments: object) -> None:
    """Run a script as a user does."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    print("$", script, *arguments, flush=True)
    if subprocess.run(command, cwd=ROOT, env=dict(os.environ)).returncode:
        raise FaceSyncError(f"{script} failed")


def on_lfw(model: str, data: Path, folds: int, output: Path) -> dict[str, float]:
    """Evaluate a model on the first folds of LFW."""
    report = output / "report.json"
    if not report.exists():
        output.mkdir(parents=True, exist_ok=True)
        head, *lines = (data / "lfw" / "pairs.txt").read_text().splitlines()
        each = int(head.split()[1])
        pairs = output / "pairs.txt"
        pairs.write_text("\n".join([f"{folds}\t{each}", *lines[: folds * 2 * each]]) + "\n")
        run(
            "evaluate_model.py", "--model", model, "--pairs", pairs, "--images", data / "lfw",
            "--report", output, "--cache", output.parent / "cache",
        )  # fmt: skip
    found = json.loads(report.read_text())
    # Over all pairs of the images: the protocol has too few for such a rate.
    return {"lfw": found["accuracy_mean"], "lfw_tar": found["all_pairs"]["tar_at_far"]["1e-3"]}


def after(preset: str, seed: int, args: Any, data: Path) -> dict[str, float]:
    """Train with a preset and measure what comes out."""
    from facesync.training.history import load_history

    output = args.output / f"{preset}-{seed}"
    history = output / "training_history.pkl"
    if not history.exists() or len(load_history(history)) < args.epochs:
        run(
            "train_model.py", "--data", data / "celeba_pack", "--output", output,
            "--preset", preset, "--epochs", args.epochs, "--seed", seed, "--select", "tar",
            "--holdout-identities", HOLDOUT, "--max-images", args.max_images,
            "--workers", 1, "--resume", "--offline",
        )  # fmt: skip
    rows = load_history(history)
    last = rows.rows[-1]
    model = str(output / "final_face_model.pth")
    return {
        "accuracy": float(last["val_acc"] or 0),
        "tar": float(last["val_tar"] or 0),
        "seconds": sum(rows.column("seconds")),
        **on_lfw(model, data, args.lfw_folds, args.output / f"lfw-{preset}-{seed}"),
    }


def before(seed: int, args: Any, data: Path) -> dict[str, float]:
    """Measure the VGGFace2 weights on a seed's held-out identities and on LFW."""
    from facesync.faces.weights import load_face_model
    from facesync.metrics.pairs import all_pairs
    from facesync.training.batches import load_split

    kept = args.output / f"before-{seed}.json"
    if not kept.exists():
        args.output.mkdir(parents=True, exist_ok=True)
        model = load_face_model("vggface2", offline=True)
        split = load_split(data / "celeba_pack", seed, 5, args.max_images, HOLDOUT)
        images = [split.faces.image_rgb(index) for index in split.holdout]
        names = [str(split.labels[index]) for index in split.holdout]
        # Resized as the trained models are served; the crop itself is the pack's.
        curve = all_pairs(model.embed_crops(images), names).roc()
        kept.write_text(json.dumps(curve.tar_at(1e-3)))
    lfw = on_lfw("vggface2", data, args.lfw_folds, args.output / "lfw-before")
    return {"tar": json.loads(kept.read_text()), **lfw}


def main(argv: Sequence[str] | None = None) -> int:
    """Train, measure, print the table."""
    parser = cli.parser(__doc__)
    add_counts(parser, epochs=2, max_images=15, lfw_folds=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark_output" / "recipes")
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    if vggface2_or_none() is None:
        return cli.DONE
    results: dict[str, list[dict[str, float]]] = {"before": [], **{name: [] for name in PRESETS}}
    for seed in args.seeds:
        for preset in PRESETS:
            results[preset].append(after(preset, seed, args, data))
        results["before"].append(before(seed, args, data))
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print("| | " + " | ".join(MEASURES.values()) + " |")
    print("|---|" + "---|" * len(MEASURES))
    for name, runs in results.items():
        cells = [name]
        for measure in MEASURES:
            values = [each[measure] for each in runs if measure in each]
            digits = 0 if measure == "seconds" else 4
            cells.append(
                f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}" if values else ""
            )
        print("| " + " | ".join(cells) + " |")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
