"""Verification: who a face is compared with, at which threshold, and what is logged.

Commands, menu and window verify by the same `Verification`, so that every attempt is in the audit
log and wrong ones are counted wherever they are made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from facesync.app.console import announce
from facesync.app.live import OpenCamera, frames
from facesync.app.near_misses import NearMisses
from facesync.app.settings import VERIFY_FRAMES, AppSettings
from facesync.errors import FaceSyncError, StoreError
from facesync.faces.detection import Face
from facesync.faces.quality import measure
from facesync.faces.recognizer import Recognizer, Seen
from facesync.gallery import attempts, audit_log, matching
from facesync.gallery.matching import Decision, Matcher, comparable, majority
from facesync.gallery.people import Person, clean_name, name_key
from facesync.gallery.reembedding import renewed
from facesync.gallery.store import Gallery
from facesync.images import read_image_rgb

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Least time between the frames that a verification looks at."""

ANYBODY = ""
"""What failed attempts are counted under when no name is claimed; nobody can be called that."""

_LIVE_PATIENCE_SECONDS = 30.0  # A live camera is given up after so long without success.


@dataclass(frozen=True)
class ImageDecision:
    """The result for one image.

    Attributes:
        path: the image.
        decision: of the image: that of its best accepted face, else of the most similar one.
        faces: every face that was compared, with its own decision.
    """

    path: Path
    decision: Decision
    faces: tuple[tuple[Face, Decision], ...] = ()


class Verification:
    """Compares faces with everybody registered, or with one person.

    An attempt runs from `begin` to `conclude`; `image` and `camera` are whole attempts. Wrong ones
    are counted, for the person claimed or for anybody, and pause further ones; nobody is accepted
    whose name is paused.

    Args:
        gallery: who is registered.
        recognizer: finds and embeds faces.
        settings: margin and audit log.
        claimed: the only person to compare with.
        near_misses: of the session; those of this verification alone by default.
    """

    def __init__(
        self,
        gallery: Gallery,
        recognizer: Recognizer,
        settings: AppSettings,
        *,
        claimed: str | None = None,
        near_misses: NearMisses | None = None,
    ) -> None:
        self._gallery = gallery
        self._recognizer = recognizer
        self._margin = settings.margin
        self._audit_log = settings.audit_log
        self._claimed = claimed
        self._counted_as = ANYBODY if claimed is None else claimed
        self._near_misses = near_misses or NearMisses()
        self._frames: list[Seen] = []  # of this attempt

    @cached_property
    def people(self) -> list[Person]:
        """The people that faces are compared with, at least one; loads the models.

        Raises:
            StoreError: see `candidates`.
        """
        return candidates(self._gallery, self._recognizer, self._claimed)

    def threshold(self, faces: int = 1) -> float:
        """Similarity at which a face is accepted if the image has this many faces.

        An image of strangers is accepted as soon as one of its faces is, so each face is one more
        chance of a false match, just as each person is: F faces and P people make F x P
        comparisons. The false match rate asked for is that of the whole image, so all of them
        count, and a group needs a slightly higher threshold than a portrait.
        """
        return self._recognizer.threshold_for(faces * len(self.people))

    def begin(self) -> None:
        """Begin an attempt.

        Raises:
            StoreError: there is nobody to compare with, or too many attempts were wrong.
            ModelError: no similarity is high enough.
        """
        self._frames, self._near_misses.offer = [], None
        with self._failures_logged():
            if self.people:
                self.threshold()
                attempts.check(self._gallery.path, self._counted_as)

    def decide(self, seen: Seen) -> Decision:
        """Say whose the main face of a frame is; this is a vote, not yet an attempt."""
        self._frames.append(seen)
        return self._matcher.decide(
            seen.embedding, self.threshold(), self._margin, self._nearly_from()
        )

    def conclude(self, votes: Sequence[Decision]) -> Decision:
        """End an attempt: let the votes decide, count the attempt and log it.

        Args:
            votes: decisions of one face in several frames; none if no face was seen.
        """
        decision = majority(votes) if votes else self.refused("no face was seen")
        decision = replace(decision, calibrated_on=self._recognizer.calibrated_on)
        if decision.similarity is not None:
            try:
                with self._failures_logged():
                    attempts.record(self._gallery.path, self._counted_as, decision.name)
            except StoreError as paused:
                return self.refused(str(paused))  # says nothing about the face
        self._note(decision)
        self._remember(decision)
        return decision

    def image(self, path: Path, *, main_face: bool = False) -> ImageDecision:
        """Compare every face of an image, or the main one only: one attempt.

        Raises:
            ImageError: the image cannot be read.
            StoreError: see `begin`.
        """
        self.begin()
        with self._failures_logged():
            faces, embeddings = self._faces(path, main_face)
        if not faces:
            nobody = self.refused(f"no face found in {path}")
            return ImageDecision(path, self.conclude([nobody]))
        threshold, nearly_from = self.threshold(len(faces)), self._nearly_from(len(faces))
        decisions = self._matcher.decide_each(embeddings, threshold, self._margin, nearly_from)
        best = max(decisions, key=lambda decision: (decision.accepted, decision.similarity))
        if len(faces) > 1 and not best.accepted:
            best = replace(best, reason=f"none of {len(faces)} faces: {best.reason}")
        decision = self.conclude([best])
        if decision.similarity is None:  # refused meanwhile: nothing about the faces either
            return ImageDecision(path, decision)
        return ImageDecision(path, decision, tuple(zip(faces, decisions, strict=True)))

    def camera(self, open_camera: OpenCamera, looks: int = VERIFY_FRAMES) -> Decision:
        """Compare the person in front of a camera, without a window: one attempt, several frames.

        Raises:
            CameraError: it delivers no frames.
            StoreError: see `begin`.
        """
        self.begin()
        votes: list[Decision] = []
        with self._failures_logged():
            camera = open_camera()
            with closing(frames(camera, open_camera)) as stream:
                next_look = 0.0
                for frame in stream:
                    if camera.live and frame.seconds > _LIVE_PATIENCE_SECONDS:
                        break
                    if frame.seconds < next_look:
                        continue
                    next_look = frame.seconds + LOOK_SECONDS
                    seen = self._recognizer.look(frame.image_rgb, photograph=camera.stills)
                    if seen is not None:
                        votes.append(self.decide(seen))
                    if len(votes) == looks:
                        break
        return self.conclude(votes)

    def refused(self, reason: str) -> Decision:
        """Make the decision of an attempt that could not compare anything."""
        known = "people" in self.__dict__  # else asking for them may be what has failed
        compared = len(self.people) if known else 1
        decision = matching.refused(reason, self._recognizer.threshold_if_any(compared))
        return replace(decision, calibrated_on=self._recognizer.calibrated_on)

    @cached_property
    def _matcher(self) -> Matcher:
        return Matcher(self.people, self._recognizer.probability)

    def _nearly_from(self, faces: int = 1) -> float:
        return self._recognizer.nearly_from(faces * len(self.people))

    def _faces(self, path: Path, main_face: bool) -> tuple[Sequence[Face], np.ndarray]:
        if main_face:
            seen = look_at_main_face(self._recognizer, path)
            if seen is None:
                return [], np.empty((0, 0))
            self._frames = [seen]
            return seen.faces[:1], seen.embedding[None]
        image_rgb = read_image_rgb(path)
        faces, embeddings = self._recognizer.find_and_embed(image_rgb)
        if len(faces) == 1:
            self._frames = [Seen(image_rgb, faces, embeddings[0], measure(image_rgb, faces[0]))]
        return faces, embeddings

    def _remember(self, decision: Decision) -> None:
        """Keep an image of an attempt nearly accepted; offer it once the same person is accepted.

        That it is theirs takes more than two resemblances to one template: the image must also be
        as similar as the threshold to a frame of the attempt that was accepted.
        """
        memory, frames = self._near_misses, self._frames
        if decision.nearly:
            memory.keep(frames)
        elif decision.name is not None and (miss := memory.recent()) is not None:
            embedding = miss.seen.embedding
            whose = self._matcher.decide(embedding, self._nearly_from(), self._margin).name
            alike = max((float(embedding @ frame.embedding) for frame in frames), default=-1.0)
            if whose == decision.name and alike >= self._recognizer.threshold:
                memory.offer = decision.name, miss

    @contextmanager
    def _failures_logged(self) -> Iterator[None]:
        try:
            yield
        except FaceSyncError as error:
            self._note(self.refused(str(error)))
            raise

    def _note(self, decision: Decision) -> None:
        if self._audit_log is not None:
            audit_log.append(self._audit_log, decision, self._claimed)


def look_at_main_face(recognizer: Recognizer, path: Path) -> Seen | None:
    """Look at the main face of a photograph, if any; a warning says if it shows others, too."""
    seen = recognizer.look(read_image_rgb(path), photograph=True)
    if seen is not None and len(seen.faces) > 1:
        log.warning("%s: %d faces, only the main one is compared", path, len(seen.faces))
    return seen


def candidates(gallery: Gallery, recognizer: Recognizer, name: str | None = None) -> list[Person]:
    """List the people a face is compared with: everybody, or one person; loads the models.

    Raises:
        StoreError: nobody is registered, or nobody can be compared with this model.
    """
    _chosen(gallery, gallery.people(), name)  # before seconds are spent on loading
    people = _chosen(gallery, renewed(gallery, recognizer), name)
    compared = comparable(people, recognizer.fingerprint)
    announce(gallery, recognizer, len(compared))
    if not compared:
        others = ", ".join(person.name for person in people)
        raise StoreError(f"made by another model and cannot be compared: {others}; register again")
    if any(person.fingerprint is None for person in compared):
        log.warning(
            "Some people come from an older store that does not say which model made them; "
            "if they are not recognised, register them again"
        )
    return compared


def _chosen(gallery: Gallery, people: list[Person], name: str | None) -> list[Person]:
    """Return all people, or those of a name; StoreError if there are none."""
    if not people:
        raise StoreError(f"nobody is registered in {gallery.path}; register somebody first")
    if name is None:
        return people
    named = [person for person in people if name_key(person.name) == name_key(name)]
    if not named:
        raise StoreError(f"nobody is registered as {clean_name(name)}")
    return named
