"""An image that was nearly accepted is offered as a sample, to nobody but its owner."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import faceid_app
from facesync.app import console, flows, near_misses, session
from facesync.app.menu import Menu
from facesync.app.near_misses import NearMisses
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.errors import StoreError
from facesync.gallery.people import Person, now
from tests.app.fakes import FakeCamera, FakeRecognizer, face, image, no_page, quality

ADA, AGAIN, NEAR, LIKE_HER, BOB = range(1, 6)
_DEGREES = {ADA: 0, AGAIN: 37, NEAR: 55, LIKE_HER: -55, BOB: 180}
"""At a threshold of 0.6 AGAIN (0.80) is accepted, NEAR and LIKE_HER (0.57) nearly; LIKE_HER is
another person than AGAIN (-0.03)."""


def vector(who: int, variant: int = 0) -> np.ndarray:
    angle = math.radians(_DEGREES[who])
    made = np.zeros(512, dtype=np.float32)
    made[:2] = math.cos(angle), math.sin(angle)
    return made


@pytest.fixture
def ada(gallery, monkeypatch):
    """A gallery with Ada and Bob, before a camera whose images are good."""
    monkeypatch.setattr("tests.app.fakes.embedding", vector)
    monkeypatch.setattr("facesync.app.verification.measure", lambda *image: quality())
    for name, who in (("Ada", ADA), ("Bob", BOB)):
        gallery.register(Person(name, vector(who), "model-a", now(), 1), [])
    return gallery


@pytest.fixture
def attempt(ada, recognizer):
    """Verify images of people, one attempt each; return what is then offered, and to whom."""
    memory = NearMisses()

    def run(*people: int, faces: int = 1) -> str | None:
        for who in people:  # each prepared anew, as the menu does
            verification = Verification(ada, recognizer, AppSettings(), near_misses=memory)
            frames = FakeCamera([image(faces=faces, who=who)])
            verification.camera(lambda frames=frames: frames)
        return memory.offer and memory.offer[0]

    run.memory = memory
    return run


@pytest.mark.parametrize(
    ("people", "offered"),
    [
        ((NEAR, AGAIN), "Ada"),
        ((NEAR, BOB), None),
        ((NEAR, BOB, AGAIN), "Ada"),
        ((NEAR, AGAIN, BOB), None),  # Bob would answer
        ((NEAR, AGAIN, AGAIN), "Ada"),
        ((NEAR, LIKE_HER, AGAIN), None),
        ((LIKE_HER, AGAIN), None),  # somebody who looks like her, but is not who was accepted
        ((AGAIN, NEAR), None),
        ((AGAIN,), None),
    ],
)
def test_only_the_same_person_who_is_accepted_after_it_is_asked(attempt, people, offered):
    assert attempt(*people) == offered


def test_not_after_minutes_and_not_twice(attempt, monkeypatch):
    assert attempt(NEAR, AGAIN) == "Ada"
    assert attempt.memory.take_offer() and attempt.memory.take_offer() is None
    assert attempt(AGAIN) is None
    attempt(NEAR)
    later = near_misses.time.monotonic() + near_misses.OFFER_SECONDS + 1
    monkeypatch.setattr(near_misses.time, "monotonic", lambda: later)
    assert attempt(AGAIN) is None


@pytest.mark.parametrize("fault", ["dark", "two faces"])
def test_an_image_that_is_not_clean_is_not_offered(ada, recognizer, fault):
    good = recognizer.look(image(who=NEAR))
    bad = replace(good, quality=replace(good.quality, brightness=5))
    if fault == "two faces":
        bad = replace(good, faces=[face(), face(1)])
    for first, offered in ((good, True), (bad, False)):
        memory = NearMisses()
        verification = Verification(ada, recognizer, AppSettings(), near_misses=memory)
        for seen in (first, recognizer.look(image(who=AGAIN))):
            verification.begin()
            verification.conclude([verification.decide(seen)])
        assert (memory.offer is not None) is offered


@pytest.fixture
def app(ada, recognizer, monkeypatch, shot, capsys):
    """Run `verify --image NEAR AGAIN` with an answer; return what was asked and printed."""
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    asked = []

    def run(answer: str, *options: str, terminal: bool = True) -> tuple[list[str], str]:
        def typed(question: str) -> str:
            asked.append(question)
            if answer == "end of input":
                raise EOFError
            return answer

        monkeypatch.setattr("builtins.input", typed)
        monkeypatch.setattr(flows.console, "terminal", lambda: terminal)
        paths = [str(shot(f"{who}", who=who)) for who in (NEAR, AGAIN)]
        files = ["--embeddings", str(ada.path), "--faces", str(ada.faces)]
        assert faceid_app.main([*files, "verify", *options, "--image", *paths]) == 1
        return asked, capsys.readouterr().out

    return run


def test_it_is_asked_and_a_yes_adds_it_as_register_would(app, ada):
    asked, out = app("y")
    assert asked == [
        "A face was nearly accepted as Ada 0 seconds ago. Was it Ada, and may the image be added "
        "to the samples? [y/N] "
    ]
    first = out.splitlines()[0]
    assert "access denied, but nearly: " in first and "Ada" not in first
    assert "what helps: more light" in out and "register NAME --add" in out
    assert "Ada has 1 more sample (2 in all)" in out
    assert ada.find("Ada").samples == 2 and len(ada.images("Ada")) == 1


@pytest.mark.parametrize(
    ("answer", "options", "terminal", "questions"),
    [
        ("", (), True, 1),
        ("n", (), True, 1),
        ("end of input", (), True, 1),
        ("y", (), False, 0),
        ("y", ("--json",), True, 0),
    ],
)
def test_nothing_is_added_unasked(app, ada, answer, options, terminal, questions):
    asked, out = app(answer, *options, terminal=terminal)
    assert len(asked) == questions and ada.find("Ada").samples == 1
    if options:
        decision = json.loads(out)
        assert [image["nearly"] for image in decision["images"]] == [True, False]
        assert (decision["nearly"], decision["name"], decision["probability"]) == (True, None, None)
        assert [each["nearly"] for each in decision["faces"]] == [True, False]


def test_what_speaks_against_adding_it_is_asked_as_register_does(ada, recognizer, monkeypatch):
    """The image is as similar to Cid as to Ada: whose it is has to be answered, too."""
    memory, answers, asked = NearMisses(), iter(["y", "n"]), []
    made = session.Session(AppSettings(embeddings=ada.path, faces=ada.faces, liveness="off"))
    made.recognizer, made.near_misses = recognizer, memory
    for who in (NEAR, AGAIN):
        made.verification().camera(lambda who=who: FakeCamera([image(who=who)]))
    ada.register(Person("Cid", vector(NEAR), "model-a", now(), 1), [])

    def typed(question: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr(flows.console, "terminal", lambda: True)
    with pytest.raises(StoreError, match="already registered as Cid"):
        flows.offer_sample(made)
    assert len(asked) == 2 and ada.find("Ada").samples == 1


@pytest.mark.parametrize("answer", ["y", "n"])
def test_the_menu_asks_after_the_attempt(ada, recognizer, monkeypatch, answer):
    people = iter((NEAR, AGAIN))
    made = session.Session(AppSettings(embeddings=ada.path, faces=ada.faces, liveness="off"))
    made.recognizer = recognizer
    monkeypatch.setattr(made, "open_camera", lambda: FakeCamera([image(who=next(people))]))
    monkeypatch.setattr(flows.console, "terminal", lambda: True)
    monkeypatch.setattr(Menu, "_has_window", lambda menu: False)
    answers = iter(("2", "2", answer, "q"))
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert Menu(made, no_page).run() == 0
    assert ada.find("Ada").samples == 1 + (answer == "y")


@pytest.mark.parametrize("both", list(itertools.product((True, False), repeat=2)))
def test_a_terminal_is_one_to_read_and_to_type(monkeypatch, both):
    for name, there in zip(("stdin", "stdout"), both, strict=True):
        monkeypatch.setattr(f"sys.{name}", SimpleNamespace(isatty=lambda there=there: there))
    assert console.terminal() is all(both)
