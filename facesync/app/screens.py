"""What the keys do and what is said, in the window that registers and the one that verifies.

A screen is told of each new result and each key, and says what to show; it knows nothing of
threads, cameras and windows.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from facesync.app.drawing import ATTENTION, BAD, GOOD, NEUTRAL, Mark, Rgb, View
from facesync.app.enrolment import SAMPLES, Enrolment
from facesync.app.flows import show_decision
from facesync.app.live import Result
from facesync.gallery.matching import decide
from facesync.gallery.store import Person

NO_FACE = "No face: look into the camera"

_SAID_SECONDS, _VERDICT_SECONDS = 1.5, 4.0


class Screen(ABC):
    """One use of the window.

    Attributes:
        done: it has come to its end; what it shows now is the last.
        keys: pairs of a key and what it does, for the strip.
        progress: how many of how many samples are taken, or None.
    """

    done = False
    keys: tuple[tuple[str, str], ...]
    progress: tuple[int, int] | None = None

    def __init__(self) -> None:
        self._said, self._tone, self._label, self._until = "", NEUTRAL, "", 0.0

    @abstractmethod
    def update(self, result: Result) -> None:
        """Take note of a new result."""

    @abstractmethod
    def key(self, key: str, result: Result | None) -> None:
        """Answer a key (lower case), given the newest result."""

    @abstractmethod
    def ready(self, faces: int) -> str:
        """Say what may be done now, with so many faces (at least one) in view."""

    def view(self, result: Result | None) -> View:
        """Say what to show with the newest result."""
        faces = result.seen.faces if result else []
        label = ""
        if time.monotonic() < self._until:
            status, tone, label = self._said, self._tone, self._label
        elif result is None:
            status, tone = "Looking for a face …", NEUTRAL
        elif not faces:
            status, tone = NO_FACE, ATTENTION
        else:
            status, tone = self.ready(len(faces)), NEUTRAL if len(faces) == 1 else ATTENTION
        marks: tuple[Mark, ...] = ()
        if faces:  # the largest; nothing is done with the others
            left, top, right, bottom = (float(value) for value in faces[0].box_xyxy)
            marks = (Mark((left, top, right, bottom), tone, label),)
        keys = () if self.done else self.keys
        return View(status, tone, keys=keys, progress=self.progress, marks=marks)

    def say(self, text: str, tone: Rgb, seconds: float = _SAID_SECONDS, label: str = "") -> None:
        """Show a line for some seconds, and a label at the face."""
        self._said, self._tone, self._label = text, tone, label
        self._until = time.monotonic() + seconds


class RegisterScreen(Screen):
    """Takes five samples of one person, one for each press of C, and then saves them.

    Args:
        name: whose they are.
        save: called with the complete enrolment; what it raises ends the window.
    """

    keys = (("C", "take a sample"), ("Q", "give up, store nothing"))

    def __init__(self, name: str, save: Callable[[Enrolment], None]) -> None:
        super().__init__()
        self._name = name
        self._save = save
        self._enrolment = Enrolment()
        self._wanted = 0
        self._last = -1  # number of the frame that the last sample is of

    @property
    def progress(self) -> tuple[int, int]:  # type: ignore[override]
        """Samples taken, of how many."""
        return len(self._enrolment), SAMPLES

    def ready(self, faces: int) -> str:
        """Say whose samples are taken, and of which face."""
        return (
            f"Registering {_short(self._name)}"
            if faces == 1
            else f"{faces} faces: the largest is used"
        )

    def key(self, key: str, result: Result | None) -> None:
        """C takes the newest analysed frame; where that was taken before, the next one."""
        if key == "c" and self._wanted + len(self._enrolment) < SAMPLES:
            self._wanted += 1
            if result is not None:
                self.update(result)

    def update(self, result: Result) -> None:
        """Take a sample if one is asked for; never two of one frame."""
        if not self._wanted or result.frame.number <= self._last:
            return
        self._last = result.frame.number
        faces = len(result.seen.faces)
        if not faces:
            self._wanted = 0
            self.say(f"Not taken. {NO_FACE}", ATTENTION)
            print("no face in that picture: not taken")
            return
        self._wanted -= 1
        self._enrolment.add(result.seen)
        taken = f"Sample {len(self._enrolment)} of {SAMPLES} taken"
        which = "" if faces == 1 else f", the largest of {faces} faces"
        print(taken + which)
        if len(self._enrolment) == SAMPLES:
            self._save(self._enrolment)
            self.done = True
            self.say(f"{_short(self._name)} is registered", GOOD, _VERDICT_SECONDS)
        elif which:
            self.say(taken + which, ATTENTION)
        else:
            self.say(f"{taken}: turn your head a little", GOOD)


class VerifyScreen(Screen):
    """Says who is before the camera, each time V is pressed.

    Args:
        people: whom the face is compared with, at least one.
        threshold: cosine similarity that accepts.
    """

    keys = (("V", "verify"), ("Q", "back"))

    def __init__(self, people: Sequence[Person], threshold: float) -> None:
        super().__init__()
        self._people = people
        self._threshold = threshold
        self._wanted = False

    def ready(self, faces: int) -> str:
        """Say that V may be pressed, and which face counts."""
        return "Ready to verify" if faces == 1 else f"{faces} faces: the largest is verified"

    def key(self, key: str, result: Result | None) -> None:
        """V compares the newest analysed frame with everybody, or the first where none is yet."""
        if key == "v":
            self._wanted = True
            if result is not None:
                self.update(result)

    def update(self, result: Result) -> None:
        """Give the verdict if one is asked for; forget the last when the face has gone."""
        if not result.seen.faces:
            self._label = ""
        if not self._wanted:
            return
        self._wanted = False
        if result.seen.embedding is None:
            print("no face before the camera")
            self.say(f"Not verified. {NO_FACE}", ATTENTION)
            return
        decision = decide(result.seen.embedding, self._people, self._threshold)
        show_decision(decision)
        score = f"{decision.similarity:.2f}"
        if decision.accepted and decision.name:
            self.say(f"{_short(decision.name)}   {score}", GOOD, _VERDICT_SECONDS, decision.name)
        else:
            text = f"Access denied   {score}, needed {self._threshold:.2f}"
            self.say(text, BAD, _VERDICT_SECONDS, "access denied")


def _short(name: str) -> str:
    """Leave room for what is said beside a name."""
    return name if len(name) <= 32 else name[:31] + "…"
