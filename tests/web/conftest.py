"""A server in front of fake models, with Ada and Bob registered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from facesync.app import session as session_module
from facesync.app.session import Session
from facesync.app.settings import AppSettings
from facesync.gallery.people import Person, now
from facesync.images import encode_jpeg
from tests.app.conftest import gallery  # noqa: F401 - a fixture
from tests.app.fakes import FakeRecognizer, embedding, image
from tests.web.servers import Served, serving, web_running


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
        one = {"sample_embeddings": embedding(who)[None], "sample_qualities": np.ones(1, "f4")}
        person = Person(name, embedding(who), "model-a", now(), 1, **one)
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


@pytest.fixture
def enter_web(tmp_path, run_script):
    """Run `web` where it ends by itself, and return its exit code and what it wrote."""

    def run(*arguments: object) -> tuple[int, str, str]:
        store = ("--embeddings", tmp_path / "s.pkl", "--faces", tmp_path / "f")
        web = ("web", "--no-browser", "--port", 0, *arguments)
        done = run_script("faceid_app.py", *store, *web, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def web_process(tmp_path):
    """Run `web` and return the address that it prints; it is stopped with Ctrl-C at the end."""
    with ExitStack() as stack:

        def start(*arguments: object) -> str:
            return stack.enter_context(web_running(tmp_path, *arguments)).address

        yield start
