"""Registering from images and cameras without a window, and what may be stored."""

from __future__ import annotations

from functools import partial
from itertools import repeat

import filelock
import numpy as np
import pytest

from facesync import files
from facesync.app import registering
from facesync.errors import CameraError, FileError, ImageError, StoreError
from facesync.gallery.enrolment import Enrolment, TwoPeople
from facesync.gallery.registration import Doubt, Registration
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, image


@pytest.fixture
def register(gallery, recognizer):
    def run(name: str, *paths, ask=None, **allowed) -> None:
        request = Registration(name, **allowed)
        registering.register_images(gallery, recognizer, request, paths, ask)

    return run


def test_register_says_what_came_of_each_image(register, gallery, shot, tmp_path, capsys):
    paths = [shot("one"), shot("none", faces=0), tmp_path / "missing.jpg", shot("two", faces=2)]
    register("Ada", *paths)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("one.png: used")
    assert lines[1].endswith("none.png: no face: left out")
    assert "missing.jpg: cannot be read" in lines[2] and lines[2].endswith("left out")
    assert lines[3].endswith("two.png: 2 people about equally large; crop it to one: left out")
    assert lines[4] == "Ada is registered (1 sample)"
    (person,) = gallery.people()
    assert (person.samples, person.fingerprint) == (1, "model-a")
    (sample,) = gallery.images("Ada")
    assert sample.shape == (80, 80, 3)  # twice the box of 40 pixels


def test_who_is_stored_is_registered_though_nothing_can_be_learnt(gallery, recognizer, caplog):
    class Unwritable:
        def confirm(self) -> None:
            pass

        def learn(self) -> None:
            raise FileError("cannot write e.liveness")

    enrolment = Enrolment(0.6)
    assert enrolment.offer(recognizer.look(image())).taken
    enrolment.presence = Unwritable()
    registering.store(gallery, recognizer, Registration("Ada"), enrolment)
    assert gallery.find("Ada") and "cannot write e.liveness: nothing is learnt" in caplog.text


@pytest.mark.parametrize(("answers", "who"), [([True], 1), ([False, True], 2), ([False] * 2, None)])
def test_of_two_people_equally_large_it_is_asked_who(register, gallery, shot, answers, who):
    questions, left = [], iter(answers)

    def ask(question: str) -> bool:
        questions.append(question)
        return next(left)

    if who is None:
        with pytest.raises(ImageError, match="no image shows a usable face"):
            register("Ada", shot("two", faces=2), ask=ask)
    else:
        register("Ada", shot("two", faces=2), ask=ask)
        np.testing.assert_allclose(gallery.people()[0].embedding, embedding(who), atol=1e-6)
    asked = (
        f"two.png shows 2 people about equally large. Is it number {len(answers)} from the left?"
    )
    assert questions[-1].endswith(asked)


def test_a_folder_gives_all_its_images(register, gallery, tmp_path, shot, capsys):
    folder = tmp_path / "ada"
    folder.mkdir()
    shot("ada/one")
    shot("ada/two", variant=5).rename(folder / "two.of an unknown suffix")
    (folder / "notes.txt").write_text("Ada at the sea")
    (folder / ".hidden").write_text("")
    register("Ada", folder, shot("beside", variant=9))
    assert gallery.people()[0].samples == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("left out") for line in lines] == [True, False, False, False, False]
    assert "notes.txt: not an image" in lines[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=r"the folder .*empty is empty"):
        register("Bob", tmp_path / "empty")


def test_a_name_that_only_looks_like_another_is_asked_about(register, gallery, recognizer, shot):
    register("Ada", shot("ada"))
    looks, cyrillic = recognizer.looks, "\u0410da"
    with pytest.raises(Doubt, match=r"looks like Ada, who is registered.*use --similar-name"):
        register(cyrillic, shot("bob", who=2))
    with pytest.raises(StoreError, match="nothing is stored"):
        register(cyrillic, shot("bob", who=2), ask=lambda question: False)
    assert recognizer.looks == looks  # before anything is computed
    register(cyrillic, shot("bob", who=2), similar_name=True)
    register("Ad\u0430", shot("cid", who=3), ask=lambda question: True)
    assert len(gallery.people()) == 3
    with pytest.raises(StoreError, match="Ada is already registered"):
        register("A\u200eda\u3164", shot("dan", who=4))


def test_register_without_one_usable_image_stores_nothing(register, gallery, shot, tmp_path):
    with pytest.raises(ImageError, match="no image shows a usable face; nothing is stored"):
        register("Ada", shot("none", faces=0), tmp_path / "missing.jpg")
    assert gallery.people() == []
    assert not gallery.faces.exists()


@pytest.mark.parametrize("who", [1, 2])
@pytest.mark.parametrize("camera", [True, False])
def test_whose_face_it_is_is_said_after_the_first_sample(
    register, gallery, recognizer, shot, who, camera
):
    """Ada's (1) is registered under another name; Bob's (2) is not Ada's."""
    register("Ada", shot("one"))
    request = Registration("Ada" if who == 2 else "Countess", replace=who == 2)
    shown = FakeCamera([image(who=who, variant=v) for v in range(99)])
    paths = [shot(f"more{v}", who=who, variant=v) for v in range(1, 4)]
    recognizer.looks = 0
    with pytest.raises(Doubt, match="registered as Ada"):
        if camera:
            registering.register_camera(gallery, recognizer, request, lambda: shown)
        else:
            registering.register_images(gallery, recognizer, request, paths)
    assert recognizer.looks == 1


def test_an_existing_name_needs_replace(register, gallery, recognizer, shot):
    register("Ada", shot("ada"))
    looks = recognizer.looks
    with pytest.raises(StoreError, match="Ada is already registered; use --add"):
        register("ADA", shot("x"))
    assert recognizer.looks == looks  # refused before anything is computed
    with pytest.raises(Doubt, match=r"not the face registered as Ada .*--same-person"):
        register("ADA", shot("x", who=2), replace=True)
    register("ADA", shot("x", who=2), replace=True, same_person=True)
    (person,) = gallery.people()
    assert person.name == "ADA"
    np.testing.assert_allclose(person.embedding, embedding(2), atol=1e-6)


@pytest.mark.parametrize("name", ["", "  \n", "\x1b\x07"])
def test_an_empty_name_is_refused(register, name, shot):
    with pytest.raises(StoreError, match="a name needs"):
        register(name, shot("x"))


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
    assert "two faces: only one person, please" in out


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


def test_a_camera_is_not_opened_for_a_name_that_is_taken(register, gallery, recognizer, shot):
    register("Ada", shot("ada"))
    opened = []
    request = Registration("Ada")
    with pytest.raises(StoreError, match="already registered"):
        registering.register_camera(gallery, recognizer, request, partial(opened.append, 1))
    assert opened == []


def test_a_face_is_not_stored_under_a_second_name(register, gallery, shot, capsys):
    register("Ada", shot("ada"))
    with pytest.raises(Doubt, match=r"already registered as Ada \(similarity 0\.9.*--same-person"):
        register("Countess", shot("again", variant=5))
    register("Countess", shot("again", variant=5), same_person=True)
    assert len(gallery.people()) == 2
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        "note: Countess and Ada look so alike (similarity 0.917) that the app cannot tell them "
        "apart reliably"
    )
    register("Bob", shot("bob", who=2))
    assert "alike" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("samples", "shares", "said"),
    [
        (1, (0.022, 0.001), "note: with only 1 sample, people are refused in 2.2 % of attempts"),
        (2, (0.004, 0.001), "note: with only 2 samples, people are refused in 0.4 % of attempts"),
        (2, (0.001, 0.002), "note: with only 2 samples, people are refused more often; "),  # luck
        (2, (None, None), "note: with only 2 samples, people are refused more often; "),
        (3, (0.004, 0.001), "Ada is registered (3 samples)"),
    ],
)
def test_fewer_than_three_images_are_taken_with_what_that_costs(
    register, recognizer, gallery, shot, capsys, monkeypatch, samples, shares, said
):
    monkeypatch.setattr(
        recognizer, "refused_share", dict(zip((samples, 3), shares, strict=True)).get
    )
    register("Ada", *(shot(f"{n}", variant=n) for n in range(samples)))
    assert gallery.find("Ada").samples == samples
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(said)
    if samples < 3:
        assert last.endswith("to have 3, register NAME --add")
        register("Ada", *(shot(f"more{n}", variant=9 + n) for n in range(3 - samples)), add=True)
        assert "note" not in capsys.readouterr().out  # three in all


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_is_asked(register, gallery, shot, answer):
    register("Ada", shot("ada"))
    questions = []

    def ask(question: str) -> bool:
        questions.append(question)
        return answer

    if answer:
        register("Countess", shot("again", variant=5), ask=ask)
    else:
        with pytest.raises(StoreError, match="nothing is stored"):
            register("Countess", shot("again", variant=5), ask=ask)
    assert len(questions) == 1
    assert "Is Countess the same person under another name, or a twin?" in questions[0]
    assert len(gallery.people()) == 1 + answer


def test_samples_are_added_to_a_person(register, gallery, shot, capsys):
    register("Ada", shot("one"), shot("two", variant=1))
    register("ada", shot("three", variant=2), add=True)
    (ada,) = gallery.people()
    assert (ada.name, ada.samples, len(ada.sample_embeddings)) == ("Ada", 3, 3)
    assert ada.changed is not None
    assert len(gallery.images("Ada")) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "Ada has 1 more sample (3 in all)"


def test_a_stranger_is_not_added_to_a_person(register, gallery, shot):
    register("Ada", shot("ada"))
    with pytest.raises(Doubt, match="not the face registered as Ada"):
        register("Ada", shot("bob", who=2), add=True)
    with pytest.raises(StoreError, match="nobody is registered as Cid"):
        register("Cid", shot("bob"), add=True)
    assert gallery.people()[0].samples == 1


def test_images_of_two_people_are_refused(register, gallery, shot):
    with pytest.raises(ImageError, match=r"two different people .*nothing is stored"):
        register("Ada", shot("ada"), shot("bob", who=2))
    four = [shot(f"{who}{v}", who=who, variant=v) for who in (1, 2) for v in (0, 1)]
    with pytest.raises(ImageError, match="different people"):
        register("Ada", *four)
    assert gallery.people() == []


def test_one_wrong_image_of_several_is_left_out_by_name(register, gallery, shot, capsys):
    right = [shot(f"ada{v}", variant=v) for v in range(3)]
    register("Ada", right[0], shot("bob", who=2), *right[1:])
    out = capsys.readouterr().out
    assert "bob.png: a different person from the others: left out" in out
    assert gallery.people()[0].samples == 3
    assert len(gallery.images("Ada")) == 3


def test_a_stranger_who_takes_over_before_the_camera_is_refused(gallery):
    recognizer = FakeRecognizer()
    frames = [image(variant=i) for i in range(13)] + [image(who=2, variant=i) for i in range(99)]
    camera = FakeCamera(frames)
    with pytest.raises(TwoPeople):
        registering.register_camera(gallery, recognizer, Registration("Ada"), lambda: camera)
    assert gallery.people() == []


def test_people_of_another_model_are_embedded_again_first(register, gallery, recognizer, shot):
    register("Ada", shot("one"))
    recognizer.fingerprint = "model-b"
    with pytest.raises(Doubt, match="already registered as Ada"):
        register("Eve", shot("same"))
    recognizer.fingerprint = "model-c"
    register("Ada", shot("two", variant=200), add=True)
    (ada,) = gallery.people()
    assert (ada.samples, ada.fingerprint) == (2, "model-c")


def test_a_face_is_found_under_another_name_where_the_store_keeps_its_old_template(
    register, gallery, recognizer, shot, monkeypatch
):
    register("Ada", shot("one"))
    recognizer.fingerprint = "model-b"
    with monkeypatch.context() as patched:
        patched.setattr(files, "LOCK_SECONDS", 0)
        with filelock.FileLock(f"{gallery.path}.lock"), pytest.raises(Doubt, match="as Ada"):
            register("Eve", shot("same"))
    assert gallery.find("Ada").fingerprint == "model-a"
    with pytest.raises(Doubt, match="already registered as Ada"):
        register("Eve", shot("same"))
