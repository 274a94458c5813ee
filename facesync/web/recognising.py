"""The part of the API that looks at images: verify, identify, compare, liveness."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request

from facesync import api
from facesync.app import results
from facesync.app.session import Session
from facesync.errors import UsageError
from facesync.images import NamedImage
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint
from facesync.web.uploads import flag, form, images, text


async def _verify(desk: Desk, request: Request) -> dict[str, Any]:
    async with form(request) as sent:
        (image,) = await _each(sent, "image")
        name, main_face = text(sent, "name") or None, flag(sent, "main_face")

    def verify(session: Session) -> dict[str, Any]:
        decided = session.verification(name).image(image, main_face=main_face)
        decision = results.of_images([decided], session.recognizer)
        return decision | results.of_outage(session.gallery)

    return await desk.do(verify, desk.session)


async def _identify(desk: Desk, request: Request) -> dict[str, Any]:
    async with form(request) as sent:
        (image,) = await _each(sent, "image")

    def identify(session: Session) -> dict[str, Any]:
        found = session.verification().identify(image)
        faces = [results.of_face(face, decision) for face, decision in found]
        outage = results.of_outage(session.gallery)
        return {"faces": faces, **session.recognizer.trust(), **outage}

    return await desk.do(identify, desk.session)


async def _compare(desk: Desk, request: Request) -> dict[str, Any]:
    async with form(request) as sent:
        first, second = await _each(sent, "first", "second")
    return await desk.do(results.compare, desk.session.recognizer, first, second)


async def _liveness(desk: Desk, request: Request) -> dict[str, Any]:
    async with form(request) as sent:
        frames = await images(sent, "frames")

    def judge() -> dict[str, Any]:
        model = api.Model(desk.session.recognizer)
        return asdict(model.liveness([frame.data for frame in frames]))

    return await desk.do(judge)


async def _each(sent: Any, *names: str) -> list[NamedImage]:
    """Read one image of each field."""
    found = [await images(sent, name) for name in names]
    if any(len(each) > 1 for each in found):
        raise UsageError(f"send one file as {' and one as '.join(names)}")
    return [each[0] for each in found]


_TRUST = {"trusted": "boolean", "model": "object"}
_COMPARED = {
    "similarity": "number|null",
    "threshold": "number|null",
    "probability": "number|null",
    "calibrated_on": "string|null",
    "reason": "string",
    **_TRUST,
}

ENDPOINTS = [
    Endpoint(
        "POST",
        "/api/verify",
        _verify,
        "Say who is in an image, as `verify --image X --json` does: an attempt, which counts.",
        {"image": "file", "name": "string?", "main_face": "boolean?"},
        answer={
            "accepted": "boolean",
            "name": "string|null",
            **_COMPARED,
            "margin": "number|null",
            "nearly": "boolean",
            "liveness": "object|null",
            "faces": "array",
            "outage": "string?",
        },
    ),
    Endpoint(
        "POST",
        "/api/identify",
        _identify,
        "Say of every face in an image whose it is; no attempt.",
        {"image": "file"},
        answer={"faces": "array", **_TRUST, "outage": "string?"},
    ),
    Endpoint(
        "POST",
        "/api/compare",
        _compare,
        "Say whether two images show the same person, as `compare A B --json` does.",
        {"first": "file", "second": "file"},
        answer={"same_person": "boolean", **_COMPARED},
    ),
    Endpoint(
        "POST",
        "/api/liveness",
        _liveness,
        "Say whether the face in a camera's frames, five or more in order, is alive.",
        {"frames": "files"},
        answer={
            "live": "boolean|null",
            "score": "number|null",
            "reason": "string",
            "evidence": "array",
            "challenge": "string|null",
        },
    ),
]
