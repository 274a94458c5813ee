"""From a frame to an embedding: ours against other projects', if they are installed.

Run: python -m benchmarks.peers.frame_to_embedding [--yunet face_detection_yunet.onnx]

For face_recognition: pip install face_recognition setuptools, which takes minutes to build dlib.
No model is downloaded: a peer that needs a download is skipped, and the output says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.frame_to_decision import camera_frame, eager, ours
from benchmarks.material import add_counts, print_times, processor_ms, vggface2_or_none
from facesync import cli
from facesync.errors import ModelError
from facesync.faces.detection import FaceDetector
from facesync.faces.weights import load_face_model

UNMEASURED = {
    "insightface": "downloads its models (buffalo_l) on first use",
    "deepface": "downloads its weights on first use",
}


def our_ways(frame_rgb: np.ndarray) -> dict[str, Callable[[], object]]:
    detector = FaceDetector()
    ways: dict[str, Callable[[], object]] = {
        "ours, detection only": lambda: detector.detect(frame_rgb)
    }
    for name in ("embedded", "vggface2", "edgeface-xs"):
        try:
            way = ours(detector, load_face_model(name, offline=True))
        except ModelError as error:
            print(f"ours, {name}: skipped: {error}")
            continue
        ways[f"ours, {name}"] = lambda way=way: way.embedding(frame_rgb)
    return ways


def peers(frame_rgb: np.ndarray, yunet: Path | None) -> dict[str, Callable[[], object]]:
    """Return the peers that can be measured; print why the others are skipped."""
    ways: dict[str, Callable[[], object]] = {}
    weights = vggface2_or_none()
    if weights is not None:
        way = eager(weights, 20)
        ways["facenet-pytorch"] = lambda: way.embedding(frame_rgb)
    try:
        import face_recognition
    except (ImportError, SystemExit) as error:  # it exits if its models are not installed
        print(f"face_recognition: skipped: not installed ({error})")
    else:
        ways["face_recognition (dlib)"] = lambda: face_recognition.face_encodings(frame_rgb)
    if yunet is None:
        print("YuNet: skipped: OpenCV ships no model for it; give one with --yunet")
    else:
        height, width = frame_rgb.shape[:2]
        net = cv2.FaceDetectorYN.create(str(yunet), "", (width, height))
        ways["YuNet, detection only"] = lambda: net.detect(frame_rgb[:, :, ::-1].copy())
    for name, reason in UNMEASURED.items():
        print(f"{name}: skipped: {reason}")
    return ways


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=10)
    parser.add_argument("--yunet", type=Path, metavar="FILE", help="YuNet's ONNX file")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    frame = camera_frame()
    mine = our_ways(frame)
    theirs = peers(frame, args.yunet)
    times = processor_ms({**theirs, **mine}, args.rounds)
    print("640 x 480, one face; processor time, ratios of one run")
    print_times(times, theirs)


if __name__ == "__main__":
    main()
