"""Every model in every format, each loaded again and compared with the original: one table.

    make bench-exports                              # makes .venv-exports, which has all formats
    python -m benchmarks.exports --models liveness  # where only some are installed

Models of faces on the 600 pairs of LFW's last fold, in tenths (accuracy), and on all pairs of their
images (TAR at a FAR of 1e-5); int8 is calibrated on people of the other folds. The liveness model
on one frame of each video of Replay-Attack's development people, calibrated on its training people.
Processor time for one face in one thread, in turns with the original.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.held_out import last_fold, last_fold_images
from benchmarks.material import ROOT, add_counts, shared_data_or_exit
from facesync import cli
from facesync.export.export import MOST_LOSS
from facesync.export.settings import FORMAT_NAMES
from facesync.faces.models import KNOWN

LIVENESS = "liveness"
MODELS = (*KNOWN, LIVENESS)

HEAD = (
    "| model | format | likeness: mean, lowest | accuracy (original) | TAR, AUC (original) | "
    "ms (original) | MB |\n|---|---|---|---|---|---|---|"
)


def prepare(data: Path, folder: Path, pairs_of_a_kind: int) -> dict[bool, list[str]]:
    """Write lists; return the options that name what to compare on, for liveness and for faces."""
    lines = last_fold(data / "lfw" / "pairs.txt")
    genuine, impostor = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    tenth = min(pairs_of_a_kind, len(genuine)) // 10
    folds = [
        line
        for start in range(0, 10 * tenth, tenth)
        for kind in (genuine, impostor)
        for line in kind[start : start + tenth]
    ]
    pairs, others = folder / "pairs.txt", folder / "calibration"
    others.mkdir(parents=True, exist_ok=True)
    pairs.write_text("\n".join([f"10\t{tenth}", *folds]) + "\n")
    compared = set(last_fold_images(data))
    for path in sorted((data / "lfw").rglob("*.jpg")):
        if path not in compared and not (others / path.name).is_symlink():
            (others / path.name).symlink_to(path)
    attacks = data / "liveness" / "replay_attack"
    faces = ["--pairs", pairs, "--images", data / "lfw", "--calibration-images", others]
    liveness = ["--data", attacks / "devel", "--calibration-images", attacks / "train"]
    return {True: list(map(str, liveness)), False: list(map(str, faces))}


def export(model: str, form: str, options: Sequence[str], output: Path) -> str:
    """Export a model in a process of its own, which a library may crash; return its row."""
    for old in output.glob("*"):
        old.unlink()
    command = [sys.executable, "export_model.py", "--model", model, "--format", form, "--offline"]
    ended = subprocess.run(
        [*command, "--allow-loss", "--output", output, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    start = f"| `{model}` | `{form}` |"
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["nothing"]
        return f"{start} failed ({ended.returncode}): {lines[-1].removeprefix('error: ')} |"
    (description,) = output.glob("*.json")
    found = json.loads(description.read_text(encoding="utf-8")).get("comparison")
    return f"{start} {cells(found)} |" if found else f"{start} ships so: the original |"


def cells(found: dict[str, Any]) -> str:
    """Return the cells of what `compare` found."""
    kind = "cosine" if "cosine_mean" in found else "score"
    second = "tar" if "tar" in found else "auc"
    worse = found["original_accuracy"] - found["accuracy"] > MOST_LOSS
    return " | ".join(
        [
            f"{found[f'{kind}_mean']:.5f}, {found[f'{kind}_min']:.5f}",
            f"{found['accuracy']:.2%} ({found['original_accuracy']:.2%})"
            + " refused without `--allow-loss`" * worse,
            f"{found[second]:.4f} ({found[f'original_{second}']:.4f})",
            f"{found['cpu_ms']:.1f} ({found['original_cpu_ms']:.1f})",
            f"{found['megabytes']:.1f}",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Export every model to every format and print the table in Markdown."""
    parser = cli.parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="default: all")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMAT_NAMES, default=FORMAT_NAMES, help="default: all"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark_output" / "exports",
                        metavar="DIR", help="folder to work in (default: %(default)s)")  # fmt: skip
    add_counts(parser, pairs=300)  # of each kind
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    os.environ.setdefault("TORCH_HOME", str(data.parent / "torch_home"))
    options = prepare(data, args.output, args.pairs)
    print(HEAD, flush=True)
    for model in args.models:
        for form in args.formats:
            row = export(model, form, options[model == LIVENESS], args.output / "exported")
            print(row, flush=True)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
