"""The doctor says what works, and nothing personal."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import faceid_app
from facesync.app import doctor, session
from facesync.app.cameras import open_camera
from facesync.app.settings import AppSettings
from facesync.errors import CameraError, ModelError
from facesync.gallery.server.gallery import ServerGallery
from facesync.images import save_jpeg
from tests.app.fakes import FakeRecognizer, image
from tests.gallery.conftest import person
from tests.liveness.fakes import FakePassive


@pytest.fixture(autouse=True)
def passive(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "load_passive", FakePassive)


@pytest.fixture
def settings(tmp_path) -> AppSettings:
    save_jpeg(np.full((120, 160, 3), 90, np.uint8), tmp_path / "camera.jpg")
    return AppSettings(camera=str(tmp_path / "camera.jpg"))


def test_what_works_is_said(gallery, recognizer, settings):
    gallery.register(person("Ada Secret"), [])
    facts = doctor.examine(settings, gallery, recognizer)
    camera = facts["cameras"][0]
    assert camera["opens"] and camera["size_wh"] == [160, 120]
    assert 80 < camera["brightness"] < 100
    assert facts["store"]["people"] == 1
    assert facts["store"]["mode"] == "0600"
    assert facts["model"]["threshold"] == 0.6
    assert "numpy" in facts["packages"]
    assert facts["faults"] == []
    assert facts["liveness"]["thresholds"] == {
        "threshold": 0.5, "spoof_below": 0.2, "live_from": 0.8
    }  # fmt: skip
    assert (
        "liveness   auto, model fake: a score under 0.200 is an attack, from 0.800 live; 0.500 "
        "where it alone decides\n"
    ) in doctor.in_words(facts)
    assert ", trained here\ntrusted    yes: as the test says\n" in doctor.in_words(facts)
    recognizer.trusted = False
    said = doctor.in_words(doctor.examine(settings, gallery, recognizer))
    assert "trusted    no: as the test says\n" in said
    assert said.endswith("verdict    everything works, but the model is not trusted")
    for text in (json.dumps(facts), doctor.in_words(facts)):
        assert "Secret" not in text


def test_torch_is_not_missed(gallery, recognizer, settings, monkeypatch):
    def version(name: str) -> str:
        if "torch" in name:
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)
    facts = doctor.examine(settings, gallery, recognizer)
    assert facts["faults"] == [] and "starlette" in facts["packages"]
    assert "scipy 1.0; without torch, as the app may be\n" in doctor.in_words(facts)


def test_what_does_not_work_is_said(gallery, recognizer, tmp_path):
    gallery.path.parent.mkdir(parents=True)
    gallery.path.write_bytes(b"damaged")
    recognizer.facts = FakeRecognizer.facts.__get__(recognizer)
    settings = AppSettings(camera=str(tmp_path / "nothing.mp4"))
    facts = doctor.examine(settings, gallery, recognizer)
    assert "does not exist" in facts["cameras"][0]["problem"]
    assert "damaged" in facts["store"]["problem"]
    assert "damaged" in doctor.in_words(facts)
    assert doctor.in_words(facts).splitlines()[-1] == (
        f"verdict    not everything works: camera {tmp_path}/nothing.mp4 cannot be used; the store "
        f"cannot be read; others may read {gallery.path}"
    )


def test_the_home_folder_and_passwords_are_left_out(gallery, recognizer, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    recognizer.model_in_words = f"weights ({tmp_path}/x.pt)"
    settings = AppSettings(camera="rtsp://user:secret@127.0.0.1:9/x", offline=True)
    text = json.dumps(doctor.examine(settings, gallery, recognizer))
    assert str(tmp_path) not in text and "secret" not in text and "user" not in text


def test_a_dark_camera_and_people_of_another_model_are_in_the_verdict(
    gallery, recognizer, settings
):
    save_jpeg(np.zeros((120, 160, 3), np.uint8), Path(settings.camera))
    gallery.register(person("Ada"), [])
    gallery.register(person("Bob", 2), [])
    gallery.register(person("Cid", 3), [image()])
    recognizer.fingerprint = "another"
    facts = doctor.examine(settings, gallery, recognizer)
    assert "; 1 of another model, embedded again at the next use" in doctor.in_words(facts)
    assert facts["faults"] == [
        f"camera {settings.camera} sees next to nothing",
        "2 people were registered with another model: register them again",
    ]


def test_a_model_that_does_not_load_and_another_camera_are_in_the_verdict(
    gallery, recognizer, monkeypatch, settings
):
    def no_model(people):
        raise ModelError("no such model")

    def camera_2_works(source, *, offline):
        if source != "2":
            raise CameraError(f"camera {source} does not open")
        return open_camera(settings.camera)

    def no_liveness():
        raise ModelError("the liveness model embedded is missing")

    recognizer.facts = no_model
    monkeypatch.setattr(doctor, "load_passive", no_liveness)
    monkeypatch.setattr(doctor, "open_camera", camera_2_works)
    facts = doctor.examine(AppSettings(camera="0"), gallery, recognizer)
    assert [camera["opens"] for camera in facts["cameras"]] == [False, True]
    assert facts["faults"] == [
        "camera 0 cannot be used: try --camera 2", "the model cannot be loaded",
        "the liveness model cannot be loaded",
    ]  # fmt: skip
    assert "liveness   the liveness model embedded is missing\n" in doctor.in_words(facts)
    off = doctor.examine(AppSettings(camera="0", liveness="off"), gallery, recognizer)
    assert "the liveness model cannot be loaded" not in off["faults"]
    assert "liveness   off: photographs and screens are not refused\n" in doctor.in_words(off)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_and_its_exit_code(form, monkeypatch, tmp_path, settings, capsys):
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    files = ["--embeddings", str(tmp_path / "e.pkl"), "--faces", str(tmp_path / "faces")]
    assert faceid_app.main([*files, "--camera", settings.camera, "doctor", *form]) == 0
    out = capsys.readouterr().out
    if form:
        assert json.loads(out)["store"]["exists"] is False
    else:
        assert "0.600 (for 0), margin 0.05" in out
        assert "160 x 120" in out and "does not exist yet" in out
        assert out.endswith("verdict    all is well\n")
    assert faceid_app.main([*files, "--camera", "nothing.mp4", "doctor", *form]) == 1


def test_a_store_that_cannot_be_read_is_not_said_to_be_plain(gallery, recognizer, settings):
    gallery.path.parent.mkdir()
    gallery.path.write_bytes(b"junk")
    facts = doctor.examine(settings, gallery, recognizer)
    assert "encryption" not in facts["store"] and facts["store"]["problem"]
    assert "not encrypted" not in doctor.in_words(facts)


def test_a_server_that_does_not_answer_is_said_once(recognizer, settings, tmp_path):
    pytest.importorskip("psycopg")
    server = ServerGallery("postgresql://door@127.0.0.1:1/people", tmp_path / "e.pkl")
    said = doctor.in_words(doctor.examine(settings, server, recognizer))
    (line,) = (line for line in said.splitlines() if line.startswith("store "))
    assert line.count("does not answer") == line.count("127.0.0.1:1/people") == 1
    assert "encrypted" not in line
