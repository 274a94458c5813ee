"""Several doors and one server: what one stores the others see, and nothing is ever half done."""

from __future__ import annotations

import base64
import os
import random
import signal
import subprocess
import threading
import time

import numpy as np
import pytest

from facesync.errors import StoreError
from facesync.gallery import checking
from facesync.gallery.attempts import Count
from tests import postgres
from tests.gallery.conftest import enrolled, images
from tests.gallery.test_killed_saves import forked

psycopg = pytest.importorskip("psycopg")

from facesync.gallery.server.gallery import ServerGallery  # noqa: E402

pytestmark = pytest.mark.skipif(os.name != "posix", reason="fork and SIGKILL are POSIX")

PATIENCE = 120.0
"""Seconds to wait for what comes by itself."""


@pytest.fixture
def door(postgres_url, tmp_path):
    """Open a door, in this process or a forked one."""
    opened = []

    def open_door() -> ServerGallery:
        opened.append(ServerGallery(postgres_url, tmp_path / "face_embeddings.pkl"))
        return opened[-1]

    yield open_door
    for gallery in opened:
        gallery.close()


def until(holds) -> None:
    """Wait for what comes by itself."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def names(gallery: ServerGallery) -> list[str]:
    return [person.name for person in gallery.people()]


def test_two_doors_register_100_people_each_at_once(door):
    door().register(enrolled("Zoe", 999), images(1))  # makes the key, which both doors have

    def register(letter: str) -> None:
        gallery = door()
        for number in range(100):
            gallery.register(enrolled(f"{letter}{number}", number + 1, 1), images(1))

    children = [forked(lambda letter=letter: register(letter)) for letter in "AB"]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    wanted = {"Zoe", *(f"{letter}{number}" for letter in "AB" for number in range(100))}
    gallery = door()
    assert set(names(gallery)) == wanted and len(gallery.people()) == 201
    assert all(len(gallery.images(name)) == 1 for name in ("A0", "A99", "B0", "B99"))
    assert checking.check(gallery)[1] == []


def test_the_same_name_at_once_is_registered_once(door):
    door().register(enrolled("Zoe", 999), images(1))
    here, there = door(), door()
    start, done = threading.Barrier(2), []

    def register(gallery: ServerGallery, seed: int) -> None:
        start.wait()
        try:
            gallery.register(enrolled("Ada", seed), images(1, 10 * seed))
            done.append(seed)
        except StoreError as error:
            assert "already registered" in str(error)

    threads = [threading.Thread(target=register, args=[g, n]) for g, n in ((here, 1), (there, 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (seed,) = done
    for gallery in (here, there):
        until(lambda gallery=gallery: gallery.find("Ada") is not None)
        np.testing.assert_array_equal(
            gallery.find("Ada").embedding, enrolled("Ada", seed).embedding
        )
        assert round(float(gallery.images("Ada")[0].mean())) == 10 * seed


def test_every_change_is_seen_at_the_other_door(door):
    here, there = door(), door()
    here.register(enrolled("Ada", 1), images(2))
    until(lambda: names(there) == ["Ada"])
    before = there.version()
    there.register(enrolled("Bob", 2), images(1))
    assert there.version() != before
    until(lambda: names(here) == ["Ada", "Bob"])
    here.rename("Bob", "Cid")
    until(lambda: names(there) == ["Ada", "Cid"])
    there.merge("Ada", "Cid")
    until(lambda: names(here) == ["Ada"])
    assert len(here.images("Ada")) == len(there.images("Ada")) == 3
    here.delete("Ada")
    until(lambda: names(there) == [])


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_is_gone_and_comes_back(door, postgres_server, how):
    here, there = door(), door()
    here.register(enrolled("Ada", 1), images(2))
    until(lambda: names(there) == ["Ada"])
    getattr(postgres_server, how)()
    try:
        until(lambda: here.outage and there.outage)
        assert names(here) == names(there) == ["Ada"]
        for change in (
            lambda: here.register(enrolled("Bob", 2), images(1)),
            lambda: here.rename("Ada", "Eve"),
            lambda: here.delete("Ada"),
            lambda: here.delete_all(),
        ):
            with pytest.raises(StoreError) as caught:
                change()
            assert "\n" not in str(caught.value)
        assert names(here) == ["Ada"]
        with pytest.raises(StoreError):
            door().people()
    finally:
        postgres_server.start()
    until(lambda: here.outage is None and there.outage is None)
    here.register(enrolled("Bob", 2), images(1))
    until(lambda: names(there) == ["Ada", "Bob"])


def test_a_server_that_is_reached_and_says_nothing(door, postgres_server):
    here, there = door(), door()
    here.register(enrolled("Ada", 1), images(2))
    there.register(enrolled("Cid", 3), images(1))
    until(lambda: names(here) == ["Ada", "Cid"])  # it listens
    postgres_server.freeze()
    try:
        assert names(here) == ["Ada", "Cid"]
        until(lambda: here.outage is not None)
        assert names(here) == ["Ada", "Cid"]
        with pytest.raises(StoreError):
            here.register(enrolled("Bob", 2), images(1))
    finally:
        postgres_server.thaw()
    until(lambda: here.outage is None)
    here.register(enrolled("Bob", 2), images(1))
    assert names(door()) == ["Ada", "Bob", "Cid"]


def test_the_server_is_killed_in_the_middle_of_writes(door, postgres_server):
    """What a door was told is stored is there; what failed is there whole or not at all."""
    chance = random.Random(2)
    here = door()
    here.register(enrolled("Zoe", 999), images(1))
    stored = {"Zoe"}
    for round_ in range(5):
        killer = threading.Timer(chance.uniform(0.01, 0.2), postgres_server.kill)
        killer.start()
        for number in range(1000):
            name = f"P{round_}-{number}"
            try:
                here.register(enrolled(name, 1000 * round_ + number + 1, 1), images(2))
            except StoreError as error:
                assert "\n" not in str(error)
                break
            stored.add(name)
        killer.join()
        postgres_server.start()
        gallery = door()
        assert stored <= set(names(gallery)) <= stored | {name}
        assert checking.check(gallery)[1] == []
        stored = set(names(gallery))
        until(lambda now=frozenset(stored): here.outage is None and now == {*names(here)})


def test_a_door_killed_at_random_moments(door):
    """Each write is whole or not at all, and nobody is kept waiting by who is gone."""
    chance = random.Random(1)
    states = {100: enrolled("Ada", 1), 30: enrolled("Ada", 2)}
    door().register(enrolled("Bob", 3), images(1))
    door().register(states[100], images(2, 100))

    def change_for_ever() -> None:
        gallery = door()
        if gallery.find("Rob"):
            gallery.rename("Rob", "Bob")
        gallery.delete("Cid")
        while True:
            for shade, state in states.items():
                gallery.register(state, images(2, shade), replace=True)
                gallery.rename("Bob", "Rob")
                gallery.rename("Rob", "Bob")
                gallery.register(enrolled("Cid", 4), images(1))
                gallery.delete("Cid")

    for _ in range(40):
        child = forked(change_for_ever)
        time.sleep(chance.uniform(0.0, 0.4))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        gallery = door()
        ada = gallery.find("Ada")
        (shade,) = [
            s
            for s, p in states.items()
            if np.array_equal(p.sample_embeddings, ada.sample_embeddings)
        ]
        assert [round(float(i.mean())) for i in gallery.images("Ada")] == [shade, shade + 1]
        assert {"Ada"} < set(names(gallery)) <= {"Ada", "Bob", "Rob", "Cid"}
        assert checking.check(gallery)[1] == []
        gallery.close()
    gallery = door()
    if gallery.find("Rob"):
        gallery.rename("Rob", "Bob")
    gallery.register(enrolled("Dan", 5), images(1))  # no lock is left


def test_a_change_of_people_loses_no_attempt_that_another_door_counts(door):
    here, there = door(), door()
    here.register(enrolled("Ada", 1), images(1))
    here.register(enrolled("Bob", 2), images(1))
    until(lambda: len(names(there)) == 2)
    counting = threading.Thread(target=there.attempts.record, args=["Bob", None])
    with here.locked():
        here.attempts.carry(["Ada"], "Cid")
        here.attempts.take({"Cid": Count(2, 1.0)})
        counting.start()
        counting.join(0.3)
        here.attempts.take({"Cid": Count(3, 1.0)})
    counting.join()
    counts = door().attempts
    assert len(door().people()) == 2
    counts.door.refresh()
    assert {n: c.wrong for n, c in counts.counts(["Bob", "Cid"]).items()} == {"Bob": 1, "Cid": 3}


@pytest.fixture
def own_server(postgres_server):
    """A server on which no other test has left anything."""
    with postgres.running() as server:
        yield server


def test_neither_a_dump_nor_the_servers_files_say_anything(own_server, tmp_path):
    people = [enrolled(f"Hildegard-{number}", number) for number in range(1, 6)]
    url = own_server.new_database()
    gallery = ServerGallery(url, tmp_path / "face_embeddings.pkl")
    for number, person in enumerate(people):
        gallery.register(person, images(2, 40 + number))
    gallery.rename("Hildegard-1", "Ermentrude")
    gallery.delete("Hildegard-2")
    gallery.attempts.check("Hildegard-3")
    gallery.attempts.record("Hildegard-3", None)
    gallery.close()
    key = gallery.content().key
    dumped = subprocess.run(
        [own_server.binaries / "pg_dump", "--inserts", url],
        capture_output=True,
        check=True,
    ).stdout
    assert b"facesync_people" in dumped
    own_server.stop()  # everything is on disk then
    files = [path for path in (own_server.folder / "data").rglob("*") if path.is_file()]
    raw = b"".join(path.read_bytes() for path in files)
    assert len(raw) > len(dumped)
    arrays = [a for p in people for a in (p.embedding, p.sample_embeddings[0], p.sample_embeddings)]
    secrets = [key.secret, *(name.encode() for name in ("Hildegard", "Ermentrude"))]
    secrets += ["Hildegard".encode("utf-16-le"), b"\xff\xd8\xff\xe0\x00\x10JFIF", b"model-a"]
    for kind in ("<f4", "<f2", "<f8", ">f4"):
        secrets += [array.astype(kind).tobytes()[:24] for array in arrays]
    secrets += [repr(float(array.ravel()[0])).encode() for array in arrays]
    sought = {s for secret in secrets for s in _written(secret)}
    for place in (dumped, raw, bytes.fromhex(_hex_of(dumped))):
        assert not [secret for secret in sought if secret in place]


def _written(secret: bytes) -> list[bytes]:
    """The ways in which a text may hold bytes."""
    coded = [base64.b64encode(secret[skip:])[4:-4] for skip in range(3)]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), *filter(len, coded)]


def _hex_of(dumped: bytes) -> str:
    """Everything that a dump writes in hexadecimal."""
    return "".join(part.split(b"'")[0].decode() for part in dumped.split(b"'\\x")[1:])
