"""What the benchmarks share: real data where there is any, and how time is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from facesync.export.timing import processor_ms as processor_ms

# Before torch is imported: both ways of a benchmark get one thread each, on a busy machine too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def shared_data() -> Path | None:
    """Return the folder of real data, or None; says so where there is none."""
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
    """Return the VGGFace2 weights of torch's cache, or None; says so where they are not there."""
    from facesync.faces.weights import vggface2_path

    if vggface2_path().is_file():
        return vggface2_path()
    print(f"the VGGFace2 weights are not at {vggface2_path()}: left out")
    return None
