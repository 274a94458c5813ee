"""Registering and verifying in the window: what the commands and the menu share."""

from __future__ import annotations

import time

from facesync.app import console, registering
from facesync.app.live import Result
from facesync.app.registering import Ask
from facesync.app.screens import RegisterScreen, Screen
from facesync.app.session import Session
from facesync.app.verification import Verification
from facesync.app.verify_screen import VerifyScreen
from facesync.app.window import Window, run
from facesync.cli import count
from facesync.gallery.enrolment import SAMPLES, Enrolment
from facesync.gallery.matching import Decision
from facesync.gallery.people import clean_name
from facesync.gallery.presence import Presence
from facesync.gallery.registration import Doubt, Registration

_PATIENCE_SECONDS = 30.0  # How long one verification waits for a face.


class VerifyOnce(VerifyScreen):
    """A single attempt, already begun, that needs no key.

    Attributes:
        decision: the result; None before it is known.
    """

    keys: tuple[tuple[str, str], ...] = (("Q", "cancel"),)

    def __init__(self, verification: Verification, looks: int) -> None:
        super().__init__(verification, looks)
        self.decision: Decision | None = None
        self._votes = []
        self._give_up = time.monotonic() + _PATIENCE_SECONDS

    def key(self, key: str, result: Result | None) -> None:
        """There is nothing to press."""

    def ended(self) -> bool:
        """Decide by the frames that a video had."""
        if self._votes is not None:
            self._conclude(self._votes)
        return True

    def _too_late(self, result: Result) -> bool:
        return time.monotonic() > self._give_up

    def _verdict(self, decision: Decision) -> None:
        self.decision, self.done = decision, True
        super()._verdict(decision)


def register(session: Session, request: Registration, ask: Ask | None) -> bool:
    """Register a person in the window; return whether that was done, rather than cancelled.

    Raises:
        FaceSyncError: as `registering.register_camera`.
    """
    common = session.gallery, session.recognizer
    request = registering.begin(*common, request, ask)
    print("Samples are taken automatically; press C to take one at once, or Q to cancel.")
    enrolment = Enrolment(session.recognizer.threshold, presence=presence(session))
    try:
        shown = _register_in_window(session, request, enrolment)
    except Doubt as doubt:  # asked here, where there is a keyboard to answer with
        request = registering.settled(request, doubt, ask)
        if len(enrolment) == SAMPLES:
            registering.store(*common, request, enrolment, ask)
            return True
        shown = _register_in_window(session, request, enrolment)  # from the second sample on
    if not shown:
        print(f"Cancelled: {clean_name(request.name)} is not registered.")
    return shown


def presence(session: Session) -> Presence | None:
    """Make what watches whether the person who enrols is there alive; None where nobody asks.

    Images that stand in for a camera are files of this machine, not somebody before it.

    Raises:
        ModelError: the liveness model cannot be loaded.
    """
    if session.has_images():
        return None
    policy, evidence = session.policy(), session.evidence()
    if policy is None or evidence is None:
        return None
    recorded, learn = session.recorded, session.learn_camera
    return Presence(policy, evidence, recorded=recorded, learn=learn)


def _register_in_window(session: Session, request: Registration, enrolment: Enrolment) -> bool:
    common = session.gallery, session.recognizer, request
    screen = RegisterScreen(
        clean_name(request.name),
        enrolment,
        save=lambda samples: registering.store(*common, samples),
        first=lambda sample: registering.first_sample(*common, sample),
    )
    return show(session, screen)


def verify(session: Session, verification: Verification, looks: int) -> bool:
    """Verify once in the window; return whether the person was accepted.

    Raises:
        FaceSyncError: as `Verification.camera`.
    """
    verification.begin()
    screen = VerifyOnce(verification, looks)
    if not show(session, screen) and screen.decision is None:
        print("Cancelled: nobody was verified.")
    return screen.decision is not None and screen.decision.accepted


def offer_sample(session: Session) -> None:
    """Ask whether to add the image of an attempt nearly accepted to who was accepted since.

    Without a terminal, or without such an image, nothing is asked and nothing added.

    Raises:
        StoreError: the store does not allow it, or the answer to a doubt was no.
    """
    offer = session.near_misses.take_offer()
    if offer is None or not console.terminal():
        return
    name, miss = offer
    ago = round(time.monotonic() - miss.at)
    if console.confirm(
        f"A face was nearly accepted as {name} {count(ago, 'second', 'seconds')} ago. Was it "
        f"{name}, and may the image be added to the samples?"
    ):
        enrolment = Enrolment(session.recognizer.threshold)
        enrolment.offer(miss.seen)
        request = Registration(name, add=True)
        registering.store(session.gallery, session.recognizer, request, enrolment, console.confirm)


def show(session: Session, screen: Screen) -> bool:
    """Show the camera in a window until the screen is done; False if it was left before that."""
    return run(
        Window(),
        session.open_slideshow,
        lambda frame: session.recognizer.look(frame.image_rgb),
        screen,
    )
