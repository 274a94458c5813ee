"""What a gallery does, in files as on a server."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from facesync.errors import StoreError
from facesync.gallery import backups, exports, inventory, moving
from facesync.gallery.attempts import FREE_ATTEMPTS
from facesync.gallery.checking import check
from facesync.gallery.people import clean_name
from facesync.gallery.reembedding import renewed
from tests.app.fakes import FakeRecognizer, image
from tests.gallery.conftest import enrolled, images, person


def names(gallery) -> list[str]:
    return [each.name for each in gallery.people()]


def shades(gallery, name: str) -> list[int]:
    return [round(float(each.mean())) for each in gallery.images(name)]


def assert_same(one, other) -> None:
    assert (one.name, one.fingerprint, one.samples) == (
        other.name,
        other.fingerprint,
        other.samples,
    )
    assert (one.registered, one.changed) == (other.registered, other.changed)
    for field in ("embedding", "sample_embeddings", "sample_qualities"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize(
    "name", ["Ada", "Zoë Quist", "李 小龙", "../../x", "con", "a" * 300, "'; --"]
)
def test_who_is_registered_is_there(anywhere, name):
    assert anywhere.people() == [] and anywhere.version() is None
    ada = enrolled(clean_name(name))
    anywhere.register(ada, images(3, 50))
    assert_same(anywhere.find(name.upper()), ada)
    assert shades(anywhere, name) == [50, 51, 52] and check(anywhere)[1] == []
    with pytest.raises(StoreError, match="already registered"):
        anywhere.register(ada, images(1))


def test_every_change_is_another_version(anywhere):
    anywhere.register(enrolled("Ada"), images(3))
    before = anywhere.version()
    assert before == anywhere.version()
    anywhere.register(enrolled("Bob", 2), images(3))
    assert anywhere.version() != before


def test_replaced_people_have_their_new_images_alone(anywhere):
    anywhere.register(enrolled("ada"), images(3, 50))
    anywhere.register(enrolled("Ada", 2), images(2, 90), replace=True)
    assert names(anywhere) == ["Ada"] and shades(anywhere, "ada") == [90, 91]


def test_added_samples_join(anywhere):
    anywhere.register(enrolled("Ada"), images(3, 50))
    both = anywhere.add(enrolled("Ada", 2, 1), images(1, 90))
    assert both.samples == 4 and shades(anywhere, "Ada") == [50, 51, 52, 90]
    assert_same(anywhere.find("Ada"), both)


def test_renamed_people_keep_all_but_the_name(anywhere):
    anywhere.register(enrolled("Ada"), images(3, 50))
    anywhere.attempts.record("Ada", None)
    anywhere.rename("Ada", "Eva")
    assert names(anywhere) == ["Eva"] and shades(anywhere, "Eva") == [50, 51, 52]
    assert anywhere.images("Ada") == [] and check(anywhere)[1] == []
    assert [*anywhere.attempts.counts(["Ada", "Eva"])] == ["Eva"]


def test_merged_people_are_one(anywhere):
    anywhere.register(enrolled("Ada"), images(3, 50))
    anywhere.register(enrolled("Bob", 2), images(3, 90))
    assert anywhere.merge("Ada", "Bob").samples == 6
    assert names(anywhere) == ["Ada"] and shades(anywhere, "Ada") == [50, 51, 52, 90, 91, 92]


def test_a_sample_goes_with_its_image(anywhere):
    anywhere.register(enrolled("Ada"), images(3, 50))
    rows = anywhere.find("Ada").sample_embeddings
    assert anywhere.remove_samples("Ada", rows[1:2]).samples == 2
    assert shades(anywhere, "Ada") == [50, 52]
    assert anywhere.remove_samples("Ada", rows[[0, 2]]) is None
    assert anywhere.people() == []


def test_who_is_deleted_is_gone(anywhere):
    for number, name in enumerate(("Ada", "Bob", "Cid"), 1):
        anywhere.register(enrolled(name, number), images(2))
    anywhere.attempts.record("Ada", None)
    assert anywhere.delete("ada") == "Ada" and anywhere.delete("Ada") is None
    assert names(anywhere) == ["Bob", "Cid"] and anywhere.images("Ada") == []
    assert anywhere.attempts.counts(["Ada"]) == {}
    assert anywhere.delete_all() == ["Bob", "Cid"] and anywhere.people() == []
    anywhere.register(enrolled("Dan", 4), images(1))
    assert names(anywhere) == ["Dan"]


def test_what_fails_in_the_middle_changes_nothing(anywhere):
    anywhere.register(enrolled("Ada"), images(3, 50))
    with pytest.raises(ZeroDivisionError), anywhere.locked():
        content = anywhere.content()
        people = [*content.people, enrolled("Bob", 2)]
        if anywhere.encrypts:
            content = anywhere.to_seal(content)
        if anywhere.key_id() and type(anywhere).__name__ == "ServerGallery":
            anywhere.change(content, people, {"Ada": {}})  # files are undone at the next change
        1 / 0  # noqa: B018
    assert names(anywhere) == ["Ada"] and shades(anywhere, "Ada") == [50, 51, 52]


def test_failed_attempts_pause_and_a_right_one_resets(anywhere):
    anywhere.register(enrolled("Ada"), images(3))
    for _ in range(FREE_ATTEMPTS - 1):
        anywhere.attempts.record("Ada", None, 1000.0)
    anywhere.attempts.record("Ada", "Ada", 1000.0)
    for _ in range(FREE_ATTEMPTS):
        anywhere.attempts.check("ada", 1000.0)
        anywhere.attempts.record("ada", None, 1000.0)
    for step in (anywhere.attempts.check, lambda *a: anywhere.attempts.record(a[0], "Ada", a[1])):
        with pytest.raises(StoreError, match="5 failed attempts in a row: try again in 30 s"):
            step("Ada", 1000.0)
    anywhere.attempts.check("Bob", 1000.0)
    anywhere.attempts.check("Ada", 1031.0)


def test_people_of_another_model_are_embedded_again(anywhere):
    anywhere.register(person("Ada", samples=1), [image(who=2)])
    (ada,) = renewed(anywhere, FakeRecognizer(fingerprint="model-b"))
    assert ada.fingerprint == anywhere.find("Ada").fingerprint == "model-b"
    assert np.argmax(ada.embedding) == 2 and len(anywhere.images("Ada")) == 1


def test_a_backup_can_be_restored(anywhere, tmp_path):
    anywhere.register(enrolled("Ada"), images(3, 50))
    assert backups.backup(anywhere, tmp_path / "b") == 1
    anywhere.register(enrolled("Bob", 2), images(1))
    anywhere.register(enrolled("Ada", 3), images(1), replace=True)
    assert backups.restore(anywhere, tmp_path / "b") == 1
    assert_same(anywhere.find("Ada"), enrolled_again := anywhere.people()[0])
    assert enrolled_again.samples == 3 and names(anywhere) == ["Ada"]
    assert shades(anywhere, "Ada") == [50, 51, 52]


def test_an_export_has_everything(anywhere):
    anywhere.register(enrolled("Ada"), images(3, 50))
    data, number = exports.packed(anywhere, "ada")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        facts = json.loads(archive.read("person.json"))
        assert facts["name"] == "Ada" and len(facts["pictures"]) == number == 3
        assert len(archive.namelist()) == 4


def test_the_inventory_counts_people_and_images(anywhere):
    anywhere.register(enrolled("Ada"), images(3))
    found = {each.what: each for each in inventory.stored(anywhere)}
    assert found["people: names and templates"].items == 1
    assert found["sample images"].items == 3 and found["sample images"].bytes > 300
    assert found["sample images"].sealed is anywhere.encrypts


def test_a_new_key_opens_everything(anywhere):
    if not anywhere.encrypts:
        pytest.skip("a plain gallery has no key")
    anywhere.register(enrolled("Ada"), images(3, 50))
    anywhere.attempts.record("Ada", None)
    before = anywhere.key_id()
    assert anywhere.reseal(anywhere.keys.new) == 1
    assert anywhere.key_id() == anywhere.content().key.header["id"] != before
    assert shades(anywhere, "Ada") == [50, 51, 52] and check(anywhere)[1] == []
    assert anywhere.attempts.counts(["Ada"])["Ada"].wrong == 1


def test_people_move_to_a_server_and_back(sealed, door, tmp_path):
    sealed.register(enrolled("Ada"), images(3, 50))
    sealed.register(enrolled("Bob", 2, 2), images(2, 90))
    sealed.attempts.record("Bob", None)
    server = door()
    assert moving.copy(sealed, server) == ["Ada", "Bob"]
    for name in ("Ada", "Bob"):
        assert_same(server.find(name), sealed.find(name))
        assert shades(server, name) == shades(sealed, name)
    assert server.key_id() == sealed.key_id() and names(sealed) == ["Ada", "Bob"]
    assert server.attempts.counts(["Bob"])["Bob"].wrong == 1
    server.register(enrolled("Ada", 5, 1), images(1, 20), replace=True)
    server.delete("Bob")
    server.register(enrolled("Cid", 6, 1), images(1, 30))
    with pytest.raises(StoreError, match=r"^Ada: registered in .* already; nothing was copied"):
        moving.copy(server, sealed)
    assert names(sealed) == ["Ada", "Bob"] and shades(sealed, "Ada") == [50, 51, 52]
    assert moving.copy(server, sealed, overwrite=True) == ["Ada", "Cid"]
    assert names(sealed) == ["Ada", "Bob", "Cid"] and shades(sealed, "Ada") == [20]
    assert check(sealed)[1] == check(server)[1] == []


def test_nobody_is_moved_where_one_image_cannot_be_opened(sealed, door):
    sealed.register(enrolled("Ada"), images(3))
    next(sealed.folder("Ada").glob("*.enc")).write_bytes(b"x")
    server = door()
    with pytest.raises(StoreError):
        moving.copy(sealed, server)
    assert server.people() == [] and server.version() is None
