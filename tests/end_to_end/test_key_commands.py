"""`store key export|import`: a gallery opens on a second machine, and nowhere without the key."""

from __future__ import annotations

import shutil
import stat

import pytest

import faceid_app
from facesync.errors import StoreError
from facesync.gallery import key_files, keys, sealing
from facesync.gallery.keys import KeyChain, OnePassphrase, key_file
from facesync.gallery.on_files import FileGallery
from facesync.pickles import dumps_plain, load_plain
from tests.end_to_end.driving import Terminal
from tests.gallery.conftest import enrolled, images

PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A cheaper scrypt: what it costs is no matter here."""
    monkeypatch.setattr(keys, "_SCRYPT_OF_FILES", {"n": 2**14, "r": 8, "p": 1})


@pytest.fixture
def here(tmp_path, monkeypatch) -> FileGallery:
    """A gallery with Ada, in whose folder commands run; `typed` has the passphrase."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "typed").write_text(PASSPHRASE + "\n")
    gallery = FileGallery(tmp_path / "models" / "face_embeddings.pkl", tmp_path / "faces")
    gallery.register(enrolled("Ada"), images())
    return gallery


@pytest.fixture
def moved(monkeypatch, tmp_path):
    """Go to another machine: the same files, another folder of keys."""

    def move() -> None:
        monkeypatch.setattr(keys, "config_folder", lambda: tmp_path / "elsewhere")

    return move


def key(action: str, *arguments: str, typed: str | None = "typed") -> int:
    passphrase = ["--passphrase-file", typed] if typed else []
    return faceid_app.main(["store", "key", action, *arguments, *passphrase])


def key_id(gallery: FileGallery) -> str:
    return load_plain(gallery.path)["encryption"]["key"]["id"]


def test_the_store_opens_on_another_machine(here, moved, capsys):
    assert key("export", "door.key") == 0
    said = capsys.readouterr().out
    assert keys.in_groups(key_id(here)) in said and "Ada" not in said
    moved()
    assert faceid_app.main(["list"]) == 1
    capsys.readouterr()
    assert key("import", "door.key") == 0
    assert keys.in_groups(key_id(here)) in capsys.readouterr().out
    assert stat.S_IMODE(key_file(key_id(here)).stat().st_mode) == 0o600
    assert faceid_app.main(["list"]) == 0
    assert "Ada" in capsys.readouterr().out
    assert key("import", "door.key") == 0  # again: it is here already


def test_the_file_is_private_sealed_and_names_nobody(here, tmp_path):
    assert key("export", "door.key") == 0
    file = tmp_path / "door.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = KeyChain().find(load_plain(here.path)["encryption"]["key"]).secret
    content = file.read_bytes()
    assert secret not in content and b"Ada" not in content and key_id(here).encode() not in content
    assert key_files.read(file, PASSPHRASE).secret == secret


def test_nothing_is_overwritten(here, tmp_path, capsys):
    for name in ("a file", "a link"):
        (tmp_path / "a file").write_bytes(b"mine")
        if name == "a link":
            (tmp_path / "a link").symlink_to("nowhere")
        assert key("export", name) == 1
        assert "already exists" in capsys.readouterr().err
    assert (tmp_path / "a file").read_bytes() == b"mine" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("typed", "says"),
    [("short\n", "at least 8"), ("", "at least 8"), (None, "use --passphrase-file")],
)
def test_a_poor_passphrase_writes_nothing(here, tmp_path, capsys, monkeypatch, typed, says):
    if typed is not None:
        (tmp_path / "typed").write_text(typed)
    assert key("export", "door.key", typed=typed if typed is None else "typed") == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "door.key").exists()


def test_a_passphrase_without_end_is_not_read(here, tmp_path, capsys):
    with (tmp_path / "typed").open("wb") as endless:
        endless.truncate(1 << 40)
    assert key("export", "door.key") == 1
    error = capsys.readouterr().err
    assert "more than 4096 bytes" in error and error.count("\n") == 1
    assert not (tmp_path / "door.key").exists()


def test_a_wrong_passphrase_imports_nothing(here, tmp_path, moved, capsys):
    assert key("export", "door.key") == 0
    moved()
    (tmp_path / "typed").write_text("another one\n")
    assert key("import", "door.key") == 1
    error = capsys.readouterr().err
    assert "the passphrase is wrong" in error and error.count("\n") == 1
    assert not key_file("").parent.exists()


def test_another_key_of_the_gallery_here_is_not_replaced(here, capsys):
    assert key("export", "door.key") == 0
    before = key_id(here)
    here.reseal(here.keys.new)
    kept = {file.name: file.read_bytes() for file in key_file("").parent.iterdir()}
    assert key("import", "door.key") == 1
    error = capsys.readouterr().err
    assert keys.in_groups(before) in error and keys.in_groups(key_id(here)) in error
    assert {file.name: file.read_bytes() for file in key_file("").parent.iterdir()} == kept


def test_a_plain_store_neither_gives_nor_takes_a_key(here, capsys):
    assert key("export", "door.key") == 0
    here.reseal(None)
    for action, file in (("export", "other.key"), ("import", "door.key")):
        assert key(action, file) == 1
        assert "has no key" in capsys.readouterr().err
    assert faceid_app.main(["list"]) == 0


def test_nobody_registered_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert key("export", "door.key", typed=None) == 1
    assert "has no key" in capsys.readouterr().err


def test_a_key_of_a_passphrase_is_not_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "of the store")
    gallery = FileGallery(tmp_path / "models" / "face_embeddings.pkl", tmp_path / "faces")
    gallery.register(enrolled("Ada"), [])
    (tmp_path / "typed").write_text(PASSPHRASE)
    assert key("export", "door.key") == 1
    assert "comes from a passphrase" in capsys.readouterr().err


def test_a_damaged_or_hostile_file_is_one_line(here, tmp_path, moved, capsys):
    assert key("export", "door.key") == 0
    whole = load_plain(tmp_path / "door.key")
    header = whole["encryption"]["key"]
    flipped = bytes([whole["data"][0] ^ 1]) + whole["data"][1:]
    stored = {"kind": "stored", "id": key_id(here)}  # opens with the gallery's own key
    hostile = {
        "flipped": dumps_plain({**whole, "data": flipped}),
        "cut": (tmp_path / "door.key").read_bytes()[:-30],
        "empty": b"",
        "text": b"hello\n",
        "large": b"\x80" + bytes(2 << 20),
        "no key": dumps_plain({"format": 2}),
        "a store": here.path.read_bytes(),
        "stored": sealing.seal(bytes(32), keys.stored_key(bytes(32)), sealing.KEY),
        "short": sealing.seal(b"x" * 31, OnePassphrase(PASSPHRASE).new(), sealing.KEY),
        "another": sealing.seal(b"x" * 32, OnePassphrase(PASSPHRASE).new(), sealing.BACKUP),
        "kind": dumps_plain({**whole, "encryption": {**whole["encryption"], "key": stored}}),
    }
    for name, value in {"n": 2**40, "r": 10**9, "p": 10**6, "salt": "", "id": "../../x"}.items():
        encryption = {**whole["encryption"], "key": {**header, name: value}}
        hostile[name] = dumps_plain({**whole, "encryption": encryption})
    capsys.readouterr()
    moved()
    for name, content in hostile.items():
        (tmp_path / "hostile").write_bytes(content)
        assert key("import", "hostile") == 1, name
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, name
    assert key("import", "nowhere") == 1
    assert not key_file("").parent.exists()


def test_the_store_is_sealed_anew_with_the_key_that_came(here, tmp_path, moved):
    """What the second machine saves, the first one opens."""
    assert key("export", "door.key") == 0
    shutil.copytree(tmp_path / "models", tmp_path / "there")
    moved()
    assert key("import", "door.key", "--embeddings", "there/face_embeddings.pkl") == 0
    there = FileGallery(tmp_path / "there" / "face_embeddings.pkl", tmp_path / "more")
    there.register(enrolled("Bob", 2), images())
    assert key_id(there) == key_id(here)


def test_a_key_has_32_bytes():
    with pytest.raises(StoreError, match="32 bytes, not 31"):
        keys.stored_key(bytes(31))


def test_the_passphrase_is_typed_twice_and_not_shown(here, tmp_path):
    with Terminal("faceid_app.py", "--embeddings", here.path, "--faces", here.faces,
                  "store", "key", "export", tmp_path / "a.key", env={}) as app:  # fmt: skip
        app.expect("New passphrase for the file: ")
        app.type(PASSPHRASE)
        app.expect("Repeat it: ")
        app.type("something else")
        assert app.exit_code() == 2 and "differ" in app.text
    with Terminal("faceid_app.py", "--embeddings", here.path, "--faces", here.faces,
                  "store", "key", "export", tmp_path / "a.key", env={}) as app:  # fmt: skip
        for question in ("New passphrase for the file: ", "Repeat it: "):
            app.expect(question)
            app.type(PASSPHRASE)
        assert app.exit_code() == 0 and PASSPHRASE not in app.text
    with Terminal("faceid_app.py", "--embeddings", here.path, "--faces", here.faces,
                  "store", "key", "import", tmp_path / "a.key", env={}) as app:  # fmt: skip
        app.expect("Passphrase of the file: ")
        app.type(PASSPHRASE)
        assert app.exit_code() == 0 and keys.in_groups(key_id(here)) in app.text


def test_a_second_door_needs_the_key(here, tmp_path, postgres_url, run_script):
    server = ("--gallery", postgres_url, "--embeddings", here.path, "--faces", here.faces)
    sealed = (tmp_path / "door.key", "--passphrase-file", tmp_path / "typed", *server)
    assert run_script("faceid_app.py", "store", "push", *server).returncode == 0
    assert run_script("faceid_app.py", "store", "key", "export", *sealed).returncode == 0
    there = {"XDG_CONFIG_HOME": str(tmp_path / "there"), "HOME": str(tmp_path / "there")}
    without = run_script("faceid_app.py", "list", *server, env=there)
    assert without.returncode == 1 and without.stderr.count("\n") == 1
    assert "store key import" in without.stderr
    imported = run_script("faceid_app.py", "store", "key", "import", *sealed, env=there)
    listed = run_script("faceid_app.py", "list", *server, env=there)
    assert (imported.returncode, listed.returncode) == (0, 0) and "Ada" in listed.stdout
    for done in (without, imported, listed):
        assert "s3cret" not in done.stdout + done.stderr
