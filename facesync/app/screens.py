"""The screens of the window: what they show, and their keys; and the one for registering.

A screen is told about each new result and each key, and says what to show; it knows nothing about
threads, cameras and windows.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from facesync.app.drawing import ATTENTION, GOOD, NEUTRAL, Mark, Rgb, Ring, View
from facesync.app.live import Result
from facesync.app.pose_guide import PoseGuide
from facesync.app.registering import MIN_SAMPLES
from facesync.faces.detection import Face
from facesync.gallery.enrolment import SAMPLES, Enrolment

NO_FACE = "No face: look into the camera"

_RING = 0.75  # Radius of a challenge's ring, as a share of the face's height.

VERDICT_SECONDS = 4.0
"""How long a verdict stands."""

_SAID_SECONDS = 1.5


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
        save: Callable[[Enrolment], object],
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
            return sentence(fault), ATTENTION
        return sentence(self._guide.prompt), NEUTRAL

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
            self.say(sentence(verdict.reason), ATTENTION)
        elif verdict is not None:
            self._fault = verdict.reason
        if self._guide.depth is not None and result.seen is not None:
            self._ring = ring_around(result.seen.faces[0], (0, 0), self._guide.depth, self._ring)
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
        self.say(f"{short(self._name)} is registered", GOOD, VERDICT_SECONDS)


def ring_around(face: Face, side: tuple[int, int], filled: float, before: Ring | None) -> Ring:
    """Place the ring around a face; it follows slowly, because the box of a turning face jumps."""
    left, top, right, bottom = (float(value) for value in face.box_xyxy)
    now = np.array(
        [(left + right) / 2, (top + bottom) / 2, _RING * max(right - left, bottom - top)]
    )
    if before is not None:
        now = 0.75 * np.array([*before.centre_xy, before.radius]) + 0.25 * now
    x, y, radius = now.tolist()
    return Ring((x, y), radius, side, filled)


def sentence(text: str) -> str:
    """Begin with a capital letter."""
    return text[:1].upper() + text[1:]


def short(name: str) -> str:
    """Shorten a name to leave room for the text next to it."""
    return name if len(name) <= 32 else name[:31] + "…"
