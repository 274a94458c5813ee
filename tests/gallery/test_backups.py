"""A backup is restored whole, or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
import stat

import pytest

from facesync.errors import StoreError
from facesync.gallery import store_file
from facesync.gallery.backups import backup, restore
from facesync.gallery.checking import check
from facesync.images import encode_jpeg
from facesync.pickles import dumps_plain, load_plain
from tests.gallery.conftest import enrolled, images


def test_what_was_backed_up_comes_back(either, tmp_path):
    either.register(enrolled("Ada"), images())
    either.register(enrolled("../x", 2), [])
    file = tmp_path / "away" / "faces.backup"
    assert backup(either, file) == 2
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = [p.tolist() for p in either.images("Ada")]
    either.register(enrolled("Ada", 5), images(4), replace=True)
    either.register(enrolled("Bob", 3), images())
    assert restore(either, file) == 2
    assert [p.name for p in either.people()] == ["../x", "Ada"]
    assert [p.tolist() for p in either.images("Ada")] == shown
    assert {p.name for p in store_file.read(either.backup, either.keys).people} == {
        "Ada",
        "../x",
        "Bob",
    }
    either.delete_all()
    assert restore(either, file) == 2
    assert [p.tolist() for p in either.images("Ada")] == shown


def test_a_sealed_backup_is_sealed(sealed, tmp_path):
    ada, file = enrolled("Ada"), tmp_path / "x"
    sealed.register(ada, images())
    backup(sealed, file)
    assert ada.embedding.tobytes() not in file.read_bytes()
    assert b"JFIF" not in file.read_bytes()


def test_an_invalid_backup_changes_nothing(gallery, tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        backup(gallery, tmp_path / "x")
    gallery.register(enrolled("Ada"), images())
    file = tmp_path / "x"
    backup(gallery, file)
    whole, before = load_plain(file), gallery.path.read_bytes()
    inner = whole["backup"]
    bad = {
        "a store": before,
        "cut": file.read_bytes()[:-30],
        "code": pickle.dumps(os.system),
        "no images": dumps_plain({**whole, "backup": {"store": inner["store"]}}),
        "no people": dumps_plain({**whole, "backup": {**inner, "store": {"format": 2}}}),
        "another's": dumps_plain({**whole, "backup": {**inner, "pictures": {"Bob": {}}}}),
        "a path": dumps_plain({**whole, "backup": {**inner, "pictures": {"Ada": {"../x": b""}}}}),
        "no image": dumps_plain(
            {**whole, "backup": {**inner, "pictures": {"Ada": {"sample_1.jpg": b"text"}}}}
        ),
        "a list": dumps_plain({**whole, "backup": {**inner, "pictures": {"Ada": [1]}}}),
    }
    for name, content in bad.items():
        file.write_bytes(content)
        with pytest.raises(StoreError) as caught:
            restore(gallery, file)
        assert "\n" not in str(caught.value), name
        assert gallery.path.read_bytes() == before
    with pytest.raises(StoreError, match=r"there is no file .*missing"):
        restore(gallery, tmp_path / "missing")
    assert len(gallery.images("Ada")) == 2


def test_checking(either):
    assert check(either)[1] == []
    either.register(enrolled("Ada", 1, 2), images())
    either.register(enrolled("Bob", 2, 2), images())
    facts, faults = check(either)
    assert faults == []
    assert any("4 images intact, 2 people" in line for line in facts)
    first, second = sorted(either.folder("Ada").iterdir())
    first.write_bytes(b"damaged")
    if os.name == "posix":
        second.chmod(0o644)
    (either.folder("Bob") / ".sample_9.jpg.tmp").write_bytes(b"")
    either.backup.write_bytes(b"damaged")
    _, faults = check(either)
    said = "\n".join(faults)
    assert f"{either.backup} is damaged" in said
    assert str(first) in said and "interrupted save" in said
    assert os.name != "posix" or f"{second}: other users may read it" in said


def test_images_that_do_not_fit_the_people_are_named(either):
    either.register(enrolled("Ada", 1, 4), images(4))
    either.register(enrolled("Bob", 2, 2), images())
    for image in either.folder("Ada").iterdir():
        image.unlink()
    shutil.copytree(either.folder("Bob"), either.folder("Eve"))
    said = "\n".join(check(either)[1])
    assert f"{either.folder('Ada')}: 0 images for 4 samples of Ada" in said
    assert f"{either.folder('Eve')}: images of somebody who is not registered" in said
    assert either.delete("EVE") == "EVE"  # however spelled
    assert not either.folder("Eve").exists() and len(check(either)[1]) == 1


def test_a_plain_image_in_a_sealed_store_is_named(sealed):
    sealed.register(enrolled("Ada", 1, 2), images())
    (sealed.folder("Ada") / "sample_3.jpg").write_bytes(encode_jpeg(images(1)[0]))
    said = "\n".join(check(sealed)[1])
    assert "sample_3.jpg: not encrypted, although the store is" in said
    assert "3 images for 2 samples of Ada" in said
