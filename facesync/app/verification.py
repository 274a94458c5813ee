"""Verification: who a face is compared with, at which threshold, and what is logged.

Commands, menu and window verify by the same `Verification`, so that every attempt is in the audit
log and wrong ones are counted wherever they are made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from facesync.app import looking
from facesync.app.cameras import Frame
from facesync.app.candidates import candidates
from facesync.app.live import OpenCamera, frames
from facesync.app.liveness import LivenessCheck
from facesync.app.near_misses import NearMisses
from facesync.app.settings import VERIFY_FRAMES, AppSettings
from facesync.errors import FaceSyncError, ImageError, StoreError
from facesync.faces.detection import Face
from facesync.faces.quality import measure
from facesync.faces.recognizer import Recognizer, Seen
from facesync.gallery import attempts, audit_log, matching
from facesync.gallery.matching import Decision, Matcher, majority
from facesync.gallery.people import Person
from facesync.gallery.store import Gallery
from facesync.images import NamedImage, read_image_rgb
from facesync.liveness.challenge import Challenge
from facesync.liveness.policy import still
from facesync.liveness.settings import LOOKS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageDecision:
    """The result for one image.

    Attributes:
        path: the image, or what it is called.
        decision: of the image: that of its best accepted face, else of the most similar one.
        faces: every face that was compared, with its own decision.
    """

    path: Path | NamedImage
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
        liveness: begins to ask whether the face of an attempt is alive; None: nobody asks.

    Attributes:
        recorded: the frames are from a file; nobody is there who could turn the head when asked.
        stills: they are separate images, of which nobody can say whether they show somebody alive.
    """

    def __init__(
        self,
        gallery: Gallery,
        recognizer: Recognizer,
        settings: AppSettings,
        *,
        claimed: str | None = None,
        near_misses: NearMisses | None = None,
        liveness: Callable[[], LivenessCheck] | None = None,
    ) -> None:
        self.recorded = self.stills = False
        self._gallery = gallery
        self._recognizer = recognizer
        self._margin = settings.margin
        self._audit_log = settings.audit_log
        self._claimed = claimed
        self._counted_as = attempts.ANYBODY if claimed is None else claimed
        self._near_misses = near_misses or NearMisses()
        self._frames: list[Seen] = []  # of this attempt
        self._require_liveness = settings.require_liveness
        self._new_liveness = liveness
        self._said = False
        self._version: tuple[int, int] | None = None  # of the store that `people` is from
        self._liveness: LivenessCheck | None = None  # of this attempt

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
            ModelError: no similarity is high enough, or the liveness model cannot be loaded.
            ImageError: of still images, if liveness is required.
        """
        self._begin(self.stills)

    def _begin(self, stills: bool) -> None:
        self._frames, self._near_misses.offer, self._liveness = [], None, None
        if self._version != (version := self._gallery.version()):  # somebody was deleted, perhaps
            self._version = version
            for cached in ("people", "_matcher"):
                self.__dict__.pop(cached, None)
        with self._failures_logged():
            if stills and self._require_liveness:
                raise ImageError(f"{still().reason}, and --require-liveness asks for it")
            if self.people:
                self.threshold()
                self._gallery.attempts.check(self._counted_as)
            if self._new_liveness is not None and not stills:
                self._liveness = self._new_liveness()

    def looks(self, asked: int = VERIFY_FRAMES) -> int:
        """Return how many frames to look at: as many as asked for, or as liveness needs."""
        return asked if self._new_liveness is None or self.stills else max(asked, LOOKS)

    def decide(self, seen: Seen) -> Decision:
        """Say whose the main face of a frame is; this is a vote, not yet an attempt."""
        self._frames.append(seen)
        if self._liveness is not None:
            self._liveness.look(seen)
        return self._matcher.decide(
            seen.embedding, self.threshold(), self._margin, self._nearly_from()
        )

    def challenge(self, votes: Sequence[Decision]) -> Challenge | None:
        """Return the challenge that has to be passed before `conclude`, which else refuses.

        None where none is needed, and where the votes refuse anyway.
        """
        if self._liveness is None or not votes or not majority(votes).accepted:
            return None
        return self._liveness.challenge(recorded=self.recorded)

    def watch_challenge(self, challenge: Challenge, seen: Seen | None, seconds: float) -> None:
        """Take in a frame of the challenge: who it shows and whether it looks like an attack, too.

        Args:
            challenge: by `challenge`.
            seen: the frame; None if it shows no face.
            seconds: in the camera's clock.
        """
        if self._liveness is not None:
            self._liveness.watch(challenge, seen, seconds)

    def conclude(self, votes: Sequence[Decision]) -> Decision:
        """End an attempt: let votes and liveness decide, count the attempt and log it.

        Args:
            votes: decisions of one face in several frames; none if no face was seen.
        """
        decision = majority(votes) if votes else self.refused("no face was seen")
        if self._liveness is not None:
            decision = self._liveness.conclude(decision, recorded=self.recorded)
        decision = replace(decision, calibrated_on=self._recognizer.calibrated_on)
        if decision.name is not None and self._gallery.find(decision.name) is None:
            decision = self.refused(f"{decision.name} was renamed or deleted meanwhile")
        if decision.similarity is not None:
            try:
                with self._failures_logged():
                    self._gallery.attempts.record(self._counted_as, decision.name)
            except StoreError as paused:
                return self.refused(str(paused))  # says nothing about the face
            self._say_of_stills()
        self._note(decision)
        self._remember(decision)
        return decision

    def image(self, path: Path | NamedImage, *, main_face: bool = False) -> ImageDecision:
        """Compare every face of an image, or the main one only: one attempt.

        Raises:
            ImageError: the image cannot be read.
            StoreError: see `begin`.
        """
        self._begin(stills=True)
        with self._failures_logged():
            faces, embeddings = self._faces(path, main_face)
        if not faces:
            nobody = self.refused(f"no face found in {path}")
            return ImageDecision(path, self.conclude([nobody]))
        decisions = self._decide_each(embeddings)
        best = max(decisions, key=lambda decision: (decision.accepted, decision.similarity))
        if len(faces) > 1 and not best.accepted:
            best = replace(best, reason=f"none of {len(faces)} faces: {best.reason}")
        decision = self.conclude([best])
        if decision.similarity is None:  # refused meanwhile: nothing about the faces either
            return ImageDecision(path, decision)
        return ImageDecision(path, decision, tuple(zip(faces, decisions, strict=True)))

    def identify(self, image: Path | NamedImage) -> list[tuple[Face, Decision]]:
        """Say of every face of an image whose it is, largest first: no attempt, nobody is let in.

        Raises:
            ImageError: the image cannot be read.
            StoreError: there is nobody to compare with.
        """
        image_rgb = read_image_rgb(image)
        assert self.people  # or there is an error, before anything is looked for
        faces, embeddings = self._recognizer.find_and_embed(image_rgb)
        decisions = self._decide_each(embeddings) if faces else []
        return list(zip(faces, decisions, strict=True))

    def _decide_each(self, embeddings: np.ndarray) -> list[Decision]:
        faces = len(embeddings)
        threshold, nearly_from = self.threshold(faces), self._nearly_from(faces)
        return self._matcher.decide_each(embeddings, threshold, self._margin, nearly_from)

    def camera(
        self,
        open_camera: OpenCamera,
        looks: int = VERIFY_FRAMES,
        say: Callable[[str], object] = print,
    ) -> Decision:
        """Compare the person in front of a camera, without a window: one attempt, several frames.

        `say` tells the person what a challenge asks for.

        Raises:
            CameraError: it delivers no frames.
            StoreError: see `begin`.
        """
        self.begin()
        with self._failures_logged():
            camera = open_camera()
            self.recorded = not camera.live

            def look(frame: Frame) -> Seen | None:
                return self._recognizer.look(frame.image_rgb, photograph=camera.stills)

            with closing(frames(camera, open_camera)) as stream:
                wanted = self.looks(looks)
                votes = looking.votes(stream, look, self.decide, wanted, live=camera.live)
                challenge = self.challenge(votes)
                if challenge is not None:
                    try:
                        looking.follow(stream, look, challenge, self.watch_challenge, say)
                    except BaseException:
                        # Who has learnt that the face is known has made an attempt, also by
                        # closing the pipe that the prompts go into.
                        self.conclude(votes)
                        raise
        return self.conclude(votes)

    def _say_of_stills(self) -> None:
        """Say once what nobody can say of an image that was compared."""
        if self._liveness is None and self._new_liveness is not None and not self._said:
            self._said = True
            log.info("note: %s", still().reason)

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

    def _faces(self, path: Path | NamedImage, main_face: bool) -> tuple[Sequence[Face], np.ndarray]:
        if main_face:
            seen = looking.look_at_main_face(self._recognizer, path)
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
