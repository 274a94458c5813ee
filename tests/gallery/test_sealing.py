"""Sealed data opens only with its key; tampering is told apart from a wrong key."""

from __future__ import annotations

import base64
import os
import stat
import threading

import keyring
import numpy as np
import pytest
from keyring.backend import KeyringBackend

from facesync.errors import StoreError
from facesync.gallery import keys, store_file
from facesync.gallery.keys import KeyChain, config_folder, key_file
from facesync.gallery.on_files import FileGallery
from facesync.gallery.resealing import reseal
from facesync.pickles import dumps_plain, load_plain
from tests.gallery.conftest import enrolled, images


class Ring(KeyringBackend):
    """A system keyring in memory."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password


@pytest.fixture
def ring(monkeypatch) -> Ring:
    ring = Ring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: ring)
    monkeypatch.setattr(keyring, "get_password", ring.get_password)
    monkeypatch.setattr(keyring, "set_password", ring.set_password)
    return ring


def again(gallery: FileGallery) -> FileGallery:
    """The same gallery, opened by a new process."""
    return FileGallery(
        gallery.path, gallery.faces, keys=KeyChain(ask=lambda question: pytest.fail())
    )


def header(gallery: FileGallery) -> dict:
    return load_plain(gallery.path)["encryption"]["key"]


def everything(gallery: FileGallery) -> bytes:
    root = gallery.faces.parent
    return b"".join(p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file())


def test_nothing_can_be_read_without_the_key(sealed):
    ada = enrolled("Ada Lovelace")
    sealed.register(ada, images())
    sealed.register(enrolled("Bob", 2), images())
    content = everything(sealed)
    assert b"Ada" not in content.replace(b"Ada Lovelace/", b"")
    assert ada.embedding.tobytes() not in content
    assert b"\xff\xd8\xff" not in content and b"JFIF" not in content
    assert [p.name for p in again(sealed).people()] == ["Ada Lovelace", "Bob"]
    assert len(again(sealed).images("Ada Lovelace")) == 2


def test_the_key_is_in_the_configuration_folder(sealed):
    sealed.register(enrolled("Ada"), images())
    file = key_file(header(sealed)["id"])
    assert file.is_relative_to(config_folder())
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(list(file.parent.iterdir())) == 1
    sealed.register(enrolled("Bob", 2), images())
    assert len(list(file.parent.iterdir())) == 1  # one key for a store


def test_a_keyring_is_used_where_there_is_one(sealed, ring):
    sealed.register(enrolled("Ada"), images())
    assert ("FaceSync", header(sealed)["id"]) in ring.kept
    assert not key_file("").parent.exists()
    assert again(sealed).people()
    ring.kept.clear()
    with pytest.raises(StoreError, match="is missing: it is neither in the keyring nor in"):
        again(sealed).people()


def test_a_keyring_that_keeps_keys_in_plain_files_is_not_used(sealed, ring):
    Ring.priority, before = 0.5, Ring.priority
    try:
        sealed.register(enrolled("Ada"), images())
    finally:
        Ring.priority = before
    assert not ring.kept and key_file(header(sealed)["id"]).exists()


def test_a_keyring_that_hangs_does_not_hang_the_app(sealed, ring, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(keyring, "set_password", lambda *_: release.wait(60))
    monkeypatch.setattr(keys, "KEYRING_SECONDS", 0.1)
    sealed.register(enrolled("Ada"), images())
    assert key_file(header(sealed)["id"]).exists()
    key_file(header(sealed)["id"]).unlink()
    monkeypatch.setattr(keyring, "get_password", lambda *_: release.wait(60))
    with pytest.raises(StoreError, match="keyring did not answer"):
        again(sealed).people()
    release.set()


def test_a_passphrase(sealed, monkeypatch):
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "correct horse")
    sealed.register(enrolled("Ada"), images())
    assert header(sealed)["kind"] == "passphrase" and not key_file("").parent.exists()
    assert again(sealed).people() and again(sealed).images("Ada")
    before = sealed.path.read_bytes()
    for given, reason in (("wrong", "the passphrase is wrong"), ("", "set FACESYNC_PASSPHRASE")):
        monkeypatch.setenv("FACESYNC_PASSPHRASE", given)
        for use in (
            again(sealed).people,
            lambda: again(sealed).register(enrolled("Bob", 2), []),
            lambda: again(sealed).delete("Ada"),
            again(sealed).delete_all,
        ):
            with pytest.raises(StoreError, match=reason):
                use()
        assert sealed.path.read_bytes() == before
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def ask(question: str) -> str:
        asked.append(question)
        return "correct horse"

    chain = KeyChain(ask=ask)
    one = FileGallery(sealed.path, sealed.faces, keys=chain)
    assert one.people() and len(one.images("Ada")) == 2
    assert len(asked) == 1  # the images have the same key


@pytest.mark.parametrize("change", ["missing", "another", "short", "text"])
def test_a_wrong_key_is_one_line_and_nothing_is_overwritten(sealed, change):
    sealed.register(enrolled("Ada"), images())
    before = everything(sealed)
    file = key_file(header(sealed)["id"])
    contents = {"another": base64.b64encode(b"x" * 32), "short": b"eHh4", "text": "ü".encode()}
    file.unlink() if change == "missing" else file.write_bytes(contents[change])
    for use in (
        again(sealed).people,
        lambda: again(sealed).register(enrolled("Bob", 2), images()),
        lambda: again(sealed).delete("Ada"),
        lambda: reseal(again(sealed), None),
    ):
        with pytest.raises(StoreError, match=r"is missing|is wrong|cannot be read") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert everything(sealed) == before


def envelope(gallery: FileGallery, **changes: object) -> None:
    data = load_plain(gallery.path)
    gallery.path.write_bytes(dumps_plain({**data, **changes}))


def test_tampering_is_detected(sealed):
    sealed.register(enrolled("Ada"), images())
    whole = load_plain(sealed.path)
    encryption = whole["encryption"]
    flipped = bytearray(whole["data"])
    flipped[100] ^= 1
    for changes in (
        {"data": bytes(flipped)},
        {"data": whole["data"][:-1]},
        {"data": b""},
        {"nonce": b"x" * 12},
        {"nonce": b""},
        {"format": 3},
        {"encryption": {**encryption, "cipher": "none"}},
        {"encryption": {**encryption, "key": {**encryption["key"], "id": "../../../etc/pass"}}},
        {"encryption": {**encryption, "key": {**encryption["key"], "more": 1}}},
        {"encryption": {"key": {}}},
        {"encryption": {}},
    ):
        sealed.path.write_bytes(dumps_plain({**whole, **changes}))
        before = sealed.path.read_bytes()
        with pytest.raises(StoreError, match=r"damaged|since it was encrypted") as caught:
            again(sealed).register(enrolled("Bob", 2), images())
        assert "\n" not in str(caught.value)
        assert sealed.path.read_bytes() == before


@pytest.mark.parametrize(
    "numbers", [{"n": 2**40}, {"n": 2**14 + 1}, {"r": 1 << 30}, {"p": 10**9}, {"n": True}, {"n": 2}]
)
def test_a_header_cannot_cost_endless_time_or_memory(sealed, monkeypatch, numbers):
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "x")
    sealed.register(enrolled("Ada"), [])
    encryption = load_plain(sealed.path)["encryption"]
    envelope(sealed, encryption={**encryption, "key": {**encryption["key"], **numbers}})
    with pytest.raises(StoreError, match="the description of its key cannot be read"):
        again(sealed).people()


def test_swapped_sealed_files_are_detected(sealed):
    sealed.register(enrolled("Ada"), images())
    sealed.register(enrolled("Bob", 2), images())
    ada, bob = (sealed.folder(name) / "sample_1.jpg.enc" for name in ("Ada", "Bob"))
    bob.write_bytes(ada.read_bytes())
    with pytest.raises(StoreError, match="since it was encrypted"):
        sealed.images("Bob")
    sealed.path.write_bytes(ada.read_bytes())
    with pytest.raises(StoreError, match="since it was encrypted"):
        sealed.people()


def test_a_plain_store_is_sealed_by_the_next_save_and_not_by_reading(gallery, sealed):
    ada = enrolled("Ada")
    gallery.register(ada, images())
    before = everything(gallery)
    assert sealed.people() and sealed.images("Ada") and sealed.find("Ada")
    assert everything(gallery) == before
    gallery.register(enrolled("Bob", 2), images())
    assert not load_plain(gallery.path).get("encryption")
    sealed.register(enrolled("Cid", 3), images())
    content = everything(sealed)
    assert ada.embedding.tobytes() not in content and b"JFIF" not in content
    assert {p.name for p in again(sealed).people()} == {"Ada", "Bob", "Cid"}
    assert [p.name for p in store_file.read(sealed.backup, sealed.keys).people] == ["Ada", "Bob"]
    gallery.register(enrolled("Dan", 4), images())  # what is sealed stays sealed
    assert b"JFIF" not in everything(gallery) and load_plain(gallery.path)["encryption"]


def test_resealing(gallery, sealed):
    gallery.register(enrolled("Ada"), images())
    gallery.register(enrolled("Bob", 2), images())
    with pytest.raises(StoreError, match="is not encrypted"):
        reseal(gallery, None)
    seen = [p.tolist() for p in gallery.images("Ada")]
    for _ in range(2):
        before = load_plain(gallery.path).get("encryption")
        assert reseal(gallery, gallery.keys.new) == 2
        assert load_plain(gallery.path)["encryption"] != before
        assert b"JFIF" not in everything(gallery)
        assert [p.tolist() for p in again(gallery).images("Ada")] == seen
        assert len(store_file.read(gallery.backup, again(gallery).keys).people) == 1
    assert reseal(gallery, None) == 2
    assert [p.tolist() for p in gallery.images("Ada")] == seen
    assert not list(gallery.faces.rglob("*.enc"))
    np.testing.assert_array_equal(gallery.find("Ada").embedding, enrolled("Ada").embedding)
