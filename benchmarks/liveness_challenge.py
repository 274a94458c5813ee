"""What a recording can do against a challenge, how far a head turns, what a background gives away.

    nice python -m benchmarks.liveness_challenge

Plays the shared videos of one person, live and replayed on a screen, against every order that a
challenge may ask for, beginning every half second, and prints how many pass; and how far and how
deep each turn goes, with the embedding's cosine there to the first frame. Then, on NUAA and
Replay-Attack, of how many videos `liveness.background` says that it moves with the face.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from benchmarks.material import parse_for_app
from facesync import cli
from facesync.app.cameras import VideoFile
from facesync.faces.detection import main_face
from facesync.faces.recognizer import Recognizer
from facesync.images import read_image_rgb
from facesync.liveness.background import Background
from facesync.liveness.challenge import (
    DIRECTIONS,
    STEPS,
    Challenge,
    Look,
    State,
    turn_between,
)
from facesync.liveness.flatness import nose_error

ORDERS = [
    order for order in product(DIRECTIONS, repeat=STEPS) if all(a != b for a, b in pairwise(order))
]

FRAME_STEP = 3  # ten looks a second

VIDEOS = "one_face_head_turns_live", "one_face_screen_replay"

SETS = "nuaa", "replay_attack/devel", "replay_attack/train"


def looks_of(recognizer: Recognizer, path: Path) -> tuple[list[Look], list[np.ndarray]]:
    """Return what a challenge sees of a video, and the embeddings, (512,), of its faces."""
    looks, embeddings = [], []
    with VideoFile(path) as video:
        while (frame := video.read()) is not None:
            if frame.number % FRAME_STEP == 0:
                seen = recognizer.look(frame.image_rgb)
                looks.append(Look(frame.seconds, seen and seen.faces[0].landmarks))
                embeddings.append(np.zeros(512) if seen is None else seen.embedding)
    return looks, embeddings


def passes(looks: list[Look], order: tuple[str, ...], start: float) -> bool:
    """Play a video against a challenge, from some second on."""
    challenge = Challenge(order)
    for look in looks:
        if look.seconds >= start:
            challenge.update(look)
    return challenge.state is State.PASSED


def turns(looks: list[Look], embeddings: list[np.ndarray]) -> None:
    """Print the furthest turn each way: degrees, nose error, cosine to the first frame."""
    first, *_ = (look.landmarks for look in looks if look.landmarks is not None)
    seen = [(look, e) for look, e in zip(looks, embeddings, strict=True)
            if look.landmarks is not None]  # fmt: skip
    both = np.array([turn_between(first, look.landmarks) for look, _ in seen])
    for way, along in zip(
        DIRECTIONS, (both[:, 0], -both[:, 0], both[:, 1], -both[:, 1]), strict=True
    ):
        look, embedding = seen[int(np.argmax(along))]
        error = nose_error(first, look.landmarks)
        cosine = float(embeddings[0] @ embedding)
        print(
            f"    {way:6} {along.max():3.0f} degrees, nose error {error:.2f}, cosine {cosine:.2f}"
        )


def background(recognizer: Recognizer, folder: Path) -> None:
    """Print of how many videos of a set, by kind, the background moves with the face."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*/*.jpg")):
        found[path.parent.name, path.stem.rpartition("_")[0]].append(path)
    said = defaultdict(list)
    for (kind, _), paths in found.items():
        watched = Background()
        for path in sorted(paths, key=lambda path: int(path.stem.rpartition("_")[2])):
            image_rgb = read_image_rgb(path)
            if faces := recognizer.find(image_rgb):
                watched.look(image_rgb, main_face(faces, image_rgb))
        said[kind].append(watched)
    for kind, videos in sorted(said.items()):
        moved = sum(bool(one.with_face + one.without) for one in videos)
        held = sum(one.moves_with_face for one in videos)
        print(
            f"  {folder.name} {kind:7} {held:3} of {len(videos)} videos; the face moved in {moved}"
        )


def main() -> None:
    _, data, settings = parse_for_app(cli.parser(__doc__))
    recognizer = Recognizer(settings)
    for name in VIDEOS:
        looks, embeddings = looks_of(recognizer, data / "videos" / f"{name}.mp4")
        starts = np.arange(0, looks[-1].seconds, 0.5)
        passed = [sum(passes(looks, order, start) for order in ORDERS) for start in starts]
        print(
            f"{name}: of {len(ORDERS)} orders {passed[0]} pass from its start, and at most "
            f"{max(passed)} from any of {len(starts)} starts"
        )
        turns(looks, embeddings)
    print("\nwhat is around the face moves with it in")
    for each in SETS:
        background(recognizer, data / "liveness" / each)


if __name__ == "__main__":
    main()
