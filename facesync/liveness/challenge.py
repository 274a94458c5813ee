"""A challenge: turn the head as asked, in an order that nobody can know beforehand.

A recording of somebody who turns their head shows turns, but not those that are asked for, one at a
time, each within its own few seconds. Whoever turns the wrong way has failed, since a recording
that turns every way in turn would otherwise pass by waiting.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from facesync.faces.quality import pose
from facesync.liveness.flatness import DEPTH, nose_error

DIRECTIONS = ("left", "right", "up", "down")
"""Where one may be asked to turn; left and right are the person's own."""

STEPS = 3
"""Directions asked for: with four to choose from, no two alike in a row, 36 orders."""

TURNED, STRAIGHT, WRONG = 14.0, 9.0, 16.0
"""Degrees from one's own straight look: a turn that was asked for, back again, and one that was
not. The nose error, not these, makes sure that a turn is one of a head."""

STEP_SECONDS, START_SECONDS, AWAY_SECONDS = 6.0, 10.0, 1.0
"""Longest time for a turn or the way back, for looking straight at the start, without a face."""

STRAIGHT_FRAMES = 3

_PROMPTS = {
    "left": "Turn your head to your left",
    "right": "Turn your head to your right",
    "up": "Lift your chin",
    "down": "Lower your chin",
}


class State(Enum):
    """Where a challenge is."""

    STRAIGHT = "straight"
    TURN = "turn"
    BACK = "back"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class Look:
    """One frame of the person who is challenged.

    Attributes:
        seconds: in the camera's clock.
        landmarks: of the main face, (5, 2) in the order of `Face`; None if there is no face.
        same_person: the face is that of the frames before.
        live: the passive model does not take it for an attack.
    """

    seconds: float
    landmarks: np.ndarray | None
    same_person: bool = True
    live: bool = True


def random_order(steps: int = STEPS) -> tuple[str, ...]:
    """Draw directions from the system's randomness, no two alike in a row."""
    order: list[str] = []
    while len(order) < steps:
        order.append(secrets.choice([way for way in DIRECTIONS if way not in order[-1:]]))
    return tuple(order)


class Challenge:
    """Asks for turns of the head and watches whether they come.

    Attributes:
        state: where it is.
        reason: why it failed, in words; empty otherwise.
        depth: smallest of the nose errors of the turns so far; 0 before the first.
    """

    def __init__(self, order: Sequence[str]) -> None:
        self._order = tuple(order)
        self._done = 0
        self.state = State.STRAIGHT
        self.reason = ""
        self.depth = 0.0
        self._front: list[np.ndarray] = []
        self._error = 0.0
        self._reached = 0.0
        self._until: float | None = None
        self._seen = 0.0

    @property
    def wanted(self) -> str:
        """The direction asked for now; empty where one looks straight into the camera."""
        return self._order[self._done] if self.state is State.TURN else ""

    @property
    def prompt(self) -> str:
        """What the person is asked to do now; how it ended when it is over."""
        if self.state is State.PASSED:
            return "Thank you"
        if self.state is State.FAILED:
            return self.reason
        return _PROMPTS.get(self.wanted, "Look straight into the camera")

    @property
    def turned(self) -> float:
        """How much of the turn asked for is reached, 0…1; 0 while none is asked for."""
        return self._reached if self.state is State.TURN else 0.0

    @property
    def progress(self) -> tuple[int, int]:
        """How many turns are done, of how many."""
        return self._done, len(self._order)

    @property
    def over(self) -> bool:
        """Whether it has been passed or failed."""
        return self.state in (State.PASSED, State.FAILED)

    def seconds_left(self, seconds: float) -> float:
        """Return how long there is, at a time in the camera's clock, for what is asked now."""
        return STEP_SECONDS if self._until is None else self._until - seconds

    def update(self, look: Look) -> None:
        """Take in the next frame; frames after the end change nothing."""
        if self.over:
            return
        if self._until is None:
            self._until, self._seen = look.seconds + START_SECONDS, look.seconds
        if look.seconds > self._until:
            self._fail(f"no turn {self.wanted}" if self.wanted else "no look straight ahead")
        elif look.landmarks is None:
            if self.state is not State.STRAIGHT and look.seconds - self._seen > AWAY_SECONDS:
                self._fail("the face went away")
        elif not look.same_person:
            self._fail("another person stepped in")
        elif not look.live:
            self._fail("it looks like a photograph or a screen")
        else:
            self._seen = look.seconds
            self._follow(look.landmarks, look.seconds)

    def _follow(self, landmarks: np.ndarray, seconds: float) -> None:
        looks = pose(landmarks)
        if self.state is State.STRAIGHT:
            frontal = max(abs(looks.yaw), abs(looks.pitch)) <= 2 * TURNED
            self._front = [*self._front, landmarks] if frontal else []
            if len(self._front) == STRAIGHT_FRAMES:
                self._ask(seconds)
            return
        front = pose(self._front[-1])
        yaw, pitch = looks.yaw - front.yaw, looks.pitch - front.pitch
        if self.state is State.BACK:
            if max(abs(yaw), abs(pitch)) <= STRAIGHT:
                self._ask(seconds)
            return
        along, across = _along(self.wanted, yaw, pitch)
        if along <= -WRONG or (abs(across) >= WRONG and along < TURNED):
            self._fail(f"turned another way than {self.wanted}")
            return
        self._reached = min(1.0, max(0.0, along / TURNED))
        if along >= TURNED:
            self._error = max(self._error, nose_error(self._front[-1], landmarks))
            if self._error >= DEPTH:
                self._turned(seconds)

    def _ask(self, seconds: float) -> None:
        self.state, self._error, self._reached = State.TURN, 0.0, 0.0
        self._until = seconds + STEP_SECONDS

    def _turned(self, seconds: float) -> None:
        self.depth = min(self._error, self.depth or self._error)
        self._done += 1
        self._until = seconds + STEP_SECONDS
        self.state = State.PASSED if self._done == len(self._order) else State.BACK

    def _fail(self, reason: str) -> None:
        self.state, self.reason = State.FAILED, reason


def _along(way: str, yaw: float, pitch: float) -> tuple[float, float]:
    """Return degrees turned in a direction, and across it."""
    if way in ("left", "right"):
        return (yaw if way == "left" else -yaw), pitch
    return (pitch if way == "up" else -pitch), yaw
