"""The part of the API about who is registered."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from facesync.app import console
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint


async def _list(desk: Desk, request: Request) -> dict[str, Any]:
    session = desk.session
    people = await desk.read(console.people_data, session.gallery, session.recognizer)
    return {"people": people}


ENDPOINTS = [
    Endpoint("GET", "/api/people", _list, "List who is registered."),
]
