"""`web` as a process, and the page's server with real models beside the commands."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import asdict
from urllib.parse import urlsplit

import cv2
import pytest

import faceid_app
import facesync
from facesync.app.session import Session
from facesync.app.settings import AppSettings
from facesync.images import encode_jpeg, save_jpeg
from facesync.sample_images import photographs
from facesync.videos import open_video
from facesync.web import choices, server
from tests.conftest import ROOT
from tests.end_to_end.driving import Terminal
from tests.web.servers import serving, web_running


def get(address: str, path: str, **headers: str) -> tuple[int, str]:
    where = urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_ctrl_c_ends_it_in_order(tmp_path):
    with web_running(tmp_path) as web:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", web.address)
        code, out, error = web.stop()
    assert (code, error) == (0, "") and out.endswith("Stopped.\n")


def test_ctrl_c_during_a_camera_session(tmp_path):
    from websockets.sync.client import connect

    token = tmp_path / "token"
    with web_running(tmp_path, "--api-token", token, "--offline", "--model", "embedded") as web:
        where = f"ws://127.0.0.1:{urlsplit(web.address).port}/api/camera"
        bearer = {"Authorization": f"Bearer {token.read_text().strip()}"}
        with connect(where, additional_headers=bearer, proxy=None) as camera:
            camera.send(json.dumps({"task": "watch"}))
            assert json.loads(camera.recv()) == {"type": "ready"}
            code, _, error = web.stop()
        assert code == 0 and "Traceback" not in error and "Exception" not in error


def test_a_port_that_is_taken_is_one_line(enter_web):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, error = enter_web("--port", port)
    assert (code, out) == (2, "") and error.count("\n") == 1
    assert error.startswith(f"error: web: cannot listen on 127.0.0.1 port {port} (")
    assert "perhaps FaceSync runs already; choose another with --port" in error


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_no_port(enter_web, port):
    code, _, error = enter_web(f"--port={port}")
    assert code == 2 and "--port" in error


def test_an_address_that_is_none_is_one_line(enter_web):
    code, _, error = enter_web("--host", "no.such.host.invalid")
    assert code == 2 and error == "error: web: there is no address no.such.host.invalid here\n"


def test_the_token_of_programs(tmp_path, enter_web):
    file = tmp_path / "folder" / "token"
    with web_running(tmp_path, "--api-token", file) as web:
        token = file.read_text().strip()
        if os.name == "posix":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert get(web.address, "/api/state", Authorization=f"Bearer {token}")[0] == 200
        assert get(web.address, "/api/state", Authorization="Bearer x")[0] == 401
    with web_running(tmp_path, "--api-token", file) as web:  # it stays
        assert get(web.address, "/api/state", Authorization=f"Bearer {token}")[0] == 200
    for content in ("", "short", "two words of some length"):
        file.write_text(content)
        code, _, error = enter_web("--api-token", file)
        assert code == 1 and "holds no token" in error and error.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="no modes of files")
def test_a_token_that_others_can_know_is_not_taken_in_silence(tmp_path, enter_web, caplog):
    file = tmp_path / "token"
    file.write_text("a token chosen by nobody here".replace(" ", "-"))
    file.chmod(0o666)
    code, _, error = enter_web("--api-token", file)
    assert code == 1 and "others may have written it" in error and error.count("\n") == 1
    file.chmod(0o644)
    assert server._api_token(file) == "a-token-chosen-by-nobody-here"
    assert "others may read the token" in caplog.text
    caplog.clear()
    file.chmod(0o600)
    assert server._api_token(file) and not caplog.text


def test_a_store_that_cannot_be_read_is_said_before_it_listens(tmp_path, enter_web):
    (tmp_path / "s.pkl").write_bytes(b"damaged")
    code, out, error = enter_web()
    assert (code, out) == (1, "") and "is damaged" in error and error.count("\n") == 1


def test_the_passphrase_of_the_store_is_asked_for_in_the_terminal(tmp_path):
    store = ("--embeddings", tmp_path / "s.pkl", "--faces", tmp_path / "f")
    photo = tmp_path / "hopper.jpg"
    save_jpeg(photographs()["Grace Hopper"], photo)
    sealed = {"FACESYNC_PASSPHRASE": "correct horse"}
    with Terminal("faceid_app.py", *store, "--model", "embedded", "register", "Grace",
                  "--images", photo, env=sealed) as app:  # fmt: skip
        assert app.exit_code() == 0, app.text
    web = (*store, "web", "--port", "0", "--no-browser")
    with Terminal("faceid_app.py", *web, env={"FACESYNC_PASSPHRASE": None}) as app:
        app.expect("Passphrase of the store: ")
        app.type("correct horse")
        app.expect("The page is at http://127.0.0.1:")
        app.interrupt()
        assert app.exit_code() == 0 and "Stopped." in app.text


@pytest.mark.skipif(sys.platform != "linux", reason="screens are X11's or Wayland's")
def test_without_a_screen_no_browser_takes_the_terminal(tmp_path):
    """From the menu, too, which Ctrl-C leads back to."""
    store = ("--embeddings", tmp_path / "s.pkl", "--faces", tmp_path / "f")
    browser = tmp_path / "www-browser"
    browser.write_text("#!/bin/sh\necho a browser of text\n")
    browser.chmod(0o755)
    env = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    with Terminal("faceid_app.py", *store, env={**env, "PATH": f"{tmp_path}:/usr/bin"}) as app:
        app.expect(r"(\d+)  Open the page in the browser")
        app.expect(r"Choose 1-\d+: ")
        app.type("10")
        app.expect("The page is at http://127.0.0.1:8642/|cannot listen on 127.0.0.1 port 8642")
        if "The page" in app.text:
            app.expect("Press Ctrl-C to stop")
            app.interrupt()
            app.expect("Stopped")
        app.expect(r"Choose 1-\d+: ")
        app.type("q")
        assert app.exit_code() == 0 and "a browser of text" not in app.text


@pytest.fixture
def real(tmp_path):
    """A server with the embedded model, and the options of commands on the same store."""
    settings = AppSettings(
        embeddings=tmp_path / "s.pkl", faces=tmp_path / "f", model="embedded", offline=True
    )
    options = ["--embeddings", str(settings.embeddings), "--faces", str(settings.faces),
               "--model", "embedded", "--offline"]  # fmt: skip
    with serving(Session(settings)) as served:
        yield served, options


def test_uploads_give_what_the_commands_give(real, tmp_path, capsys):
    served, options = real
    found = photographs()
    files = {}
    for number, (name, shown) in enumerate(found.items()):
        files[name] = tmp_path / f"{number}.jpg"
        save_jpeg(shown, files[name])
        files[f"{name}, darker"] = tmp_path / f"{number}.png"
        cv2.imwrite(str(tmp_path / f"{number}.png"), (0.7 * shown[..., ::-1]).astype("uint8"))
        images = [("images", (f"{number}.jpg", encode_jpeg(shown)))]
        assert served.form("/api/people", ("name", name), *images).status == 201

    def command(*arguments: object) -> dict:
        capsys.readouterr()
        faceid_app.main([*options, *map(str, arguments)])
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    for file in files.values():
        sent = file.name, file.read_bytes()
        ours = served.form("/api/verify", ("image", sent)).json
        theirs = command("verify", "--image", file, "--json")
        assert ours.keys() == theirs.keys() and ours["accepted"] is True
        assert ours["similarity"] == pytest.approx(theirs["similarity"], abs=1e-6)
        for key in ("accepted", "name", "threshold", "nearly", "trusted", "model"):
            assert ours[key] == theirs[key]
        (one,), (other,) = ours["faces"], theirs["faces"]
        assert one["box"] == other["box"] and one["image"] == file.name
        (face,) = served.form("/api/identify", ("image", sent)).json["faces"]
        assert face["similarity"] == pytest.approx(theirs["similarity"], abs=1e-6)
    first, second = list(files.values())[-2:]
    parts = [(name, (file.name, file.read_bytes())) for name, file in
             (("first", first), ("second", second))]  # fmt: skip
    ours, theirs = (
        served.form("/api/compare", *parts).json,
        command("compare", first, second, "--json"),
    )
    assert ours.keys() == theirs.keys() and ours["same_person"] is theirs["same_person"] is True
    assert ours["similarity"] == pytest.approx(theirs["similarity"], abs=1e-6)


def test_a_live_video_is_registered_and_accepted_and_its_replay_refused(real, shared):
    """As a browser sends it, with the model and the liveness of the app."""
    served, _ = real
    served.desk.session.settings = AppSettings(
        **{**vars(served.desk.session.settings), "liveness": "passive"}
    )
    live, replay = (
        frames(shared / "data" / "videos" / f"{name}.mp4")
        for name in ("one_face_head_turns_live", "one_face_screen_replay")
    )
    with served.camera() as camera:

        def say(**data: object) -> dict:
            camera.send(json.dumps(data))
            return json.loads(camera.recv(timeout=60))

        def show(jpeg: bytes) -> dict:
            camera.send(jpeg)
            return json.loads(camera.recv(timeout=60))

        say(task="register", name="Ada", camera="A camera")
        view = {}
        for jpeg in live:
            camera.send(json.dumps({"type": "key", "key": "c"}))
            view = show(jpeg)
            if view["done"]:
                break
        assert view["person"] == {"name": "Ada", "samples": 5}
        for clip, accepted in ((live, True), (replay, False)):
            say(task="verify", camera="A camera")
            show(clip[0])
            camera.send(json.dumps({"type": "key", "key": "v"}))
            decided = next(v for v in map(show, clip[1:]) if "decision" in v)
            assert decided["decision"]["accepted"] is accepted
            assert decided["decision"]["liveness"]["live"] is accepted
    model = facesync.load_model("embedded", offline=True)
    for clip in (live, replay):
        shots = [("frames", (f"{n}.jpg", jpeg)) for n, jpeg in enumerate(clip[:6])]
        judged = served.form("/api/liveness", *shots).json
        assert judged == json.loads(json.dumps(asdict(model.liveness(clip[:6]))))
    assert judged["live"] is False
    assert served.form("/api/liveness", shots[0]).json["live"] is None


def frames(path, every: int = 10) -> list[bytes]:
    """Frames of a video as a browser sends them."""
    video = open_video(path)
    found = []
    while video.grab():
        frame_bgr = video.retrieve()[1]
        high, wide = frame_bgr.shape[:2]
        small = cv2.resize(frame_bgr, (640, round(high * 640 / wide)))
        found.append(encode_jpeg(small[:, :, ::-1], quality=85))
        for _ in range(every - 1):
            video.grab()
    video.release()
    return found


def test_other_requests_are_answered_during_a_slow_one(served, session, shot, monkeypatch):
    look, begun, go_on = session.recognizer.look, threading.Event(), threading.Event()

    def slow(*arguments: object, **how: object) -> object:
        begun.set()
        assert go_on.wait(60)
        return look(*arguments, **how)

    monkeypatch.setattr(session.recognizer, "look", slow)
    answers = []
    parts = ("name", "Cid"), ("images", shot(who=3))
    sender = threading.Thread(target=lambda: answers.append(served.form("/api/people", *parts)))
    sender.start()
    assert begun.wait(60)
    assert served.ask("GET", "/api/state").json["people"] == 2
    assert served.ask("GET", "/api/people/Ada/image").status == 200
    assert served.ask("GET", "/", headers=served.browser).status == 200
    assert answers == []
    go_on.set()
    sender.join(60)
    assert answers[0].status == 201


def test_the_state(served, session):
    state = served.ask("GET", "/api/state").json
    assert state["people"] == 2 and state["model"]["loaded"] is False
    assert state["model"]["name"] == "fake weights" and state["liveness"] == "off"
    assert (state["encrypted"], state["offline"]) == (False, True)
    assert state["store"] == str(session.gallery.path)


def test_torch_is_not_imported_by_the_page():
    code = "import sys, facesync.web.server; print('torch' in sys.modules, 'onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"], done.stderr


_WATCHED = """
import sys
def note(event, about):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        print(event, about, file=sys.stderr, flush=True)
sys.addaudithook(note)
import faceid_app
sys.exit(faceid_app.main(sys.argv[1:]))
"""


def test_offline_nothing_is_connected_to(tmp_path):
    """Nor is a browser opened, nor a name looked up; it listens on this machine only."""
    token = tmp_path / "token"
    command = [sys.executable, "-c", _WATCHED, "--offline", "--model", "embedded",
               "--embeddings", tmp_path / "s.pkl", "--faces", tmp_path / "f", "web",
               "--port", "0", "--no-browser", "--api-token", token]  # fmt: skip
    process = subprocess.Popen(
        [str(each) for each in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().removeprefix("The page is at ").strip()
        bearer = {"Authorization": f"Bearer {token.read_text().strip()}"}
        for path in ("/api/settings", "/api/state", "/api/people", "/", "/app.css"):
            assert get(address, path, **bearer)[0] in (200, 404)
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    events = [line for line in said.splitlines() if line.startswith("socket.")]
    assert [line.split()[0] for line in events] == ["socket.getaddrinfo", "socket.bind"]
    assert all("'127.0.0.1'" in line for line in events), events


def test_the_browser_is_opened_at_the_address(tmp_path, monkeypatch, capsys):
    opened = []

    def open_and_stop(address: str) -> None:
        opened.append(address)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("webbrowser.open", open_and_stop)
    monkeypatch.setenv("DISPLAY", ":7")
    store = ["--embeddings", str(tmp_path / "s.pkl"), "--faces", str(tmp_path / "f")]
    assert faceid_app.main([*store, "web", "--port", "0"]) == 0
    (address,) = opened
    out = capsys.readouterr().out
    assert f"The page is at {address}\n" in out and out.endswith("Stopped.\n")


def test_what_the_page_set_is_in_force_the_next_time(tmp_path):
    choices.keep(AppSettings(liveness="challenge"))
    file = tmp_path / "token"
    for more, wanted in (((), "challenge"), (("--liveness", "auto"), "auto")):
        with web_running(tmp_path, "--api-token", file, *more) as web:
            bearer = {"Authorization": f"Bearer {file.read_text().strip()}"}
            state = json.loads(get(web.address, "/api/state", **bearer)[1])
        assert state["liveness"] == wanted
