"""Who appeared while the app watched: a list in memory, from which unknown faces are named.

Nothing of it is written to disk, and all of it is forgotten when the app ends. An image becomes a
sample only when somebody says whose it is, and then through the gate of every enrolment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import cv2
import numpy as np

from facesync.app.cameras import Frame
from facesync.app.watcher import Sighting
from facesync.errors import ImageError, StoreError
from facesync.faces.detection import Face
from facesync.faces.lighting import relit
from facesync.faces.quality import Quality, measure
from facesync.faces.recognizer import Recognizer, Seen
from facesync.gallery import registration
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.people import Person, name_key, now
from facesync.gallery.presence import NotAlive
from facesync.gallery.registration import Registration
from facesync.gallery.store import Gallery

MOST = 200
"""Entries that are kept; older ones are forgotten."""

_MARGIN = 0.5  # Of the box's longer side, on each side: as much as a stored sample shows.
_SIDE = 320  # Longer side of an image in pixels; larger ones are shrunk.


@dataclass(frozen=True, eq=False)
class Entry:
    """One appearance of one face.

    Attributes:
        id: its number; none is used twice.
        time: when it was first settled who that is, with the time zone.
        name: who was recognised; None for a face that is unknown.
        similarity: to the most similar person; None if there is nobody.
        probability: of that similarity, as in a `Decision`.
        live: whether the face is alive; None if that is not known.
        image_rgb: the best image of the face, uint8 RGB, at most 320 pixels a side.
        face: where the face is in it.
        quality: of the face, as it was seen.
        named: what somebody said: whose face it is, or False for nobody they know; None so far.
        sample: float32 (1, 512), the embedding that naming it added to the store; None if none was,
            or it cannot be told from what an older version stored.
    """

    id: int
    time: datetime
    name: str | None
    similarity: float | None
    probability: float | None
    live: bool | None
    image_rgb: np.ndarray
    face: Face
    quality: Quality
    named: str | bool | None = None
    sample: np.ndarray | None = None

    @property
    def undo(self) -> bool:
        """Whether what was said can be taken back."""
        return self.named is False or self.sample is not None


class Sightings:
    """The appearances of one run of the app. One thread at a time may use it.

    Attributes:
        recognizer: embeds a face that is named.
        liveness: whether only a face that was seen to be alive may be named.
    """

    def __init__(self, gallery: Gallery, recognizer: Recognizer, *, liveness: bool) -> None:
        self.recognizer = recognizer
        self.liveness = liveness
        self._gallery = gallery
        self._entries: dict[int, Entry] = {}
        self._of_track: dict[int, int] = {}  # the entry of each track in view
        self._last = 0

    @property
    def entries(self) -> list[Entry]:
        """All entries, the newest last, without those of people who are not registered any more.

        Raises:
            StoreError: the store cannot be read.
        """
        self.forget_deleted()
        return list(self._entries.values())

    def find(self, number: int) -> Entry:
        """Return the entry with an id.

        Raises:
            StoreError: there is none, or the store cannot be read.
        """
        self.forget_deleted()
        if number not in self._entries:
            raise StoreError("this appearance is no longer in the log")
        return self._entries[number]

    def begin(self) -> None:
        """Begin to note what another `Watcher` sees, whose numbers of tracks start anew."""
        self._of_track.clear()

    def note(self, sightings: Sequence[Sighting], frame: Frame) -> None:
        """Enter who has appeared, each once, and keep the best image of everybody in view.

        Args:
            sightings: what `Watcher.look` returned for the frame; it must not have looked at
                another one since.
            frame: the frame.
        """
        image_rgb = frame.image_rgb
        for sighting in sightings:
            entry = self._entries.get(self._of_track.get(sighting.track, 0))
            if not sighting.settled or (entry and _somebody_else(entry, sighting)):
                self._of_track.pop(sighting.track, None)
            if not sighting.settled:
                continue
            if sighting.track not in self._of_track:
                entry = self._enter(sighting, image_rgb)
            elif entry is None or entry.named is not None:  # forgotten, or not to be changed
                continue
            else:
                entry = _better(entry, sighting, image_rgb)
            self._entries[entry.id] = entry
            self._of_track[sighting.track] = entry.id
        while len(self._entries) > MOST:
            del self._entries[next(iter(self._entries))]

    def name(
        self, number: int, name: str, *, same_person: bool = False, similar_name: bool = False
    ) -> Entry:
        """Say whose face it is: it becomes a sample of theirs, or registers them.

        Raises:
            ImageError: the image cannot be a sample, or nothing shows that the face was alive.
            Doubt: it is not the face of who has this name, or is somebody else's, and `same_person`
                is not set; or the name looks like another, and `similar_name` is not set.
            StoreError: it is named already, or the name or the store does not allow it.
        """
        entry = self.find(number)
        if entry.named is not None:
            raise StoreError("somebody has said already who this is; undo that first")
        if self.liveness and entry.live is not True:
            raise NotAlive(f"{_why_not_live(entry)}; nothing is stored")
        known = self._gallery.find(name)
        request = Registration(name, False, known is not None, same_person, similar_name)
        enrolment = Enrolment(self.recognizer.threshold)
        verdict = enrolment.offer(self._seen(entry))
        if not verdict.taken:
            reason = verdict.reason.partition(":")[0]
            raise ImageError(f"the image cannot be a sample: {reason}; nothing is stored")
        person = registration.store(self._gallery, self.recognizer, request, enrolment)
        apart = person.samples == len(person.sample_embeddings)
        sample = person.sample_embeddings[-1:].copy() if apart else None
        self._entries[number] = replace(entry, named=person.name, sample=sample)
        return self._entries[number]

    def dismiss(self, number: int) -> Entry:
        """Say that it is nobody who is known.

        Raises:
            StoreError: it is named; undo that first.
        """
        entry = self.find(number)
        if isinstance(entry.named, str):
            raise StoreError(f"the face was named {entry.named}; undo that first")
        self._entries[number] = replace(entry, named=False)
        return self._entries[number]

    def undo(self, number: int) -> Entry:
        """Take back what was said of a face: the sample goes, or the person who has no other.

        Raises:
            StoreError: the sample is no longer stored as it was, or the store does not allow it.
        """
        entry = self.find(number)
        if not entry.undo:
            raise StoreError("there is nothing to undo")
        if entry.sample is not None:
            holder = _holder(self._gallery.people(), entry.sample)
            if holder is None:
                raise StoreError(f"the sample of {entry.named} was changed since: nothing to undo")
            self._gallery.remove_samples(holder, entry.sample)
        # Not by `find`: somebody whom the naming made is gone now, and the entry stays.
        self._entries[number] = replace(entry, named=None, sample=None)
        return self._entries[number]

    def renamed(self, name: str, new: str) -> None:
        """Take in that somebody has a new name, or is one with somebody else."""
        for number, entry in self._entries.items():
            given, recognised = (
                new if isinstance(each, str) and name_key(each) == name_key(name) else each
                for each in (entry.named, entry.name)
            )
            assert not isinstance(recognised, bool)
            self._entries[number] = replace(entry, name=recognised, named=given)

    def forget(self) -> None:
        """Forget all entries; who is in view now is entered again when they come back."""
        self._entries.clear()

    def _enter(self, sighting: Sighting, image_rgb: np.ndarray) -> Entry:
        self._last += 1
        figures = sighting.name, sighting.score, sighting.probability, sighting.live
        return Entry(self._last, now(), *figures, *_cut(image_rgb, sighting.moving.face))

    def _seen(self, entry: Entry) -> Seen:
        embedding = self.recognizer.embed(relit(entry.image_rgb), [entry.face])[0]
        return Seen(entry.image_rgb, [entry.face], embedding, entry.quality)

    def forget_deleted(self) -> None:
        """Forget who was recognised or named and is not registered any more.

        Raises:
            StoreError: the store cannot be read.
        """
        people = self._gallery.people()
        known = {name_key(person.name) for person in people}
        for number, entry in list(self._entries.items()):
            holder = None if entry.sample is None else _holder(people, entry.sample)
            if holder is not None:  # they may have been renamed since
                entry = self._entries[number] = replace(entry, named=holder)
            if not all(name_key(name) in known for name in _names(entry)):
                del self._entries[number]


def _holder(people: Sequence[Person], sample: np.ndarray) -> str | None:
    """Find who has a sample, an embedding (1, 512)."""
    holds = (p.name for p in people if (p.sample_embeddings == sample).all(axis=1).any())
    return next(holds, None)


def _better(entry: Entry, sighting: Sighting, image_rgb: np.ndarray) -> Entry:
    """Bring an entry up to date, with the image of this frame if that is better."""
    live, face = sighting.live, sighting.moving.face
    newer = replace(entry, live=live)
    if sighting.name is not None:
        newer = replace(newer, name=sighting.name)
    if sighting.name is not None or entry.name is None:
        newer = replace(newer, similarity=sighting.score, probability=sighting.probability)
    if not sighting.looked:  # a photograph may be held before the face
        return newer
    # An image of a face before it was seen to be alive may be a photograph's.
    rank = live is True, measure(image_rgb, face).overall
    if rank > (entry.live is True, entry.quality.overall):
        cut_rgb, moved, quality = _cut(image_rgb, face)
        newer = replace(newer, image_rgb=cut_rgb, face=moved, quality=quality)
    return newer


def _why_not_live(entry: Entry) -> str:
    if entry.live is None:
        return "the face was not watched long enough to see that it is alive"
    return "the face looked like a photograph or a screen"


def _names(entry: Entry) -> list[str]:
    """Return who was recognised and who was named, as far as anybody was."""
    return [name for name in (entry.name, entry.named) if isinstance(name, str)]


def _somebody_else(entry: Entry, sighting: Sighting) -> bool:
    return None not in (entry.name, sighting.name) and entry.name != sighting.name


def _cut(image_rgb: np.ndarray, face: Face) -> tuple[np.ndarray, Face, Quality]:
    """Cut a face with a margin; return the image, where the face is in it, and its quality."""
    height, width = image_rgb.shape[:2]
    left, top, right, bottom = face.box_xyxy
    margin = _MARGIN * max(right - left, bottom - top)
    x, y = max(0, int(left - margin)), max(0, int(top - margin))
    cut_rgb = image_rgb[y : min(height, int(bottom + margin)), x : min(width, int(right + margin))]
    scale = min(1.0, _SIDE / max(cut_rgb.shape[:2]))
    corner = np.array([x, y, x, y], dtype=np.float32)
    box_xyxy = ((face.box_xyxy - corner) * scale).astype(np.float32)
    landmarks = ((face.landmarks - corner[:2]) * scale).astype(np.float32)
    moved = Face(box_xyxy, landmarks, face.probability)
    if scale < 1:
        cut_rgb = cv2.resize(cut_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cut_rgb.copy(), moved, measure(image_rgb, face)
