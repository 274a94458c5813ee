"""A server in front of fake models, with Ada and Bob registered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from facesync.app import session as session_module
from facesync.app.session import Session
from facesync.app.settings import AppSettings
from facesync.gallery.people import Person, now
from facesync.images import encode_jpeg
from tests.app.conftest import gallery, recognizer  # noqa: F401 - fixtures
from tests.app.fakes import FakeRecognizer, embedding, image
from tests.web.servers import Served, serving


@pytest.fixture
def settings(gallery) -> AppSettings:  # noqa: F811
    return AppSettings(
        embeddings=gallery.path, faces=gallery.faces, liveness="off", encrypt=False, offline=True
    )


@pytest.fixture
def session(settings, monkeypatch) -> Session:
    monkeypatch.setattr(session_module, "Recognizer", FakeRecognizer)
    made = Session(settings)
    for name, who in (("Ada", 1), ("Bob", 2)):
        rows = embedding(who)[None]
        person = Person(name, embedding(who), "model-a", now(), 1, sample_embeddings=rows)
        made.gallery.register(person, [image(who=who)])
    return made


@pytest.fixture
def served(session) -> Iterator[Served]:
    with serving(session) as server:
        yield server


@pytest.fixture
def shot():
    """Make an encoded image that shows so many faces of somebody, as `fakes.image`."""

    def encoded(name: str = "a.jpg", **shown: int) -> tuple[str, bytes]:
        return name, encode_jpeg(image(**shown), quality=100)

    return encoded
