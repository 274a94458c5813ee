"""What a camera session does with the frames it is sent: verify, watch or register.

They are the screens of the window (`facesync.app.screens`), shown elsewhere. Everything here runs
in the thread that recognises.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from facesync.app import flows, registering
from facesync.app.cameras import Frame
from facesync.app.drawing import ATTENTION, BAD, GOOD, NEUTRAL, Ring, View
from facesync.app.live import Result
from facesync.app.results import of_decision
from facesync.app.screens import RegisterScreen, Screen
from facesync.app.session import Session
from facesync.app.sightings import Sightings
from facesync.app.verification import Verification
from facesync.app.verify_screen import VerifyScreen
from facesync.app.watch import Events, WatchScreen
from facesync.cli import one_line
from facesync.errors import ImageError, UsageError
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.matching import Decision
from facesync.gallery.people import Person, clean_name
from facesync.gallery.registration import Doubt, Registration
from facesync.images import read_image_rgb, suffix_of
from facesync.jpeg import read_header
from facesync.web.uploads import flag, text

LONG_SIDE, SHORT_SIDE = 1920, 1080
"""The largest frame, upright or not."""

_TONES = {NEUTRAL: "neutral", GOOD: "good", ATTENTION: "attention", BAD: "bad"}


class Task(ABC):
    """One use of the camera.

    Args:
        screen: takes the results in and says what to show.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._start = time.monotonic()
        self._frames = 0
        self._result: Result | None = None
        self._last: dict[str, Any] | None = None

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self._screen.done

    @abstractmethod
    def look(self, frame: Frame) -> Any:
        """Find in a frame what the screen needs to know."""

    def facts(self) -> dict[str, Any]:
        """Return what is said besides what is shown."""
        return {}

    def frame(self, jpeg: bytes) -> dict[str, Any]:
        """Take in a frame and return what to show.

        Raises:
            ImageError: it is no JPEG, or too large; or what enrolling raises.
            Doubt: somebody has to decide; `allow` goes on.
        """
        if self.done and self._last is not None:
            return self._last
        frame = Frame(self._frames, time.monotonic() - self._start, _decoded(jpeg))
        self._frames += 1
        self._result = Result(frame, self.look(frame))
        self._screen.update(self._result)
        now = time.monotonic() - self._start
        self._last = {**_shown(self._screen, self._screen.view(self._result, now)), **self.facts()}
        return self._last

    def key(self, key: str) -> None:
        """Answer a key."""
        self._screen.key(key, self._result)

    def allow(self, doubt: Doubt) -> None:
        """Go on although there was doubt."""
        raise UsageError("there is no doubt to decide about")

    def close(self) -> None:
        """End what was begun; a challenge that is broken off counts as an attempt."""
        self._screen.close()


class _VerifyScreen(VerifyScreen):
    """Keeps the decision of an attempt until it is told."""

    decision: Decision | None = None

    def _verdict(self, decision: Decision) -> None:
        self.decision = decision
        super()._verdict(decision)


class Verify(Task):
    """Says who is before the camera, each time V is pressed."""

    def __init__(self, session: Session, claimed: str | None) -> None:
        verification: Verification = session.verification(claimed)
        verification.begin()  # says at once what would keep it from beginning later
        self._shown = _VerifyScreen(verification)
        self._recognizer = session.recognizer
        super().__init__(self._shown)

    def look(self, frame: Frame) -> Any:
        """Find the faces and embed the main one."""
        return self._recognizer.look(frame.image_rgb)

    def facts(self) -> dict[str, Any]:
        """Add the decision of an attempt, once, as `verify --json` has it."""
        decision, self._shown.decision = self._shown.decision, None
        if decision is None:
            return {}
        return {"decision": of_decision(decision, self._recognizer)}


class Watch(Task):
    """Names everybody in view."""

    def __init__(self, session: Session, sightings: Sightings) -> None:
        self._session, self._sightings = session, sightings
        self._begin()
        super().__init__(WatchScreen(Events()))

    def look(self, frame: Frame) -> Any:
        """Find, follow and recognise everybody, and keep who appeared."""
        if self._version != self._session.gallery.version():  # somebody was deleted, perhaps
            self._begin()
        seen = self._watcher.look(frame)
        self._sightings.note(seen, frame)
        return seen

    def facts(self) -> dict[str, Any]:
        """Add who is in view."""
        assert self._result is not None
        names = {each.name for each in self._result.seen if each.name and each.live is not False}
        return {"people": sorted(names)}

    def _begin(self) -> None:
        self._version = self._session.gallery.version()
        self._watcher = self._session.watcher()
        self._sightings.begin()


class Register(Task):
    """Takes the samples of one person and stores them."""

    def __init__(self, session: Session, request: Registration) -> None:
        self._stored = session.gallery, session.recognizer
        self._request = registering.begin(*self._stored, request)
        self._recognizer = session.recognizer
        self._person: Person | None = None
        presence = flows.presence(session)
        enrolment = Enrolment(session.recognizer.threshold, presence=presence)
        screen = RegisterScreen(clean_name(request.name), enrolment, self._save, self._first)
        super().__init__(screen)

    def look(self, frame: Frame) -> Any:
        """Find the faces and embed the main one."""
        return self._recognizer.look(frame.image_rgb)

    def facts(self) -> dict[str, Any]:
        """Add who was registered, once that is so."""
        if self._person is None:
            return {}
        return {"person": {"name": self._person.name, "samples": self._person.samples}}

    def allow(self, doubt: Doubt) -> None:
        """Go on with the next frame; the samples stay."""
        self._request = doubt.allow(self._request)

    def _first(self, enrolment: Enrolment) -> None:
        registering.first_sample(*self._stored, self._request, enrolment)

    def _save(self, enrolment: Enrolment) -> None:
        self._person = registering.store(*self._stored, self._request, enrolment)


def begin(session: Session, sightings: Sightings, asked: Mapping[str, Any]) -> Task:
    """Begin what the first message of a camera session asks for; loads the models.

    Raises:
        UsageError: it asks for something else.
        FaceSyncError: as the commands of the same names.
    """
    session = session.in_browser(one_line(text(asked, "camera") or "")[:100])
    name = text(asked, "name")
    if asked["task"] == "verify":
        return Verify(session, name or None)
    if asked["task"] == "watch":
        return Watch(session, sightings)
    if asked["task"] == "register":
        options = ("replace", "add", "same_person", "similar_name")
        allowed = {option: flag(asked, option) for option in options}
        return Register(session, Registration(name or "", **allowed))
    raise UsageError("the task is verify, watch or register")


def _decoded(jpeg: bytes) -> np.ndarray:
    """Decode a frame to BGR; its size is looked at before that."""
    header = read_header(jpeg) if suffix_of(jpeg) == ".jpg" else None
    if header is None:
        raise ImageError("a frame is no JPEG")
    sides = sorted((header.width, header.height))
    if sides[0] > SHORT_SIDE or sides[1] > LONG_SIDE:
        raise ImageError(f"a frame is larger than {LONG_SIDE} x {SHORT_SIDE}")
    return np.ascontiguousarray(read_image_rgb(jpeg, "a frame")[:, :, ::-1])


def _shown(screen: Screen, view: View) -> dict[str, Any]:
    """Return what a screen shows as plain data."""
    return {
        "type": "view",
        "status": view.status,
        "tone": _TONES[view.tone],
        "hint": view.hint,
        "keys": [list(key) for key in view.keys if key[0] != "Q"],  # leaving is the page's
        "progress": view.progress and list(view.progress),
        "marks": [
            {
                "box": [round(float(value), 1) for value in mark.box_xyxy],
                "tone": _TONES[mark.tone],
                "label": mark.label,
                **({} if mark.track is None else {"track": mark.track}),
            }
            for mark in view.marks
        ],
        "ring": view.ring and _ring(view.ring),
        "done": screen.done,
    }


def _ring(ring: Ring) -> dict[str, Any]:
    return {
        "centre": [round(value, 1) for value in ring.centre_xy],
        "radius": round(ring.radius, 1),
        "side": list(ring.side),
        "filled": round(float(ring.filled), 3),
    }
