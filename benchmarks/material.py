"""What the benchmarks share: their options, real data if there is any, models and timing."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from facesync import options
from facesync.export.timing import in_turns as in_turns
from facesync.export.timing import processor_ms as processor_ms

if TYPE_CHECKING:
    from facesync.app.settings import AppSettings
    from facesync.evaluation.protocols import PairSet
    from facesync.faces.detection import FaceDetector
    from facesync.faces.embedding import FaceModel
    from facesync.gallery.people import Person

# Before torch is imported: both ways of a benchmark get one thread each, on a busy machine too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def add_counts(parser: argparse.ArgumentParser, **defaults: int) -> None:
    """Add an option for each count, by its default."""
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=options.positive_int,
                            default=default, metavar="N", help="default: %(default)s")  # fmt: skip


def shared_data() -> Path | None:
    """Return the folder of real data, or None after saying that there is none."""
    folder = Path(os.environ.get("FACESYNC_SHARED", ROOT.parent / "shared")) / "data"
    if folder.is_dir():
        return folder
    print("real data (FACESYNC_SHARED, else ../shared) is not on this machine: left out")
    return None


def shared_data_or_exit() -> Path:
    """Return the folder of real data; end the benchmark, which needs it, if there is none."""
    folder = shared_data()
    if folder is None:
        raise SystemExit(0)
    return folder


def video_frames(path: Path, step: int = 1) -> Iterator[np.ndarray]:
    """Yield every `step`-th frame of a video, uint8 RGB."""
    video = cv2.VideoCapture(str(path))
    number = 0
    while video.grab():
        if number % step == 0:
            decoded, frame_bgr = video.retrieve()
            if decoded:
                yield np.ascontiguousarray(frame_bgr[:, :, ::-1])
        number += 1
    video.release()


def vggface2_or_none() -> Path | None:
    """Return the VGGFace2 weights in torch's cache, or None after saying that they are missing."""
    from facesync.faces.models import VGGFACE2

    if VGGFACE2.path.is_file():
        return VGGFACE2.path
    print(f"the VGGFace2 weights are not at {VGGFACE2.path}: left out")
    return None


def parse_for_app(
    parser: argparse.ArgumentParser, model: str = "vggface2"
) -> tuple[argparse.Namespace, Path, AppSettings]:
    """Add `--model` and parse; return the folder of real data and the app's settings, too."""
    from facesync.app.settings import AppSettings

    parser.add_argument("--model", default=model, help="default: %(default)s")
    args = parser.parse_args()
    data = shared_data_or_exit()
    os.environ.setdefault("TORCH_HOME", str(data.parent / "torch_home"))
    return args, data, AppSettings(model=args.model, offline=True)


def add_lfw_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `lfw_material` takes."""
    parser.add_argument("--model", default="vggface2", help="default: %(default)s")
    parser.add_argument("--pairs", type=Path, required=True, help="LFW's pairs.txt")
    parser.add_argument("--images", type=Path, required=True, help="the images it lists")
    parser.add_argument("--report", type=Path, required=True, help="folder for result and cache")
    parser.add_argument("--cache", type=Path, help="folder for embeddings (default: REPORT/cache)")
    options.add_device_option(parser)


def lfw_material(args: argparse.Namespace) -> tuple[FaceModel, FaceDetector, PairSet, Path]:
    """Return model, detector, pairs and the folder of the cache."""
    from facesync.devices import pick_device
    from facesync.evaluation.protocols import read_lfw_pairs
    from facesync.faces.detection import FaceDetector
    from facesync.faces.weights import load_face_model

    device = pick_device(args.device)
    model, detector = load_face_model(args.model, device), FaceDetector(device)
    pairs = read_lfw_pairs(args.pairs, args.images)
    return model, detector, pairs, args.cache or args.report / "cache"


def person(number: int, embedding: np.ndarray, quality: float, fingerprint: str) -> Person:
    """Make up somebody who is registered with one sample."""
    from facesync.gallery.people import Person, now

    qualities = np.array([quality], dtype=np.float32)
    return Person(
        f"Person {number}", embedding, fingerprint, now(), 1, None, embedding[None], qualities
    )


def print_times(times: Mapping[str, float], theirs: Mapping[str, object]) -> None:
    """Print a line for each way; for ours, how many times as fast it is as each of theirs."""
    for name, taken in times.items():
        ratios = ", ".join(
            f"{times[their] / taken:.1f} times as fast as {their}"
            for their in theirs
            if name not in theirs
        )
        print(f"  {name}: {taken:.0f} ms{ratios and ': '}{ratios}")


def printed_mb(script: str, *arguments: str) -> float:
    """Run a Python script in a fresh process; return the kilobytes that it prints last as MB."""
    command = [sys.executable, "-c", script, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(ended.stdout.split()[-1]) / 1024
