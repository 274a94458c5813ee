"""The camera of a browser: frames through the WebSocket, and what comes back."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from facesync.app import pose_guide
from facesync.app import session as session_module
from facesync.app.session import Session
from facesync.gallery import attempts
from facesync.images import encode_jpeg
from facesync.liveness import camera as cameras_known
from facesync.web import camera as camera_module
from tests.app.fakes import image
from tests.app.test_liveness import Actor
from tests.liveness.fakes import FakePassive
from tests.web.servers import serving


class Page:
    """What the page does with the socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, **data: object) -> None:
        self.socket.send(json.dumps(data))

    def begin(self, task: str, **more: object) -> dict:
        self.say(task=task, **more)
        return self.hear()

    def hear(self) -> dict:
        return json.loads(self.socket.recv(timeout=60))

    def show(self, **shown: int) -> dict:
        """Send a frame and return the answer."""
        self.socket.send(encode_jpeg(image(**shown), quality=100))
        return self.hear()

    def closed(self) -> int:
        """Wait until the other side closes, and return why."""
        with pytest.raises(ConnectionClosed) as closed:
            self.socket.recv(timeout=60)
        return closed.value.rcvd.code


@pytest.fixture
def page(served):
    with served.camera() as socket:
        yield Page(socket)


@contextmanager
def another(served):
    with served.camera() as socket:
        yield Page(socket)


class TestVerify:
    def test_ada_is_accepted(self, page):
        assert page.begin("verify") == {"type": "ready"}
        view = page.show(who=1)
        assert (view["type"], view["status"], view["tone"]) == (
            "view",
            "Ready to verify",
            "neutral",
        )
        assert view["keys"] == [["V", "verify"]] and "decision" not in view
        (mark,) = view["marks"]
        assert mark == {"box": [60, 40, 100, 80], "tone": "neutral", "label": ""}
        page.say(type="key", key="v")
        views = [page.show(who=1) for _ in range(5)]
        (decided,) = [view for view in views if "decision" in view]
        decision = decided["decision"]
        assert (decision["accepted"], decision["name"]) == (True, "Ada")
        assert decision["trusted"] is True and decision["model"]["name"] == "fake weights"
        assert decided["tone"] == "good" and decided["marks"][0]["label"] == "Ada"

    def test_a_stranger_is_refused_and_counted(self, page, session):
        page.begin("verify")
        page.show(who=5)
        page.say(type="key", key="V")
        views = [page.show(who=5) for _ in range(5)]
        (decided,) = [view for view in views if "decision" in view]
        assert not decided["decision"]["accepted"] and decided["tone"] == "bad"
        assert attempts.file_of(session.gallery.path).exists()

    def test_a_claim(self, page):
        page.begin("verify", name="Bob")
        page.show(who=1)
        page.say(type="key", key="v")
        views = [page.show(who=1) for _ in range(5)]
        assert [v["decision"]["accepted"] for v in views if "decision" in v] == [False]

    @pytest.mark.parametrize("early", [True, False], ids=["before", "within"])
    def test_who_is_deleted_meanwhile_is_not_accepted(self, page, served, early):
        page.begin("verify")
        page.show(who=1)
        if early:
            served.ask("DELETE", "/api/people/Ada")
        page.say(type="key", key="v")
        views = [page.show(who=1)]
        served.ask("DELETE", "/api/people/Ada")
        views += [page.show(who=1) for _ in range(5)]
        (decision,) = [view["decision"] for view in views if "decision" in view]
        assert (decision["accepted"], decision["name"]) == (False, None)

    def test_a_pause_is_not_ended_by_another_name(self, page, served, session):
        page.begin("verify")
        page.show(who=1)
        for _ in range(attempts.FREE_ATTEMPTS):
            session.gallery.attempts.record("Ada", None)
        assert served.ask("PATCH", "/api/people/Ada", {"name": "Eva"}).status == 200
        page.say(type="key", key="v")
        (decision,) = [
            v["decision"] for v in (page.show(who=1) for _ in range(5)) if "decision" in v
        ]
        assert not decision["accepted"] and "try again in" in decision["reason"]

    def test_whom_nobody_knows_is_an_error(self, page):
        said = page.begin("verify", name="Nobody")
        assert said == {"type": "error", "error": "nobody is registered as Nobody"}
        assert page.closed() == 4409

    def test_a_pause_is_its_own_close(self, page, session):
        for _ in range(attempts.FREE_ATTEMPTS):
            session.gallery.attempts.record("", None)
        assert "try again in" in page.begin("verify")["error"]
        assert page.closed() == 4429


class TestChallenge:
    @pytest.fixture
    def actor(self, session, settings, monkeypatch):
        monkeypatch.setattr(session_module, "load_passive", lambda: FakePassive([0.6]))
        session.settings = session.settings.__class__(
            embeddings=settings.embeddings, faces=settings.faces, liveness="auto", encrypt=False
        )
        session.recognizer = Actor()
        return session.recognizer

    def test_a_ring_is_shown_and_breaking_off_counts(self, actor, session):
        with serving(session) as served:
            with another(served) as page:
                page.begin("verify", camera="HD Webcam")
                page.show(who=1)
                page.say(type="key", key="v")
                views = [page.show(who=1) for _ in range(6)]
                assert "decision" not in views[-1] and views[-1]["progress"] is not None
                assert views[-1]["status"].startswith(actor.said[-1] if actor.said else "Look")
                ring = views[-1]["ring"]
                assert set(ring) == {"centre", "radius", "side", "filled"}
                assert not attempts.file_of(session.gallery.path).exists()
            _until_free(served)
            assert attempts.file_of(session.gallery.path).exists()


def _until_free(served) -> None:
    end = time.monotonic() + 30
    while served.desk.camera_in_use:
        assert time.monotonic() < end
        time.sleep(0.01)


class TestRegister:
    def test_samples_are_taken_and_stored(self, page, session):
        assert page.begin("register", name=" Cid ") == {"type": "ready"}
        view = page.show(who=3)
        assert view["progress"] == [1, 5] and view["tone"] == "good"
        while not view["done"]:
            page.say(type="key", key="c")
            view = page.show(who=3)
        assert view["person"] == {"name": "Cid", "samples": 5}
        assert view["progress"] == [5, 5] and view["keys"] == []
        assert session.gallery.find("cid").samples == 5
        assert page.show(faces=0) == view  # the last view stays

        assert page.begin("watch") == {"type": "ready"}  # another task on the same socket

    def test_a_doubt_is_asked_about_and_the_samples_stay(self, page, session):
        page.begin("register", name="Eve")
        doubt = page.show(who=1)
        assert doubt["type"] == "doubt" and doubt["allowed_by"] == "same_person"
        assert "registered as Ada" in doubt["what"]
        page.say(type="answer", yes=True)
        view = page.show(who=1)
        assert view["progress"][0] >= 1
        while not view.get("done"):
            page.say(type="key", key="c")
            view = page.show(who=1)
        assert view["person"]["name"] == "Eve" and session.gallery.find("Eve")

    @pytest.mark.parametrize("answer", [False, "yes", None])
    def test_nothing_but_yes_is_yes(self, page, session, answer):
        page.begin("register", name="Eve")
        page.show(who=1)
        page.say(type="answer", yes=answer)
        assert page.hear()["error"].endswith("nothing is stored") and page.closed() == 4409
        assert session.gallery.find("Eve") is None

    def test_no_frame_is_looked_at_before_the_answer(self, page):
        page.begin("register", name="Eve")
        page.show(who=1)
        assert page.show(who=1)["type"] == "error" and page.closed() == 4400

    def test_a_taken_name_is_an_error(self, page):
        assert "already registered" in page.begin("register", name="ada")["error"]
        assert page.closed() == 4409

    def test_a_similar_name_is_a_doubt(self, page, served):
        said = page.begin("register", name="\u0410da")
        assert said["type"] == "error" and said["doubt"]["allowed_by"] == "similar_name"
        assert page.closed() == 4409
        _until_free(served)
        with another(served) as again:
            assert again.begin("register", name="\u0410da", similar_name=True)["type"] == "ready"

    def test_a_photograph_is_not_registered(self, session, monkeypatch):
        monkeypatch.setattr(session_module, "load_passive", lambda: FakePassive([0.1]))
        session.settings = session.settings.__class__(
            embeddings=session.gallery.path, faces=session.gallery.faces, liveness="passive"
        )
        with serving(session) as served, another(served) as page:
            page.begin("register", name="Cid")
            view = page.show(who=3)
            while view["type"] == "view":
                view = page.show(who=3)
            assert view["error"] == "it looks like a print, not a live face; nothing is stored"
            assert page.closed() == 4400
        assert session.gallery.find("Cid") is None


def test_the_camera_is_learnt_under_the_name_that_the_browser_gives(session, monkeypatch):
    passive = FakePassive([0.9])
    monkeypatch.setattr(pose_guide, "TURN_SECONDS", 0.0)  # it looks live beyond doubt
    monkeypatch.setattr(session_module, "load_passive", lambda: passive)
    session.settings = session.settings.__class__(
        embeddings=session.gallery.path, faces=session.gallery.faces, liveness="passive"
    )
    session.recognizer = Actor()
    session.recognizer.who = 3
    with serving(session) as served, another(served) as page:
        page.begin("register", name="Cid", camera="HD Webcam\n(a@b?c)")
        view = page.show(who=3)
        while not view["done"]:
            page.say(type="key", key="c")
            view = page.show(who=3)
    known = session.in_browser("HD Webcam (a@b?c)").settings.camera
    assert cameras_known.known(session.gallery.path, known, passive)
    assert "Webcam" not in cameras_known.file_of(session.gallery.path).read_text()
    assert not cameras_known.known(session.gallery.path, "0", passive)
    assert not session.in_browser("x").recorded and session.settings.camera == "0"


class TestWatch:
    def test_everybody_in_view_is_named_and_logged(self, page, served, monkeypatch):
        monkeypatch.setattr("facesync.app.watcher._worth_it", lambda image_rgb, face: True)
        page.begin("watch")
        view = page.show(who=1)
        assert view["people"] == ["Ada"]
        (mark,) = view["marks"]
        assert mark["label"].startswith("Ada") and mark["track"] == 1 and mark["tone"] == "good"
        assert page.show(faces=0)["marks"] == []
        (entry,) = served.ask("GET", "/api/log").json["entries"]
        assert entry["name"] == "Ada"

    def test_a_new_name_is_shown_at_once_and_who_is_deleted_is_not(self, page, served, monkeypatch):
        monkeypatch.setattr("facesync.app.watcher._worth_it", lambda image_rgb, face: True)
        page.begin("watch")
        assert page.show(who=1)["people"] == ["Ada"]
        served.ask("PATCH", "/api/people/Ada", {"name": "Eva"})
        assert page.show(who=1)["people"] == ["Eva"]
        served.ask("DELETE", "/api/people/Eva")
        assert page.show(who=1)["people"] == []
        assert served.ask("GET", "/api/log").json == {"entries": []}

    def test_it_needs_nobody(self, served, session):
        session.gallery.delete_all()
        with another(served) as page:
            assert page.begin("watch") == {"type": "ready"}
            assert page.show(faces=0)["status"] == "Nobody in view"


class TestOneAtATime:
    def test_a_second_page_is_told_and_the_first_goes_on(self, page, served):
        page.begin("watch")
        with another(served) as second:
            said = second.hear()
            assert said["type"] == "error" and "another window of this page" in said["error"]
            assert second.closed() == 4503
        assert page.show(faces=0)["type"] == "view"

    def test_leaving_frees_it(self, served):
        for _ in range(2):
            with another(served) as page:
                assert page.begin("watch") == {"type": "ready"}
            _until_free(served)

    def test_who_reads_a_question_keeps_it(self, served, monkeypatch):
        with another(served) as page:
            page.begin("register", name="Eve")
            monkeypatch.setattr(camera_module, "IDLE_SECONDS", 0.05)
            assert page.show(who=1)["type"] == "doubt"
            with pytest.raises(TimeoutError):
                page.socket.recv(timeout=0.3)

    def test_who_says_nothing_loses_it(self, served, monkeypatch):
        monkeypatch.setattr(camera_module, "IDLE_SECONDS", 0.05)
        with another(served) as page:
            assert "nothing came from the camera" in page.hear()["error"]
            assert page.closed() == 4400
        _until_free(served)


SENT = {
    "no JSON": "nonsense",
    "no object": "[]",
    "deep": "[" * 4000,
    "long": json.dumps({"task": "watch", "name": "x" * 5000}),
    "no task": "{}",
    "unknown task": '{"task": "dance"}',
    "a name that is none": '{"task": "verify", "name": 7}',
    "a flag that is none": '{"task": "register", "name": "Cid", "add": "perhaps"}',
    "add and replace": '{"task": "register", "name": "Cid", "add": true, "replace": true}',
    "a key before": '{"type": "key", "key": "v"}',
    "an answer before": '{"type": "answer", "yes": true}',
    "a frame before": encode_jpeg(image()),
}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_a_wrong_first_message_is_said_in_one_line(page, sent):
    page.socket.send(sent)
    said = page.hear()
    assert said["type"] == "error" and said["error"] and "\n" not in said["error"]
    assert page.closed() == 4400


FRAMES = {
    "empty": b"",
    "text": b"<html>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "half": encode_jpeg(image())[:200],
    "wide": encode_jpeg(np.zeros((100, 1921, 3), np.uint8)),
    "large": encode_jpeg(np.zeros((1100, 1200, 3), np.uint8)),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_frame_that_is_none_is_said_in_one_line(page, frame):
    page.begin("watch")
    page.socket.send(frame)
    said = page.hear()
    assert (
        said["type"] == "error"
        and said["error"].startswith("a frame")
        and "\n" not in said["error"]
    )
    assert page.closed() == 4400


def test_a_tall_frame_is_as_good_as_a_wide_one(page):
    page.begin("verify")
    page.socket.send(encode_jpeg(np.zeros((1920, 1080, 3), np.uint8)))
    assert page.hear()["type"] == "view"


@pytest.mark.parametrize(
    "name", ["progressive_300_scans.jpg", "eps_error_named.jpg", "eps_loop_named.jpg"]
)
def test_hostile_images_are_one_line(served, page, shared, name):
    file = shared / "cases" / "hostile" / name
    if not file.exists():
        pytest.skip("without the cases")
    data = file.read_bytes()
    page.begin("watch")
    page.socket.send(data)
    assert page.hear()["type"] == "error" and page.closed() in (4400, 1009)
    for path, field in (("verify", "image"), ("identify", "image"), ("liveness", "frames")):
        answer = served.form(f"/api/{path}", (field, (name, data)))
        assert answer.status == 400 and "\n" not in answer.json["error"]
    both = ("first", (name, data)), ("second", (name, data))
    assert served.form("/api/compare", *both).status == 400
    answer = served.form("/api/people", ("name", "Cid"), ("images", (name, data)))
    assert answer.status == 400 and len(answer.json["outcomes"]) == 1


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_a_failure_of_the_app_itself_says_no_more_than_that(
    served, session: Session, monkeypatch, kind
):
    def fail(*arguments: object, **how: object) -> None:
        raise kind("a secret")

    monkeypatch.setattr(session.recognizer, "look", fail)
    with another(served) as page:
        page.begin("verify")
        assert "secret" not in page.show()["error"] and page.closed() == 1011
    files = ("first", ("a", encode_jpeg(image()))), ("second", ("b", encode_jpeg(image())))
    answer = served.form("/api/compare", *files)
    assert answer.status == 500 and "secret" not in answer.body.decode()
