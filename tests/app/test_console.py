"""What the app prints about the people and the models."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from facesync.app import console
from facesync.gallery import audit_log
from facesync.gallery.matching import Decision
from facesync.gallery.people import Person
from tests.app.fakes import FakeRecognizer, embedding, image
from tests.gallery.conftest import person


def test_the_list_says_who_since_when_and_by_which_model(gallery, capsys):
    gallery.register(Person("Old", embedding(3), None, None, 0), [])
    gallery.register(person("Ada"), [])
    gallery.register(person("Bob", fingerprint="model-b"), [])
    gallery.register(person("Cid"), [image()])
    recognizer = FakeRecognizer(fingerprint="model-b")
    recognizer.load()
    console.list_people(gallery, recognizer)
    head, first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert head.startswith("4 people in ")
    assert "Ada" in first and first.endswith("samples  made by another model: register again")
    assert "Bob" in second and second.endswith("samples")
    assert "Cid" in third
    assert third.endswith("samples  made by another model: embedded again at the next use")
    assert "Old" in fourth and fourth.endswith("from an older store")
    assert [p["name"] for p in console.people_data(gallery, recognizer)] == [
        "Ada",
        "Bob",
        "Cid",
        "Old",
    ]


@pytest.mark.parametrize("loaded", [True, False])
def test_the_list_says_who_cannot_be_told_apart(gallery, capsys, loaded):
    ada = person("Ada")
    for twin in (ada, replace(ada, name="Eve"), person("Bob", 2)):
        gallery.register(twin, [])
    gallery.register(replace(ada, name="Of another model", fingerprint="model-b"), [])
    recognizer = FakeRecognizer(fingerprint=ada.fingerprint)
    recognizer.loaded = loaded
    console.list_people(gallery, recognizer)
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert "Ada and Eve look so alike (similarity 1.000)" in note
    alike = {each["name"]: each["alike"] for each in console.people_data(gallery, recognizer)}
    assert alike == {"Ada": ["Eve"], "Eve": ["Ada"], "Bob": [], "Of another model": []}
    assert recognizer.loaded is loaded


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_does_not_have_is_never_printed(number, tmp_path, capsys):
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.print_json({"similarity": number})
    with pytest.raises(ValueError, match="not JSON compliant"):
        audit_log.append(tmp_path / "log", Decision(False, None, number, 0.6, "why"))
    assert capsys.readouterr().out == "" and not (tmp_path / "log").exists()


def test_an_empty_list(gallery, capsys):
    console.list_people(gallery, FakeRecognizer())
    assert capsys.readouterr().out.startswith("Nobody is registered in ")
    assert console.people_data(gallery, FakeRecognizer()) == []


def test_the_threshold_announced_is_the_one_for_everybody(gallery, caplog):
    gallery.register(person("Ada"), [])
    gallery.register(person("Bob"), [])
    with caplog.at_level(logging.INFO):
        console.announce(gallery, FakeRecognizer())
        console.announce(gallery, FakeRecognizer(), people=1)
    assert "threshold 0.600 (for 2); 2 people in" in caplog.messages[0]
    assert "threshold 0.600 (for 1); 2 people in" in caplog.messages[1]
