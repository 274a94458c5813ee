"""The part of the API about what is stored: where it is, a backup of it, its encryption."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from facesync.app.session import Session
from facesync.cli import count
from facesync.errors import StoreError
from facesync.gallery import backups, inventory
from facesync.gallery.keys import place_in_words
from facesync.gallery.store import Gallery
from facesync.web.answers import attached
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint


async def _privacy(desk: Desk, request: Request) -> dict[str, Any]:
    return await desk.do(_facts, desk.session)  # not while files are being deleted


def _facts(session: Session) -> dict[str, Any]:
    content = session.gallery.content()
    exists, encrypted = content.plain is not None, content.key is not None
    network = "The app makes no network connection."
    if not session.settings.offline:
        network = (
            "The app connects to nothing, except to download a model that is not here; with "
            "--offline not even for that."
        )
    return {
        "stored": [asdict(each) for each in inventory.stored(session.gallery)],
        "exists": exists,
        "key": _sealed_with(session.gallery) if encrypted else _plain(session, exists),
        "encrypted": encrypted,
        "network": network,
    }


def _plain(session: Session, exists: bool) -> str:
    if exists:
        return "What is stored is not encrypted."
    later = "encrypted" if session.settings.encrypt else "not encrypted"
    return f"Nobody is stored yet. What is stored later is {later}."


def _sealed_with(gallery: Gallery) -> str:
    key = gallery.content().key
    assert key is not None
    return f"What is stored is encrypted with {place_in_words(key.header)}."


async def _backup(desk: Desk, request: Request) -> Response:
    data, _ = await desk.do(backups.packed, desk.session.gallery)
    day = datetime.now().strftime("%Y-%m-%d")
    return attached(data, f"facesync-backup-{day}", "application/octet-stream")


async def _encrypt(desk: Desk, request: Request) -> dict[str, Any]:
    def encrypt(gallery: Gallery) -> str:
        if gallery.content().key is not None:
            raise StoreError(f"{gallery.where} is encrypted already")
        people = gallery.reseal(gallery.keys.new)
        return f"{count(people, 'person is', 'people are')} encrypted. {_sealed_with(gallery)}"

    return {"done": await desk.do(encrypt, desk.session.gallery)}


ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/privacy",
        _privacy,
        "List what is stored, and where.",
        answer={
            "stored": "array",
            "exists": "boolean",
            "key": "string",
            "encrypted": "boolean",
            "network": "string",
        },
    ),
    Endpoint(
        "GET",
        "/api/privacy/backup",
        _backup,
        "All people and images in one file for `store restore`, encrypted like the store.",
        gives="application/octet-stream",
    ),
    Endpoint(
        "POST",
        "/api/privacy/encrypt",
        _encrypt,
        "Encrypt the store and the images.",
        answer={"done": "string"},
    ),
]
