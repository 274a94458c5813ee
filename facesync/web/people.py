"""The part of the API about who is registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from facesync.app import console, registering
from facesync.app.screens import sentence
from facesync.app.session import Session
from facesync.errors import FaceSyncError, UsageError
from facesync.files import folder_name
from facesync.gallery import exports, registration
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.people import Person, clean_name
from facesync.gallery.registration import Registration, enrol_images
from facesync.gallery.store import Gallery
from facesync.images import NamedImage, encode_jpeg, read_image_rgb
from facesync.web.answers import attached, plain
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint, NotFound, fields, in_json
from facesync.web.uploads import flag, form, images, text

EVERYTHING = "delete everything"
"""What has to be said before everybody is deleted."""


async def _list(desk: Desk, request: Request) -> dict[str, Any]:
    session = desk.session
    people = await desk.read(console.people_data, session.gallery, session.recognizer)
    return {"people": people}


async def _register(desk: Desk, request: Request) -> Response:
    async with form(request) as sent:
        options = ("replace", "add", "same_person", "similar_name")
        allowed = {option: flag(sent, option) for option in options}
        who = Registration(text(sent, "name") or "", **allowed)
        shown = await images(sent, "images")
    return await desk.do(_enrol, desk.session, who, shown)


def _enrol(session: Session, who: Registration, shown: Sequence[NamedImage]) -> Response:
    """Register somebody from images; what became of each is said after an error, too."""
    common = session.gallery, session.recognizer
    outcomes: list[dict[str, Any]] = []
    try:
        registering.begin(*common, who)
        enrolment = Enrolment(session.recognizer.threshold, photographs=True)
        encoded = [(image.name, image.data) for image in shown]
        for outcome in enrol_images(session.recognizer, enrolment, encoded):
            said = {"image": outcome.name, "taken": outcome.taken, "reason": outcome.reason}
            before = next((o for o in outcomes if o["image"] == outcome.name and o["taken"]), None)
            if before is None or outcome.taken:
                outcomes.append(said)
            else:
                before.update(said)  # it does not agree with the others
            if outcome.taken and len(enrolment) == 1:
                registering.first_sample(*common, who, enrolment)
        person = registration.store(*common, who, enrolment)
    except FaceSyncError as error:
        return in_json(error, outcomes=outcomes)
    differ = registering.not_very_alike(session.recognizer, enrolment)
    notes = [*([differ] if differ else []), *registering.notes(*common, person)]
    about = {"name": person.name, "samples": person.samples}
    return plain({**about, "outcomes": outcomes, "notes": notes}, 201)


async def _rename(desk: Desk, request: Request) -> dict[str, Any]:
    sent = await fields(request)
    new, sure = text(sent, "name") or "", flag(sent, "similar_name")
    name, gallery = request.path_params["name"], desk.session.gallery

    def rename() -> Person:
        _existing(desk.session, name)
        renamed = registration.rename(gallery, name, new, similar_name=sure)
        desk.sightings.renamed(name, renamed.name)
        return renamed

    return {"name": (await desk.do(rename)).name}


async def _merge(desk: Desk, request: Request) -> dict[str, Any]:
    sent = await fields(request)
    other, sure = text(sent, "other") or "", flag(sent, "same_person")
    name, session = request.path_params["name"], desk.session

    def merge() -> Person:
        for each in (name, other):
            _existing(session, each)
        common = session.gallery, session.recognizer
        both = registration.merge(*common, name, other, same_person=sure)
        desk.sightings.renamed(other, both.name)
        return both

    both = await desk.do(merge)
    return {"name": both.name, "samples": both.samples}


async def _delete(desk: Desk, request: Request) -> dict[str, Any]:
    name = request.path_params["name"]

    def delete(gallery: Gallery) -> dict[str, Any]:
        deleted = gallery.delete(name)
        if deleted is None:
            raise _nobody(name)
        desk.sightings.forget_deleted()  # or whoever gets the name next is shown with this face
        return {"name": deleted, "proof": _proof(gallery)}

    return await desk.do(delete, desk.session.gallery)


async def _delete_all(desk: Desk, request: Request) -> dict[str, Any]:
    if (await fields(request)).get("confirm") != EVERYTHING:
        raise UsageError(f'to delete everybody, send {{"confirm": "{EVERYTHING}"}}')

    def delete(gallery: Gallery) -> dict[str, Any]:
        desk.sightings.forget()
        return {"names": gallery.delete_all(), "proof": _proof(gallery)}

    return await desk.do(delete, desk.session.gallery)


def _proof(gallery: Gallery) -> str:
    return f"{sentence(console.proof(gallery))}."


async def _export(desk: Desk, request: Request) -> Response:
    person = await desk.read(_existing, desk.session, request.path_params["name"])
    data, _ = await desk.read(exports.packed, desk.session.gallery, person.name)
    return attached(data, f"{folder_name(person.name)}.zip", "application/zip")


async def _image(desk: Desk, request: Request) -> Response:
    def read() -> bytes:
        gallery = desk.session.gallery
        person = _existing(desk.session, request.path_params["name"])
        found = gallery.image_names(person.name)
        if not found:
            raise NotFound(f"no image of {person.name} is stored")
        return encode_jpeg(read_image_rgb(gallery.read_image(person.name, found[0])))

    return Response(await desk.read(read), media_type="image/jpeg")


def _existing(session: Session, name: str) -> Person:
    person = session.gallery.find(name)
    if person is None:
        raise _nobody(name)
    return person


def _nobody(name: str) -> NotFound:
    return NotFound(f"nobody is registered as {clean_name(name)}")


_PERSON = "/api/people/{name:path}"
_SAMPLES = {"name": "string", "samples": "integer"}
_DOUBTS = {"same_person": "boolean?", "similar_name": "boolean?"}

ENDPOINTS = [
    Endpoint("GET", "/api/people", _list, "List who is registered.", answer={"people": "array"}),
    Endpoint(
        "POST",
        "/api/people",
        _register,
        "Register somebody from images, or add samples to who is registered.",
        {"name": "string", "images": "files", "add": "boolean?", "replace": "boolean?", **_DOUBTS},
        answer={**_SAMPLES, "outcomes": "array", "notes": "array"},
        status=201,
    ),
    Endpoint(
        "DELETE",
        "/api/people",
        _delete_all,
        "Delete everybody.",
        {"confirm": f"={EVERYTHING}"},
        answer={"names": "array", "proof": "string"},
    ),
    Endpoint(
        "POST",
        f"{_PERSON}/merge",
        _merge,
        "Let the samples of somebody else join theirs; the other name is gone.",
        {"other": "string", "same_person": "boolean?"},
        answer=_SAMPLES,
    ),
    Endpoint(
        "GET",
        f"{_PERSON}/export",
        _export,
        "Everything stored about them, not encrypted.",
        gives="application/zip",
    ),
    Endpoint("GET", f"{_PERSON}/image", _image, "Their first sample.", gives="image/jpeg"),
    Endpoint(
        "PATCH",
        _PERSON,
        _rename,
        "Give them another name.",
        {"name": "string", "similar_name": "boolean?"},
        answer={"name": "string"},
    ),
    Endpoint(
        "DELETE",
        _PERSON,
        _delete,
        "Delete everything stored about them.",
        answer={"name": "string", "proof": "string"},
    ),
]
