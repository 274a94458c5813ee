"""Who is accepted must be alive: the looks, the challenge, still images, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import repeat

import cv2
import numpy as np
import pytest

import faceid_app
from facesync.app import session
from facesync.app.console import in_words
from facesync.app.liveness import LivenessCheck
from facesync.app.session import Session
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.errors import CameraError, ImageError, StoreError, UsageError
from facesync.faces.recognizer import Seen
from facesync.gallery import attempts
from facesync.gallery.people import Person, now
from facesync.liveness import camera as cameras_known
from facesync.liveness.camera import CameraLiveness
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, image, quality
from tests.liveness.fakes import FakePassive, face, head, photograph

TURNS = {
    "Look straight into the camera": {},
    "Turn your head to your left": {"yaw": 30},
    "Turn your head to your right": {"yaw": -30},
    "Lift your chin": {"pitch": 30},
    "Lower your chin": {"pitch": -30},
}


class Actor(FakeRecognizer):
    """Sees Ada, or whoever `who` is, turned as she was asked to by `obey`."""

    def __init__(self, shows=head) -> None:
        super().__init__()
        self.who, self._shows = 1, shows
        self.landmarks = shows()
        self.said: list[str] = []

    def obey(self, prompt: str) -> None:
        self.said.append(prompt)
        self.landmarks = self._shows(**TURNS[prompt])

    def look(self, image_rgb, *, photograph: bool = False) -> Seen | None:
        seen = super().look(image_rgb)
        return seen and replace(seen, faces=[face(self.landmarks)], embedding=embedding(self.who))


@pytest.fixture
def ada(gallery):
    gallery.register(Person("Ada", embedding(1), "model-a", now(), 5), [])
    return gallery


@pytest.fixture
def settings(tmp_path) -> AppSettings:
    return AppSettings(audit_log=tmp_path / "log.jsonl")


@pytest.fixture
def verification(ada, settings):
    """Make a verification in a mode, with a passive model that gives scores."""

    def make(mode: str, *scores: float, actor=None, attack="print", known=False) -> Verification:
        make.passive = passive = FakePassive(scores, attack=attack)
        policy = Policy(mode, passive, CameraLiveness(0.0) if known else None)
        return Verification(
            ada,
            actor or FakeRecognizer(),
            settings,
            liveness=lambda: LivenessCheck(policy, Evidence(passive, 0.6)),
        )

    return make


def before_camera(verification: Verification, actor: Actor, say=None, frames=None):
    camera = FakeCamera(repeat(image()) if frames is None else frames, live=True)
    return verification.camera(lambda: camera, 5, say or actor.obey)


def logged(settings) -> list[dict[str, object]]:
    return [json.loads(line) for line in settings.audit_log.read_text().splitlines()]


@pytest.mark.parametrize(
    ("mode", "score", "live", "said"),
    [
        ("passive", 0.6, True, "Ada: accepted (5 of 5 frames agree"),
        ("passive", 0.4, False, "access denied: it may be a screen, not a live face"),
        ("auto", 0.6, True, "the face looks live)"),
        ("auto", 0.4, False, "access denied: it may be a screen, not a live face"),
        ("auto", 0.1, False, "access denied: it looks like a screen, not a live face"),
        ("challenge", 0.1, False, "access denied: it looks like a screen, not a live face"),
    ],
)
def test_a_recording_is_accepted_if_it_looks_live(verification, settings, mode, score, live, said):
    camera = FakeCamera([image(faces=3)] * 20)
    decision = verification(mode, score, attack="replay").camera(lambda: camera)
    assert verification.passive.calls == 5  # the main face of each look, and nothing else
    assert (decision.accepted, decision.liveness.live) == (live, live)
    assert (decision.name == "Ada") is live and decision.similarity > 0.9
    assert said in in_words(decision)
    assert decision.liveness.score == score and decision.liveness.challenge is None
    (line,) = logged(settings)
    assert line["accepted"] is live
    assert line["liveness"] == {"live": live, "score": score, "challenge": None}


def test_an_attack_is_a_wrong_attempt(verification):
    attack = verification("passive", 0.1)
    for _ in range(attempts.FREE_ATTEMPTS):
        assert not attack.camera(lambda: FakeCamera([image()] * 20)).accepted
    with pytest.raises(StoreError, match="5 failed attempts in a row"):
        attack.camera(lambda: FakeCamera([image()] * 20))


def test_too_few_looks_are_not_enough(verification):
    """Three frames agree, and more are not there; asked for three, five are looked at."""
    short = verification("passive", 0.9).camera(lambda: FakeCamera([image()] * 3), 3)
    assert (short.accepted, short.liveness.live, short.similarity > 0.9) == (False, None, True)
    assert short.reason == "too few looks at the face: 3 of 5"
    for frames in (5, 20):
        video = partial(FakeCamera, [image()] * frames)
        assert verification("passive", 0.9).camera(video, 3).accepted


def test_who_is_not_registered_is_refused_for_that_and_is_asked_for_no_turns(verification):
    actor = Actor()
    actor.who = 2
    decision = before_camera(verification("challenge", 0.9, actor=actor), actor)
    assert "not similar enough" in decision.reason and actor.said == []
    assert decision.liveness.live is None and decision.liveness.challenge == "needed"


def test_an_attack_that_is_nearly_similar_enough_is_not_nearly_accepted(verification):
    """Its image would be offered as a sample."""
    almost = 0.57 * embedding(1) + np.sqrt(1 - 0.57**2) * np.eye(512)[400]
    for score, nearly in ((0.1, False), (0.9, True)):
        actor = Actor()
        actor.look = lambda image_rgb, photograph=False: Seen(
            image_rgb, [face(head())], almost.astype(np.float32), quality()
        )
        decision = verification("passive", score, actor=actor).camera(
            lambda: FakeCamera([image()] * 20)
        )
        assert (decision.accepted, decision.nearly) == (False, nearly)


def test_a_camera_that_is_known_asks_nothing_of_who_surely_looks_live(verification):
    actor = Actor()
    assert before_camera(verification("auto", 0.9, actor=actor, known=True), actor).accepted
    assert actor.said == []


@pytest.mark.parametrize(("mode", "known"), [("auto", False), ("challenge", True)])
def test_who_turns_the_head_as_asked_is_accepted(verification, settings, mode, known):
    actor = Actor()
    decision = before_camera(verification(mode, 0.9, actor=actor, known=known), actor)
    assert decision.accepted and decision.liveness.challenge == "passed"
    assert len([said for said in actor.said if "straight" not in said]) == 3
    assert in_words(decision).endswith("; the head turned as asked)")
    assert logged(settings)[-1]["liveness"]["challenge"] == "passed"


class Refusing(Actor):
    """Does not do as asked, from the first turn on."""

    how = "wrong way"

    def obey(self, prompt: str) -> None:
        super().obey(prompt)
        if "straight" in prompt:
            return
        asked = TURNS[prompt]
        if self.how == "wrong way":
            self.landmarks = head(**{axis: -angle for axis, angle in asked.items()})
        elif self.how == "not at all":
            self.landmarks = head()
        elif self.how == "another person":
            self.who = 2
        elif self.how == "Ctrl-C":
            raise KeyboardInterrupt
        elif self.how == "unplugged":
            raise CameraError("the camera is gone")
        elif self.how == "no reader":
            raise BrokenPipeError


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("wrong way", "turned another way than"),
        ("not at all", "in time"),
        ("another person", "more than one person was in front of the camera|another person"),
    ],
)
def test_who_does_not_turn_as_asked_is_refused(verification, settings, how, reason):
    actor = Refusing()
    actor.how = how
    asked = verification("auto", 0.9, actor=actor)
    decision = before_camera(asked, actor)
    assert (decision.accepted, decision.name, decision.liveness.live) == (False, None, False)
    assert decision.liveness.challenge.startswith("failed: ")
    assert any(part in decision.reason for part in reason.split("|"))
    actor.how, actor.who, actor.landmarks = "as asked", 1, head()
    assert before_camera(asked, actor).accepted  # each attempt begins anew


@pytest.mark.parametrize(
    ("how", "error"),
    [("Ctrl-C", KeyboardInterrupt), ("unplugged", CameraError), ("no reader", BrokenPipeError)],
)
def test_a_challenge_that_is_broken_off_was_a_wrong_attempt(verification, settings, how, error):
    """Or one would learn for nothing whether a face is registered."""
    actor = Refusing()
    actor.how = how
    for _ in range(attempts.FREE_ATTEMPTS):
        with pytest.raises(error):
            before_camera(verification("auto", 0.9, actor=actor), actor)
        assert any(
            line["liveness"] and line["liveness"]["challenge"] == "failed: it was broken off"
            for line in logged(settings)[-2:]
        )
    with pytest.raises(StoreError, match="5 failed attempts in a row"):
        before_camera(verification("auto", 0.9, actor=actor), actor)


def test_a_photograph_that_is_tilted_as_asked_is_refused(verification):
    actor = Actor(photograph)
    decision = before_camera(verification("auto", 0.9, actor=actor), actor)
    assert not decision.accepted and "in time" in decision.reason


def test_a_recording_is_watched_through_a_challenge_and_fails_by_its_clock(verification):
    actor = Actor()
    asked = verification("challenge", 0.9, actor=actor)
    decision = asked.camera(lambda: FakeCamera([image()] * 400), 5, actor.said.append)
    assert not decision.accepted and "in time" in decision.reason
    assert len(actor.said) == 2


def test_still_images_show_no_life_and_it_is_said_once(verification, shot, caplog):
    caplog.set_level("INFO")
    photographs = verification("auto", 0.1)
    for name in ("again", "more"):
        decision = photographs.image(shot(name)).decision
        assert decision.accepted and decision.liveness is None
    said = "note: a still image cannot show that somebody is alive"
    assert caplog.messages.count(said) == 1
    # The same verification asks again when it gets a camera.
    assert not photographs.camera(lambda: FakeCamera([image()] * 20)).accepted


def test_where_liveness_is_required_still_images_are_refused(ada, settings, shot):
    settings = replace(settings, require_liveness=True)
    recognizer = FakeRecognizer()
    with pytest.raises(ImageError, match=r"a still image cannot show .* --require-liveness"):
        Verification(ada, recognizer, settings).image(shot("again"))
    assert recognizer.looks == 0 and not logged(settings)[0]["accepted"]
    with pytest.raises(UsageError, match="--require-liveness needs --liveness"):
        AppSettings(require_liveness=True, liveness="off")


@pytest.fixture
def made(ada, monkeypatch):
    """Make a session of the app's own with a camera, and a passive model that gives 0.9."""
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    monkeypatch.setattr(session, "load_passive", FakePassive)

    def make(camera: object, **settings: object) -> Session:
        common = {"embeddings": ada.path, "faces": ada.faces, "camera": str(camera)}
        return Session(AppSettings(**common, **settings))

    return make


def test_what_kind_of_source_the_camera_is(made, tmp_path, shot):
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    for source, recorded, stills in (
        ("0", False, False),
        ("rtsp://camera/1", False, False),
        ("/dev/v4l/by-id/camera", False, False),
        (tmp_path / "clip.mp4", True, False),
        (shot("a"), True, True),
        (tmp_path, True, True),
    ):
        verification = made(source).verification()
        assert (verification.recorded, verification.stills) == (recorded, stills), source


def test_a_camera_is_learnt_without_its_password_and_files_without_their_names(made, ada, tmp_path):
    evidence = Evidence(FakePassive(), 0.6)
    for _ in range(5):
        evidence.look(image(), face(head()), embedding(1))
    made(tmp_path / "clip.mp4").learn_camera(evidence)
    assert "clip" not in cameras_known.file_of(ada.path).read_text()
    camera = made("rtsp://me:secret@camera/1")
    assert camera.policy().judge(evidence, recorded=False).challenge == "needed"
    camera.learn_camera(evidence)
    assert "secret" not in cameras_known.file_of(ada.path).read_text()
    assert camera.policy().judge(evidence, recorded=False).live
    ada.delete_all()
    assert not cameras_known.file_of(ada.path).exists()


def test_without_liveness_no_model_is_loaded(made, monkeypatch):
    monkeypatch.setattr(session, "load_passive", pytest.fail)
    off = made("0", liveness="off")
    assert off.policy() is None and off.evidence() is None
    decision = off.verification().camera(lambda: FakeCamera([image()] * 20), 3)
    assert decision.accepted and decision.liveness is None
    off.watcher()


@pytest.mark.parametrize(("score", "code"), [(0.9, 0), (0.1, 1)])
def test_the_command_on_a_video(made, ada, monkeypatch, tmp_path, capsys, score, code):
    monkeypatch.setattr(session, "load_passive", lambda: FakePassive([score], attack="replay"))
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120)
    )
    for _ in range(20):
        writer.write(image()[:, :, ::-1])
    writer.release()
    files = ["--embeddings", str(ada.path), "--faces", str(ada.faces)]
    video = ["--camera", str(tmp_path / "clip.avi"), "--liveness", "passive"]
    assert faceid_app.main([*files, "verify", *video, "--json"]) == code
    decision = json.loads(capsys.readouterr().out)
    assert decision["accepted"] is (code == 0)
    alive = decision["liveness"]
    assert set(alive) == {"live", "score", "reason", "evidence", "challenge"}
    assert (alive["live"], alive["score"], alive["challenge"]) == (code == 0, score, None)
    assert "5 looks" in alive["evidence"]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_asks_for_turns_in_words(made, ada, monkeypatch, capsys, form):
    """On standard error where a program reads the result."""
    camera = FakeCamera([image()] * 200, live=True, then=CameraError("unplugged"))
    monkeypatch.setattr(session, "Recognizer", lambda settings: Actor())
    monkeypatch.setattr(session, "open_camera", lambda *args, **kwargs: camera)
    monkeypatch.setattr("facesync.app.looking.TURN_SECONDS", 0.0)
    files = ["--embeddings", str(ada.path), "--faces", str(ada.faces)]
    code = faceid_app.main([*files, "--liveness", "challenge", "verify", "--no-window", *form])
    printed = capsys.readouterr()
    asked = printed.err if form else printed.out
    assert code == 1 and asked.count("Look straight into the camera\n") == 1
    assert any(prompt in asked for prompt in list(TURNS)[1:])
    if form:
        assert json.loads(printed.out)["accepted"] is False


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_on_images(made, ada, shot, capsys, form):
    files = ["--embeddings", str(ada.path), "--faces", str(ada.faces), "verify", *form]
    images = ["--image", str(shot("a")), str(shot("b"))]
    assert faceid_app.main([*files, *images]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("a still image cannot show that somebody is alive") == 1
    assert not form or json.loads(printed.out)["liveness"] is None
    camera = ["--camera", str(shot("a"))]
    assert faceid_app.main([*files, *camera, "--no-window"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("a still image cannot show that somebody is alive") == 1
    for stills in (images, camera):
        assert faceid_app.main([*files, *stills, "--require-liveness"]) == 1
        printed = capsys.readouterr()
        assert "a still image cannot show" in printed.out + printed.err
        assert not form or json.loads(printed.out)["liveness"] is None
