"""The API about who is registered, and the log of who appeared."""

from __future__ import annotations

import io
import json
import zipfile
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest

from facesync.app import sightings
from facesync.app.cameras import Frame
from facesync.app.watcher import Sighting
from facesync.gallery import attempts
from facesync.images import read_image_rgb
from tests.app.fakes import face, image, quality
from tests.web.servers import serving


def names(served) -> list[str]:
    return [person["name"] for person in served.ask("GET", "/api/people").json["people"]]


def test_people_are_listed_as_list_does(served):
    (ada, bob) = served.ask("GET", "/api/people").json["people"]
    assert (ada["name"], ada["samples"], ada["model"], ada["alike"]) == ("Ada", 1, "model-a", [])
    assert bob["name"] == "Bob"


class TestRegistering:
    def test_from_images(self, served, shot):
        files = [("images", shot(f"{n}.jpg", who=3, variant=n)) for n in range(3)]
        none = ("images", shot("none.jpg", faces=0))
        answer = served.form("/api/people", ("name", "Cid"), *files, none)
        assert answer.status == 201
        said = answer.json
        assert (said["name"], said["samples"], said["notes"]) == ("Cid", 3, [])
        assert [each["taken"] for each in said["outcomes"]] == [True, True, True, False]
        assert said["outcomes"][3]["image"] == "none.jpg" and said["outcomes"][3]["reason"]
        assert names(served) == ["Ada", "Bob", "Cid"]

    def test_few_images_are_worth_a_note(self, served, shot):
        answer = served.form("/api/people", ("name", "Cid"), ("images", shot(who=3)))
        assert answer.status == 201 and "with only 1 sample" in answer.json["notes"][0]

    def test_somebody_who_differs_is_left_out_in_one_line(self, served, shot):
        files = [("images", shot(f"{n}.jpg", who=3, variant=n)) for n in range(3)]
        other = ("images", shot("other.jpg", who=5))
        said = served.form("/api/people", ("name", "Cid"), *files, other).json
        (last,) = [each for each in said["outcomes"] if each["image"] == "other.jpg"]
        assert not last["taken"] and "different person" in last["reason"]

    def test_an_image_that_is_none_is_said(self, served):
        answer = served.form("/api/people", ("name", "Cid"), ("images", ("a.jpg", b"no image")))
        assert answer.status == 400 and "no image shows a usable face" in answer.json["error"]
        (outcome,) = answer.json["outcomes"]
        assert outcome["reason"].startswith("a.jpg: ")

    def test_a_taken_name(self, served, shot):
        answer = served.form("/api/people", ("name", "ada"), ("images", shot()))
        assert answer.status == 409 and "already registered" in answer.json["error"]
        more = ("name", "ada"), ("add", "true"), ("images", shot())
        assert served.form("/api/people", *more).json["samples"] == 2

    def test_a_doubt_names_what_allows_it(self, served, shot):
        parts = ("name", "Eve"), ("images", shot(who=1))
        answer = served.form("/api/people", *parts)
        assert answer.status == 409
        doubt = answer.json["doubt"]
        assert doubt["allowed_by"] == "same_person" and doubt["question"].endswith("?")
        assert "registered as Ada" in doubt["what"] and names(served) == ["Ada", "Bob"]
        assert served.form("/api/people", *parts, ("same_person", "true")).status == 201

    @pytest.mark.parametrize(
        "parts",
        [[("name", "Cid")], [("name", "Cid"), ("images", "text")],
         [("name", "")], [("name", "Cid"), ("add", "perhaps")],
         [("name", "Cid"), ("add", "true"), ("replace", "true")]],
    )  # fmt: skip
    def test_what_is_missing_or_wrong_is_said(self, served, shot, parts):
        extra = [] if len(parts) < 2 or parts[1][0] == "images" else [("images", shot())]
        answer = served.form("/api/people", *parts, *extra)
        assert answer.status == 400 and "\n" not in answer.json["error"]

    def test_it_takes_a_form(self, served):
        assert served.ask("POST", "/api/people", {"name": "Cid"}).status == 415

    def test_nothing_of_it_is_written_to_disk_before(self, served, monkeypatch):
        def refuse(*arguments: object, **how: object) -> None:
            raise AssertionError("a file was made")

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
        large = "large.jpg", bytes(3 << 20)
        answer = served.form("/api/people", ("name", "Cid"), ("images", large))
        assert answer.status == 400 and answer.json["outcomes"][0]["image"] == "large.jpg"

    def test_a_form_without_boundary(self, served):
        headers = {**served.program, "Content-Type": "multipart/form-data"}
        answer = served.ask("POST", "/api/people", b"--b--", headers)
        assert answer.status == 400 and "the form cannot be read" in answer.json["error"]

    def test_a_damaged_form(self, served):
        headers = {**served.program, "Content-Type": "multipart/form-data; boundary=b"}
        for body in (b"--c\r\n\r\n", b"--b\r\nnonsense", b""):
            assert served.ask("POST", "/api/people", body, headers).status == 400


NAMES = ["José", "名前", "a/b", "x/merge", "a b?c#d%25", "100% <b>'\"&", "../..", "é" * 200, "😀"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_characters(served, name):
    path = f"/api/people/{quote(name, safe='')}"
    assert served.ask("PATCH", "/api/people/Ada", {"name": name}).json == {"name": name}
    assert sorted(names(served)) == sorted([name, "Bob"])
    assert served.ask("GET", f"{path}/image").headers["Content-Type"] == "image/jpeg"

    answer = served.ask("GET", f"{path}/export")
    assert answer.headers["Content-Type"] == "application/zip"
    disposition = answer.headers["Content-Disposition"]
    assert disposition.isascii() and disposition.startswith('attachment; filename="')
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert json.loads(archive.read("person.json"))["name"] == name

    assert served.ask("DELETE", path).json["name"] == name
    assert names(served) == ["Bob"]


class TestChanging:
    def test_rename_is_checked(self, served):
        assert served.ask("PATCH", "/api/people/Ada", {"name": "Bob"}).status == 409
        assert served.ask("PATCH", "/api/people/Ada", {"name": " "}).status == 409
        assert served.ask("PATCH", "/api/people/Nobody", {"name": "Eve"}).status == 404
        assert served.ask("PATCH", "/api/people/Ada", {"name": 7}).status == 400
        for body in (b"[]", b"{", b"[" * 10_000, b"\xff"):
            headers = {**served.program, "Content-Type": "application/json"}
            assert served.ask("PATCH", "/api/people/Ada", body, headers).status == 400
        assert names(served) == ["Ada", "Bob"]

    def test_a_name_that_is_no_unicode(self, served):
        body = b'{"other": "\\ud800x"}'
        headers = {**served.program, "Content-Type": "application/json"}
        answer = served.ask("POST", "/api/people/Ada/merge", body, headers)
        assert answer.status == 404 and answer.json["error"].startswith("nobody is registered as")
        answer = served.ask("GET", "/api/people/%ED%A0%80/image")
        assert answer.status == 404 and answer.json["error"]

    def test_a_similar_name_is_a_doubt(self, served):
        answer = served.ask("PATCH", "/api/people/Bob", {"name": "\u0410da"})  # a Cyrillic A
        assert answer.status == 409 and answer.json["doubt"]["allowed_by"] == "similar_name"
        sure = {"name": "\u0410da", "similar_name": True}
        assert served.ask("PATCH", "/api/people/Bob", sure).status == 200

    def test_merge(self, served):
        answer = served.ask("POST", "/api/people/Ada/merge", {"other": "Bob"})
        assert answer.status == 409 and answer.json["doubt"]["allowed_by"] == "same_person"
        sure = {"other": "Bob", "same_person": True}
        answer = served.ask("POST", "/api/people/Ada/merge", sure)
        assert answer.json == {"name": "Ada", "samples": 2}
        assert names(served) == ["Ada"]
        assert served.ask("POST", "/api/people/Ada/merge", sure).status == 404

    def test_delete_says_what_was_searched(self, served):
        answer = served.ask("DELETE", "/api/people/Ada")
        assert answer.json["name"] == "Ada" and "nothing" in answer.json["proof"]
        assert served.ask("DELETE", "/api/people/Ada").status == 404
        assert served.ask("GET", "/api/people/Ada/image").status == 404
        assert served.ask("GET", "/api/people/Ada/export").status == 404

    def test_everybody_is_deleted_only_in_so_many_words(self, served):
        for body in ({}, {"confirm": True}, {"confirm": "Delete everything"}):
            assert served.ask("DELETE", "/api/people", body).status == 400
        answer = served.ask("DELETE", "/api/people", {"confirm": "delete everything"})
        assert answer.json["names"] == ["Ada", "Bob"]
        assert names(served) == [] and not served.desk.session.gallery.path.exists()

    def test_the_image_is_the_first_sample(self, served):
        answer = served.ask("GET", "/api/people/Bob/image")
        shown = read_image_rgb(answer.body)
        assert np.abs(shown.astype(int) - image(who=2)).max() < 8


def test_a_damaged_store_is_one_line(session):
    session.gallery.path.write_bytes(b"damaged")
    with serving(session) as served:
        answer = served.ask("GET", "/api/people")
        assert answer.status == 409 and "is damaged" in answer.json["error"]


class TestLog:
    @pytest.fixture
    def seen(self, served, monkeypatch):
        """Ada and somebody unknown have been before the camera."""
        monkeypatch.setattr(sightings, "measure", lambda image_rgb, face: quality())
        log = served.desk.sightings
        for who, name in ((1, "Ada"), (4, None)):
            log.begin()
            moving = SimpleNamespace(face=face())
            one = Sighting(1, name, 0.5, None, True, moving)
            log.note([one], Frame(0, 0.0, image(who=who)[:, :, ::-1].copy()))
        return served

    def test_who_appeared_newest_first(self, seen):
        unknown, ada = seen.ask("GET", "/api/log").json["entries"]
        assert (ada["name"], unknown["name"]) == ("Ada", None)
        assert set(ada) == {"id", "time", "name", "similarity", "probability", "live", "named",
                            "undo"}  # fmt: skip
        assert (unknown["named"], unknown["undo"]) == (None, False)
        answer = seen.ask("GET", f"/api/log/{unknown['id']}/image")
        assert answer.headers["Content-Type"] == "image/jpeg" and read_image_rgb(answer.body).size

    def test_an_unknown_face_is_named_and_that_is_undone(self, seen):
        unknown = seen.ask("GET", "/api/log").json["entries"][0]["id"]
        said = seen.ask("POST", f"/api/log/{unknown}", {"name": "Dan"}).json
        assert (said["named"], said["undo"]) == ("Dan", True)
        assert names(seen) == ["Ada", "Bob", "Dan"]
        assert seen.ask("POST", f"/api/log/{unknown}", {"name": "Eve"}).status == 409
        said = seen.ask("DELETE", f"/api/log/{unknown}/name").json
        assert (said["named"], said["undo"]) == (None, False)
        assert names(seen) == ["Ada", "Bob"]

    def test_a_doubt_about_a_name(self, seen):
        unknown = seen.ask("GET", "/api/log").json["entries"][0]["id"]
        answer = seen.ask("POST", f"/api/log/{unknown}", {"name": "Bob"})
        assert answer.status == 409 and answer.json["doubt"]["allowed_by"] == "same_person"

    def test_nobody_i_know(self, seen):
        unknown = seen.ask("GET", "/api/log").json["entries"][0]["id"]
        assert seen.ask("POST", f"/api/log/{unknown}", {"name": None}).json["named"] is False
        assert seen.ask("POST", f"/api/log/{unknown}", {}).status == 400
        assert seen.ask("DELETE", f"/api/log/{unknown}/name").json["named"] is None

    def test_who_is_renamed_merged_or_deleted(self, seen):
        seen.ask("PATCH", "/api/people/Ada", {"name": "Eva"})
        assert seen.ask("GET", "/api/log").json["entries"][1]["name"] == "Eva"
        seen.ask("POST", "/api/people/Bob/merge", {"other": "Eva", "same_person": True})
        assert seen.ask("GET", "/api/log").json["entries"][1]["name"] == "Bob"
        seen.ask("DELETE", "/api/people/Bob")
        assert [each["name"] for each in seen.ask("GET", "/api/log").json["entries"]] == [None]

    def test_who_gets_the_name_of_somebody_deleted_does_not_get_their_face(self, seen, shot):
        seen.ask("DELETE", "/api/people/Ada")
        images = [("images", shot(f"{i}.jpg", who=7, variant=i)) for i in range(3)]
        assert seen.form("/api/people", ("name", "Ada"), *images).status == 201
        assert [each["name"] for each in seen.ask("GET", "/api/log").json["entries"]] == [None]

    def test_the_log_is_forgotten(self, seen):
        number = seen.ask("GET", "/api/log").json["entries"][0]["id"]
        assert seen.ask("DELETE", "/api/log").json == {"entries": []}
        assert seen.ask("GET", "/api/log").json == {"entries": []}
        for method, path in (("GET", "/image"), ("POST", ""), ("DELETE", "/name")):
            body = {"name": "Eve"} if method == "POST" else None
            assert seen.ask(method, f"/api/log/{number}{path}", body).status == 404
        assert seen.ask("GET", "/api/log/nine/image").status == 404
        assert seen.ask("GET", f"/api/log/{'9' * 5000}/image").json["error"]


def test_attempts_that_are_paused_are_429(served, session, shot):
    for _ in range(attempts.FREE_ATTEMPTS):
        answer = served.form("/api/verify", ("image", shot(who=6)))
        assert (answer.status, answer.json["accepted"]) == (200, False)
    answer = served.form("/api/verify", ("image", shot(who=1)))
    assert answer.status == 429 and "try again in" in answer.json["error"]
    assert served.form("/api/identify", ("image", shot(who=1))).json["faces"][0]["name"] == "Ada"
