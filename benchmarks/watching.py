"""Watching several people: how often the name of a face changes, tracked and frame by frame.

    python -m benchmarks.watching

Counts over every frame of the shared street and stage videos, as `watch` sees them without a
window. There are no labels, so people are enrolled from the first frames: each good face that is
unlike those enrolled so far becomes a person, up to five. Then, over the whole video, per track:

- switches: the name changed from one person to another;
- flickers: the name was lost or came back;
- jumps: the face in the box became another one, judged by the embedding of each frame alone: two
  consecutive looks, both of good quality, less similar than half the threshold.

The simple way decides each face of each frame by itself; its names are counted along the same
tracks. Tracking embeds a face now and then, frame by frame embeds all of them: the ratio of work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.material import parse_for_app, person
from facesync import cli
from facesync.app.cameras import VideoFile
from facesync.app.settings import AppSettings
from facesync.app.watcher import Watcher
from facesync.faces.lighting import relit
from facesync.faces.quality import measure
from facesync.faces.recognizer import Recognizer
from facesync.gallery.matching import Matcher
from facesync.gallery.people import Person

PEOPLE, EARLY_SECONDS, GOOD = 5, 1.5, 0.6


@dataclass
class Names:
    """The names that one way gave to one track, in order, and how often they changed."""

    given: list[str | None] = field(default_factory=list)

    @property
    def switches(self) -> int:
        """Changes from one person to another, an unknown in between or not."""
        known = [name for name in self.given if name is not None]
        return sum(one != other for one, other in pairwise(known))

    @property
    def flickers(self) -> int:
        """Changes between a name and unknown, not counting the first name."""
        known = [name is not None for name in self.given]
        first = known.index(True) if True in known else len(known)
        return sum(one != other for one, other in pairwise(known[first:]))


def enrol_early(recognizer: Recognizer, path: Path) -> list[Person]:
    """Enrol the faces of the first frames, each once."""
    people: list[Person] = []
    with VideoFile(path) as video:
        while (frame := video.read()) is not None and frame.seconds <= EARLY_SECONDS:
            if frame.number % 5:
                continue
            image_rgb = frame.image_rgb
            for face in recognizer.find(relit(image_rgb)):
                quality = measure(image_rgb, face).overall
                if quality < GOOD or len(people) == PEOPLE:
                    continue
                embedding = recognizer.embed(relit(image_rgb), [face])[0]
                if people and Matcher(people).similarities(embedding).max() > 0.4:
                    continue
                fingerprint = recognizer.fingerprint
                people.append(person(len(people) + 1, embedding, quality, fingerprint))
    return people


class CountingRecognizer(Recognizer):
    """Counts the faces that it embeds."""

    embedded = 0

    def embed(self, lit_rgb, faces):  # type: ignore[no-untyped-def]
        """Embed and count."""
        self.embedded += len(faces)
        return super().embed(lit_rgb, faces)


def watch(recognizer: CountingRecognizer, path: Path) -> None:
    people = enrol_early(recognizer, path)
    threshold = recognizer.threshold_for(len(people))
    watcher, matcher = Watcher(recognizer, people, AppSettings.margin), Matcher(people)
    tracked: dict[int, Names] = {}
    alone: dict[int, Names] = {}
    last: dict[int, np.ndarray] = {}
    jumps = faces = frames = 0
    recognizer.embedded = 0
    worked = {"tracked": 0, "frame by frame": 0}
    with VideoFile(path) as video:
        while (frame := video.read()) is not None:
            before = recognizer.embedded
            sightings = watcher.look(frame)
            worked["tracked"] += recognizer.embedded - before
            frames += 1
            for sighting in sightings:
                image_rgb, face = frame.image_rgb, sighting.moving.face
                embedding = recognizer.embed(relit(image_rgb), [face])[0]
                worked["frame by frame"] += 1
                faces += 1
                decision = matcher.decide(embedding, threshold, AppSettings.margin)
                tracked.setdefault(sighting.track, Names()).given.append(sighting.name)
                alone.setdefault(sighting.track, Names()).given.append(decision.name)
                if measure(image_rgb, face).overall >= GOOD:
                    earlier = last.get(sighting.track)
                    jumps += earlier is not None and float(earlier @ embedding) < threshold / 2
                    last[sighting.track] = embedding
    print(f"\n{path.stem}: {frames} frames, {faces} faces in {len(tracked)} tracks, "
          f"{len(people)} people enrolled, threshold {threshold:.3f}")  # fmt: skip
    for way, names in (("tracked", tracked), ("frame by frame", alone)):
        given = sum(name is not None for track in names.values() for name in track.given)
        print(
            f"  {way:<15} switches {sum(n.switches for n in names.values()):4d}   "
            f"flickers {sum(n.flickers for n in names.values()):4d}   "
            f"faces named {given:5d}   embedded {worked[way]:5d}"
        )
    print(f"  jumps of a track to another face: {jumps}")
    print(f"  ratio of faces embedded: {worked['frame by frame'] / max(1, worked['tracked']):.1f}")


def main() -> None:
    _, data, settings = parse_for_app(cli.parser(__doc__))
    recognizer = CountingRecognizer(settings)
    for path in sorted((data / "videos").glob("*several_faces.mp4")):
        watch(recognizer, path)


if __name__ == "__main__":
    main()
