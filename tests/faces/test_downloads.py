"""Weights are downloaded once, resumed, and refused or doubted if they are not as published."""

import hashlib
import http.server
import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from facesync.errors import DownloadError, ModelError
from facesync.faces.downloads import download
from facesync.faces.models import EDGEFACE, VGGFACE2
from tests.data.kaggle_server import KaggleServer

CONTENT = np.random.default_rng(0).bytes(90_000)


@pytest.fixture
def server():
    """A local server of a file; if `server.cut` is set, it hangs up after so many bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state = self.server
            state.ranges.append(self.headers.get("Range"))
            if state.status:
                self.send_error(state.status)
                return
            data = state.content
            start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            stop = start + state.cut if state.cut else len(data)
            self.wfile.write(data[start:stop])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.cut, server.status = CONTENT, 0, 0
        server.ranges = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def model(server, tmp_path, monkeypatch):
    """EdgeFace-XS, as if the server's file were its weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = f"http://127.0.0.1:{server.server_port}/weights.pt"
    return replace(EDGEFACE, url=url, sha256=hashlib.sha256(CONTENT).hexdigest())


def anything(path):
    """Every file will do."""


def test_an_interrupted_download_resumes_after_a_line_about_the_licence(server, model, caplog):
    caplog.set_level("INFO")
    server.cut = len(CONTENT) // 3
    with pytest.raises(DownloadError, match="run again to resume"):
        download(model, anything)
    assert not model.path.exists()
    server.cut = 0
    download(model, anything)
    assert model.path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT) // 3}-"]
    assert os.listdir(model.path.parent) == ["weights.pt"]
    assert caplog.messages[0].startswith("EdgeFace-XS: for non-commercial research")


@pytest.mark.parametrize("status", [403, 404, 416, 503])
def test_a_refused_download_is_one_line(server, model, status):
    server.status = status
    with pytest.raises(DownloadError, match=rf"refused .*\({status} .*save the file as"):
        download(model, anything)


def test_a_certificate_that_is_not_trusted_is_named(tmp_path, model):
    with KaggleServer() as server:
        server.encrypt(tmp_path)
        with pytest.raises(DownloadError, match=r"proxy .*set SSL_CERT_FILE to the file"):
            download(replace(model, url=f"{server.url}/weights.pt"), anything)


def test_no_network_is_one_line(model):
    with pytest.raises(DownloadError, match="check the connection"):
        download(replace(model, url="http://127.0.0.1:9/weights.pt"), anything)


def test_another_file_than_the_published_one_is_refused_and_deleted(model):
    with pytest.raises(DownloadError, match=r"not EdgeFace-XS \(its SHA-256 is "):
        download(replace(model, sha256=EDGEFACE.sha256), anything)
    assert not list(model.path.parent.iterdir())


def test_what_is_not_the_weights_is_refused_and_deleted(model):
    def refuse(path):
        raise ModelError("no weights")

    with pytest.raises(DownloadError, match=r"not the VGGFace2 weights \(no weights\)"):
        download(replace(VGGFACE2, url=model.url), refuse)
    assert not list(model.path.parent.iterdir())


def test_weights_with_another_hash_than_one_that_is_only_a_report_are_doubted(model, caplog):
    for sha256, doubted in ((VGGFACE2.sha256, True), (model.sha256, False)):
        caplog.clear()
        known = replace(VGGFACE2, url=model.url, sha256=sha256)
        known.path.unlink(missing_ok=True)
        download(known, anything)
        assert known.path.read_bytes() == CONTENT
        assert ("not the published" in caplog.text) == doubted
