"""Whoever can write into the folder of the store cannot put a plain or an older one in its place.

They cannot write into the folder of configuration.
"""

from __future__ import annotations

import os
import shutil

import pytest

from facesync.errors import StoreError
from facesync.gallery import keys, trust
from facesync.gallery.backups import backup, restore
from facesync.gallery.checking import check
from facesync.gallery.keys import config_folder
from facesync.gallery.on_files import FileGallery
from facesync.gallery.resealing import reseal
from tests.gallery.conftest import enrolled, images

ADA, BOB, EVE = enrolled("Ada", 1, 2), enrolled("Bob", 2, 2), enrolled("Eve", 3, 2)
EVIDENCE = ("mark", "backup", "images", "key")


@pytest.fixture
def plain(tmp_path) -> FileGallery:
    """The attacker's own gallery, not sealed."""
    gallery = FileGallery(tmp_path / "eve" / "store.pkl", tmp_path / "eve" / "faces", encrypt=False)
    gallery.register(EVE, images())
    return gallery


def again(gallery: FileGallery, *, encrypt: bool = True) -> FileGallery:
    return FileGallery(gallery.given, gallery.faces, encrypt=encrypt)


def remove(gallery: FileGallery, evidence: str) -> None:
    if evidence == "backup":
        gallery.backup.unlink()
    else:
        folders = {"mark": "stores", "key": "keys"}
        known = evidence in folders
        shutil.rmtree(config_folder() / folders[evidence] if known else gallery.faces)


@pytest.mark.parametrize("left", EVIDENCE)
def test_a_plain_store_in_place_of_a_sealed_one_is_refused(sealed, plain, left, tmp_path):
    sealed.register(BOB, images())
    sealed.register(ADA, images())
    for evidence in EVIDENCE:
        if evidence != left:
            remove(sealed, evidence)
    shutil.copy(plain.path, sealed.path)
    files = [sealed.path, *([sealed.backup] if left == "backup" else [])]
    before = [file.read_bytes() for file in files]
    for use in (
        lambda: again(sealed).people(),
        lambda: again(sealed).register(enrolled("Cid", 4, 2), images()),
        lambda: again(sealed).add(EVE, images()),
        lambda: again(sealed).delete("Eve"),
        lambda: again(sealed).delete_all(),
        lambda: backup(again(sealed), tmp_path / "x"),
        lambda: reseal(again(sealed), sealed.keys.new),
    ):
        with pytest.raises(
            StoreError, match=r"is not encrypted, although .*somebody may"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert [file.read_bytes() for file in files] == before
    assert any("somebody may have replaced it" in line for line in check(again(sealed))[1])
    assert [p.name for p in again(sealed, encrypt=False).people()] == ["Eve"]
    again(sealed).adopt()
    assert [p.name for p in again(sealed).people()] == ["Eve"]


def test_a_link_to_a_plain_store_is_refused(sealed, plain):
    sealed.register(ADA, images())
    sealed.path.unlink()
    shutil.rmtree(sealed.faces)
    shutil.rmtree(config_folder() / "keys")
    sealed.path.symlink_to(plain.path)
    with pytest.raises(StoreError, match="it was when it was last saved here"):
        again(sealed).people()


def test_a_plain_backup_is_refused_where_the_store_is_sealed(sealed, plain, tmp_path):
    file = tmp_path / "plain.facesync"
    backup(plain, file)
    sealed.register(ADA, images())
    before = sealed.path.read_bytes()
    with pytest.raises(StoreError, match=r"plain.facesync is not encrypted, although"):
        restore(again(sealed), file)
    assert sealed.path.read_bytes() == before
    assert restore(again(sealed, encrypt=False), file) == 1
    assert [p.name for p in again(sealed).people()] == ["Eve"]  # and sealed, as before


def test_a_plain_version_before_is_not_sealed_as_if_it_were_ours(sealed, plain):
    sealed.register(ADA, images())
    sealed.register(BOB, images())
    shutil.copy(plain.path, sealed.backup)
    with pytest.raises(StoreError, match=r"\.bak is not encrypted, although"):
        reseal(again(sealed), sealed.keys.new)
    assert any(f"{sealed.backup} is not encrypted" in line for line in check(again(sealed))[1])


def test_another_store_of_the_same_owner_is_refused(sealed, tmp_path):
    other = FileGallery(tmp_path / "other.pkl", tmp_path / "others")
    for _ in range(3):
        other.register(EVE, images(), replace=True)
    sealed.register(ADA, images())
    sealed.register(BOB, images())
    for place in (sealed.path, sealed.backup):
        before = place.read_bytes()
        shutil.copy(other.path, place)
        assert any(f"{place} has another key" in line for line in check(again(sealed))[1])
        if place == sealed.path:
            with pytest.raises(StoreError, match="has another key than when it was last saved"):
                again(sealed).people()
        place.write_bytes(before)
    reseal(sealed, sealed.keys.new)
    assert again(sealed).people() and check(again(sealed))[1] == []


def test_a_store_that_was_removed_is_a_warning_and_a_finding(sealed, caplog):
    """Its people are still in the version before, which the next two saves would replace."""
    sealed.register(BOB, images())
    sealed.register(ADA, images())
    sealed.path.unlink()
    assert again(sealed).people() == []
    assert "is gone" in caplog.text
    assert [fault for fault in check(again(sealed))[1] if "is gone" in fault]
    again(sealed).delete_all()
    assert check(again(sealed))[1] == []


def test_an_older_store_is_a_warning_and_a_finding(sealed, caplog, tmp_path):
    sealed.register(ADA, images())
    old = sealed.path.read_bytes()
    sealed.register(ADA, images(), replace=True)
    assert again(sealed).people() and caplog.messages == []
    assert check(again(sealed))[1] == []

    def put_back() -> bool:
        """Put the older one back; return whether it is noticed, once."""
        caplog.clear()
        sealed.path.write_bytes(old)
        gallery = again(sealed)
        assert gallery.people() and gallery.find("Ada")
        return sum("is not the one that was saved last" in line for line in caplog.messages) == 1

    assert put_back()
    assert any("is not the one that was saved last" in line for line in check(again(sealed))[1])
    again(sealed).adopt()
    assert check(again(sealed))[1] == []
    again(sealed).register(ADA, images(), replace=True)
    assert check(again(sealed))[1] == []
    assert put_back()
    backup(again(sealed), tmp_path / "x")  # what its owner restores is new
    restore(again(sealed), tmp_path / "x")
    assert check(again(sealed))[1] == []
    again(sealed).delete_all()
    assert put_back()


def test_decrypted_on_purpose_is_not_replaced(sealed):
    sealed.register(ADA, images())
    reseal(sealed, None)
    assert again(sealed).people()
    again(sealed).register(BOB, images())  # sealed again
    assert trust.read(sealed.path).sealed and check(again(sealed))[1] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"sealed": 1, "saves": 1}',
        '{"sealed": true, "saves": -1}',
        '{"sealed": true, "saves": 1, "key": 1}',
    ],
)
def test_a_damaged_mark_is_one_line_and_can_be_renewed(sealed, text):
    sealed.register(ADA, images())
    (mark,) = (config_folder() / "stores").glob("*.json")
    mark.write_text(text)
    with pytest.raises(StoreError, match=r"is damaged.*`store adopt` renews it"):
        again(sealed).people()
    assert any("store adopt" in line for line in check(again(sealed))[1])
    again(sealed).adopt()
    assert again(sealed).people()


def test_a_mark_that_cannot_be_written_is_a_warning(sealed, monkeypatch, caplog, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(keys, "config_folder", lambda: tmp_path / "file")
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "x")
    sealed.register(ADA, images())
    assert "a replaced store would not be noticed" in caplog.text
    assert again(sealed).people()


@pytest.mark.skipif(os.name != "posix", reason="Windows always has a home")
@pytest.mark.parametrize("passphrase", ["x", ""])
def test_a_user_without_a_home_has_no_marks(gallery, sealed, monkeypatch, caplog, passphrase):
    """In a container, with a number instead of a user."""
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    monkeypatch.setenv("FACESYNC_PASSPHRASE", passphrase)
    if not passphrase:
        with pytest.raises(StoreError, match="no home folder: set HOME"):
            sealed.register(ADA, images())
        assert not sealed.path.exists()
    one = sealed if passphrase else gallery
    one.register(ADA, images())
    assert again(one, encrypt=bool(passphrase)).people()
    assert ("would not be noticed" in caplog.text) == bool(passphrase)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_marks_are_for_their_owner_alone(sealed):
    sealed.register(ADA, images())
    for path in (config_folder() / "stores").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
