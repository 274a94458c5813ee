"""What liveness costs: from a camera frame to a decision, with it and without, in one run.

Run: python -m benchmarks.liveness_cost [--model embedded|FILE]

The frame and the gallery are those of benchmarks.frame_to_decision; processor time, one thread. A
face is searched for in each frame, or followed from the one before, as in the window.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.frame_to_decision import camera_frame, crowd
from benchmarks.material import add_counts, processor_ms
from facesync import cli
from facesync.errors import ModelError
from facesync.faces.detection import Face, FaceDetector
from facesync.faces.embedding import FaceModel
from facesync.faces.models import EMBEDDED, VGGFACE2
from facesync.faces.weights import load_face_model
from facesync.gallery.matching import Matcher
from facesync.liveness.evidence import Evidence
from facesync.liveness.passive import PassiveModel, load_passive

THRESHOLD = 0.6
"""Of the similarity: of the decision, and of a frame to the first one of its attempt."""


def compare(name: str, model: FaceModel, passive: PassiveModel, rounds: int) -> None:
    """Print what liveness adds to frames that a face model decides."""
    frame, detector = camera_frame(), FaceDetector()
    (before,) = detector.detect(frame)
    matcher = Matcher(crowd(model.embed(frame, [before])[0]))

    def way(find: Callable[[], Face | None], *, liveness: bool) -> Callable[[], object]:
        evidence = Evidence(passive, THRESHOLD)

        def decide() -> object:
            face = find()
            assert face is not None
            embedding: np.ndarray = model.embed(frame, [face])[0]
            if liveness:
                evidence.look(frame, face, embedding)
            return matcher.decide(embedding, THRESHOLD)

        return decide

    finds = {
        "searched for": lambda: detector.detect(frame)[0],
        "followed": lambda: detector.follow(frame, [before])[0],
    }
    ways = {
        f"{how}{' with' * liveness}": way(find, liveness=bool(liveness))
        for how, find in finds.items()
        for liveness in (0, 1)
    }
    times = processor_ms(ways, rounds)
    for how in finds:
        without, with_it = times[how], times[f"{how} with"]
        print(f"  {name}, face {how}: {without:.1f} ms without, {with_it:.1f} ms with liveness, "
              f"{with_it / without:.2f} times")  # fmt: skip


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=30)
    parser.add_argument("--model", default="embedded", metavar="embedded|FILE",
                        help="the liveness model (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    try:
        passive = load_passive(args.model)
    except ModelError as error:
        print(f"{error}: left out")
        return
    frame = camera_frame()
    faces = FaceDetector().detect(frame)
    alone = processor_ms({"passive": lambda: passive.score(frame, faces)}, args.rounds)
    print("640 x 480, one face, gallery of 100; processor time, ratios of one run")
    print(f"  the passive model alone: {alone['passive']:.1f} ms a face")
    for known in (EMBEDDED, VGGFACE2):
        if known.path.is_file():
            model = load_face_model(known.name, offline=True)
            compare(known.name, model, passive, args.rounds)
        else:
            print(f"  {known.name} is not on this machine: left out")


if __name__ == "__main__":
    main()
