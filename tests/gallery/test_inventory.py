"""What is stored is listed whole: every file, and nothing that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesync.files import temporary_beside
from facesync.gallery import keys
from facesync.gallery.inventory import stored
from facesync.gallery.on_files import FileGallery
from facesync.gallery.resealing import reseal
from facesync.liveness import camera
from tests.gallery.conftest import enrolled, images


@pytest.fixture
def full(either, tmp_path) -> FileGallery:
    """Two people, a failed attempt, a camera and a log."""
    gallery = FileGallery(
        either.path, either.faces, encrypt=either.encrypts, audit_log=tmp_path / "log.jsonl"
    )
    gallery.register(enrolled("Ada"), images(3))
    gallery.register(enrolled("Bob", 2), images(2))
    gallery.attempts.record("Ada", None)
    camera.file_of(gallery.path).write_text("{}")
    gallery.audit_log.write_text("{}\n{}\n")
    return gallery


def files(*folders: Path) -> dict[str, int]:
    found = (path for folder in folders for path in folder.rglob("*"))
    return {str(p): p.stat().st_size for p in found if p.is_file() and p.suffix != ".lock"}


def test_every_file_is_in_the_list(full):
    listed = stored(full)
    sealed = full.encrypts
    facts = [(each.items, each.sealed) for each in listed]
    assert facts[:3] == [(2, sealed), (1, sealed), (5, sealed)]
    assert facts[3:6] == [(1, None), (1, None), *([(1, None)] if sealed else [(2, False)])]
    where = {each.where for each in listed}
    config = keys.key_file("").parent.parent
    there = files(full.path.parent, full.faces, config) | files(full.audit_log.parent)
    for path in there:
        assert path in where or str(full.faces) in path
    assert sum(each.bytes for each in listed) == sum(there.values())
    assert ("the key that opens what is encrypted" in {each.what for each in listed}) is sealed


def test_nothing_is_in_the_list_of_a_store_that_does_not_exist(either):
    assert stored(either) == []


def test_one_plain_image_is_not_sealed(sealed):
    sealed.register(enrolled("Ada"), images(3))
    (sealed.folder("Ada") / "sample_4.jpg").write_bytes(b"")
    assert [each.sealed for each in stored(sealed) if each.what == "sample images"] == [False]


def test_a_version_before_that_cannot_be_read_is_listed_all_the_same(either):
    either.register(enrolled("Ada"), images(3))
    either.backup.write_bytes(b"damaged")
    (before,) = [each for each in stored(either) if each.where == str(either.backup)]
    assert (before.items, before.sealed, before.bytes) == (None, False, 7)


def test_what_was_left_half_way_and_earlier_keys_are_listed(sealed):
    sealed.register(enrolled("Ada"), images(3))
    reseal(sealed, sealed.keys.new)
    temporary_beside(sealed.path).write_bytes(b"half")
    listed = {each.what: each for each in stored(sealed)}
    assert listed["left by an interruption; the next change removes it"].bytes == 4
    assert listed["keys of earlier backups or of other stores"].items == 1


def test_a_key_in_the_keyring_is_said_to_be_there(sealed, monkeypatch):
    monkeypatch.setattr(keys, "_put_in_keyring", lambda key: True)
    sealed.register(enrolled("Ada"), images(3))
    (key,) = [each for each in stored(sealed) if each.what.startswith("the key")]
    assert (key.where, key.bytes) == ("the system's keyring", 0)


def test_a_passphrase_is_kept_nowhere(sealed, monkeypatch):
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "secret")
    sealed.register(enrolled("Ada"), images(3))
    assert not [each for each in stored(sealed) if "key" in each.what]
