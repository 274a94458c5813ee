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
from facesync.liveness.flatness import DEPTH, FRAMES, nose_error

DIRECTIONS = ("left", "right", "up", "down")
"""Where one may be asked to turn; left and right are the person's own."""

STEPS = 3
"""Directions asked for: with four to choose from, no two alike in a row, 36 orders."""

TURNED, STRAIGHT, WRONG = 15.0, 12.0, 18.0
"""Degrees from one's own straight look: the least turn that answers, the way back, and a turn that
was not asked for; each for `FRAMES`, so that one with bad landmarks proves nothing. How far one has
to turn is for the nose error to say: 20° to 28°."""

FRONTAL = 28.0
"""Degrees off the camera that a straight look may be at most: cameras stand beside screens."""

STEP_SECONDS, START_SECONDS, AWAY_SECONDS = 6.0, 10.0, 1.0
"""Longest time for a turn or the way back, for looking straight at the start, without a face."""

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
    """Asks for turns of the head and watches whether they come, each followed by a straight look.

    Attributes:
        state: where it is.
        reason: why it failed, in words; empty otherwise.
        depth: smallest of the nose errors of the turns so far; 0 before the first.
        turned: how much of the turn asked for is reached, 0…1; 0 while none is asked for.
    """

    def __init__(self, order: Sequence[str]) -> None:
        self._order = tuple(order)
        self._done = 0
        self.state = State.STRAIGHT
        self.reason = ""
        self.depth = 0.0
        self.turned = 0.0
        self._straight: list[np.ndarray] = []  # landmarks of a straight look; the last one counts
        self._errors: list[float] = []  # nose errors of the turn
        self._wrong = 0  # frames in a row
        self._until: float | None = None
        self._now = self._seen = 0.0

    @property
    def wanted(self) -> str:
        """The direction asked for now; empty where one looks straight into the camera."""
        return self._order[self._done] if self.state is State.TURN else ""

    @property
    def prompt(self) -> str:
        """What the person is asked to do now, or how it ended."""
        if self.state is State.PASSED:
            return "Thank you"
        if self.state is State.FAILED:
            return self.reason
        return _PROMPTS.get(self.wanted, "Look straight into the camera")

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
        return START_SECONDS if self._until is None else max(0.0, self._until - seconds)

    def update(self, look: Look) -> None:
        """Take in the next frame; frames after the end change nothing."""
        if self.over:
            return
        self._now = look.seconds
        if self._until is None:
            self._until, self._seen = look.seconds + START_SECONDS, look.seconds
        if not look.seconds <= self._until:
            self._fail(f"no turn {self.wanted} in time" if self.wanted else "no straight look")
        elif look.landmarks is None:
            if self.state is not State.STRAIGHT and look.seconds - self._seen > AWAY_SECONDS:
                self._fail("the face went away")
        elif not look.same_person:
            self._fail("another person stepped in")
        elif not look.live:
            self._fail("it looks like a photograph or a screen")
        else:
            self._seen = look.seconds
            self._follow(look.landmarks)

    def _follow(self, landmarks: np.ndarray) -> None:
        if self.state is State.STRAIGHT:
            self._find_straight(landmarks)
            return
        yaw, pitch = turn_between(self._straight[-1], landmarks)
        if self.state is State.TURN:
            self._follow_turn(landmarks, *_along(self.wanted, yaw, pitch))
        elif max(abs(yaw), abs(pitch)) <= STRAIGHT:
            self._ask()

    def _find_straight(self, landmarks: np.ndarray) -> None:
        """Wait for a few frames that look at the camera and hold still."""
        moved = turn_between(self._straight[0], landmarks) if self._straight else (0.0, 0.0)
        if max(map(abs, moved)) > STRAIGHT / 2:
            self._straight = []
        self._straight = [*self._straight, landmarks] if is_frontal(landmarks) else []
        if len(self._straight) == FRAMES:
            self._ask()

    def _follow_turn(self, landmarks: np.ndarray, along: float, across: float) -> None:
        wrong = along <= -WRONG or (abs(across) >= WRONG and along < TURNED)
        self._wrong = self._wrong + 1 if wrong else 0
        error = nose_error(self._straight[-1], landmarks)
        self.turned = float(np.clip(min(along / TURNED, error / DEPTH), 0, 1))
        if along >= TURNED:
            self._errors.append(error)
        if self._wrong == FRAMES:
            self._fail(f"turned another way than {self.wanted}")
        elif len(self._errors) >= FRAMES and sorted(self._errors)[-FRAMES] >= DEPTH:
            depth = sorted(self._errors)[-FRAMES]
            self.depth = min(depth, self.depth or depth)
            self._done += 1
            self._next(State.BACK)

    def _ask(self) -> None:
        """Ask for the next turn, if there is one."""
        self._next(State.PASSED if self._done == len(self._order) else State.TURN)

    def _next(self, state: State) -> None:
        self.state, self.turned, self._errors, self._wrong = state, 0.0, [], 0
        self._until = self._now + STEP_SECONDS

    def _fail(self, reason: str) -> None:
        self.state, self.reason, self.turned = State.FAILED, reason, 0.0


def is_frontal(landmarks: np.ndarray) -> bool:
    """Return whether a face, landmarks (5, 2), looks into the camera, more or less."""
    looks = pose(landmarks)
    return max(abs(looks.yaw), abs(looks.pitch)) <= FRONTAL


def turn_between(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return yaw and pitch in degrees from one frame's landmarks, (5, 2), to another's."""
    before, after = pose(one), pose(other)
    return after.yaw - before.yaw, after.pitch - before.pitch


def _along(way: str, yaw: float, pitch: float) -> tuple[float, float]:
    """Return degrees turned in a direction, and across it."""
    if way in ("left", "right"):
        return (yaw if way == "left" else -yaw), pitch
    return (pitch if way == "up" else -pitch), yaw
