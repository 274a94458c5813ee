"""Start-up and memory of `faceid_app.py list` and `verify --image`, beside importing libraries.

    python -m benchmarks.startup
    python -m benchmarks.startup --before ../older     # and of another checkout, in turns

The processor time and the peak of memory of whole processes, in turns, and both as ratios to a
process that only imports numpy, OpenCV and ONNX Runtime, which no verification does without. Each
model that is here verifies a photograph of 250 pixels, the default one another of 1280. Linux.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.material import ROOT, add_counts, in_turns
from facesync import cli
from facesync.faces.models import KNOWN
from facesync.pickles import save_plain
from facesync.sample_images import HOPPER, photographs

FLOOR = "import numpy, cv2, onnxruntime"
TORCH = "import torch, facenet_pytorch"

MEASURED = """
import atexit, runpy, sys, time

@atexit.register
def say():
    lines = [line.split() for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print("\\nmeasured", time.process_time(), int(lines[0][1]) * 1024, file=sys.stderr)

del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def measured(*arguments: object, root: Path = ROOT) -> tuple[float, float]:
    """Run a script and return its processor time in seconds and its peak of memory in MB."""
    command = [sys.executable, "-c", MEASURED, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(root), **OWN}
    for name in ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"):  # as where it is used
        environment.pop(name, None)
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    words = done.stderr.split("\nmeasured ")[-1].split()
    if done.returncode or len(words) != 2:
        raise SystemExit(f"{' '.join(command[3:])} failed: {done.stderr}")
    return float(words[0]), int(words[1]) / 1e6


OWN = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
"""Variables of the processes; `prepare` adds places of their own for keys and compiled code."""


def prepare(folder: Path) -> dict[str, tuple[object, ...]]:
    """Write scripts, stores and images; return what is measured, by name."""
    OWN["XDG_CONFIG_HOME"] = str(folder / "configuration")
    OWN["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    for name, code in (("floor", FLOOR), ("torch", TORCH)):
        (folder / f"{name}.py").write_text(code)
    random = np.random.default_rng(0)
    people = {f"person {n}": random.standard_normal(512).astype(np.float32) for n in range(100)}
    save_plain(people, folder / "people.pkl")
    photo_rgb = photographs()[HOPPER]
    for side in (250, 1280):
        size = (side, round(side * photo_rgb.shape[0] / photo_rgb.shape[1]))
        cv2.imwrite(str(folder / f"{side}.jpg"), cv2.resize(photo_rgb, size)[..., ::-1])
    listing = ("faceid_app.py", "list", "--no-encrypt", "--embeddings", folder / "people.pkl")
    found: dict[str, tuple[object, ...]] = {
        FLOOR: (folder / "floor.py",),
        TORCH: (folder / "torch.py",),
        "list, 100 people": listing,
    }
    here = [model.name for model in KNOWN.values() if model.path.is_file()]
    for name in here:
        store = ("--embeddings", folder / f"{name}.pkl", "--faces", folder / name)
        app = ("faceid_app.py", "--offline", "--model", name, *store)
        measured(*app, "register", "Grace", "--images", folder / "250.jpg")
        sides = (250, 1280) if name == here[0] else (250,)
        found |= {
            f"verify, {name}, {side} px": (*app, "verify", "--image", folder / f"{side}.jpg")
            for side in sides
        }
    return found


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=5)
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout to compare")
    args = parser.parse_args()
    if not Path("/proc/self/status").exists():
        raise SystemExit("the peak of memory is read from /proc/self/status, which is Linux's")
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        ways = {name: partial(measured, *given) for name, given in prepare(Path(folder)).items()}
        if args.before:
            old = {f"{name} (before)": partial(way, root=args.before.resolve())
                   for name, way in ways.items() if "import" not in name}  # fmt: skip
            ways |= old
        found = in_turns(ways, args.rounds)  # the first round fills the disk cache
    medians = {
        name: (statistics.median(s for s, _ in runs), statistics.median(mb for _, mb in runs))
        for name, runs in found.items()
    }
    floor_seconds, floor_mb = medians[FLOOR]
    print(f"{'':<44}  CPU s  ratio  peak MB  ratio")
    for name, (seconds, mb) in medians.items():
        ratios = seconds / floor_seconds, mb / floor_mb
        print(f"{name:<44}  {seconds:5.2f}  {ratios[0]:5.2f}  {mb:7.1f}  {ratios[1]:5.2f}")


if __name__ == "__main__":
    main()
