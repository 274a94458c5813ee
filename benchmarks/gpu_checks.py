"""Everything about training that needs a GPU to be shown, in one command.

    python -m benchmarks.gpu_checks                          # on a machine with a CUDA device
    python -m benchmarks.gpu_checks --device cpu             # the same commands, at small sizes

The tests of training on the device, resuming bit for bit, two processes on one card, the speed
beside the paper's loop and the ceiling, and how both presets converge. Each check prints a line:
pass, FAIL or skip, and why; what it said, its figures and `results.json` are in one folder. The
data is drawn here; nothing is downloaded. Needs requirements-dev.txt.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.material import ROOT
from benchmarks.training_gpu import reached
from facesync import cli, options
from facesync.data.recordio import write_pack
from facesync.devices import pick_device
from facesync.files import write_json

TIMES_PLAIN, OF_CEILING = 6, 0.85
"""How fast a training is on a GPU: so many times the paper's loop, such a share of the ceiling."""

GOAL = 0.9
"""Validation accuracy that both presets reach on drawn identities."""

PRESETS = ("paper", "best")


@dataclass(frozen=True)
class Check:
    """A command, and what makes of it a pass.

    Attributes:
        name: of the check and of its log.
        command: what follows `python -m`.
        skip: why it is not run; empty if it is.
        variables: of its environment.
        verdict: whether its files are as they should be, and a line on it; asked if it ended well.
    """

    name: str
    command: Sequence[object]
    skip: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    verdict: Callable[[], tuple[bool, str]] | None = None


def draw_pack(folder: Path, identities: int, images: int) -> Path:
    """Write a pack of drawn identities: each a pattern of its own, in varying light."""
    random = np.random.default_rng(0)
    records = []
    for identity in range(identities):
        pattern = random.integers(0, 256, (7, 7, 3))
        for _ in range(images):
            noisy = np.clip(pattern + random.integers(-30, 31, pattern.shape), 0, 255)
            image = Image.fromarray(noisy.astype(np.uint8)).resize((112, 112))
            encoded = io.BytesIO()
            image.save(encoded, "JPEG", quality=90)
            records.append((identity, encoded.getvalue()))
    write_pack(folder, records)
    return folder


def checks(device: str, pack: Path, output: Path) -> list[Check]:
    """Return the checks for a device, which write to a folder."""
    cuda = device == "cuda"
    cards = torch.cuda.device_count()
    pytest = ["pytest", "-q", "-rs"]
    # TF32 rounds more than what two ways of computing the same may differ by.
    tested = {"FACESYNC_TEST_DEVICE": device, "NVIDIA_TF32_OVERRIDE": "0"}
    resumed = "killed_at_a_step or stopped_by or bf16" if cuda else "step and (1 or 5) or bf16"
    two = [
        *pytest,
        "tests/end_to_end/test_two_processes.py",
        "-k",
        "train_as_one or another_number",
    ]
    figures = output / "speed.json"
    speed = ["benchmarks.training_gpu", "--device", device, "--report", figures]
    if cuda:
        speed += ["--compile"]
    else:
        speed += ["--data", pack, "--steps", 1, "--batch-sizes", 8, "--workers", 1]
    found = [
        Check("tests on the device", [*pytest, "tests/training/test_device.py"], "", tested),
        Check(
            "exact resume",
            [*pytest, "tests/end_to_end/test_resume.py", "-k", resumed],
            variables=tested,
        ),
        Check("two processes, gloo", two, "", {**tested, "CUDA_VISIBLE_DEVICES": "0"}),
        Check(
            "two processes, nccl",
            two,
            "" if cuda and cards > 1 else f"NCCL wants a card for each process; there are {cards}",
            tested,
        ),
        Check("speed and profile", speed, verdict=lambda: _fast_enough(figures, cuda)),
    ]
    for preset in PRESETS:
        trained = output / f"model-{preset}"
        # On the CPU the small network of the tests shows that the commands work.
        script = "train_model" if cuda else "tests.end_to_end.tiny"
        command = [script, *([] if cuda else ["train_model"]), "--data", pack, "--output", trained]
        command += ["--preset", preset, "--weights", "none", "--epochs", 10, "--batch-size", 16]
        command += ["--schedule", "constant", "--lr", 0.001 if cuda else 0.01, "--overwrite"]
        found.append(
            Check(
                f"convergence, preset {preset}",
                [*command, "--device", device, "--select", "val_accuracy"],
                verdict=lambda trained=trained: _converged(trained),  # type: ignore[misc]
            )
        )
    return found


def _fast_enough(figures: Path, cuda: bool) -> tuple[bool, str]:
    best = json.loads(figures.read_text("utf-8"))["best"]
    said = f"{best['times_plain']:.1f} x plain, {best['of_ceiling']:.0%} of the ceiling"
    if not cuda:
        return True, f"{said} (on a GPU: at least {TIMES_PLAIN} x and {OF_CEILING:.0%})"
    return best["times_plain"] >= TIMES_PLAIN and best["of_ceiling"] >= OF_CEILING, said


def _converged(trained: Path) -> tuple[bool, str]:
    said = reached(trained, GOAL)
    return "not reached" not in said, said


def run(check: Check, output: Path) -> dict[str, object]:
    """Run a check and print its line."""
    if check.skip:
        state, why, seconds = "skip", check.skip, 0.0
    else:
        started = time.perf_counter()
        log = output / f"{check.name.replace(', ', ' ').replace(' ', '-')}.log"
        with open(log, "w", encoding="utf-8") as file:
            code = subprocess.run(
                [sys.executable, "-m", *map(str, check.command)],
                cwd=ROOT,
                env={**os.environ, **check.variables},
                stdout=file,
                stderr=subprocess.STDOUT,
            ).returncode
        seconds = time.perf_counter() - started
        lines = log.read_text("utf-8", "replace").split("\n")
        passed, why = code == 0, next((line for line in reversed(lines) if line.strip()), "")
        if passed and check.verdict is not None:
            passed, why = check.verdict()
        state = "pass" if passed else "FAIL"
        why += "" if passed else f" ({log})"
    print(f"{state}  {check.name} ({seconds:.0f} s): {why}", flush=True)
    return {"check": check.name, "state": state, "why": why, "seconds": round(seconds)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks; fail if one did."""
    parser = cli.parser(__doc__)
    options.add_device_option(parser)
    parser.add_argument("--output", type=Path, default=Path("benchmark_output/gpu_checks"),
                        metavar="DIR", help="default: %(default)s")  # fmt: skip
    args = parser.parse_args(argv)
    device = pick_device(args.device).type
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}; logs in {output}", flush=True)
    sizes = (200, 40) if device == "cuda" else (12, 8)
    pack = draw_pack(output / "pack", *sizes)
    results = [run(check, output) for check in checks(device, pack, output)]
    write_json(output / "results.json", {"device": name, "checks": results}, indent=2)
    failed = [result for result in results if result["state"] == "FAIL"]
    print(f"{len(failed)} of {len(results)} failed")
    return cli.FAILED if failed else cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
