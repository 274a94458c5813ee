"""Deleting a person removes every trace of them; an export has everything that is stored."""

from __future__ import annotations

import json
import os
import stat
import unicodedata
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from facesync.errors import StoreError
from facesync.files import temporary_beside
from facesync.gallery import attempts, leftovers, samples, store_file
from facesync.gallery.backups import backup, restore
from facesync.gallery.checking import check
from facesync.gallery.exports import export
from facesync.gallery.on_files import FileGallery
from facesync.images import read_image_rgb
from facesync.liveness import camera
from tests.gallery.conftest import enrolled, images
from tests.gallery.test_store import HARD_NAMES


def opened(gallery) -> bytes:
    """Everything in the folder, and what is sealed in it."""
    root = gallery.faces.parent
    content = b"".join(p.read_bytes() for p in root.rglob("*") if p.is_file())
    for path in (gallery.path, gallery.backup):
        content += store_file.read(path, gallery.keys).plain if path.exists() else b""
    return content + "\n".join(str(p.relative_to(root)) for p in root.rglob("*")).encode()


@pytest.mark.parametrize("name", ["Zoë Quist", *HARD_NAMES[2:6]])
def test_nothing_is_left(either, name):
    gone = enrolled(name)
    either.register(enrolled("Bob", 2), images())
    either.register(gone, images(shade=37))
    either.register(enrolled("Bob", 4), images(), replace=True)
    temporary_beside(either.path).write_bytes(either.path.read_bytes())
    either.attempts.record(name, None)
    temporary_beside(camera.file_of(either.path)).write_bytes(b"{")
    assert either.delete(unicodedata.normalize("NFD", name)) == name
    left = opened(either)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert unicodedata.normalize(form, name).encode() not in left
    for vector in (gone.embedding, *gone.sample_embeddings):
        assert vector.tobytes() not in left
    assert [p.name for p in either.people()] == ["Bob"]
    assert len(either.images("Bob")) == 2
    assert not temporary_beside(camera.file_of(either.path)).exists()


@pytest.mark.parametrize("name", ["Ada", "people", "ndarray", "salt"])
def test_what_others_and_the_files_have_anyway_is_not_left(either, name):
    """Bob is registered from the same images; the names are words of the files themselves."""
    for each in (name, "Bob"):
        either.register(replace(enrolled("Bob"), name=each), images())
    either.attempts.record("Bob", None)
    assert either.delete(name) == name
    assert [person.name for person in either.people()] == ["Bob"]


def test_what_cannot_be_removed_is_reported(either, monkeypatch):
    either.register(enrolled("Ada"), images())
    monkeypatch.setattr(samples, "settle", lambda folder, save: None)
    with pytest.raises(StoreError, match=r"something of Ada is left in .*sample_1\.jpg"):
        either.delete("Ada")


def test_a_copy_that_is_left_is_found(either, monkeypatch):
    either.register(enrolled("Ada"), images())
    either.register(enrolled("Bob", 2), images())
    monkeypatch.setattr(leftovers, "remove_temporary", lambda store: None)
    # Beside the count of attempts: a save overwrites those beside the store and its backup.
    copy = temporary_beside(attempts.file_of(either.path))
    copy.write_bytes(either.path.read_bytes())
    with pytest.raises(StoreError, match=r"left in .*\.tmp"):
        either.delete("Ada")


def test_a_longer_name_is_not_a_leftover(anywhere):
    anywhere.register(enrolled("Ada"), images())
    anywhere.register(enrolled("Adam", 2), images())
    assert anywhere.delete("Ada") == "Ada"


def test_what_is_known_of_cameras_is_not_of_a_person_with_the_name_of_one(either):
    either.register(enrolled("Bob"), images())
    camera.file_of(either.path).write_text('{"format": 1, "model": "x", "cameras": {"0": [0.9]}}')
    for name in ("0", "model"):
        either.register(enrolled(name, 2), images())
        assert either.delete(name) == name
    assert camera.file_of(either.path).exists()


def test_a_person_who_is_only_in_the_backup(either):
    """As after a restore."""
    either.register(enrolled("Ada"), [])
    either.register(enrolled("Bob", 2), [])
    either.register(enrolled("Cid", 3), [])
    with either.locked():
        either.change(either.content(), [enrolled("Bob", 2)], {})
    assert either.find("Ada") is None
    assert either.delete("Ada") == "Ada"
    assert [p.name for p in store_file.read(either.backup, either.keys).people] == ["Bob", "Cid"]
    either.path.unlink()  # then the backup is all there is: the others stay in it
    assert either.delete("Cid") == "Cid"
    assert [p.name for p in store_file.read(either.backup, either.keys).people] == ["Bob"]


def test_an_unreadable_backup_is_only_replaced_if_there_is_a_store(gallery):
    gallery.register(enrolled("Ada"), images())
    gallery.backup.write_bytes(b"damaged")
    gallery.path.rename(gallery.path.with_suffix(".away"))
    with pytest.raises(StoreError, match=r"left in .*\.bak"):  # it may be: nobody can look
        gallery.delete("Ada")
    assert gallery.backup.read_bytes() == b"damaged"
    gallery.path.with_suffix(".away").rename(gallery.path)
    assert gallery.delete("Ada") == "Ada"
    assert store_file.read(gallery.backup, gallery.keys).people == []


def test_everybody(either):
    for seed, name in enumerate(HARD_NAMES):
        either.register(enrolled(name, seed + 1), images(1))
    either.attempts.record("con", None)
    assert sorted(either.delete_all()) == sorted(HARD_NAMES)
    assert either.people() == []
    left = [p.name for p in either.faces.parent.rglob("*") if p.is_file()]
    assert all(name.endswith(".lock") for name in left)
    assert either.delete_all() == []


def test_everybody_is_also_who_is_nowhere_but_in_the_images(either, tmp_path):
    """As after a restore and another save: neither the store nor the version before names Ada."""
    either.register(enrolled("Bob", 2), images())
    backup(either, tmp_path / "x")
    either.register(enrolled("Ada"), images())
    restore(either, tmp_path / "x")
    either.register(enrolled("Cid", 3), images())
    (either.folder("Ada") / "diary.txt").write_text("mine")
    assert either.delete_all() == ["Bob", "Cid"]
    assert [p.name for p in either.faces.rglob("*") if p.is_file()] == ["diary.txt"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_store_that_is_a_link_forgets_too(either, tmp_path):
    target = tmp_path / "elsewhere" / "people.pkl"
    target.parent.mkdir()
    either.path.parent.mkdir()
    either.path.symlink_to(target)
    linked = FileGallery(either.path, either.faces, encrypt=either.encrypts)
    gone = enrolled("Ada")
    for one in (gone, enrolled("Bob", 2)):
        linked.register(one, images())
    assert either.path.is_symlink()
    assert linked.delete("Ada") == "Ada"
    assert store_file.read(target, linked.keys).plain.find(gone.embedding.tobytes()) == -1
    assert linked.delete_all() == ["Bob"]
    assert not target.exists() and not any(p.suffix == ".bak" for p in tmp_path.rglob("*"))


@pytest.mark.parametrize("which", ["path", "backup"])
@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_what_became_a_link_is_refused(either, tmp_path, which):
    """It would be replaced, and what it points at would keep everybody."""
    either.register(enrolled("Ada"), images())
    either.register(enrolled("Bob", 2), images())
    link = getattr(either, which)
    link.rename(tmp_path / "kept")
    link.symlink_to(tmp_path / "kept")
    with pytest.raises(StoreError, match=r"is a link: put the file itself in its place"):
        either.delete("Ada")
    assert any("is a link" in line for line in check(either)[1])


@pytest.mark.parametrize("name", HARD_NAMES[::3])
def test_export(either, name, tmp_path):
    ada, file = enrolled(name), tmp_path / "out" / "x.zip"
    either.register(ada, images(3))
    # Killed just before the images were put in place.
    staged = either.folder(name) / f".new-replace-{either.content().saves}"
    staged.mkdir()
    for image in samples.in_use(either.folder(name)):
        image.rename(staged / image.name)
    assert export(either, name, file) == 3
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with zipfile.ZipFile(file) as archive:
        facts = json.loads(archive.read("person.json"))
        shown = [read_image_rgb(archive.read(f"pictures/{p}")) for p in facts["pictures"]]
        assert len(archive.namelist()) == 4
    np.testing.assert_array_equal(np.float32(facts["embedding"]), ada.embedding)
    np.testing.assert_array_equal(np.float32(facts["sample_embeddings"]), ada.sample_embeddings)
    assert (facts["name"], facts["registered"]) == (name, ada.registered.isoformat())
    assert [p.tolist() for p in shown] == [p.tolist() for p in either.images(name)]
    with pytest.raises(StoreError, match="nobody is registered as Bob"):
        export(either, "Bob", file)
