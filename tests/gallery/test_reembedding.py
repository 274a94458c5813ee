"""A changed model strands nobody whose images are there."""

from __future__ import annotations

import json
import logging
import re
import threading

import numpy as np
import pytest

from facesync import api, files
from facesync.errors import FileError
from facesync.faces.models import EDGEFACE, EMBEDDED
from facesync.faces.weights import DEFAULT_MODEL
from facesync.gallery import samples, store_file
from facesync.gallery.checking import check
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person
from facesync.gallery.reembedding import renewed
from facesync.gallery.registration import Registration, enrol_images, store
from facesync.images import encode_jpeg
from facesync.sample_images import COLLINS, HOPPER, photographs, vary
from tests.app.fakes import FakeRecognizer, embedding, image
from tests.faces.test_trust import FIGURES

AGAIN = "2 people were embedded again with fake weights"


@pytest.fixture
def recognizer() -> FakeRecognizer:
    """Of another model than the one that everybody is registered with."""
    return FakeRecognizer(fingerprint="model-b")


@pytest.fixture(autouse=True)
def heard(caplog):
    caplog.set_level(logging.INFO)


def people_of_model_a(gallery: FileGallery) -> FileGallery:
    """Register Ada with two samples and Bob with one."""
    old = FakeRecognizer()
    for name, shown in {"Ada": (image(), image(variant=200)), "Bob": (image(who=3),)}.items():
        enrolment = Enrolment(old.threshold, photographs=True)
        list(enrol_images(old, enrolment, [(name, one) for one in shown]))
        store(gallery, old, Registration(name), enrolment)
    return gallery


def in_place_of(gallery: FileGallery, name: str, number: int, shown: np.ndarray) -> None:
    """Replace a stored image, as the app would have written it."""
    person, images = gallery.find(name), gallery.images(name)
    images[number] = shown
    gallery.register(person, images, replace=True)


def test_stored_images_are_embedded_again_as_at_registration(either, recognizer, caplog):
    before = people_of_model_a(either).people()
    shown = either.images("Ada")
    after = renewed(either, recognizer)
    assert caplog.messages == [AGAIN]
    assert [(p.name, p.fingerprint) for p in after] == [("Ada", "model-b"), ("Bob", "model-b")]
    assert [p.registered for p in after] == [p.registered for p in before]
    enrolment = Enrolment(0.6, photographs=True)
    list(enrol_images(recognizer, enrolment, [("", one) for one in shown]))
    expected = enrolment.person("Ada", "model-b")
    for person in (after[0], FileGallery(either.path, either.faces).find("Ada")):
        assert np.array_equal(person.embedding, expected.embedding)
        assert np.array_equal(person.sample_embeddings, expected.sample_embeddings)
        assert np.array_equal(person.sample_qualities, expected.sample_qualities)
    assert np.array_equal(either.images("Ada"), shown)
    assert check(either)[1] == []


def test_it_is_done_once_for_each_change_of_the_model(gallery, recognizer, caplog):
    people_of_model_a(gallery)
    for model in (recognizer, FakeRecognizer(), recognizer):
        for _ in range(2):
            renewed(FileGallery(gallery.path, gallery.faces, encrypt=False), model)
    assert caplog.messages == [AGAIN] * 3
    assert recognizer.looks == 2 * 3


def test_a_sample_without_a_face_goes_with_its_image(anywhere, recognizer, caplog):
    people_of_model_a(anywhere)
    in_place_of(anywhere, "Ada", 0, image(faces=0))
    ada, _ = renewed(anywhere, recognizer)
    assert ada.samples == len(ada.sample_embeddings) == len(anywhere.images("Ada")) == 1
    said = "Ada: 1 sample is dropped: no face is found in the stored image"
    assert caplog.messages == [AGAIN, said]
    assert check(anywhere)[1] == []


def test_those_without_a_face_or_images_are_named_and_stay(gallery, recognizer, caplog):
    people_of_model_a(gallery)
    in_place_of(gallery, "Bob", 0, image(faces=0))
    samples.remove(gallery.folder("Ada"))
    before = gallery.path.read_bytes()
    assert [p.fingerprint for p in renewed(gallery, recognizer)] == ["model-a"] * 2
    assert caplog.messages == [
        "Made by another model and not compared, register them again: "
        "Ada (no images are kept), Bob (no face is found in the stored image)"
    ]
    assert gallery.path.read_bytes() == before
    renewed(gallery, recognizer)
    assert len(caplog.messages) == recognizer.looks == 1  # one program does not try again


def test_the_older_form_is_left_as_it_is(gallery, recognizer, caplog):
    gallery.register(Person("Old", embedding(1), None, None, 0), [image()])
    (old,) = renewed(gallery, recognizer)
    assert old.fingerprint is None and recognizer.looks == 0 and not caplog.messages


def test_an_interruption_leaves_the_store_as_it_was(either, recognizer, monkeypatch):
    people_of_model_a(either)
    before = either.path.read_bytes()

    def interrupted(*args, **kwargs):
        if recognizer.looks == 2:
            raise KeyboardInterrupt
        return FakeRecognizer.look(recognizer, *args, **kwargs)

    # Undone alone: where the fixtures keep keys is patched, too.
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(recognizer, "look", interrupted)
        renewed(either, recognizer)
    assert either.path.read_bytes() == before
    assert {p.fingerprint for p in renewed(either, recognizer)} == {"model-b"}


@pytest.mark.parametrize("where", [(files, "locked"), (store_file, "write")], ids=["lock", "save"])
def test_where_the_store_cannot_be_changed_they_are_compared_all_the_same(
    either, recognizer, caplog, monkeypatch, where
):
    def read_only(path, *args):
        raise FileError(f"cannot write to {path}")

    people_of_model_a(either)
    before = either.path.read_bytes()
    monkeypatch.setattr(*where, read_only)
    for _ in range(2):
        assert {p.fingerprint for p in renewed(either, recognizer)} == {"model-b"}
    (said,) = caplog.messages
    assert said == f"{AGAIN}, for this run only: cannot write to {either.path}"
    assert recognizer.looks == 3 and either.path.read_bytes() == before


def test_a_second_process_sees_what_the_first_did(gallery, recognizer):
    people_of_model_a(gallery)
    second = FakeRecognizer(fingerprint="model-b")
    seen = []
    other = threading.Thread(
        target=lambda: seen.extend(
            renewed(FileGallery(gallery.path, gallery.faces, encrypt=False), second)
        )
    )

    class First(FakeRecognizer):
        def look(self, *args, **kwargs):
            if not other.ident:
                other.start()
                other.join(0.2)
                assert other.is_alive()  # it waits
            return super().look(*args, **kwargs)

    renewed(gallery, First(fingerprint="model-b"))
    other.join()
    assert second.looks == 0 and [p.fingerprint for p in seen] == ["model-b"] * 2


def test_an_image_that_somebody_put_into_a_sealed_store_is_not_trusted(sealed, recognizer, caplog):
    people_of_model_a(sealed)
    planted = sealed.folder("Bob") / "sample_2.jpg"
    planted.write_bytes(encode_jpeg(image(who=5)))
    bob = renewed(sealed, recognizer)[1]
    assert bob.samples == 1 and np.argmax(bob.embedding) == 3
    why = f"{planted} is not encrypted, although the store is"
    assert f"Bob was embedded again, for this run only: {why}" in caplog.messages
    assert sealed.find("Bob").fingerprint == "model-a" and planted.exists()


def test_an_image_that_cannot_be_opened_stays_and_nothing_is_stored(sealed, recognizer, caplog):
    people_of_model_a(sealed)
    damaged = [sealed.folder(who) / "sample_1.jpg.enc" for who in ("Ada", "Bob")]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-1])
    ada, bob = renewed(sealed, recognizer)
    assert (ada.samples, ada.fingerprint) == (1, "model-b") and bob.fingerprint == "model-a"
    of_ada, left = caplog.messages
    assert f"Ada was embedded again, for this run only: {damaged[0]} is damaged" in of_ada
    assert f"register them again: Bob ({damaged[1]} is damaged" in left
    assert {p.fingerprint for p in sealed.people()} == {"model-a"}
    assert all(path.exists() for path in damaged)


def test_the_audit_log_has_it(gallery, recognizer, tmp_path):
    people_of_model_a(gallery)
    samples.remove(gallery.folder("Bob"))
    gallery.audit_log = tmp_path / "log.jsonl"
    renewed(gallery, recognizer)
    (line,) = map(json.loads, gallery.audit_log.read_text().splitlines())
    assert line.pop("time")
    assert line == {
        "event": "embedded again", "names": ["Ada"], "model": "model-b", "stored": True,
        "this_run": {}, "register_again": {"Bob": "no images are kept"},
    }  # fmt: skip


def test_a_trained_model_that_loses_trust_and_regains_it(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    pytest.importorskip("torch")
    from facesync.faces import torch_model

    state = torch_model.new_network().state_dict()
    photo, seen = photographs()[COLLINS], []
    for tar in (0.85, 0.08, 0.85):
        trained = {"model_state_dict": state}
        figures = {**FIGURES, "tar": tar}
        torch_model.write_checkpoint(DEFAULT_MODEL, {**trained, "unseen": figures})
        model = api.load_model(offline=True)
        assert model.trusted
        people = api.open_gallery(tmp_path / "people.pkl", model)
        if not seen:
            people.register("Collins", [photo])
        (match,) = people.identify(photo)
        assert match.name == "Collins"
        seen.append((re.split(r" \(|, ", model.source)[0], people.people()[0].fingerprint))
    assert seen[0] == seen[2] and seen[0][0] == str(DEFAULT_MODEL) and seen[1][0] == EMBEDDED.title
    assert [message for message in caplog.messages if "embedded again" in message] == [
        f"1 person was embedded again with {name}" for name in (EMBEDDED.title, DEFAULT_MODEL)
    ]
    insisting = api.load_model(str(DEFAULT_MODEL), offline=True)
    assert insisting.trusted and "on: 0.850, the VGG" in insisting.why_trusted


def test_the_real_models(shared, tmp_path, monkeypatch, caplog):
    if not (shared / "torch_home" / "checkpoints" / EDGEFACE.path.name).is_file():
        pytest.skip("EdgeFace-XS's weights are not in the shared folder")
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    random = np.random.default_rng(7)
    photos = {"Collins": photographs()[COLLINS], "Hopper": photographs()[HOPPER]}
    models = [api.load_model(name, offline=True) for name in ("embedded", "edgeface-xs")]
    for name, photo in photos.items():
        people = api.open_gallery(tmp_path / "people.pkl", models[0])
        people.register(name, [photo, vary(photo, random)])
    caplog.clear()
    people = api.open_gallery(tmp_path / "people.pkl", models[1])
    for name, photo in photos.items():
        (match,) = people.identify(vary(photo, random))
        assert match.name == name and match.similarity > 0.8
    assert caplog.messages == ["2 people were embedded again with EdgeFace-XS"]
    fresh = api.open_gallery(tmp_path / "fresh.pkl", models[1])
    fresh.register("Hopper", [photos["Hopper"]])
    again, (direct,) = people.people()[1], fresh.people()
    assert again.samples == 2 and again.embedding @ direct.embedding > 0.95
