"""From a camera frame to a decision: ours on a CPU against facenet-pytorch in eager torch.

Run: python -m benchmarks.frame_to_decision [--pairs 300]

A frame of 640 x 480 with one face and a gallery of 100 people. Both use the same crop and the same
decision rule, with one thread each. Then the same LFW pairs go through both at one false match
rate, and the decisions that differ are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.material import (
    add_counts,
    print_times,
    printed_mb,
    processor_ms,
    shared_data_or_exit,
    vggface2_or_none,
)
from facesync import cli, options
from facesync.errors import FaceSyncError
from facesync.evaluation.protocols import PairSet, read_lfw_pairs
from facesync.faces.detection import Face, FaceDetector, main_face
from facesync.faces.embedding import FaceModel
from facesync.faces.weights import load_face_model
from facesync.gallery.matching import Matcher
from facesync.gallery.people import Person
from facesync.images import read_image_rgb
from facesync.metrics.rates import threshold_at

PEOPLE = 100
FMR = 0.01
Embed = Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class Way:
    """A detector and an embedding, `detect(image_rgb)` and `embed(image_rgb, face)`."""

    detect: Callable[[np.ndarray], list[Face]]
    embed: Callable[[np.ndarray, Face], np.ndarray]

    def embedding(self, image_rgb: np.ndarray) -> np.ndarray | None:
        """Embedding (512,) of the main face of an image; None if there is no face."""
        faces = self.detect(image_rgb)
        return self.embed(image_rgb, main_face(faces, image_rgb)) if faces else None


def eager(weights: Path, min_face: int) -> Way:
    """Make facenet-pytorch's MTCNN and InceptionResnetV1, used as in their README."""
    import torch
    from facenet_pytorch import MTCNN

    from facesync.faces.torch_model import open_torch_model

    torch.set_num_threads(1)
    mtcnn = MTCNN(keep_all=True, min_face_size=min_face)
    model = open_torch_model(weights)
    network, crop = model.network, model.crop

    def detect(image_rgb: np.ndarray) -> list[Face]:
        boxes, probabilities, landmarks = mtcnn.detect(image_rgb, landmarks=True)
        if boxes is None:
            return []
        found = zip(boxes, landmarks, probabilities, strict=True)
        faces = [Face(np.float32(box), np.float32(five), float(p)) for box, five, p in found]
        return [face for face in faces if face.probability >= 0.9]

    def embed(image_rgb: np.ndarray, face: Face) -> np.ndarray:
        batch = torch.from_numpy(crop.array(crop.cut(image_rgb, face)))[None]
        with torch.inference_mode():
            embedding: np.ndarray = network(batch).numpy()[0]
        return embedding

    return Way(detect, embed)


def ours(detector: FaceDetector, model: FaceModel) -> Way:
    """Make the detector and embedding that the app uses."""
    return Way(detector.detect, lambda image_rgb, face: model.embed(image_rgb, [face])[0])


def camera_frame() -> np.ndarray:
    """Return a frame of 640 x 480 with one face: Eileen Collins (NASA), about half a metre away."""
    from skimage import data

    frame = np.full((480, 640, 3), 120, np.uint8)
    frame[:, 80:560] = cv2.resize(data.astronaut(), (480, 480), interpolation=cv2.INTER_AREA)
    return frame


def crowd(embedding: np.ndarray) -> list[Person]:
    """Return a gallery of `PEOPLE`, one of them with this embedding."""
    random = np.random.default_rng(0)
    others = random.standard_normal((PEOPLE - 1, len(embedding))).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    return [
        Person(f"person {number}", vector, "f", None, 1)
        for number, vector in enumerate([embedding, *others])
    ]


def speed(theirs: dict[str, Way], models: dict[str, FaceModel], rounds: int) -> None:
    """Print the time of each way, and how many times as fast ours are as theirs."""
    frame = camera_frame()
    detector = FaceDetector()
    before = detector.detect(frame)
    ways: dict[str, Callable[[], object]] = {}

    def add(name: str, embed: Embed) -> None:
        matcher = Matcher(crowd(embed(frame)))  # type: ignore[arg-type]
        ways[name] = lambda: matcher.decide(embed(frame), 0.6)  # type: ignore[arg-type]

    for name, way in theirs.items():
        add(name, way.embedding)
    for name, model in models.items():
        add(f"ours, {name}", ours(detector, model).embedding)

        def follow(frame_rgb: np.ndarray, model: FaceModel = model) -> np.ndarray:
            (face,) = detector.follow(frame_rgb, before)
            assert face is not None
            return model.embed(frame_rgb, [face])[0]

        add(f"ours, {name}, face followed", follow)
    times = processor_ms(ways, rounds)
    print("640 x 480, one face, gallery of 100; processor time, ratios of one run")
    print_times(times, theirs)


def decisions(theirs: Way, way: Way, pairs: PairSet) -> None:
    """Print how many pairs are decided differently by two ways at one false match rate."""
    both = []
    for each in (theirs, way):
        vectors = np.full((len(pairs.images), 512), np.nan, np.float32)
        for index, image in enumerate(pairs.images):
            found = each.embedding(read_image_rgb(image.read()))
            vectors[index] = np.nan if found is None else found
        both.append(pairs.scores(vectors))
    missed = [int(np.isnan(scores).sum()) for scores in both]
    known = ~np.isnan(both[0] + both[1])
    sides = []
    for scores in both:
        impostors = np.sort(scores[known & ~pairs.same])[::-1]
        sides.append(scores[known] >= threshold_at(impostors, FMR))
    print(
        f"  {len(pairs.same)} LFW pairs at a false match rate of {FMR}: "
        f"{int((sides[0] != sides[1]).sum())} decided differently; without a face: "
        f"{missed[0]} pairs theirs, {missed[1]} ours; "
        f"largest difference of similarities {np.abs(both[0] - both[1])[known].max():.2g}"
    )


# Peak memory of a process that embeds one frame: `eager`, or ours with a model (Linux).
_MEMORY = """
import re, sys
from benchmarks import frame_to_decision as bench
from benchmarks.material import vggface2_or_none
from facesync.faces.detection import FaceDetector
from facesync.faces.weights import load_face_model
if sys.argv[1] == "eager":
    way = bench.eager(vggface2_or_none(), 40)
else:
    way = bench.ours(FaceDetector(), load_face_model(sys.argv[1], offline=True))
assert way.embedding(bench.camera_frame()) is not None
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=10)
    parser.add_argument("--pairs", type=options.positive_int, default=5, metavar="N",
                        help="pairs of each kind per fold (default: %(default)s)")  # fmt: skip
    parser.add_argument("--min-face", type=options.positive_int, default=40, metavar="N",
                        help="smallest face of theirs, on LFW (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    weights = vggface2_or_none()
    if weights is None:
        return
    theirs = {f"theirs, min_face_size {size}": eager(weights, size) for size in (20, 40)}
    cv2.setNumThreads(1)
    models = {}
    for name in ("VGGFace2", "EdgeFace-XS", "embedded"):
        try:
            models[name] = load_face_model(name.lower(), offline=True)
        except FaceSyncError as error:
            print(f"{name} is skipped: {error}")
    speed(theirs, models, args.rounds)
    if sys.platform == "linux":
        base = printed_mb(_MEMORY, "eager")
        for name in models:
            peak = printed_mb(_MEMORY, name.lower())
            print(f"  peak memory: ours, {name}: {peak:.0f} MB; theirs: {base:.0f} MB; "
                  f"{base / peak:.1f} times")  # fmt: skip
    data = shared_data_or_exit()
    pairs = read_lfw_pairs(data / "lfw" / "pairs.txt", data / "lfw")
    place = np.zeros(len(pairs.same), int)
    for fold in range(pairs.folds):
        for same in (True, False):
            chosen = (pairs.fold == fold) & (pairs.same == same)
            place[chosen] = np.arange(chosen.sum())
    pairs = pairs.subset(place < args.pairs)
    decisions(eager(weights, args.min_face), ours(FaceDetector(), models["VGGFace2"]), pairs)


if __name__ == "__main__":
    main()
