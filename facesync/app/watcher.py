"""Recognising several people at once: boxes follow the faces, and names stay on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from facesync.app.cameras import Frame
from facesync.faces.detection import Face
from facesync.faces.embedding import unit
from facesync.faces.lighting import relit
from facesync.faces.quality import measure
from facesync.faces.recognizer import Recognizer
from facesync.faces.tracking import Track, Tracker
from facesync.gallery.matching import Decision, Matcher
from facesync.gallery.people import Person
from facesync.liveness.camera import calibrated
from facesync.liveness.passive import PassiveModel
from facesync.liveness.settings import LOOKS as LIVENESS_LOOKS

LOOKS = 3
"""How many times a new face is embedded before it is called unknown."""

REFRESH_SECONDS = 2.0
"""How long a name holds before the face is embedded again."""

SEARCH_SECONDS = 0.5
"""How often new faces are searched for; in between, known ones are followed, which is faster."""

_PER_FRAME = 3  # Faces embedded in one frame, so that a crowd does not slow down the boxes.
_RETRY_SECONDS = 0.3  # Between looks at a face that is not recognised yet.
_GOOD_ENOUGH = 0.45  # Overall quality below which a look says too little.
_KEEP = 0.7  # Share of the earlier looks in a face's embedding.
_SWAPPED = 0.5  # Share of the threshold below which a look shows a different person.
_SCORES = 2 * LIVENESS_LOOKS - 1  # The latest looks at a face whose median says if it is live.
_DOUBTS = 2  # Looks in a row that must give another name before it changes.


@dataclass(frozen=True)
class Sighting:
    """One tracked face.

    Attributes:
        track: its number; stays the same over a short gap.
        name: who it is; None if that is unknown, or not known yet.
        score: similarity to the most similar person; None before the first look.
        probability: of that similarity, as in a `Decision`; None without a score or calibration.
        settled: whether it was looked at often enough to say.
        moving: the track, which says where the box is by now.
        live: whether it is a live face; None before enough looks, or where nobody asks.
        looked: whether the face was embedded in this frame; else another's may be in its place.
    """

    track: int
    name: str | None
    score: float | None
    probability: float | None
    settled: bool
    moving: Track
    live: bool | None = None
    looked: bool = True


@dataclass
class _Identity:
    """What is known about a track; `scores` are the passive liveness model's."""

    name: str | None = None
    score: float | None = None
    looks: int = 0
    next_look: float = 0.0
    doubts: int = 0
    live: bool | None = None
    scores: deque[float] = field(default_factory=lambda: deque(maxlen=_SCORES))

    @property
    def settled(self) -> bool:
        return self.name is not None or self.looks >= LOOKS

    def forget_liveness(self) -> None:
        self.scores.clear()
        self.live = None


class Watcher:
    """Recognises everybody in view, frame after frame.

    Each track is looked at until it has a name or is unknown, and again every few seconds. Its
    embedding is a running mean of the looks; a different name must come twice in a row. With
    no people to compare with, everybody is unknown. With a passive liveness model, each look also
    scores whether the face is alive, with the camera's offset (`CameraLiveness`).
    `changed` says whom to compare with from now on, or None while nothing has changed.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        people: Sequence[Person],
        margin: float,
        passive: PassiveModel | None = None,
        offset: float = 0.0,
        changed: Callable[[], Sequence[Person] | None] = lambda: None,
    ) -> None:
        self._recognizer = recognizer
        self._margin = margin
        self._changed = changed
        self._passive, self._offset = passive, offset
        self._tracker = Tracker()
        self._seen: list[Face] = []
        self._searched = 0.0
        self._known: dict[int, _Identity] = {}
        self._compare_with(people)

    def look(self, frame: Frame) -> list[Sighting]:
        """Find, follow and recognise the faces of a frame; those most overdue are embedded."""
        people = self._changed()
        if people is not None:
            self._compare_with(people)
        image_rgb = frame.image_rgb
        lit_rgb = relit(image_rgb)
        faces = self._faces(lit_rgb, frame.seconds)
        tracks = self._tracker.update(faces, frame.seconds)
        due = [track for track in tracks if self._is_due(track, frame.seconds)]
        due.sort(key=lambda track: self._of(track).next_look)
        chosen = [track for track in due if _worth_it(image_rgb, track.face)][:_PER_FRAME]
        if chosen:
            embeddings = self._recognizer.embed(lit_rgb, [track.face for track in chosen])
            for track, embedding in zip(chosen, embeddings, strict=True):
                self._recognise(track, embedding)
            sure = [self._of(track).settled for track in chosen]
            if self._passive is not None:
                sure = self._score(self._passive, image_rgb, chosen)
            for track, enough in zip(chosen, sure, strict=True):
                again = REFRESH_SECONDS if enough else _RETRY_SECONDS
                self._of(track).next_look = frame.seconds + again
        self._one_face_a_name(tracks)
        looked = {track.number for track in chosen}
        return [self._sighting(track, track.number in looked) for track in tracks]

    def _compare_with(self, people: Sequence[Person]) -> None:
        """Compare with these people from now on; who is in view is looked at again at once."""
        self._matcher = Matcher(people) if people else None
        self._threshold = self._recognizer.threshold_for(max(1, len(people)))
        names = {person.name for person in people}
        for identity in self._known.values():
            identity.next_look = 0.0
            if identity.name not in names:
                identity.name, identity.score, identity.looks = None, None, 0

    def _faces(self, lit_rgb: np.ndarray, seconds: float) -> list[Face]:
        """Search the whole frame now and then; in between, follow the faces found.

        A face that cannot be followed may still be there: then the frame is searched at once.
        """
        faces: list[Face] = []
        if self._seen and 0 <= seconds - self._searched < SEARCH_SECONDS:
            faces = self._recognizer.follow(lit_rgb, self._seen)
        if not faces or len(faces) < len(self._seen):
            faces, self._searched = self._recognizer.find(lit_rgb), seconds
        self._seen = faces
        return faces

    def _of(self, track: Track) -> _Identity:
        return self._known.setdefault(track.number, _Identity())

    def _is_due(self, track: Track, seconds: float) -> bool:
        return seconds >= self._of(track).next_look

    def _score(
        self, passive: PassiveModel, image_rgb: np.ndarray, tracks: Sequence[Track]
    ) -> list[bool]:
        """Say of faces whether they are live; return of which that and who they are is known."""
        limits = passive.thresholds
        scores = passive.score(image_rgb, [track.face for track in tracks])
        known = [self._of(track) for track in tracks]
        for identity, look in zip(known, scores, strict=True):
            identity.scores.append(look.live)
            if len(identity.scores) >= LIVENESS_LOOKS:
                score = calibrated(median(identity.scores), self._offset, limits)
                identity.live = score >= limits.threshold
        return [identity.settled and identity.live is not None for identity in known]

    def _recognise(self, track: Track, embedding: np.ndarray) -> None:
        """Take a new look at a face into account."""
        before = track.embedding
        if before is None:
            before = self._tracker.rejoin(track, embedding, self._threshold)
            self._of(track).forget_liveness()  # who comes back may be a photograph of who left
        identity = self._of(track)
        if before is not None and float(before @ embedding) < _SWAPPED * self._threshold:
            # Another face has taken over the box, in a crossing or a cut: forget what was known.
            before = None
            identity.name, identity.score, identity.looks, identity.doubts = None, None, 0, 0
            identity.forget_liveness()
        mixed = embedding if before is None else _KEEP * before + (1 - _KEEP) * embedding
        track.embedding = unit(mixed).astype(np.float32)
        identity.looks += 1
        if self._matcher is not None:
            decision = self._matcher.decide(track.embedding, self._threshold, self._margin)
            self._weigh(identity, decision)

    def _weigh(self, identity: _Identity, decision: Decision) -> None:
        """Set, change or remove the name of a face, but not at the first doubt."""
        if decision.name == identity.name:
            identity.doubts, identity.score = 0, decision.similarity
            return
        identity.doubts += 1
        if identity.name is None or identity.doubts >= _DOUBTS:
            identity.name, identity.score = decision.name, decision.similarity
            identity.doubts = 0

    def _one_face_a_name(self, tracks: Sequence[Track]) -> None:
        """Give a name to one face only: the most similar one keeps it, a live one rather."""
        best: dict[str, _Identity] = {}
        ranks = [(self._of(each).live is False, -(self._of(each).score or 0.0)) for each in tracks]
        for place in sorted(range(len(tracks)), key=ranks.__getitem__):
            identity = self._of(tracks[place])
            if identity.name is None:
                continue
            if identity.name in best:
                identity.name, identity.doubts = None, 0
            else:
                best[identity.name] = identity

    def _sighting(self, track: Track, looked: bool) -> Sighting:
        known = self._of(track)
        likely = None if known.score is None else self._recognizer.probability(known.score)
        common = track.number, known.name, known.score, likely, known.settled, track
        return Sighting(*common, known.live, looked)


def _worth_it(image_rgb: np.ndarray, face: Face) -> bool:
    """Whether a face is seen well enough to say who it is."""
    return measure(image_rgb, face).overall >= _GOOD_ENOUGH
