"""The menu, driven in a terminal without a display."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("pty")

from facesync.app.settings import AppSettings
from facesync.faces.recognizer import Recognizer
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.on_files import FileGallery
from facesync.gallery.registration import Registration, enrol_images, store
from facesync.images import save_jpeg
from tests.app.fakes import embedding
from tests.conftest import ROOT
from tests.end_to_end.driving import PATIENCE, Terminal, app_weights
from tests.gallery.conftest import person

NO_DISPLAY = {"DISPLAY": None, "WAYLAND_DISPLAY": None}


@pytest.fixture
def menu(tmp_path):
    """Start the menu; its files lie in the test's own folder."""
    started = []

    def start(*args: object, env: dict[str, str | None] = NO_DISPLAY) -> Terminal:
        files = ("--embeddings", tmp_path / "models" / "e.pkl", "--faces", tmp_path / "faces")
        started.append(Terminal("faceid_app.py", *files, *args, env=env))
        return started[-1]

    yield start
    for terminal in started:
        with terminal:
            pass


@pytest.fixture
def gallery(tmp_path) -> FileGallery:
    return FileGallery(tmp_path / "models" / "e.pkl", tmp_path / "faces")


def test_list_delete_and_bad_input(menu, gallery):
    gallery.register(person("José"), [])
    gallery.register(person("Bob", 2), [])
    app = menu()
    app.expect("FaceSync\n  model      .*loaded when first needed")
    app.expect("threshold  the model's own, else 0.600")
    app.expect("known      2 people in ")
    for nonsense in ("", "0", "register", "\x1b[A"):
        app.expect(r"Choose 1-\d+: ")
        app.type(nonsense)
        app.expect(r"Please type a number from 1 to \d+")
    app.expect(r"Choose 1-\d+: ")
    app.type("3")
    app.expect("  Bob +20..-..-.. ..:..  2 samples\n  José")

    app.expect(r"Choose 1-\d+: ")
    app.type("4")
    app.expect("  1  Bob\n +2  José\nNumber or name .*: ")
    app.type("jose\u0301")
    app.expect(r"Delete José, template and images, for good\? \[y/N\] ")
    app.type("")
    app.expect("known      2 people")
    app.expect(r"Choose 1-\d+: ")
    app.type("4")
    app.expect("Number or name .*: ")
    app.type("2")
    app.expect(r"Delete José.*\[y/N\] ")
    app.type("y")
    app.expect("José is deleted")
    app.expect("known      1 person")

    app.expect(r"Choose 1-\d+: ")
    app.type("4")
    app.expect("Number or name .*: ")
    app.type("nobody")
    app.expect("error: nobody is registered as nobody")
    app.expect(r"Choose 1-\d+: ")
    app.type("q")
    assert app.exit_code() == 0
    assert [p.name for p in gallery.people()] == ["Bob"]


def test_the_end_of_input_leaves(menu):
    app = menu()
    app.expect(r"Choose 1-\d+: ")
    app.end_of_input()
    assert app.exit_code() == 0


def test_the_end_of_input_in_a_question_leaves(menu):
    app = menu()
    app.expect(r"Choose 1-\d+: ")
    app.type("1")
    app.expect("Name .*: ")
    app.end_of_input()
    assert app.exit_code() == 0


def test_ctrl_c_leaves(menu):
    app = menu()
    app.expect(r"Choose 1-\d+: ")
    app.interrupt()
    assert app.exit_code() == 0
    assert "Traceback" not in app.text and "error" not in app.text


def test_make_has_no_error_of_its_own_after_ctrl_c():
    """It reports what ends with another code than 0; the key reaches both, as in a terminal."""
    for tool in ("make", "setsid"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    main, side = os.openpty()
    command = ["make", "--no-print-directory", "-o", "install", f"PY={sys.executable}", "run"]
    made = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], cwd=ROOT, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    text = b""
    end = time.monotonic() + PATIENCE
    with contextlib.suppress(OSError):  # what reading raises at the end
        while time.monotonic() < end:
            if select.select([main], [], [], 1)[0]:
                if not (block := os.read(main, 65536)):
                    break
                text += block
            elif b"Choose 1-" in text:
                # Again where nothing came of it, as a person does: Python loses a key that
                # comes between its prompt and its read (PyOS_Readline).
                os.write(main, b"\x03")
    os.close(main)  # what is still there is hung up
    made.wait(PATIENCE)
    assert b"Choose 1-" in text and b"***" not in text and b"Traceback" not in text


def test_the_menu_without_a_terminal_leaves():
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, ROOT / "faceid_app.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_in_a_question_leads_back(menu, gallery):
    gallery.register(person("Bob"), [])
    app = menu()
    for choice, question in (("1", "Name .*: "), ("4", "Number or name .*: "), ("9", "camera: ")):
        app.expect(r"Choose 1-\d+: ")
        app.type(choice)
        app.expect(question)
        app.interrupt()
        app.expect("Interrupted: back to the menu")
    app.expect(r"Choose 1-\d+: ")
    app.type("q")
    assert app.exit_code() == 0
    assert [p.name for p in gallery.people()] == ["Bob"]


def test_export_and_the_choice_of_a_camera(menu, gallery, tmp_path):
    gallery.register(person("Bob"), [])
    save_jpeg(np.zeros((80, 80, 3), np.uint8), tmp_path / "a camera.jpg")
    app = menu()
    app.expect("camera     0\n")
    app.expect(r"Choose 1-\d+: ")
    app.type("7")
    app.expect("Number or name .*: ")
    app.type("1")
    app.expect("Zip file .*: ")
    app.type(f"'{tmp_path / 'bob.zip'}'")
    app.expect("everything stored about Bob")
    assert (tmp_path / "bob.zip").exists()
    for typed, shown in (("nothing.mp4", "0"), (f"{tmp_path}/a camera.jpg", ".*a camera.jpg")):
        app.expect(r"Choose 1-\d+: ")
        app.type("9")
        app.expect("camera: .*: ")
        app.type(typed)
        app.expect(f"camera     {shown}\n")
    assert "error: nothing.mp4 does not exist" in app.text
    app.expect(r"Choose 1-\d+: ")
    app.type("q")
    assert app.exit_code() == 0


def test_people_are_renamed_and_merged(menu, gallery):
    """In one dialogue: a name that is free is a new one, that of somebody else asks to merge."""
    from skimage import data

    photo = ("photo", data.astronaut())
    model = Recognizer(AppSettings(model="embedded", offline=True))
    for name in ("Ada", "Ada L."):
        enrolment = Enrolment(model.threshold, photographs=True)
        list(enrol_images(model, enrolment, [photo]))
        store(gallery, model, Registration(name, same_person=True), enrolment)
    gallery.register(person("Bob", 2), [])
    app = menu("--model", "embedded", "--offline")
    for whom, new, question, answer, said in (
        ("3", "bob", "", "", "Bob is bob from now on"),
        ("1", "", "", "", "known      3 people"),
        ("2", "ada", "Are Ada L. and Ada one person, to be called Ada", "n", "known      3 people"),
        ("2", "ada", "Are Ada L. and Ada one person", "y", "Ada has 2 samples now"),
        ("2", "Ada", "Are bob and Ada one person", "y", "error: bob was registered with another"),
    ):
        app.expect(r"Choose 1-\d+: ")
        app.type("8")
        app.expect("Number or name .*: ")
        app.type(whom)
        app.expect("New name.*: ")
        app.type(new)
        if question:
            app.expect(question)
            app.type(answer)
        app.expect(said)
    app.expect(r"Choose 1-\d+: ")
    app.type("q")
    assert app.exit_code() == 0
    assert [(each.name, each.samples) for each in gallery.people()] == [("Ada", 2), ("bob", 2)]


@pytest.mark.parametrize(
    ("answer", "said", "name"),
    [("y", "Ada is \u0412ob from now on", "\u0412ob"), ("", "error: .*nothing is changed", "Ada")],
)
def test_a_doubt_about_a_name_is_asked_about_on_a_terminal(gallery, answer, said, name):
    for seed, each in enumerate(("Ada", "Bob"), 1):
        gallery.register(person(each, seed), [])
    files = ("--embeddings", gallery.path, "--faces", gallery.faces)
    with Terminal("faceid_app.py", "rename", "ada", "\u0412ob", *files, env=NO_DISPLAY) as app:
        app.expect(r"looks like Bob, .*Is \u0412ob another person, with this name\? \[y/N\] ")
        app.type(answer)
        app.expect(said)
        assert app.exit_code() == (0 if answer else 1)
    assert {each.name for each in gallery.people()} == {name, "Bob"}


def test_a_store_that_cannot_be_read_is_said_and_stays(menu, gallery):
    gallery.path.parent.mkdir()
    gallery.path.write_bytes(b"damaged")
    app = menu()
    app.expect("known .*e.pkl is damaged")
    for choice in ("2", "3"):
        app.expect(r"Choose 1-\d+: ")
        app.type(choice)
        app.expect("error: .*e.pkl is damaged")
    app.expect(r"Choose 1-\d+: ")
    app.type("q")
    assert app.exit_code() == 0
    assert gallery.path.read_bytes() == b"damaged"


def test_errors_lead_back_to_the_menu(menu, tmp_path):
    (tmp_path / "text.pth").write_text("no model")
    app = menu("--model", tmp_path / "text.pth", "--camera", tmp_path / "nothing.mp4")
    app.expect(r"Choose 1-\d+: ")
    app.type("2")
    app.expect("error: nobody is registered in")
    app.expect(r"Choose 1-\d+: ")
    app.type("1")
    app.expect("Name .*: ")
    app.type("Ada")
    app.expect("error: .*text.pth.*not a checkpoint")
    app.expect(r"Choose 1-\d+: ")
    app.type("1")
    app.expect("Name .*: ")
    app.type("")
    app.expect(r"Choose 1-\d+: ")
    app.type("q")
    assert app.exit_code() == 0
    assert "Traceback" not in app.text


@pytest.mark.slow
@pytest.mark.parametrize("display", [None, ":4711"])
def test_without_a_display_the_flows_go_without_a_window(menu, gallery, tmp_path, display):
    from skimage import data

    save_jpeg(data.astronaut(), tmp_path / "camera.jpg")
    arguments, environment = app_weights(tmp_path)
    environment = {**NO_DISPLAY, **environment, "DISPLAY": display}
    app = menu(*arguments, "--camera", tmp_path / "camera.jpg", env=environment)
    app.expect(r"Choose 1-\d+: ")
    app.type("1")
    app.expect("Name .*: ")
    app.type("Ada")
    app.expect("No window: .*Using the camera without one")
    app.expect("Loading the models")
    app.expect("Ada is registered")
    app.expect("known      1 person")
    app.expect(r"Choose 1-\d+: ")
    app.type("2")
    app.expect("Ada: accepted")

    app.expect(r"Choose 1-\d+: ")
    app.type("1")
    app.expect("Name .*: ")
    app.type("ADA")
    app.expect(r"Ada is already registered: \[a\]dd samples, \[r\]eplace the old ones, or Enter")
    app.type("")
    app.expect(r"Choose 1-\d+: ")
    app.type("q")
    assert app.exit_code() == 0
    assert app.text.count("Loading the models") == 1
    (ada,) = gallery.people()
    assert ada.samples == 1
    assert len(gallery.images("Ada")) == 1
    assert ada.embedding.shape == embedding(1).shape
