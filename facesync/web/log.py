"""The part of the API about who appeared before the camera."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from facesync.app.sightings import Entry
from facesync.errors import UsageError
from facesync.images import encode_jpeg
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint, NotFound, fields
from facesync.web.uploads import flag, text


async def _entries(desk: Desk, request: Request) -> dict[str, Any]:
    entries = await desk.do(lambda: desk.sightings.entries)
    return {"entries": [_plain(entry) for entry in reversed(entries)]}


async def _image(desk: Desk, request: Request) -> Response:
    entry = await desk.do(_entry, desk, request)
    return Response(encode_jpeg(entry.image_rgb), media_type="image/jpeg")


async def _name(desk: Desk, request: Request) -> dict[str, Any]:
    sent = await fields(request)
    if "name" not in sent:
        raise UsageError("send a name, or null for nobody you know")
    name = text(sent, "name")
    allowed = {each: flag(sent, each) for each in ("same_person", "similar_name")}

    def say() -> Entry:
        number = _entry(desk, request).id
        if name is None:
            return desk.sightings.dismiss(number)
        return desk.sightings.name(number, name, **allowed)

    return _plain(await desk.do(say))


async def _undo(desk: Desk, request: Request) -> dict[str, Any]:
    return _plain(await desk.do(lambda: desk.sightings.undo(_entry(desk, request).id)))


async def _forget(desk: Desk, request: Request) -> dict[str, Any]:
    await desk.do(desk.sightings.forget)
    return {"entries": []}


def _entry(desk: Desk, request: Request) -> Entry:
    number = request.path_params["id"]
    found = (entry for entry in desk.sightings.entries if entry.id == number)
    if (entry := next(found, None)) is None:
        raise NotFound("this appearance is no longer in the log")
    return entry


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "time": entry.time.isoformat(timespec="milliseconds"),
        "name": entry.name,
        "similarity": entry.similarity,
        "probability": entry.probability,
        "live": entry.live,
        "named": entry.named,
        "undo": entry.undo,
    }


_ENTRY = {
    "id": "integer",
    "time": "string",
    "name": "string|null",
    "similarity": "number|null",
    "probability": "number|null",
    "live": "boolean|null",
    "named": "string|boolean|null",
    "undo": "boolean",
}
_ENTRIES = {"entries": "array"}

ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/log",
        _entries,
        "List who appeared before the camera, newest first.",
        answer=_ENTRIES,
    ),
    Endpoint("DELETE", "/api/log", _forget, "Forget who appeared.", answer=_ENTRIES),
    Endpoint("GET", "/api/log/{id:int}/image", _image, "The face.", gives="image/jpeg"),
    Endpoint(
        "POST",
        "/api/log/{id:int}",
        _name,
        "Say whose face it is, which makes it a sample of theirs; null: nobody you know.",
        {"name": "string|null", "same_person": "boolean?", "similar_name": "boolean?"},
        answer=_ENTRY,
    ),
    Endpoint(
        "DELETE",
        "/api/log/{id:int}/name",
        _undo,
        "Take back what was said of a face.",
        answer=_ENTRY,
    ),
]
