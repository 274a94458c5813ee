"""Register, verify, list and delete without a window, with models that read colours."""

from __future__ import annotations

import json
from functools import partial
from itertools import repeat

import numpy as np
import pytest
from PIL import Image

from facesync.app import flows, registering
from facesync.errors import CameraError, ImageError, StoreError
from facesync.gallery.registration import Doubt, Registration
from facesync.gallery.store import Gallery, Person
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, image


@pytest.fixture
def shot(tmp_path):
    """Write an image and return its path."""

    def write(name: str, **shown: int):
        path = tmp_path / f"{name}.png"
        Image.fromarray(image(**shown)).save(path)
        return path

    return write


def register(gallery, recognizer, name, paths, **allowed) -> None:
    registering.register_images(gallery, recognizer, Registration(name, **allowed), paths)


@pytest.fixture
def ada(gallery, recognizer, shot) -> Gallery:
    """A gallery in which Ada is registered."""
    register(gallery, recognizer, "Ada", [shot("ada")])
    return gallery


def test_register_says_what_came_of_each_image(gallery, recognizer, shot, tmp_path, capsys):
    paths = [shot("one"), shot("none", faces=0), tmp_path / "missing.jpg", shot("two", faces=2)]
    register(gallery, recognizer, "Ada", paths)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("one.png: used")
    assert lines[1].endswith("none.png: no face: left out")
    assert "missing.jpg: cannot be read" in lines[2] and lines[2].endswith("left out")
    assert lines[3].endswith("two.png: used, 2 faces, the main one")
    assert lines[4] == "Ada is registered (2 samples)"
    (person,) = gallery.people()
    assert (person.samples, person.fingerprint) == (2, "model-a")
    samples = gallery.images("Ada")
    assert [sample.shape for sample in samples] == [(80, 80, 3)] * 2  # twice the box of 40 pixels


def test_register_without_one_usable_image_stores_nothing(gallery, recognizer, shot, tmp_path):
    with pytest.raises(ImageError, match="no image shows a usable face; nothing is stored"):
        register(gallery, recognizer, "Ada", [shot("none", faces=0), tmp_path / "missing.jpg"])
    assert gallery.people() == []
    assert not gallery.faces.exists()


def test_an_existing_name_needs_replace(ada, recognizer, shot):
    looks = recognizer.looks
    with pytest.raises(StoreError, match="Ada is already registered; --replace"):
        register(ada, recognizer, "ADA", [shot("x")])
    assert recognizer.looks == looks  # told before anything is computed
    with pytest.raises(Doubt, match=r"not the face stored as Ada .*--same-person"):
        register(ada, recognizer, "ADA", [shot("x", who=2)], replace=True)
    register(ada, recognizer, "ADA", [shot("x", who=2)], replace=True, same_person=True)
    (person,) = ada.people()
    assert person.name == "ADA"
    np.testing.assert_allclose(person.embedding, embedding(2), atol=1e-6)


@pytest.mark.parametrize("name", ["", "  \n", "\x1b\x07"])
def test_an_empty_name_is_refused(gallery, recognizer, name, shot):
    with pytest.raises(StoreError, match="a name needs"):
        register(gallery, recognizer, name, [shot("x")])


def register_video(gallery, recognizer, images_rgb, **kwargs) -> FakeCamera:
    camera = FakeCamera(images_rgb, **kwargs)
    registering.register_camera(gallery, recognizer, Registration("Ada"), lambda: camera)
    return camera


def test_a_video_gives_five_samples_half_a_second_apart(gallery, recognizer, capsys):
    camera = register_video(gallery, recognizer, [image(variant=i) for i in range(100)])
    assert gallery.people()[0].samples == 5
    assert recognizer.looks == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sample 1 of 5 at 0.0 s"
    assert lines[4] == "sample 5 of 5 at 2.0 s"
    assert camera.closed.is_set()


def test_moments_with_no_or_several_faces_are_passed_over(gallery, recognizer, capsys):
    moments = [image(faces=0)] * 10 + [image(faces=2)] * 10 + [image()] * 40
    register_video(gallery, recognizer, moments)
    assert gallery.people()[0].samples == 5
    out = capsys.readouterr().out
    assert "no face: look into the camera" in out
    assert "two faces: only you, please" in out


@pytest.mark.parametrize(("frames", "samples"), [(11, 3), (10, 2), (1, 1)])
def test_a_short_video_is_enough_or_refused(gallery, recognizer, frames, samples):
    if samples >= 3:
        register_video(gallery, recognizer, [image()] * frames)
        assert gallery.people()[0].samples == samples
    else:
        with pytest.raises(CameraError, match=rf"only {samples} usable sample.*\(3 needed\)"):
            register_video(gallery, recognizer, [image()] * frames)
        assert gallery.people() == []


def test_a_live_camera_without_a_face_is_given_up(gallery, recognizer, monkeypatch):
    monkeypatch.setattr(registering, "_LIVE_PATIENCE_SECONDS", 0.5)
    with pytest.raises(CameraError, match="only 0 usable samples"):
        register_video(gallery, recognizer, repeat(image(faces=0)), live=True)


def verify(gallery, recognizer, path, name=None):
    return flows.verify_image(recognizer, flows.candidates(gallery, recognizer, name), path, 0.05)


def test_verify_a_image(ada, recognizer, shot):
    decision = verify(ada, recognizer, shot("again", variant=7))
    assert (decision.accepted, decision.name) == (True, "Ada")
    decision = verify(ada, recognizer, shot("other", who=2))
    assert (decision.accepted, decision.name) == (False, None)
    decision = verify(ada, recognizer, shot("nobody", faces=0))
    assert (decision.accepted, decision.similarity) == (False, None)
    assert "no face found" in decision.reason


def test_verify_one_person_only(ada, recognizer, shot):
    register(ada, recognizer, "Bob", [shot("bob", who=2)])
    again = shot("again", variant=7)
    assert verify(ada, recognizer, again, "ADA").accepted
    assert not verify(ada, recognizer, again, "Bob").accepted
    with pytest.raises(StoreError, match="nobody is registered as Cid"):
        verify(ada, recognizer, again, "Cid")


def test_verify_with_nobody_registered(gallery, recognizer, shot):
    with pytest.raises(StoreError, match="nobody is registered in"):
        verify(gallery, recognizer, shot("x"))
    assert not recognizer.loaded  # told before seconds are spent on loading


def test_templates_of_another_model_are_not_compared(ada, shot, caplog):
    other = FakeRecognizer(fingerprint="model-b")
    with pytest.raises(StoreError, match=r"made by another model.*: Ada; register again"):
        verify(ada, other, shot("again"))
    register(ada, other, "Bob", [shot("bob", who=2)])
    assert not verify(ada, other, shot("again")).accepted
    assert "Made by another model, not compared: Ada; register again" in caplog.text


def test_templates_of_the_older_form_are_compared_with_a_notice(gallery, recognizer, shot, caplog):
    gallery.register(Person("Ada", embedding(1), None, None, 0), [])
    assert verify(gallery, recognizer, shot("again")).accepted
    assert "older store" in caplog.text


@pytest.mark.parametrize(
    ("moments", "accepted", "looks"),
    [
        ([image()] * 20, True, 5),
        ([image(faces=0)] * 20 + [image()] * 20, True, 15),
        ([image(who=2)] * 4 + [image()] * 20, True, 5),
        ([image(who=2)] * 6 + [image()] * 20, False, 5),
        ([image()] * 3, True, 2),
        ([image(who=2)] * 100, False, 5),
        ([image(faces=0)] * 10, False, 5),
    ],
)
def test_verify_before_a_camera(ada, moments, accepted, looks):
    recognizer, camera = FakeRecognizer(), FakeCamera(moments)
    people = flows.candidates(ada, recognizer)
    decision = flows.verify_camera(recognizer, people, lambda: camera, 0.05)
    assert decision.accepted is accepted
    assert recognizer.looks == looks
    assert camera.closed.is_set()


def test_the_list_says_who_since_when_and_by_which_model(ada, shot, capsys):
    ada.register(Person("Old", embedding(3), None, None, 0), [])
    register(ada, FakeRecognizer(fingerprint="model-b"), "Bob", [shot("bob")])
    capsys.readouterr()
    flows.list_people(ada, "model-b")
    head, first, second, third = capsys.readouterr().out.splitlines()
    assert head.startswith("3 people in ")
    assert "Ada" in first and first.endswith("1 sample  made by another model: register again")
    assert "Bob" in second and second.endswith("1 sample")
    assert "Old" in third and third.endswith("from an older store")
    assert [p["name"] for p in json.loads(flows.people_json(ada))] == ["Ada", "Bob", "Old"]


def test_an_empty_list(gallery, capsys):
    flows.list_people(gallery)
    assert capsys.readouterr().out.startswith("Nobody is registered in ")
    assert flows.people_json(gallery) == "[]"


def test_delete(ada, capsys):
    capsys.readouterr()
    flows.delete(ada, "ada")
    assert capsys.readouterr().out.startswith("Ada is deleted")
    with pytest.raises(StoreError, match="nobody is registered as ada"):
        flows.delete(ada, "ada")


def test_a_camera_is_not_opened_for_a_name_that_is_taken(ada, recognizer):
    opened = []
    with pytest.raises(StoreError, match="already registered"):
        registering.register_camera(ada, recognizer, Registration("Ada"), partial(opened.append, 1))
    assert opened == []
