"""What the page may set: kept for the next time, never over what the command line gave."""

from __future__ import annotations

import json
import os
import stat

import pytest

import faceid_app
from facesync.app import doctor
from facesync.app import settings as app_settings
from facesync.app.settings import AppSettings
from facesync.errors import UsageError
from facesync.web import choices


def given(*argv: str) -> AppSettings:
    """Return the settings of a command line."""
    return app_settings.parse(faceid_app.build_parser(), [*argv, "web"])[0]


def test_what_is_set_is_in_force_and_kept(served, session):
    before = session.recognizer
    wanted = {"false_match_rate": 0.001, "model": "embedded", "liveness": "passive"}
    answer = served.ask("PATCH", "/api/settings", wanted)
    assert answer.status == 200
    assert {name: answer.json[name]["value"] for name in wanted} == wanted
    assert answer.json == served.ask("GET", "/api/settings").json
    assert (session.settings.fmr, session.settings.model) == (0.001, "embedded")
    assert session.recognizer is not before and session.recognizer.settings is session.settings
    assert served.desk.sightings.recognizer is session.recognizer
    assert served.desk.sightings.liveness is True
    assert json.loads(choices.file().read_text()) == wanted
    if os.name == "posix":
        assert stat.S_IMODE(choices.file().stat().st_mode) == 0o600
    assert choices.chosen(AppSettings()).liveness == "passive"
    served.ask("PATCH", "/api/settings", {"model": "auto", "false_match_rate": None})
    assert (session.settings.fmr, session.settings.model) == (None, None)


def test_the_choices_are_in_words(served):
    about = served.ask("GET", "/api/settings").json
    rates = about["false_match_rate"]["choices"]
    assert "1 stranger in 1,000" in {each["words"] for each in rates}
    assert rates[0]["value"] is None
    assert {each["name"] for each in about["model"]["choices"]} >= {"auto", "embedded"}
    assert all(
        set(each) == {"name", "title", "here", "licence"} for each in about["model"]["choices"]
    )
    assert {each["value"] for each in about["liveness"]["choices"]} == {
        "off", "passive", "auto", "challenge"
    }  # fmt: skip
    assert about["camera"] == {"value": "0"} and about["fixed"] == []


@pytest.mark.parametrize(
    "wanted",
    [{"false_match_rate": 2}, {"false_match_rate": True}, {"false_match_rate": "0.001"},
     {"model": "../x.pth"}, {"model": None}, {"liveness": "maybe"}, {"liveness": []},
     {"camera": "1"}, {"store": "x"}],
)  # fmt: skip
def test_nothing_else_can_be_set(served, session, wanted):
    before = session.settings
    answer = served.ask("PATCH", "/api/settings", wanted)
    assert answer.status == 400 and session.settings is before and not choices.file().exists()


def test_liveness_that_is_required_stays(served, session):
    session.settings = AppSettings(require_liveness=True)
    assert served.ask("PATCH", "/api/settings", {"liveness": "off"}).status == 400
    assert session.settings.liveness == "auto"


def test_not_while_the_camera_is_in_use(served, session):
    with served.camera() as camera:
        camera.send(json.dumps({"task": "watch"}))
        camera.recv()
        answer = served.ask("PATCH", "/api/settings", {"liveness": "passive"})
        assert answer.status == 409 and "camera is in use" in answer.json["error"]
    assert session.settings.liveness == "off"


@pytest.mark.parametrize(
    ("argv", "fixed"),
    [(["--fmr", "0.01"], ["false_match_rate"]), (["--threshold", "0.5"], ["false_match_rate"]),
     (["--model", "embedded"], ["model"]), (["--liveness", "auto"], ["liveness"]),
     (["--camera", "0"], ["camera"]), ([], [])],
)  # fmt: skip
def test_what_the_command_line_gave_is_fixed(argv, fixed):
    """Also where it is the default: who says so means it."""
    choices.keep(AppSettings(fmr=0.001, model="vggface2", liveness="off"))
    settings = given(*argv)
    assert choices.fixed(settings) == fixed
    chosen = choices.chosen(settings)
    mine = {"false_match_rate": 0.001, "model": "vggface2", "liveness": "off"}
    for name, value in choices.current(chosen).items():
        wanted = choices.current(settings)[name] if name in fixed else mine.get(name, "0")
        assert value == wanted
        if name in fixed:
            with pytest.raises(UsageError, match="command line"):
                choices.changed(settings, {name: value})
    choices.keep(chosen)
    assert not set(json.loads(choices.file().read_text())) & set(fixed)


def test_what_a_file_of_settings_gave_is_fixed(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('liveness = "auto"\n')
    assert choices.fixed(given("--config", str(file))) == ["liveness"]


DAMAGED = ["", "{", "[]", "7", '"model"', '{"model": "../x"}', '{"false_match_rate": 5}',
           "[" * 100_000, '{"liveness": {}}', '{"model": null}']  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_one_warning_and_defaults(content, caplog):
    choices.file().parent.mkdir(parents=True, exist_ok=True)
    choices.file().write_text(content)
    settings = AppSettings()
    assert choices.chosen(settings) == settings
    (said,) = caplog.records
    assert "cannot be used" in said.message


def test_the_doctor(served, session, monkeypatch):
    monkeypatch.setattr(doctor, "_CAMERAS", 0)
    monkeypatch.setattr(doctor, "why_no_window", lambda: "it is a test")
    facts = doctor.examine(session.settings, session.gallery, session.recognizer)
    answer = served.ask("GET", "/api/doctor").json
    assert answer == {**json.loads(json.dumps(facts)), "words": doctor.in_words(facts)}
    assert "verdict" in answer["words"]
