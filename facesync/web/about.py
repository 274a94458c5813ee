"""The part of the API about the app itself: its state and its settings, and what works."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from starlette.requests import Request

from facesync.app import doctor, rates
from facesync.app.session import Session
from facesync.errors import FaceSyncError, StoreError
from facesync.faces.models import AUTO, KNOWN
from facesync.version import __version__
from facesync.web import choices
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint, fields

_LIVENESS = {
    "auto": "Judge by how the face looks, and ask for turns of the head where that is not sure",
    "passive": "Judge by how the face looks",
    "challenge": "Always ask for turns of the head",
    "off": "Do not ask: photographs and screens are not refused",
}


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
        "store": session.gallery.where,
        "outage": session.gallery.outage or "",
        "offline": session.settings.offline,
    }


async def _settings(desk: Desk, request: Request) -> dict[str, Any]:
    return await desk.do(_choices, desk.session)


async def _set(desk: Desk, request: Request) -> dict[str, Any]:
    wanted = await fields(request)

    def use() -> dict[str, Any]:
        if desk.camera_in_use:
            raise StoreError("the camera is in use: close it before settings are changed")
        settings = choices.changed(desk.session.settings, wanted)
        choices.keep(settings)
        desk.use(settings)
        return _choices(desk.session)

    return await desk.do(use)


def _choices(session: Session) -> dict[str, Any]:
    settings = session.settings
    now = choices.current(settings)
    with suppress(FaceSyncError):  # nothing is known then of what a rate costs
        session.recognizer.load()
    people = len(session.gallery.people())
    offered = rates.choices(session.recognizer.measured, people)
    models: list[dict[str, Any]] = [
        {"name": each.name, "title": each.title, "here": each.path.is_file(),
         "licence": each.licence}
        for each in KNOWN.values()
    ]  # fmt: skip
    models.insert(0, {"name": AUTO, "title": "the app's choice", "here": True, "licence": ""})
    return {
        "false_match_rate": {
            "value": now["false_match_rate"],
            "choices": [asdict(rate) for rate in offered],
        },
        "model": {"value": now["model"], "choices": models},
        "liveness": {
            "value": now["liveness"],
            "choices": [{"value": value, "words": words} for value, words in _LIVENESS.items()],
        },
        "camera": {"value": now["camera"]},
        "fixed": choices.fixed(settings),
    }


async def _doctor(desk: Desk, request: Request) -> dict[str, Any]:
    session = desk.session
    facts = await desk.do(doctor.examine, session.settings, session.gallery, session.recognizer)
    return {**facts, "words": doctor.in_words(facts)}


_SETTINGS = {
    "false_match_rate": "object",
    "model": "object",
    "liveness": "object",
    "camera": "object",
    "fixed": "array",
}

ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/state",
        _state,
        "Say what is in use.",
        answer={
            "version": "string",
            "people": "integer",
            "model": "object",
            "threshold_in_words": "string",
            "liveness": "string",
            "encrypted": "boolean",
            "store": "string",
            "outage": "string",
            "offline": "boolean",
        },
    ),
    Endpoint(
        "GET", "/api/settings", _settings, "List what can be set, and to what.", answer=_SETTINGS
    ),
    Endpoint(
        "PATCH",
        "/api/settings",
        _set,
        "Set something, for this run and the next ones of `web`.",
        {"false_match_rate": "number|null?", "model": "string?", "liveness": "string?"},
        answer=_SETTINGS,
    ),
    Endpoint(
        "GET",
        "/api/doctor",
        _doctor,
        "Say what works on this machine, as `doctor --json` does, and in words.",
        answer={
            "system": "string",
            "python": "string",
            "packages": "object",
            "window": "string",
            "cameras": "array",
            "model": "object",
            "liveness": "object",
            "store": "object",
            "faults": "array",
            "words": "string",
        },
    ),
]
