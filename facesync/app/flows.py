"""Registering and verifying in the window: what the commands and the menu share."""

from __future__ import annotations

import time

from facesync.app import registering
from facesync.app.console import announce
from facesync.app.drawing import NEUTRAL, Rgb
from facesync.app.live import Result
from facesync.app.registering import Ask
from facesync.app.screens import RegisterScreen, Screen, VerifyScreen
from facesync.app.session import Session
from facesync.app.verification import Verification
from facesync.app.window import Window, run
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.matching import Decision
from facesync.gallery.registration import Doubt, Registration, check_name

_PATIENCE_SECONDS = 30.0  # How long one verification waits for a face.


class VerifyOnce(VerifyScreen):
    """A single attempt, already begun, that needs no key.

    Attributes:
        decision: the result; None before it is known.
    """

    keys: tuple[tuple[str, str], ...] = (("Q", "cancel"),)

    def __init__(self, verification: Verification, looks: int) -> None:
        super().__init__(verification)
        self.decision: Decision | None = None
        self._attempt, self._looks = verification, looks
        self._seen: list[Decision] = []
        self._end = time.monotonic() + _PATIENCE_SECONDS

    def ready(self, result: Result) -> tuple[str, Rgb]:
        """Say how far it is."""
        return f"Looking … {len(self._seen)} of {self._looks} frames", NEUTRAL

    def key(self, key: str, result: Result | None) -> None:
        """There is nothing to press."""

    def update(self, result: Result) -> None:
        """Count the vote of a new frame; decide when there are enough, or nobody has come."""
        if self.done:
            return
        if result.seen is not None:
            self._seen.append(self._attempt.decide(result.seen.embedding))
        if len(self._seen) == self._looks or time.monotonic() > self._end:
            self._conclude()

    def ended(self) -> bool:
        """Decide by the frames that a video had."""
        if not self.done:
            self._conclude()
        return True

    def _conclude(self) -> None:
        self.decision = self._attempt.conclude(self._seen)
        self.done = True
        self._verdict(self.decision)


def register(session: Session, request: Registration, ask: Ask | None) -> bool:
    """Register a person in the window; return whether that was done, rather than cancelled.

    Raises:
        FaceSyncError: as `registering.register_camera`.
    """
    common = session.gallery, session.recognizer, request
    name = check_name(session.gallery, request)
    announce(session.gallery, session.recognizer)
    print("Samples are taken automatically; press C to take one at once, or Q to cancel.")
    enrolment = Enrolment(session.recognizer.threshold)
    try:
        screen = RegisterScreen(name, enrolment, lambda e: registering.store(*common, e))
        if show(session, screen):
            return True
    except Doubt:  # asked here, where there is a keyboard to answer with
        registering.store(*common, enrolment, ask)
        return True
    print(f"Cancelled: {name} is not registered.")
    return False


def verify(session: Session, verification: Verification, looks: int) -> bool:
    """Verify once in the window; return whether the person was accepted.

    Raises:
        FaceSyncError: as `Verification.camera`.
    """
    verification.begin()
    screen = VerifyOnce(verification, looks)
    if not show(session, screen):
        print("Cancelled: nobody was verified.")
    return screen.decision is not None and screen.decision.accepted


def show(session: Session, screen: Screen) -> bool:
    """Show the camera in a window until the screen is done; False if it was left before that."""
    return run(
        Window(),
        session.open_slideshow,
        lambda frame: session.recognizer.look(frame.image_rgb),
        screen,
    )
