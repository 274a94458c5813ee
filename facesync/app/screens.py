"""The screens of the window, for registering and verifying: what they show, and their keys.

A screen is told about each new result and each key, and says what to show; it knows nothing about
threads, cameras and windows.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from math import ceil

import numpy as np

from facesync.app.console import WHAT_HELPS, in_words
from facesync.app.drawing import ATTENTION, BAD, GOOD, NEUTRAL, Mark, Rgb, Ring, View
from facesync.app.live import Result
from facesync.app.pose_guide import PoseGuide
from facesync.app.registering import MIN_SAMPLES
from facesync.app.settings import VERIFY_FRAMES
from facesync.app.verification import Verification
from facesync.cli import certainty, decimals
from facesync.errors import StoreError
from facesync.faces.detection import Face
from facesync.faces.quality import CAMERA, complaint
from facesync.gallery.enrolment import SAMPLES, Enrolment
from facesync.gallery.matching import Decision
from facesync.liveness.challenge import Challenge

NO_FACE = "No face: look into the camera"

_SIDES = {"": (0, 0), "left": (1, 0), "right": (-1, 0), "up": (0, -1), "down": (0, 1)}
"""Where the frame, not mirrored, shows a turn; left and right are the person's own."""

_RING = 0.75  # Radius of a challenge's ring, as a share of the face's height.

_SAID_SECONDS, _VERDICT_SECONDS = 1.5, 4.0
_LOOK_LIMIT_SECONDS = 6.0  # How long a verification waits for its frames.


class Screen(ABC):
    """One use of the window.

    Attributes:
        done: it has come to its end; what it shows now is the last.
        keys: pairs of a key and what it does, for the strip below the image.
        progress: how many of how many samples are taken, or None.
        whose: label of the face, unless there is something else to say about it.
    """

    done = False
    whose = ""
    keys: tuple[tuple[str, str], ...]
    progress: tuple[int, int] | None = None

    def __init__(self) -> None:
        self._said, self._tone, self._label, self._until = "", NEUTRAL, "", 0.0

    @abstractmethod
    def update(self, result: Result) -> None:
        """Take in a new result; called once for each."""

    @abstractmethod
    def key(self, key: str, result: Result | None) -> None:
        """Answer a key (lower case), given the newest result."""

    @abstractmethod
    def ready(self, result: Result) -> tuple[str, Rgb]:
        """Say what can be done now, with at least one face in view, and in which tone."""

    def ended(self) -> bool:
        """Whether the end of the video is a success: what was to be done is done."""
        return False

    def close(self) -> None:  # noqa: B027 - most leave nothing unfinished
        """End what was begun; called once the window is left, for whatever reason."""

    def view(self, result: Result | None, seconds: float = 0.0) -> View:
        """Say what to show with the newest result, at a time in the camera's clock."""
        faces = result.seen.faces if result and result.seen else []
        label = self.whose
        if time.monotonic() < self._until:
            status, tone, label = self._said, self._tone, self._label or label
        elif result is None:
            status, tone = "Looking for a face …", NEUTRAL
        elif not faces:
            status, tone = NO_FACE, ATTENTION
        else:
            status, tone = self.ready(result)
        marks = tuple(
            Mark(
                tuple(face.box_xyxy.tolist()),
                tone if number == 0 else NEUTRAL,
                "" if number else label,
            )
            for number, face in enumerate(faces)
        )
        keys = () if self.done else self.keys
        return View(status, tone, keys=keys, progress=self.progress, marks=marks)

    def say(self, text: str, tone: Rgb, seconds: float = _SAID_SECONDS, label: str = "") -> None:
        """Show a line for some seconds, and a label at the face."""
        self._said, self._tone, self._label = text, tone, label
        self._until = time.monotonic() + seconds


class RegisterScreen(Screen):
    """Takes five samples of one person, automatically or when C is pressed.

    `first` is called with the first sample, `save` with the complete enrolment; an error that they
    raise ends the window.
    """

    def __init__(
        self,
        name: str,
        enrolment: Enrolment,
        save: Callable[[Enrolment], None],
        first: Callable[[Enrolment], object] | None = None,
    ) -> None:
        super().__init__()
        self._name = name
        self.whose = name
        self._save, self._first = save, first
        self._guide = PoseGuide(enrolment)
        self._asked = False
        self._last = -1  # number of the frame considered last
        self._fault = self._refusal = ""
        self._ring: Ring | None = None

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:  # type: ignore[override]
        """What C would do now: take a sample, or why not."""
        if self._guide.full:
            return (("Q", "cancel, store nothing"),)
        now = f"not now: {self._refusal.split(':')[0]}" if self._refusal else "take a sample now"
        return ("C", now), ("Q", "cancel, store nothing")

    @property
    def progress(self) -> tuple[int, int]:  # type: ignore[override]
        """Samples taken, of how many."""
        return len(self._guide.enrolment), SAMPLES

    def view(self, result: Result | None, seconds: float = 0.0) -> View:
        """Show a ring that fills as the head turns far enough, where only that is missing."""
        view = super().view(result, seconds)
        ring = None if self.done else self._ring
        return replace(view, marks=view.marks[1:], ring=ring) if ring else view

    def ready(self, result: Result) -> tuple[str, Rgb]:
        """Say what is wrong with the image, or which pose is wanted."""
        fault = self._guide.enrolment.fault(result.seen) or self._fault
        if fault:
            return _sentence(fault), ATTENTION
        return _sentence(self._guide.prompt), NEUTRAL

    def key(self, key: str, result: Result | None) -> None:
        """C takes the newest analysed frame, or the next one if that was considered before."""
        if key == "c" and not self.done:
            self._asked = True
            if result is not None:
                self.update(result)

    def update(self, result: Result) -> None:
        """Take a sample if the frame is good; never two from one frame."""
        if self.done or result.frame.number <= self._last:
            return
        self._last = result.frame.number
        asked, self._asked = self._asked, False
        before = len(self._guide.enrolment)
        verdict = self._guide.consider(result.seen, result.frame.seconds, asked=asked)
        taken = len(self._guide.enrolment)
        self._fault = ""
        self._refusal = self._guide.enrolment.refusal(result.seen) or ""
        if taken > before:
            print(f"Sample {taken} of {SAMPLES} taken")
            self.say(f"Sample {taken} of {SAMPLES} taken", GOOD, 0.6)
            if taken == 1 and self._first:
                self._first(self._guide.enrolment)
        elif verdict is not None and (asked or verdict.taken):
            print(f"Not taken: {verdict.reason}" if not verdict.taken else verdict.reason)
            self.say(_sentence(verdict.reason), ATTENTION)
        elif verdict is not None:
            self._fault = verdict.reason
        if self._guide.depth is not None and result.seen is not None:
            self._ring = _ring(result.seen.faces[0], (0, 0), self._guide.depth, self._ring)
        if self._guide.done:
            self._finish()

    def ended(self) -> bool:
        """Save the samples of a video that ends early, if there are enough."""
        if not self.done and len(self._guide.enrolment) >= MIN_SAMPLES:
            self._finish()
        return self.done

    def _finish(self) -> None:
        self._save(self._guide.enrolment)
        self.done = True
        self.say(f"{_short(self._name)} is registered", GOOD, _VERDICT_SECONDS)


class VerifyScreen(Screen):
    """Says who is before the camera, each time V is pressed, from several frames.

    Where liveness asks for it, turns of the head come after those, with a ring around the face.
    """

    keys: tuple[tuple[str, str], ...] = (("V", "verify"), ("Q", "back"))

    def __init__(self, verification: Verification, looks: int = VERIFY_FRAMES) -> None:
        super().__init__()
        self._verification = verification
        self._looks = verification.looks(looks)
        self._votes: list[Decision] | None = None  # None: V was not pressed
        self._challenge: Challenge | None = None
        self._ring: Ring | None = None
        self._give_up = 0.0
        self._last = -1

    def ready(self, result: Result) -> tuple[str, Rgb]:
        """Say that V may be pressed, which face counts, and what is wrong with the image."""
        if self._votes is not None:
            return f"Looking … {len(self._votes)} of {self._looks} frames", NEUTRAL
        if len(result.seen.faces) > 1:
            return f"{len(result.seen.faces)} faces: the largest is verified", ATTENTION
        wrong = complaint(result.seen.quality, CAMERA)
        return (_sentence(wrong), ATTENTION) if wrong else ("Ready to verify", NEUTRAL)

    def view(self, result: Result | None, seconds: float = 0.0) -> View:
        """Show the ring in place of the face's box, and the time left, during a challenge."""
        view = super().view(result, seconds)
        if self._challenge is None:
            return view
        left = max(1, ceil(self._challenge.seconds_left(seconds)))
        prompt = view.status if view.status == NO_FACE else self._challenge.prompt
        status = f"{prompt} ({left} s)"
        shown = replace(view, status=status, marks=view.marks[1:], ring=self._ring)
        return replace(shown, keys=(("Q", "cancel"),))

    def key(self, key: str, result: Result | None) -> None:
        """V compares the newest analysed frame and those after it with everybody."""
        if key != "v" or self._votes is not None:
            return
        try:
            self._verification.begin()
        except StoreError as error:
            print(f"access denied: {error}")
            self.say(_sentence(str(error)), BAD, _VERDICT_SECONDS, "access denied")
            return
        self._votes, self._until = [], 0.0
        self._give_up = time.monotonic() + _LOOK_LIMIT_SECONDS
        self._last = -1
        if result is not None:
            self.update(result)

    def update(self, result: Result) -> None:
        """Count the vote of a new frame; decide when there are enough and the head has turned.

        A verdict is forgotten when the face goes.
        """
        if result.seen is None:
            self._label = ""
        if self._votes is None or result.frame.number <= self._last:
            return
        self._last = result.frame.number
        if self._challenge is not None:
            self._watch(self._challenge, result)
            return
        if result.seen is not None:
            self._votes.append(self._verification.decide(result.seen, result.frame.seconds))
        if len(self._votes) == self._looks or self._too_late(result):
            self._challenge = self._verification.challenge(self._votes)
            if self._challenge is None:
                self._conclude(self._votes)

    def close(self) -> None:
        """End a challenge that was broken off as one not passed: no look at it is free."""
        if self._challenge is not None and self._votes is not None:
            self._conclude(self._votes)

    def _too_late(self, result: Result) -> bool:
        """Whether to decide by the frames there are, or by none where nobody is in view."""
        nobody = result.seen is None and not self._votes
        return nobody or time.monotonic() > self._give_up

    def _watch(self, challenge: Challenge, result: Result) -> None:
        self._verification.watch_challenge(challenge, result.seen, result.frame.seconds)
        if challenge.over:
            self._conclude(self._votes or [])
            return
        self.progress = challenge.progress
        if result.seen is not None:
            side, filled = _SIDES[challenge.wanted], challenge.turned
            self._ring = _ring(result.seen.faces[0], side, filled, self._ring)

    def _conclude(self, votes: list[Decision]) -> None:
        self._votes = self._challenge = self._ring = self.progress = None
        self._verdict(self._verification.conclude(votes))

    def _verdict(self, decision: Decision) -> None:
        print(in_words(decision))
        if decision.similarity is None or decision.threshold is None:
            self.say(f"Not verified: {decision.reason}", ATTENTION)
            return
        score, needed = (decimals(f, 2) for f in (decision.similarity, decision.threshold))
        likely = ""
        if decision.probability is not None:
            likely = f", {certainty(decision.probability, accepted=decision.accepted)}"
        if decision.accepted and decision.name:
            text = f"{_short(decision.name)}: {score}{likely}"
            self.say(text, GOOD, _VERDICT_SECONDS, decision.name)
            return
        text = f"Access denied: {score}, needed {needed}{likely}"
        if decision.nearly:
            text = f"Access denied, but nearly: {score}, needed {needed}{likely}. "
            text += _sentence(WHAT_HELPS)
        elif decision.similarity >= decision.threshold:
            text = f"Access denied ({score}): {decision.reason}"
        self.say(text, BAD, _VERDICT_SECONDS * (1 + decision.nearly), "access denied")


def _ring(face: Face, side: tuple[int, int], filled: float, before: Ring | None) -> Ring:
    """Place the ring around a face; it follows slowly, because the box of a turning face jumps."""
    left, top, right, bottom = (float(value) for value in face.box_xyxy)
    now = np.array(
        [(left + right) / 2, (top + bottom) / 2, _RING * max(right - left, bottom - top)]
    )
    if before is not None:
        now = 0.75 * np.array([*before.centre_xy, before.radius]) + 0.25 * now
    x, y, radius = now.tolist()
    return Ring((x, y), radius, side, filled)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(name: str) -> str:
    """Shorten a name to leave room for the text next to it."""
    return name if len(name) <= 32 else name[:31] + "…"
