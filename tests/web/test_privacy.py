"""What is stored, its backup, its encryption, asked for by the page."""

from __future__ import annotations

from facesync.gallery import backups
from facesync.gallery.on_files import FileGallery


def test_what_is_stored_and_where(served, session):
    about = served.ask("GET", "/api/privacy").json
    assert set(about) == {"stored", "exists", "key", "encrypted", "network"}
    assert about["encrypted"] is False and "not encrypted" in about["key"]
    assert about["network"] == "The app makes no network connection."
    whats = {each["what"]: each for each in about["stored"]}
    people = whats["people: names and templates"]
    assert people == {"what": "people: names and templates", "where": str(session.gallery.path),
                      "items": 2, "bytes": session.gallery.path.stat().st_size,
                      "sealed": False}  # fmt: skip
    assert whats["sample images"]["items"] == 2


def test_a_backup_can_be_restored(served, session, tmp_path):
    answer = served.ask("GET", "/api/privacy/backup")
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="facesync-backup')
    file = tmp_path / "backup"
    file.write_bytes(answer.body)
    other = FileGallery(tmp_path / "other" / "s.pkl", tmp_path / "other" / "faces", encrypt=False)
    assert backups.restore(other, file) == 2
    assert [person.name for person in other.people()] == ["Ada", "Bob"]
    assert len(other.images("Ada")) == 1


def test_encrypting(served, session):
    done = served.ask("POST", "/api/privacy/encrypt").json["done"]
    assert done.startswith("2 people are encrypted. What is stored is encrypted with ")
    about = served.ask("GET", "/api/privacy").json
    assert about["encrypted"] is True and "encrypted with" in about["key"]
    assert {each["sealed"] for each in about["stored"] if "image" in each["what"]} == {True}
    assert session.gallery.content().key is not None
    again = served.ask("POST", "/api/privacy/encrypt")
    assert again.status == 409 and again.json["error"].endswith("is encrypted already")
    assert served.ask("GET", "/api/people/Ada/image").status == 200


def test_without_a_store(served, session):
    session.gallery.delete_all()
    about = served.ask("GET", "/api/privacy").json
    assert (about["exists"], about["encrypted"]) == (False, False)
    assert about["key"].startswith("Nobody is stored yet.")
    for method, path in (("GET", "backup"), ("POST", "encrypt")):
        answer = served.ask(method, f"/api/privacy/{path}")
        assert answer.status == 409 and "there is no store" in answer.json["error"]
