# ruff: noqa: E501 - statements of SQL, one a line
"""A server that was tampered with: one line, nothing accepted, nothing overwritten."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from facesync.errors import StoreError, UsageError
from facesync.gallery.people import Person
from tests.gallery.conftest import enrolled, images

psycopg = pytest.importorskip("psycopg")

from facesync.gallery.server.address import parameters  # noqa: E402
from facesync.gallery.server.gallery import ServerGallery  # noqa: E402

NAMES = ("Ada", "Bob", "Cid")
PEOPLE = {
    "ids are swapped": """
        SET CONSTRAINTS ALL DEFERRED;
        ALTER TABLE facesync_images DROP CONSTRAINT facesync_images_person_fkey;
        UPDATE facesync_people SET id = 'x' || id;
        UPDATE facesync_people p SET id = o.id FROM
            (SELECT id AS own, substr(lead(id, 1, first) OVER (ORDER BY id), 2) AS id FROM
                (SELECT id, first_value(id) OVER (ORDER BY id) AS first FROM facesync_people) f) o
            WHERE p.id = o.own""",
    "contents are swapped": """
        UPDATE facesync_people p SET sealed = o.sealed, revision = o.revision
        FROM facesync_people o WHERE o.id <> p.id""",
    "a row is cut": "UPDATE facesync_people SET sealed = substr(sealed, 1, 100)",
    "a row is empty": "UPDATE facesync_people SET sealed = ''",
    "a row is longer": "UPDATE facesync_people SET sealed = sealed || '\\x00'::bytea",
    "a bit is flipped": "UPDATE facesync_people SET sealed = set_bit(sealed, 999, 1 - get_bit(sealed, 999))",
    "a row is large": "UPDATE facesync_people SET sealed = decode(repeat('00', 50000000), 'hex')",
    "a row says it is newer": "UPDATE facesync_people SET revision = revision + 100",
    "a row is from before time": "UPDATE facesync_people SET revision = -revision",
    "a row is gone": "DELETE FROM facesync_people WHERE ctid = (SELECT min(ctid) FROM facesync_people)",
    "all rows are gone": "DELETE FROM facesync_people",
    "a row is there twice": "INSERT INTO facesync_people SELECT 'copy', revision, sealed FROM facesync_people LIMIT 1",
    "a million rows are claimed": "INSERT INTO facesync_people SELECT 'r' || n, 1, '' FROM generate_series(1, 100000) n",
    "rows are null": "ALTER TABLE facesync_people ALTER sealed DROP NOT NULL; UPDATE facesync_people SET sealed = NULL",
    "revisions are text": "ALTER TABLE facesync_people ALTER revision TYPE text",
    "the table is another": "ALTER TABLE facesync_people RENAME COLUMN sealed TO closed",
    "the table is gone": "DROP TABLE facesync_people CASCADE",
    "the head is cut": "UPDATE facesync_gallery SET head = substr(head, 1, 40)",
    "the head is null": "ALTER TABLE facesync_gallery ALTER head DROP NOT NULL; UPDATE facesync_gallery SET head = NULL",
    "the head is a person": "UPDATE facesync_gallery SET head = (SELECT sealed FROM facesync_people LIMIT 1)",
    "the revision is higher": "UPDATE facesync_gallery SET revision = revision + 1",
    "the revision is endless": "UPDATE facesync_gallery SET revision = 9223372036854775807",
    "the gallery is another": "UPDATE facesync_gallery SET gallery = 'another'",
    "the key is another": "UPDATE facesync_gallery SET key = regexp_replace(key, '[0-9a-f]{16}', '0123456789abcdef')",
    "the key is no JSON": "UPDATE facesync_gallery SET key = '{'",
    "the key is a list": "UPDATE facesync_gallery SET key = '[1]'",
    "the key is a path": """UPDATE facesync_gallery SET key = '{"kind": "stored", "id": "../../x"}'""",
    "the key is deep": "UPDATE facesync_gallery SET key = repeat('[', 100000)",
    "the key costs too much": """UPDATE facesync_gallery SET key = '{"kind": "passphrase", "salt": "'
        || repeat('0', 32) || '", "n": 1099511627776, "r": 8, "p": 1, "id": "0123456789abcdef"}'""",
    "the version is newer": "UPDATE facesync_gallery SET version = 99",
    "the version is text": "ALTER TABLE facesync_gallery ALTER version TYPE text",
}  # fmt: skip
IMAGES = {
    "images are swapped between people": """
        UPDATE facesync_images i SET sealed = o.sealed
        FROM facesync_images o WHERE o.person <> i.person AND o.image = i.image""",
    "images of a person are swapped": """
        UPDATE facesync_images i SET sealed = o.sealed
        FROM facesync_images o WHERE o.person = i.person AND o.image <> i.image""",
    "images are cut": "UPDATE facesync_images SET sealed = substr(sealed, 1, 20)",
    "images are plain": r"UPDATE facesync_images SET sealed = '\xffd8ffe000104a464946'::bytea",
    "images are null": "ALTER TABLE facesync_images ALTER sealed DROP NOT NULL; UPDATE facesync_images SET sealed = NULL",
    "images are text": "ALTER TABLE facesync_images ALTER sealed TYPE text",
    "images are gone": "DELETE FROM facesync_images",
}  # fmt: skip


@pytest.fixture
def door(postgres_url, tmp_path):
    """Open a door; all of them have the key, and each a memory of its own."""
    opened = []

    def open_door() -> ServerGallery:
        opened.append(ServerGallery(postgres_url, tmp_path / "face_embeddings.pkl"))
        return opened[-1]

    yield open_door
    for gallery in opened:
        gallery.close()


@pytest.fixture
def tamper(postgres_server, postgres_url):
    """Do something to the database, as who owns the server may."""

    def run(statement: str) -> None:
        database = postgres_url.rpartition("/")[2]
        address = postgres_server.superuser.replace("@/postgres", f"@/{database}")
        with psycopg.connect(address) as connection:
            connection.execute(statement)

    return run


@pytest.fixture
def three(door) -> ServerGallery:
    gallery = door()
    for number, name in enumerate(NAMES, 1):
        gallery.register(enrolled(name, number), images(2, 40 * number))
    return gallery


def refused(use) -> str:
    with pytest.raises(StoreError) as caught:
        use()
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize("what", PEOPLE)
def test_people_that_were_tampered_with_are_refused(three, door, tamper, what):
    three.close()
    tamper(PEOPLE[what])
    refused(door().people)
    refused(lambda: door().register(enrolled("Dan", 9), images()))


@pytest.mark.parametrize("what", PEOPLE)
def test_a_door_that_is_open_goes_on_with_who_it_knows(three, tamper, what):
    known = {person.name: person.embedding.tobytes() for person in three.people()}
    tamper(PEOPLE[what] + "; NOTIFY facesync, '1'")
    with suppress(StoreError):  # a door that has read everything may not look at all rows again
        three.register(enrolled("Dan", 9), images())
        known["Dan"] = enrolled("Dan", 9).embedding.tobytes()
    assert {person.name: person.embedding.tobytes() for person in three.people()} == known


@pytest.mark.parametrize("what", IMAGES)
def test_images_that_were_tampered_with_are_refused(three, door, tamper, what):
    three.close()
    tamper(IMAGES[what])
    gallery = door()
    assert [person.name for person in gallery.people()] == list(NAMES)
    for name in NAMES:
        refused(lambda name=name: gallery.images(name))


def test_a_row_of_before_is_refused(three, door, tamper):
    """Who was replaced does not come back, alone or with the images of then."""
    tamper("CREATE TABLE old_people AS TABLE facesync_people; "
           "CREATE TABLE old_images AS TABLE facesync_images")  # fmt: skip
    three.register(enrolled("Ada", 7), images(2, 200), replace=True)
    three.close()
    tamper("UPDATE facesync_people p SET sealed = o.sealed, revision = o.revision "
           "FROM old_people o WHERE o.id = p.id")  # fmt: skip
    refused(door().people)


def test_a_row_of_a_change_that_was_undone_is_refused(three, door, tamper):
    """The server has seen it, and the change that came instead has the same revision."""

    class Undone(Exception):
        pass

    with suppress(Undone), three.locked():
        content = three.content()
        others = [person for person in content.people if person.name != "Ada"]
        three.change(content, [*others, enrolled("Ada", 7)], {})
        query = "SELECT id, revision, sealed FROM facesync_people ORDER BY revision DESC LIMIT 1"
        row_id, revision, sealed = three.door.connection.execute(query).fetchone()
        raise Undone
    three.register(enrolled("Ada", 8), images(2, 200), replace=True)
    three.close()
    row = f"sealed = '\\x{sealed.hex()}'::bytea WHERE id = '{row_id}' AND revision = {revision}"
    tamper(f"UPDATE facesync_people SET {row}")
    assert "put back" in refused(door().people)


def test_a_door_reads_again_what_took_the_place_of_what_it_knew(three, door, tamper):
    """Somebody put an older gallery back, and it was changed as often as before."""
    other = door()
    tables = ("gallery", "people", "images")
    tamper(";".join(f"CREATE TABLE old_{t} AS TABLE facesync_{t}" for t in tables))
    three.register(enrolled("Ada", 7), images(2, 200), replace=True)
    assert other.find("Ada") is not None
    other.close()
    tamper("TRUNCATE facesync_people CASCADE; TRUNCATE facesync_gallery;"
           + ";".join(f"INSERT INTO facesync_{t} SELECT * FROM old_{t}" for t in tables))  # fmt: skip
    three.close()
    again = door()
    again.door.mark = lambda: None  # of another machine, where nobody saw the newer one
    with again.locked():
        content = again.content()
        people = [enrolled("Ada", 8) if p.name == "Ada" else p for p in content.people]
        again.change(content, people, {})
    again.register(enrolled("Dan", 9), images(1))
    other.door.refresh()
    wanted = {p.name: p.embedding.tobytes() for p in again.people()}
    assert {p.name: p.embedding.tobytes() for p in other.people()} == wanted


def test_who_was_deleted_does_not_come_back(three, door, tamper):
    tamper("CREATE TABLE old_people AS TABLE facesync_people")
    assert three.delete("Bob") == "Bob"
    three.close()
    tamper("INSERT INTO facesync_people SELECT * FROM old_people ON CONFLICT DO NOTHING")
    refused(door().people)


def test_an_image_of_before_is_refused(three, door, tamper):
    tamper("CREATE TABLE old_images AS TABLE facesync_images")
    three.register(enrolled("Ada", 7), images(2, 200), replace=True)
    three.close()
    tamper("UPDATE facesync_images i SET sealed = o.sealed FROM old_images o "
           "WHERE o.person = i.person AND o.image = i.image")  # fmt: skip
    refused(lambda: door().images("Ada"))


def test_an_older_gallery_is_a_warning_where_a_newer_one_was_seen(three, door, tamper, caplog):
    tables = ("gallery", "people", "images")
    tamper(";".join(f"CREATE TABLE old_{t} AS TABLE facesync_{t}" for t in tables))
    three.register(enrolled("Dan", 9), images())
    three.close()
    tamper("TRUNCATE facesync_people CASCADE; TRUNCATE facesync_gallery;"
           + ";".join(f"INSERT INTO facesync_{t} SELECT * FROM old_{t}" for t in tables))  # fmt: skip
    assert [person.name for person in door().people()] == list(NAMES)
    assert "older" in caplog.text


def test_a_gallery_that_vanished_is_no_empty_one(three, door, tamper):
    """Else everybody could be registered anew by whoever emptied it."""
    three.close()
    tamper("DROP TABLE facesync_gallery, facesync_people, facesync_images CASCADE")
    refused(lambda: door().register(enrolled("Eve", 9), images()))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 100.0])
def test_embeddings_that_are_none_are_refused_even_with_the_key(three, door, tamper, value):
    content = three.content()
    bad = [
        Person(p.name, p.embedding * np.float32(value), p.fingerprint, p.registered, 3)
        for p in content.people
    ]
    with three.locked():
        three.change(three.content(), bad, {})
    three.close()
    refused(door().people)


@pytest.mark.parametrize("payload", ["", "x", "-1", "9" * 7000, "1; DROP TABLE x", "\x01\x7f"])
def test_a_notification_is_not_believed(three, tamper, payload):
    for _ in range(3):
        tamper(f"SELECT pg_notify('facesync', '{payload}')")
    three.register(enrolled("Dan", 9), images())
    assert len(three.people()) == 4


def test_counts_of_attempts_that_are_no_numbers_count_as_damaged(three, door, tamper):
    three.attempts.check("Ada")
    three.attempts.record("Ada", None)
    tamper("ALTER TABLE facesync_attempts ALTER saves TYPE text; NOTIFY facesync, 'attempts'")
    gallery = door()
    assert len(gallery.people()) == 3
    three.door.refresh()
    with suppress(StoreError):
        gallery.attempts.record("Ada", None)


@pytest.mark.parametrize(
    "address",
    [
        "host=127.0.0.1 user=door password=s3cret dbname=gallery",
        "postgresql://door:s3cret/gallery",
        "postgresql://door:s3@s3cret@127.0.0.1/gallery",
        "postgresql://door:s3cret x@127.0.0.1/gallery",
        "postgresql://127.0.0.1/gallery?nosuch=s3cret",
    ],
)
def test_an_address_that_is_mistyped_is_not_quoted_for_it_may_hold_a_password(address):
    with pytest.raises(UsageError) as caught:
        parameters(address)
    assert "s3cret" not in str(caught.value) and "postgresql://USER@HOST" in str(caught.value)
