"""The commands about the store itself, as a person types them, with models that read colours."""

from __future__ import annotations

import json
import zipfile

import pytest
from PIL import Image

import faceid_app
from facesync.app import session
from facesync.gallery.on_files import FileGallery
from tests.app.fakes import FakeRecognizer, image


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the test's own, in which Ada and Bob are registered."""
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    monkeypatch.chdir(tmp_path)
    for name, who in (("Ada", 1), ("Bob", 2)):
        shot(tmp_path, name, who)
        assert run("register", name, "--images", f"{name}.png") == 0
    return tmp_path


def shot(folder, name: str, who: int) -> None:
    Image.fromarray(image(who=who)).save(folder / f"{name}.png")


def run(*arguments: str) -> int:
    return faceid_app.main([*arguments[:1], "--offline", *arguments[1:]])


def store(action: str, *arguments: str) -> int:
    return faceid_app.main(["--offline", "store", action, *arguments])


def names(capsys) -> list[str]:
    capsys.readouterr()
    assert run("list", "--json") == 0
    return [entry["name"] for entry in json.loads(capsys.readouterr().out)]


def test_encrypted_by_itself_opened_and_sealed_again(folder, capsys):
    sealed = FileGallery(folder / "models" / "face_embeddings.pkl", folder / "faces")
    assert b"Ada" not in sealed.path.read_bytes()
    assert not list(folder.rglob("*.jpg"))
    assert store("decrypt") == 0
    assert b"Ada" in sealed.path.read_bytes()
    assert len(list((folder / "faces").rglob("*.jpg"))) == 2
    assert store("encrypt") == 0
    assert b"Ada" not in sealed.path.read_bytes() + sealed.backup.read_bytes()
    assert store("change-key") == 0
    assert "was not removed" in capsys.readouterr().out
    assert store("check") == 0
    assert "everything is in order" in capsys.readouterr().out
    assert names(capsys) == ["Ada", "Bob"]


def test_a_passphrase_is_needed_again(folder, capsys, monkeypatch):
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "right")
    assert store("change-key", "--passphrase") == 0
    assert names(capsys) == ["Ada", "Bob"]
    before = (folder / "models" / "face_embeddings.pkl").read_bytes()
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "wrong")
    for command in (
        ["list"],
        ["register", "Cy", "--images", "Ada.png"],
        ["delete", "Ada", "--yes"],
    ):
        assert run(*command) == 1
        assert capsys.readouterr().err.count("error: ") == 1
    assert (folder / "models" / "face_embeddings.pkl").read_bytes() == before


def test_a_changed_byte_is_told_and_nothing_is_overwritten(folder, capsys):
    path = folder / "models" / "face_embeddings.pkl"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    for command in (["list"], ["delete", "Ada", "--yes"]):
        assert run(*command) == 1
    assert store("check") == 1
    assert path.read_bytes() == content


def test_a_plain_store_in_its_place_is_refused_until_it_is_adopted(folder, capsys):
    assert run("--no-encrypt", "register", "Eve", "--images", "Bob.png", "--embeddings", "x") == 0
    (folder / "x").replace(folder / "models" / "face_embeddings.pkl")
    for command in (
        ["verify", "--name", "Eve", "--image", "Bob.png"],
        ["register", "Cy", "--images", "Ada.png"],
        ["list"],
    ):
        assert run(*command) == 1
        assert "`store adopt` or --no-encrypt accepts it" in capsys.readouterr().err
    assert store("check") == 1
    assert run("list", "--no-encrypt") == 0
    assert store("adopt") == 0
    assert "is trusted from now on, with Eve: not encrypted" in capsys.readouterr().out
    assert run("verify", "--name", "Eve", "--image", "Bob.png") == 0


def test_an_older_store_in_its_place_is_a_warning(folder, capsys):
    path = folder / "models" / "face_embeddings.pkl"
    before = path.read_bytes()
    assert run("delete", "Ada", "--yes") == 0
    path.write_bytes(before)
    capsys.readouterr()
    assert run("verify", "--name", "Ada", "--image", "Ada.png", "--json") == 0
    printed = capsys.readouterr()
    assert printed.err.count("is not the one that was saved last") == 1
    assert json.loads(printed.out)["accepted"]
    assert store("check") == 1


def test_a_backup_comes_back_whole(folder, capsys):
    assert store("backup", "all.facesync") == 0
    assert store("backup", "all.facesync") == 1
    assert "choose another name" in capsys.readouterr().err
    assert run("delete", "Ada", "--yes") == 0
    assert names(capsys) == ["Bob"]
    assert store("restore", "all.facesync") == 0
    assert names(capsys) == ["Ada", "Bob"]
    assert run("verify", "--image", "Ada.png") == 0
    (folder / "no.facesync").write_bytes(b"nothing")
    assert store("restore", "no.facesync") == 1
    assert names(capsys) == ["Ada", "Bob"]


def test_everything_about_a_person_and_nothing_about_others(folder, capsys):
    assert run("export", "Ada", "--output", "ada.zip") == 0
    with zipfile.ZipFile(folder / "ada.zip") as zipped:
        inside = zipped.namelist()
        person = json.loads(zipped.read("person.json"))
    assert person["name"] == "Ada" and sum(name.endswith(".jpg") for name in inside) == 1
    assert b"Bob" not in (folder / "ada.zip").read_bytes()
    assert (folder / "ada.zip").stat().st_mode & 0o777 == 0o600
    assert run("export", "Nobody") == 1


def test_export_follows_no_link(folder, capsys):
    (folder / "private.txt").write_text("a key of somebody else's")
    (folder / "out.zip").symlink_to(folder / "nowhere.zip")
    assert run("export", "Ada", "--output", "out.zip") == 1
    assert "already exists" in capsys.readouterr().err
    (images,) = {path.parent for path in (folder / "faces").rglob("Ada/*")}
    (images / "sample_9.jpg").symlink_to(folder / "private.txt")
    assert run("export", "Ada", "--output", "ada.zip") == 1
    assert "sample_9.jpg: it is a link" in capsys.readouterr().err
    assert not (folder / "nowhere.zip").exists() and not (folder / "ada.zip").exists()


def log_events(folder) -> list[dict]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def test_another_name(folder, capsys):
    assert run("rename", "ada", "Ada Lovelace", "--audit-log", "log.jsonl") == 0
    said = "Ada is Ada Lovelace from now on: template, images and failed attempts\n"
    assert capsys.readouterr().out.endswith(said)
    assert names(capsys) == ["Ada Lovelace", "Bob"]
    assert run("verify", "--image", "Ada.png", "--name", "Ada Lovelace") == 0
    assert log_events(folder) == [{"event": "renamed", "name": "Ada", "new": "Ada Lovelace"}]
    assert (folder / "log.jsonl").stat().st_mode & 0o777 == 0o600
    assert store("check") == 0
    for old, new, why in (
        ("Ada", "Eva", "nobody is registered as Ada; `list` shows who is"),
        ("Bob", "ada lovelace", "Ada Lovelace is already registered"),
        ("Bob", "\u0410da Lovelace", "looks like Ada Lovelace, who is registered"),
        ("Bob", " ", "a name needs at least one printable character"),
    ):
        capsys.readouterr()
        assert run("rename", old, new) == 1
        assert why in capsys.readouterr().err
    assert names(capsys) == ["Ada Lovelace", "Bob"]
    assert run("rename", "Bob", "\u0410da Lovelace", "--similar-name") == 0
    assert len(names(capsys)) == 2


def test_two_names_of_one_person(folder, capsys):
    shot(folder, "Ada too", 1)
    assert run("register", "Ada too", "--images", "Ada too.png", "--same-person") == 0
    assert run("merge", "Ada", "Bob") == 1
    assert "this is not the face registered as Ada" in capsys.readouterr().err
    assert run("merge", "ADA", "ada too", "--audit-log", "log.jsonl") == 0
    said = "Ada has 2 samples now, those of Ada too among them; Ada too is gone\n"
    assert capsys.readouterr().out.endswith(said)
    assert names(capsys) == ["Ada", "Bob"]
    assert run("merge", "Ada", "Bob", "--same-person", "--audit-log", "log.jsonl") == 0
    assert names(capsys) == ["Ada"]
    assert log_events(folder) == [
        {"event": "merged", "name": "Ada", "other": other} for other in ("Ada too", "Bob")
    ]
    assert store("check") == 0
    assert run("delete", "Ada", "--yes") == 0
    assert run("merge", "Ada", "Bob") == 1
    assert not [path for path in (folder / "faces").rglob("*") if path.is_file()]


def test_a_renamed_person_stays_paused(folder, capsys):
    for _ in range(5):
        assert run("verify", "--name", "Ada", "--image", "Bob.png") == 1
    assert run("rename", "Ada", "Eva") == 0
    capsys.readouterr()
    assert run("verify", "--name", "Eva", "--image", "Ada.png") == 1
    assert "5 failed attempts in a row" in capsys.readouterr().err


def test_what_was_searched_after_a_deletion_is_said(folder, capsys):
    assert run("verify", "--name", "Ada", "--image", "Bob.png") == 1
    capsys.readouterr()
    assert run("delete", "Ada", "--yes") == 0
    beside = [folder / "models" / f"face_embeddings.pkl{end}" for end in ("", ".bak", ".attempts")]
    size = sum(path.stat().st_size for path in beside)
    said, searched = capsys.readouterr().out.splitlines()
    assert said == "Ada is deleted: template, samples, images and the copy in the backup"
    proof = (
        f"  searched: 3 files of the store ({size:,} bytes) and faces; nothing about them is left"
    )
    assert searched == f"{proof} in any"
    assert run("delete", "--all", "--yes") == 0
    assert "0 files of the store (0 bytes) and faces" in capsys.readouterr().out


def test_everybody_is_forgotten(folder, capsys):
    assert run("delete", "--all") == 2  # there is no terminal to ask on
    assert run("delete", "--all", "--yes") == 0
    assert names(capsys) == []
    left = [p for p in (folder / "faces").rglob("*") if p.is_file()]
    assert not left


def test_wrong_attempts_pause_and_are_logged(folder, capsys):
    asked = ["verify", "--name", "Ada", "--image", "Bob.png", "--audit-log", "log.jsonl"]
    for _ in range(5):
        assert run(*asked) == 1
    capsys.readouterr()
    assert run("verify", "--name", "Ada", "--image", "Ada.png") == 1
    assert "30" in capsys.readouterr().err
    assert run("verify", "--name", "Bob", "--image", "Bob.png") == 0
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(lines) >= 5 and not any(line["accepted"] for line in lines)
    assert (folder / "log.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "name",
    ["../../x", "con", "n" * 300, "🙂", "\u05d0\u05d1\u05d2", "two\nlines", "-dash", "Jose\u0301"],
)
def test_hard_names_are_verified_too(folder, capsys, name):
    shot(folder, "third", 3)
    assert faceid_app.main(["register", "--images", "third.png", "--", name]) == 0
    stored = next(n for n in names(capsys) if n not in ("Ada", "Bob"))
    assert run("verify", "--image", "third.png", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == stored
    assert faceid_app.main(["delete", "--yes", "--", name]) == 0
    assert names(capsys) == ["Ada", "Bob"]
    outside = {p.name for p in folder.iterdir()} - {"models", "faces"}
    assert outside == {"Ada.png", "Bob.png", "third.png"}
