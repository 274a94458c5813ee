"""Our MTCNN and facenet-pytorch's: whether they find the same faces, and how fast.

Faces at the edge of an image are left out: there ours differs on purpose (`facesync.faces.mtcnn`).

Run: python -m benchmarks.detection [--images 500 --step 1]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.frame_to_decision import camera_frame
from benchmarks.material import add_counts, processor_ms, shared_data_or_exit, video_frames
from facesync import cli, options
from facesync.faces.boxes import overlap
from facesync.faces.detection import FaceDetector
from facesync.faces.mtcnn import Net, search
from facesync.faces.mtcnn_nets import onnx_nets
from facesync.images import read_image_rgb

SMALLEST = 40
"""Side in pixels above which faces found by theirs count."""


@dataclass
class Agreement:
    """How well ours finds the faces that facenet-pytorch finds."""

    images: int = 0
    faces: int = 0
    below: int = 0  # IoU of 0.98 or less
    apart: int = 0  # a landmark more than 2 px away
    extra: int = 0  # found only by ours
    least_iou: float = 1.0
    farthest: float = 0.0

    def add(
        self, image_rgb: np.ndarray, theirs: list[tuple[np.ndarray, np.ndarray]], ours: list
    ) -> None:
        """Count an image: their boxes and landmarks, our faces."""

        def counts(box: np.ndarray) -> bool:
            around = max(box[2:] - box[:2]) / 3  # what R-Net and O-Net saw
            inside = (box[:2] > around).all() and (box[2:] + around < image_rgb.shape[1::-1]).all()
            return bool(inside) and min(box[2:] - box[:2]) > SMALLEST

        self.images += 1
        theirs = [(box, points) for box, points in theirs if counts(box)]
        ours = [face for face in ours if counts(face.box_xyxy)]
        self.extra += max(0, len(ours) - len(theirs))
        for box, points in theirs:
            best = max(ours, key=lambda face: overlap(face.box_xyxy, box), default=None)
            iou = overlap(best.box_xyxy, box) if best else 0.0
            distance = float(np.hypot(*(best.landmarks - points).T).max()) if best else np.inf
            self.faces += 1
            self.below += iou <= 0.98
            self.apart += distance > 2
            self.least_iou = min(self.least_iou, iou)
            self.farthest = max(self.farthest, distance)


def sources(data: Path, images: int, step: int) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    found = sorted((data / "lfw").glob("*/*.jpg"))
    chosen = found[:: max(1, len(found) // images)][:images]
    yield "LFW", (read_image_rgb(path) for path in chosen)
    for path in sorted((data / "videos").glob("*.mp4")):
        yield path.name, video_frames(path, step)


def shares(image_rgb: np.ndarray, rounds: int = 20) -> str:
    """Return in words where the time of a search goes."""
    nets, taken = onnx_nets(), dict.fromkeys(("pnet", "rnet", "onet"), 0.0)

    def timed(name: str) -> Net:
        net = getattr(nets, name)

        def run(batch: np.ndarray) -> Sequence[np.ndarray]:
            start = process_time()
            outputs: Sequence[np.ndarray] = net(batch)
            taken[name] += process_time() - start
            return outputs

        return run

    watched = replace(nets, **{name: timed(name) for name in taken})
    search(nets, image_rgb, SMALLEST)
    start = process_time()
    for _ in range(rounds):
        search(watched, image_rgb, SMALLEST)
    total = process_time() - start
    parts = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in taken.items())
    return f"a search of {total / rounds * 1000:.1f} ms: {parts}; the rest cuts and resizes"


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, images=50)
    parser.add_argument("--step", type=options.positive_int, default=50, metavar="N",
                        help="every N-th frame of the videos (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    data = shared_data_or_exit()
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(1)
    theirs = MTCNN(keep_all=True, min_face_size=SMALLEST)
    ours = FaceDetector(min_face=SMALLEST, max_side=10_000, min_probability=0)
    shown: list[np.ndarray] = []
    for name, images in sources(data, args.images, args.step):
        agreement = Agreement()
        for image_rgb in images:
            boxes, _, points = theirs.detect(image_rgb, landmarks=True)
            # It returns arrays of Python objects.
            pairs = [] if boxes is None else zip(np.float32(boxes), np.float32(points), strict=True)
            agreement.add(image_rgb, list(pairs), ours.detect(image_rgb))
            last_rgb = image_rgb
        shown.append(last_rgb)
        print(
            f"{name}: {cli.count(agreement.images, 'image', 'images')}, "
            f"{cli.count(agreement.faces, 'face', 'faces')} over {SMALLEST} px; "
            f"IoU of 0.98 or less: {agreement.below}, landmarks over 2 px apart: "
            f"{agreement.apart}, only ours: {agreement.extra}; "
            f"least IoU {agreement.least_iou:.4f}, farthest landmark {agreement.farthest:.4f} px",
            flush=True,
        )
    for image_rgb in shown:
        faces = ours.detect(image_rgb)
        times = processor_ms(
            {
                "theirs": lambda image=image_rgb: theirs.detect(image, landmarks=True),
                "ours": lambda image=image_rgb: ours.detect(image),
                "follow": lambda image=image_rgb, seen=faces: ours.follow(image, seen),
            },
            rounds=5,
        )
        height, width = image_rgb.shape[:2]
        print(
            f"{width} x {height}, {cli.count(len(faces), 'face', 'faces')}: ours is "
            f"{times['theirs'] / times['ours']:.1f} times as fast as theirs, following a face "
            f"{times['theirs'] / times['follow']:.1f} times"
        )
    print(f"640 x 480, one face, {shares(camera_frame())}")


if __name__ == "__main__":
    main()
