"""What the benchmarks share: real data if there is any, the app's models, and timing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from facesync.export.timing import processor_ms as processor_ms

if TYPE_CHECKING:
    from facesync.app.settings import AppSettings
    from facesync.gallery.people import Person

# Before torch is imported: both ways of a benchmark get one thread each, on a busy machine too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def shared_data() -> Path | None:
    """Return the folder of real data, or None after saying that there is none."""
    folder = Path(os.environ.get("FACESYNC_SHARED", ROOT.parent / "shared")) / "data"
    if folder.is_dir():
        return folder
    print("real data (FACESYNC_SHARED, else ../shared) is not on this machine: left out")
    return None


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
    from facesync.faces.weights import vggface2_path

    if vggface2_path().is_file():
        return vggface2_path()
    print(f"the VGGFace2 weights are not at {vggface2_path()}: left out")
    return None


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, which `app_material` takes."""
    parser.add_argument("--model", default="vggface2", help="default: %(default)s")


def app_material(model: str) -> tuple[Path, AppSettings] | None:
    """Return the folder of real data and the app's settings with a model; None without data."""
    from facesync.app.settings import AppSettings

    data = shared_data()
    if data is None:
        return None
    os.environ.setdefault("TORCH_HOME", str(data.parent / "torch_home"))
    return data, AppSettings(model=model, offline=True)


def person(number: int, embedding: np.ndarray, quality: float, fingerprint: str) -> Person:
    """Make up somebody who is registered with one sample."""
    from facesync.gallery.people import Person, now

    qualities = np.array([quality], dtype=np.float32)
    return Person(
        f"Person {number}", embedding, fingerprint, now(), 1, None, embedding[None], qualities
    )
