"""Renaming, merging and taking samples away keep nothing of how people were."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from facesync.errors import StoreError
from facesync.files import temporary_beside
from facesync.gallery import attempts, leftovers, people, samples, store_file
from facesync.gallery.checking import check
from facesync.gallery.on_files import FileGallery
from facesync.gallery.registration import Doubt, merge, rename
from tests.app.fakes import FakeRecognizer
from tests.gallery.conftest import enrolled, images, person, unit
from tests.gallery.test_forgetting import opened
from tests.gallery.test_store import HARD_NAMES


def shades(gallery: FileGallery, name: str) -> list[int]:
    return [round(float(image.mean())) for image in gallery.images(name)]


def forms(name: str) -> list[bytes]:
    return [unicodedata.normalize(form, name).encode() for form in ("NFC", "NFD", "NFKC", "NFKD")]


def paused(gallery: FileGallery, name: str) -> bool:
    try:
        gallery.attempts.check(name)
    except StoreError:
        return True
    return False


@pytest.mark.parametrize("name", ["Zoë Quist", *HARD_NAMES[2:6]])
def test_nothing_keeps_the_old_name(either, name):
    ada = enrolled(name)
    either.register(enrolled("Bob", 2), images(3))
    either.register(ada, images(3, shade=37))
    temporary_beside(attempts.file_of(either.path)).write_bytes(b"{")
    renamed = either.rename(unicodedata.normalize("NFD", name), "Eva")
    left = opened(either)
    assert not any(form in left for form in forms(name))
    assert renamed.name == "Eva" and either.find(name) is None
    for attribute in ("embedding", "sample_embeddings", "sample_qualities"):
        np.testing.assert_array_equal(
            getattr(either.find("Eva"), attribute), getattr(ada, attribute)
        )
    assert either.find("Eva").registered == ada.registered
    assert shades(either, "Eva") == [37, 38, 39] and shades(either, "Bob") == [100, 101, 102]
    assert check(either)[1] == []
    assert either.delete("Eva") == "Eva"
    left = opened(either)
    assert not any(form in left for form in (*forms(name), b"Eva"))
    for vector in (ada.embedding, *ada.sample_embeddings):
        assert vector.tobytes() not in left
    assert [each.name for each in either.people()] == ["Bob"]


@pytest.mark.parametrize("new", HARD_NAMES)
def test_any_name_will_do(anywhere, new):
    anywhere.register(enrolled("Ada"), images(3))
    assert anywhere.rename("Ada", new).name == anywhere.people()[0].name
    assert len(anywhere.images(new)) == 3 and check(anywhere)[1] == []


@pytest.mark.parametrize(
    ("old", "new"), [("josé", "José"), ("JOSÉ", "Jose\u0301"), ("../x", "../X"), ("José", "José")]
)
def test_another_spelling_of_the_same_name(either, old, new):
    either.register(enrolled(old), images(3))
    either.attempts.record(old, None)
    assert either.rename(new, new).name == unicodedata.normalize("NFC", new)
    assert [each.name for each in either.people()] == [unicodedata.normalize("NFC", new)]
    assert len(either.images(old)) == 3 and check(either)[1] == []
    (count,) = json.loads(attempts.file_of(either.path).read_text())["counts"].values()
    assert count["wrong"] == 1


def test_a_folder_that_ignores_case_is_not_emptied(either):
    """As on macOS, where both spellings are one folder; its images are sealed anew."""
    either.register(enrolled("ada"), images(3))
    (either.faces / "Ada").symlink_to(either.faces / "ada")
    images_of = either.by_folder({"ada": {}, "Ada": {"sample_1.jpg": b"some"}})
    assert list(images_of) == [either.folder("Ada")]


def test_a_name_that_is_taken_empty_or_unknown_changes_nothing(either):
    for number, name in enumerate(("Ada", "Bob")):
        either.register(enrolled(name, number), images(3))
    before = either.path.read_bytes(), either.backup.read_bytes()
    for old, new, why in (
        ("Ada", "bob", "Bob is already registered"),
        ("Ada", "\u200b", "a name needs at least one printable character"),
        ("Cid", "Eva", "nobody is registered as Cid"),
    ):
        with pytest.raises(StoreError, match=why):
            either.rename(old, new)
    for name, other, why in (
        ("Ada", "ADA", "cannot be merged with themselves"),
        ("Ada", "Cid", "nobody is registered as Cid"),
        ("Cid", "Ada", "nobody is registered as Cid"),
    ):
        with pytest.raises(StoreError, match=why):
            either.merge(name, other)
    assert before == (either.path.read_bytes(), either.backup.read_bytes())
    assert check(either)[1] == []


def test_a_pause_moves_along(either):
    for number, name in enumerate(("Ada", "Bob", "Cid")):
        either.register(enrolled(name, number), images(3))
    for _ in range(5):
        either.attempts.record("Ada", None)
    either.attempts.record("Bob", None)
    either.rename("Ada", "Eva")
    assert paused(either, "Eva") and not paused(either, "Ada")
    either.merge("Bob", "Eva")
    assert paused(either, "Bob") and not paused(either, "Eva")
    either.delete("Bob")
    assert json.loads(attempts.file_of(either.path).read_text())["counts"] == {}


def test_a_count_that_was_left_half_way_goes_with_the_next_change(either):
    for number, name in enumerate(("Ada", "Bob")):
        either.register(enrolled(name, number), images(3))
    either.attempts.record("Old Ada", None)  # killed before it was removed
    either.delete("Bob")
    assert json.loads(attempts.file_of(either.path).read_text())["counts"] == {}


def test_merged_samples_and_images_are_those_of_both(either):
    ada, bob, cid = (enrolled(name, number) for number, name in enumerate(("Ada", "Bob", "Cid")))
    either.register(cid, images(3, shade=200))
    either.register(bob, images(3, shade=60))
    either.register(ada, images(3, shade=100))
    both = either.merge("ADA", "bob")
    stored = either.find("Ada")
    rows = np.concatenate([ada.sample_embeddings, bob.sample_embeddings])
    np.testing.assert_array_equal(stored.sample_embeddings, rows)
    np.testing.assert_array_equal(
        stored.sample_qualities, np.concatenate([ada.sample_qualities, bob.sample_qualities])
    )
    mean = rows.mean(axis=0)
    np.testing.assert_allclose(stored.embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert (both.name, both.samples, stored.samples) == ("Ada", 6, 6)
    assert stored.registered == ada.registered and stored.changed is not None
    assert shades(either, "Ada") == [100, 101, 102, 60, 61, 62]
    names = [path.name.removesuffix(".enc") for path in samples.in_use(either.folder("Ada"))]
    assert names == [f"sample_{number}.jpg" for number in range(1, 7)]
    assert either.find("Bob") is None and shades(either, "Cid") == [200, 201, 202]
    left = opened(either)
    assert b"Bob" not in left and bob.embedding.tobytes() not in left
    assert ada.embedding.tobytes() not in left
    assert check(either)[1] == []
    assert either.delete("Ada") == "Ada"
    left = opened(either)
    assert not any(row.tobytes() in left for row in rows)


def test_templates_of_two_models_are_not_merged(anywhere):
    anywhere.register(enrolled("Ada"), images(3))
    anywhere.register(replace(enrolled("Bob", 2), fingerprint="model-b"), images(3))
    with pytest.raises(StoreError, match="Ada and Bob were registered with different models"):
        anywhere.merge("Ada", "Bob")


def test_who_comes_from_an_older_store_counts_by_their_template(anywhere):
    """Format 1 kept no single samples: Ada's template is the mean of two, and Bob's of three."""
    ada, bob = person("Ada", 1, samples=2), person("Bob", 2, samples=3)
    anywhere.register(ada, images(2))
    anywhere.register(bob, images(3))
    both = anywhere.merge("Ada", "Bob")
    mean = 2 * ada.embedding + 3 * bob.embedding
    np.testing.assert_allclose(both.embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert (
        both.samples == 5 and len(both.sample_embeddings) == 0 and len(anywhere.images("Ada")) == 5
    )
    with pytest.raises(StoreError, match="does not have this sample any more"):
        anywhere.remove_samples("Ada", unit(3)[None])
    again = anywhere.add(enrolled("Ada", 3, 1), images(1))
    with pytest.raises(StoreError, match="it is not known which image of Ada is of which sample"):
        anywhere.remove_samples("Ada", again.sample_embeddings)


@pytest.mark.parametrize("change", ["rename", "merge", "remove"])
def test_what_is_sealed_stays_sealed_and_what_is_plain_becomes_so(gallery, sealed, change):
    ada = enrolled("Ada")
    gallery.register(ada, images(3))
    gallery.register(enrolled("Bob", 2), images(3))
    changes = {
        "rename": lambda g: g.rename("Ada", "Eva"),
        "merge": lambda g: g.merge("Bob", "Ada"),
        "remove": lambda g: g.remove_samples("Ada", ada.sample_embeddings[:1]),
    }
    changes[change](sealed)
    assert b"Bob" not in sealed.path.read_bytes() + sealed.backup.read_bytes()
    assert not list(sealed.faces.rglob("*.jpg")) and list(sealed.faces.rglob("*.jpg.enc"))
    sealed.rename("Bob", "Cid")
    assert gallery.content().key is not None and check(sealed)[1] == []


@pytest.mark.parametrize("change", ["rename", "merge"])
@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_folder_that_is_a_link_is_refused_and_nothing_is_changed(either, tmp_path, change):
    either.register(enrolled("Bob", 2), images(3))
    either.register(enrolled("Ada"), images(3))
    folder = either.folder("Ada")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link; sample images are kept in"):
        either.rename("Ada", "Eva") if change == "rename" else either.merge("Bob", "Ada")
    assert [each.name for each in either.people()] == ["Ada", "Bob"]
    assert shades(either, "Bob") == [100, 101, 102]


def test_something_that_is_left_is_reported(either, monkeypatch):
    either.register(enrolled("Ada"), images(3))
    monkeypatch.setattr(leftovers, "remove_temporary", lambda store: None)
    copy = temporary_beside(attempts.file_of(either.path))
    copy.write_bytes(either.path.read_bytes())
    with pytest.raises(StoreError, match=r"something of how Ada was is left in .*\.tmp"):
        either.rename("Ada", "Eva")


def test_samples_are_taken_away_with_their_images_and_everywhere(either):
    ada, more = enrolled("Ada"), enrolled("Ada", 5, 2)
    either.register(ada, images(3))
    either.add(more, images(2, shade=60))
    either.register(enrolled("Bob", 2), images(3))
    with pytest.raises(StoreError, match="Ada does not have this sample any more"):
        either.remove_samples("Ada", np.stack([more.sample_embeddings[0], unit(4)]))
    left = either.remove_samples("ada", more.sample_embeddings[:1])
    np.testing.assert_array_equal(
        left.sample_embeddings, [*ada.sample_embeddings, more.sample_embeddings[1]]
    )
    np.testing.assert_array_equal(
        left.sample_qualities, [*ada.sample_qualities, more.sample_qualities[1]]
    )
    assert shades(either, "Ada") == [100, 101, 102, 61]
    assert more.sample_embeddings[0].tobytes() not in opened(either)
    left = either.remove_samples("Ada", more.sample_embeddings[1:])
    np.testing.assert_allclose(left.embedding, ada.embedding, atol=1e-6)
    assert left.samples == 3 and shades(either, "Ada") == [100, 101, 102]
    assert check(either)[1] == []
    assert either.remove_samples("Ada", ada.sample_embeddings) is None
    assert [each.name for each in either.people()] == ["Bob"]
    assert b"Ada" not in opened(either)


def test_of_a_sample_that_is_there_twice_one_is_taken(anywhere):
    ada = enrolled("Ada", 1, 1)
    anywhere.register(ada, images(1))
    anywhere.register(replace(ada, name="Bob"), images(1, shade=60))
    anywhere.merge("Ada", "Bob")
    row = ada.sample_embeddings
    with pytest.raises(StoreError, match="does not have this sample"):
        anywhere.remove_samples("Ada", np.concatenate([row, row, row]))
    assert anywhere.remove_samples("Ada", row).samples == 1
    assert shades(anywhere, "Ada") == [100]


def test_two_equal_samples_are_taken_at_once(anywhere):
    ada = enrolled("Ada", 1, 1)
    for name in ("Ada", "Bob"):
        anywhere.register(replace(ada, name=name), images(1))
    anywhere.merge("Ada", "Bob")
    assert anywhere.remove_samples("Ada", np.repeat(ada.sample_embeddings, 2, axis=0)) is None
    assert anywhere.people() == []


def test_an_image_that_somebody_removed_makes_it_unknown_which_is_which(either):
    ada = enrolled("Ada")
    either.register(ada, images(3))
    samples.in_use(either.folder("Ada"))[0].unlink()
    with pytest.raises(StoreError, match="it is not known which image of Ada"):
        either.remove_samples("Ada", ada.sample_embeddings[:1])


def test_spellings_that_an_older_version_told_apart_are_renamed_apart(anywhere):
    anywhere.register(enrolled("Bob", 2), images(3))
    older = [enrolled("ada"), enrolled("Ada", 3)]
    with anywhere.locked():
        anywhere.change(anywhere.content(), older, {})
    assert anywhere.rename("Ada", "Eva").name == "Eva"
    assert [each.name for each in anywhere.people()] == ["ada", "Eva"]
    assert people.one_with_name(anywhere.people(), "ADA")[0].name == "ada"


@pytest.fixture
def logged(either, tmp_path):
    """The same gallery with a log, in which Ada, Ada again and Bob are registered."""
    gallery = FileGallery(
        either.path, either.faces, encrypt=either.encrypts, audit_log=tmp_path / "log.jsonl"
    )
    gallery.register(enrolled("Ada"), images(3))
    gallery.register(replace(enrolled("Ada"), name="Ada L."), images(3))
    gallery.register(enrolled("Bob", 2), images(3))
    return gallery


def events(gallery: FileGallery) -> list[dict]:
    lines = gallery.audit_log.read_text().splitlines() if gallery.audit_log.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in lines]


def test_a_name_that_looks_like_anothers_is_doubtful(logged):
    with pytest.raises(Doubt, match=r"looks like Bob.*, use --similar-name") as found:
        rename(logged, "Ada", "\u0412ob")
    assert found.value.allowed_by == "similar_name"
    assert [each.name for each in logged.people()] == ["Ada", "Ada L.", "Bob"]
    assert events(logged) == []
    assert rename(logged, "ada", "\u0412ob", similar_name=True).name == "\u0412ob"
    assert rename(logged, "\u0412ob", "\u0412\u043eb", similar_name=True).name == "\u0412\u043eb"
    logged.delete("Bob")
    assert rename(logged, "\u0412\u043eb", "Bob").name == "Bob"  # it looks like its own only
    assert events(logged)[0] == {"event": "renamed", "name": "Ada", "new": "\u0412ob"}
    assert len(events(logged)) == 3


def test_faces_that_are_not_alike_are_doubtful(logged):
    recognizer = FakeRecognizer()
    with pytest.raises(
        Doubt, match=r"this is not the face registered as Ada .*--same-person"
    ) as it:
        merge(logged, recognizer, "Ada", "Bob")
    assert it.value.allowed_by == "same_person" and events(logged) == []
    assert merge(logged, recognizer, "ada", "ada l.").samples == 6
    assert merge(logged, recognizer, "Ada", "Bob", same_person=True).samples == 9
    assert events(logged) == [
        {"event": "merged", "name": "Ada", "other": "Ada L."},
        {"event": "merged", "name": "Ada", "other": "Bob"},
    ]
    with pytest.raises(StoreError, match="cannot be merged with themselves"):
        merge(logged, recognizer, "Ada", "ADA")


@pytest.mark.parametrize(("similarity", "alike"), [(0.44, False), (0.46, True)])
def test_faces_agree_from_where_added_samples_do(anywhere, similarity, alike):
    """At three quarters of the threshold of 0.6, as before a camera."""
    one, other = np.zeros((2, 512), dtype=np.float32)
    one[0], other[:2] = 1, (similarity, np.sqrt(1 - similarity**2))
    for name, row in (("Ada", one), ("Bob", other)):
        anywhere.register(people.Person(name, row, "model-a", people.now(), 1), images(1))
    if alike:
        assert merge(anywhere, FakeRecognizer(), "Ada", "Bob").samples == 2
        return
    with pytest.raises(Doubt, match=r"similarity 0\.440, at least 0\.450 needed"):
        merge(anywhere, FakeRecognizer(), "Ada", "Bob")


@pytest.mark.parametrize("name", ["Cid", "Ada"])
def test_who_does_not_exist_costs_no_loading(logged, name):
    with pytest.raises(StoreError, match="nobody is registered as Cid"):
        merge(logged, None, *(name, "Ada") if name == "Cid" else (name, "Cid"))


def test_who_cannot_be_embedded_again_is_not_merged(logged, caplog):
    class Blind(FakeRecognizer):
        def look(self, image_rgb, *, photograph=False):
            return None

    with caplog.at_level(logging.WARNING), pytest.raises(StoreError, match="register them again"):
        merge(logged, Blind(fingerprint="model-b"), "Ada", "Ada L.", same_person=True)
    assert len(logged.people()) == 3


def test_a_plain_version_before_does_not_keep_the_name(gallery):
    """Only the search would find it there; it is written with the store."""
    gallery.register(enrolled("Ada"), images(3))
    gallery.register(enrolled("Bob", 2), images(3))
    gallery.rename("Ada", "Eva")
    kept = store_file.read(gallery.backup, gallery.keys).people
    assert sorted(each.name for each in kept) == ["Bob", "Eva"]
