"""With --offline no socket is opened."""

import json
import socket
import subprocess
import sys
import textwrap

import pytest

import faceid_app
from facesync.faces import models
from facesync.images import save_jpeg
from tests.conftest import ROOT
from tests.faces.stand_ins import write_embedded


@pytest.fixture
def forbidden(monkeypatch):
    """Make every socket, but those that never leave the machine, an error; list the attempts."""
    attempts = []
    real = socket.socket

    class Forbidden(real):
        def __init__(self, family=-1, *args, **kwargs):
            if family not in (getattr(socket, "AF_UNIX", None),):
                attempts.append(family)
                raise AssertionError("a socket was opened")
            super().__init__(family, *args, **kwargs)

    def lookup(*args, **kwargs):
        attempts.append(args)
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "socket", Forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", lookup)
    return attempts


@pytest.fixture
def images(tmp_path):
    from skimage import data

    one, again = tmp_path / "one.jpg", tmp_path / "again.jpg"
    save_jpeg(data.astronaut(), one)
    save_jpeg(data.astronaut()[4:, 3:], again)
    return one, again


def test_no_socket_is_opened(forbidden, images, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(models, "ASSETS", tmp_path / "assets")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no_weights"))
    monkeypatch.chdir(tmp_path)
    write_embedded(tmp_path / "assets")
    one, again = map(str, images)
    assert faceid_app.main(["--offline", "register", "Eileen", "--images", one]) == 0
    assert "using the embedded model instead" in capfd.readouterr().err
    assert faceid_app.main(["--offline", "list"]) == 0
    assert faceid_app.main(["--offline", "verify", "--image", again, "--json"]) == 0
    answer = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert answer["accepted"] and answer["name"] == "Eileen"
    assert forbidden == []


def test_sockets_are_noticed(forbidden):
    with pytest.raises(AssertionError):
        socket.create_connection(("127.0.0.1", 9))
    with pytest.raises(AssertionError):
        socket.socket(socket.AF_INET)
    assert len(forbidden) == 2


def test_importing_the_networks_opens_no_socket():
    pytest.importorskip("torch")
    code = """
        import sys
        opened = []
        sys.addaudithook(lambda event, _: event == "socket.__new__" and opened.append(event))
        from facesync.faces.torch_model import new_network
        new_network(2)
        print(len(opened))
        import urllib3.util.connection, socket
        print(urllib3.util.connection.HAS_IPV6 == socket.has_ipv6)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT
    )
    assert ended.stdout.split() == ["0", "True"], ended.stderr
