"""The part of the API about the app itself: its state, settings, what it stores."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from facesync.app.session import Session
from facesync.version import __version__
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint


async def _state(desk: Desk, request: Request) -> dict[str, Any]:
    return await desk.read(_facts, desk.session)


def _facts(session: Session) -> dict[str, Any]:
    content, recognizer = session.gallery.content(), session.recognizer
    people = len(content.people)
    about = recognizer.trust()["model"]
    if not recognizer.loaded:
        about["name"] = recognizer.model_in_words
    return {
        "version": __version__,
        "people": people,
        "model": {**about, "loaded": recognizer.loaded},
        "threshold_in_words": recognizer.threshold_in_words(people),
        "liveness": session.settings.liveness,
        "encrypted": content.key is not None,
        "store": str(session.gallery.path),
        "offline": session.settings.offline,
    }


ENDPOINTS = [
    Endpoint("GET", "/api/state", _state, "Say what is in use."),
]
