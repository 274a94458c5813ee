"""The screen for verifying: votes of several frames, then turns of the head where asked for."""

from __future__ import annotations

import time
from dataclasses import replace
from math import ceil

from facesync.app.console import WHAT_HELPS, in_words
from facesync.app.drawing import ATTENTION, BAD, GOOD, NEUTRAL, Rgb, Ring, View
from facesync.app.live import Result
from facesync.app.screens import NO_FACE, VERDICT_SECONDS, Screen, ring_around, sentence, short
from facesync.app.settings import VERIFY_FRAMES
from facesync.app.verification import Verification
from facesync.cli import certainty, decimals
from facesync.errors import StoreError
from facesync.faces.quality import CAMERA, complaint
from facesync.gallery.matching import Decision
from facesync.liveness.challenge import Challenge

_SIDES = {"": (0, 0), "left": (1, 0), "right": (-1, 0), "up": (0, -1), "down": (0, 1)}
"""Where the frame, not mirrored, shows a turn; left and right are the person's own."""

_LOOK_LIMIT_SECONDS = 6.0  # How long a verification waits for its frames.


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
        return (sentence(wrong), ATTENTION) if wrong else ("Ready to verify", NEUTRAL)

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
            self.say(sentence(str(error)), BAD, VERDICT_SECONDS, "access denied")
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
            self._votes.append(self._verification.decide(result.seen))
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
            self._ring = ring_around(result.seen.faces[0], side, filled, self._ring)

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
            text = f"{short(decision.name)}: {score}{likely}"
            self.say(text, GOOD, VERDICT_SECONDS, decision.name)
            return
        text = f"Access denied: {score}, needed {needed}{likely}"
        if decision.nearly:
            text = f"Access denied, but nearly: {score}, needed {needed}{likely}. "
            text += sentence(WHAT_HELPS)
        elif decision.similarity >= decision.threshold:
            text = f"Access denied ({score}): {decision.reason}"
        self.say(text, BAD, VERDICT_SECONDS * (1 + decision.nearly), "access denied")
