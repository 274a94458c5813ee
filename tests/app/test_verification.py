"""Who is accepted and who is not, what is logged and what is counted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from facesync.app import registering
from facesync.app.cameras import open_camera
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.errors import CameraError, FileError, ImageError, ModelError, StoreError
from facesync.gallery import attempts, samples
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person
from facesync.gallery.registration import Registration
from facesync.images import NamedImage
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, image


def register(gallery, recognizer, name, path) -> None:
    registering.register_images(gallery, recognizer, Registration(name), [path])


@pytest.fixture
def ada(gallery, recognizer, shot) -> FileGallery:
    """A gallery in which Ada is registered."""
    register(gallery, recognizer, "Ada", shot("ada"))
    return gallery


@pytest.fixture
def settings(tmp_path) -> AppSettings:
    return AppSettings(audit_log=tmp_path / "log.jsonl")


def logged(settings) -> list[dict[str, object]]:
    return [json.loads(line) for line in settings.audit_log.read_text().splitlines()]


def verify(gallery, recognizer, path, name=None, **how):
    verification = Verification(gallery, recognizer, AppSettings(), claimed=name)
    return verification.image(path, **how).decision


def test_verify_an_image(ada, recognizer, shot):
    decision = verify(ada, recognizer, shot("again", variant=7))
    assert (decision.accepted, decision.name) == (True, "Ada")
    decision = verify(ada, recognizer, shot("other", who=2))
    assert (decision.accepted, decision.name) == (False, None)
    decision = verify(ada, recognizer, shot("nobody", faces=0))
    assert (decision.accepted, decision.similarity) == (False, None)
    assert "no face found" in decision.reason


def test_verify_one_person_only(ada, recognizer, shot):
    register(ada, recognizer, "Bob", shot("bob", who=2))
    again = shot("again", variant=7)
    assert verify(ada, recognizer, again, "ADA").accepted
    assert not verify(ada, recognizer, again, "Bob").accepted
    with pytest.raises(StoreError, match="nobody is registered as Cid"):
        verify(ada, recognizer, again, "Cid")


def test_verify_with_nobody_registered(gallery, recognizer, shot):
    with pytest.raises(StoreError, match="nobody is registered in"):
        verify(gallery, recognizer, shot("x"))
    assert not recognizer.loaded  # refused before seconds are spent on loading


def test_people_of_another_model_are_embedded_again(ada, shot, caplog):
    caplog.set_level("INFO")
    assert verify(ada, FakeRecognizer(fingerprint="model-b"), shot("again"), "Ada").accepted
    assert "1 person was embedded again with fake weights" in caplog.messages
    assert ada.find("Ada").fingerprint == "model-b"


def test_without_images_templates_of_another_model_are_not_compared(ada, shot, caplog):
    other = FakeRecognizer(fingerprint="model-b")
    samples.remove(ada.folder("Ada"))
    with pytest.raises(StoreError, match=r"made by another model.*: Ada; register again"):
        verify(ada, other, shot("again"))
    register(ada, other, "Bob", shot("bob", who=2))
    assert not verify(ada, other, shot("again")).accepted
    assert "not compared, register them again: Ada (no images are kept)" in caplog.text


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
        ([image()] * 3, True, 3),  # so short a recording is looked at whole
        ([image(who=2)] * 100, False, 5),
        ([image(faces=0)] * 10, False, 10),
    ],
)
def test_verify_before_a_camera(ada, moments, accepted, looks):
    recognizer, camera = FakeRecognizer(), FakeCamera(moments)
    decision = Verification(ada, recognizer, AppSettings()).camera(lambda: camera)
    assert decision.accepted is accepted
    assert recognizer.looks == looks
    assert camera.closed.is_set()


class Calibrated(FakeRecognizer):
    """Needs a higher threshold, the more comparisons there are."""

    def threshold_for(self, comparisons: int) -> float:
        return 0.5 + 0.01 * comparisons


def test_every_face_of_an_image_is_compared(ada, recognizer, shot):
    """Beside Ada, whom the fake shows first, stand people 2 and 3."""
    verification = Verification(ada, recognizer, AppSettings())
    seen = verification.image(shot("group", faces=3, variant=5))
    assert seen.decision.accepted and seen.decision.name == "Ada"
    assert [decision.name for _, decision in seen.faces] == ["Ada", None, None]
    seen = verification.image(shot("others", faces=2, who=2))
    assert not seen.decision.accepted
    assert seen.decision.reason.startswith("none of 2 faces: the face is not similar enough")


def test_somebody_registered_is_accepted_beside_somebody_else(ada, recognizer, shot, caplog):
    """Ada is the second face: the main face alone is refused, as it always was."""
    group = shot("group", faces=2, who=0, variant=5)
    seen = Verification(ada, recognizer, AppSettings()).image(group)
    assert [decision.name for _, decision in seen.faces] == [None, "Ada"]
    assert seen.decision.name == "Ada"
    assert not verify(ada, recognizer, group, main_face=True).accepted
    assert "2 faces, only the main one is compared" in caplog.text


def test_to_identify_is_no_attempt(ada, recognizer, shot, settings):
    verification = Verification(ada, recognizer, settings)
    found = verification.identify(shot("group", faces=2, variant=5))
    assert [decision.name for _, decision in found] == ["Ada", None]
    assert verification.identify(shot("nobody", faces=0)) == []
    assert not settings.audit_log.exists() and not attempts.file_of(ada.path).exists()
    ada.delete("Ada")
    with pytest.raises(StoreError, match="nobody is registered"):
        Verification(ada, recognizer, settings).identify(shot("again"))


def test_an_image_that_was_sent_is_called_what_the_sender_calls_it(ada, recognizer, shot):
    verification = Verification(ada, recognizer, AppSettings())
    sent = NamedImage("me.png", shot("again", variant=5).read_bytes())
    assert verification.image(sent).decision.name == "Ada"
    sent = NamedImage("me.png", shot("nobody", faces=0).read_bytes())
    assert verification.image(sent, main_face=True).decision.reason == "no face found in me.png"
    with pytest.raises(ImageError, match=r"^me\.png: "):
        verification.image(NamedImage("me.png", b"no image"))


def test_a_name_is_given_to_one_face_of_an_image(ada, shot, monkeypatch):
    recognizer = FakeRecognizer()
    less_like_ada = embedding(1) + 0.5 * embedding(9)
    rows = np.stack([less_like_ada / np.linalg.norm(less_like_ada), embedding(1)])
    monkeypatch.setattr(recognizer, "embed", lambda *image, **how: rows)
    seen = Verification(ada, recognizer, AppSettings()).image(shot("twice", faces=2))
    first, second = (decision for _, decision in seen.faces)
    assert (first.name, second.name) == (None, "Ada")
    assert first.reason == "another face of the image is more similar to Ada's"
    assert seen.decision == second


def test_each_face_and_each_person_raises_the_threshold(ada, shot):
    calibrated = Calibrated()
    register(ada, calibrated, "Bob", shot("bob", who=2))
    verification = Verification(ada, calibrated, AppSettings())
    assert verification.threshold() == pytest.approx(0.52)
    seen = verification.image(shot("group", faces=3))
    assert seen.decision.threshold == pytest.approx(0.56)
    assert verification.image(shot("group", faces=3), main_face=True).decision.threshold == (
        pytest.approx(0.52)
    )


def test_every_attempt_is_logged(ada, recognizer, settings, shot, tmp_path):
    verification = Verification(ada, recognizer, settings)
    verification.image(shot("again", variant=5))
    with pytest.raises(Exception, match="cannot be read"):
        verification.image(tmp_path / "missing.jpg")
    verification.camera(lambda: FakeCamera([image(faces=0)] * 10))
    Verification(ada, recognizer, settings, claimed="Ada").image(shot("bob", who=2))
    with pytest.raises(StoreError):
        Verification(ada, recognizer, settings, claimed="Cid").image(shot("bob", who=2))
    lines = logged(settings)
    assert [line["accepted"] for line in lines] == [True, False, False, False, False]
    assert [line["asked"] for line in lines] == [None, None, None, "Ada", "Cid"]
    assert "cannot be read" in lines[1]["reason"]
    assert lines[2]["reason"] == "no face was seen"


def test_an_attempt_that_no_similarity_can_satisfy_ends_before_it_begins(
    ada, recognizer, settings, monkeypatch
):
    def endless(comparisons: int) -> float:
        raise ModelError("no similarity is high enough")

    monkeypatch.setattr(recognizer, "threshold_for", endless)
    with pytest.raises(ModelError):
        Verification(ada, recognizer, settings).begin()
    (line,) = logged(settings)
    assert (line["accepted"], line["threshold"]) == (False, None)


def test_a_password_of_a_camera_is_not_logged(ada, recognizer, settings):
    with pytest.raises(CameraError):
        Verification(ada, recognizer, settings).camera(
            lambda: open_camera("http://me:secret@127.0.0.1:9/x")
        )
    assert "127.0.0.1" in settings.audit_log.read_text()
    assert "secret" not in settings.audit_log.read_text()


def test_an_attempt_that_cannot_be_logged_is_an_error(ada, recognizer, settings, shot, tmp_path):
    settings = replace(settings, audit_log=tmp_path)
    with pytest.raises(FileError):
        Verification(ada, recognizer, settings).image(shot("again"))


@pytest.mark.parametrize("claimed", ["Ada", None])
def test_wrong_attempts_pause(ada, recognizer, settings, shot, claimed):
    """Where nobody is claimed, as with --name."""
    verification = Verification(ada, recognizer, settings, claimed=claimed)
    wrong, right = shot("bob", who=2), shot("again", variant=5)
    for _ in range(attempts.FREE_ATTEMPTS - 1):
        assert not verification.image(wrong).decision.accepted
    assert verification.image(right).decision.accepted  # ends the row of wrong ones
    for _ in range(attempts.FREE_ATTEMPTS):
        assert not verification.image(wrong).decision.accepted
    with pytest.raises(StoreError, match="5 failed attempts in a row: try again in 30 s"):
        verification.image(right)
    assert "try again" in logged(settings)[-1]["reason"]


def test_of_attempts_at_the_same_time_five_are_told_the_outcome(ada, recognizer, settings, shot):
    """All eight have begun before the first one ends; the right one among the last is too late."""
    eight = [Verification(ada, recognizer, settings, claimed="Ada") for _ in range(8)]
    for verification in eight:
        verification.begin()
    votes = [[verification.decide(recognizer.look(image(who=2)))] for verification in eight[:7]]
    votes.append([eight[7].decide(recognizer.look(image()))])
    ended = [each.conclude(vote) for each, vote in zip(eight, votes, strict=True)]
    assert [decision.accepted for decision in ended] == [False] * 8
    told = [decision.similarity is not None for decision in ended]
    assert told == [True] * attempts.FREE_ATTEMPTS + [False] * 3
    assert "try again in 30 s" in ended[-1].reason
    assert [line["similarity"] is not None for line in logged(settings)] == told


def test_a_paused_name_is_not_accepted_without_a_name_either(ada, recognizer, settings, shot):
    claimed = Verification(ada, recognizer, settings, claimed="Ada")
    for _ in range(attempts.FREE_ATTEMPTS):
        claimed.image(shot("bob", who=2))
    anybody = Verification(ada, recognizer, settings)
    for _ in range(attempts.FREE_ATTEMPTS):
        told = anybody.image(shot("again", variant=5))
        decision = told.decision
        assert told.faces == ()  # they would tell, too
        assert (decision.accepted, decision.name, decision.similarity) == (False, None, None)
        assert "try again" in decision.reason
    with pytest.raises(StoreError, match="try again"):  # each was a wrong one, or they would tell
        anybody.image(shot("again", variant=5))
