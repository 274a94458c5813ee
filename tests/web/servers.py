"""A server of the page in a thread of the test, and raw clients for it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.routing import compile_path
from websockets.sync.client import ClientConnection, connect

from facesync.app.session import Session
from facesync.app.settings import WebOptions
from facesync.web import openapi, server
from facesync.web.access import Keys
from facesync.web.app import ENDPOINTS, build
from facesync.web.desk import Desk
from tests.conftest import ROOT

API_TOKEN = "a-token-for-programs-in-tests"
COOKIE = "a-cookie-given-out-before"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server that listens, and who may use it."""

    port: int
    keys: Keys
    desk: Desk

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def browser(self) -> dict[str, str]:
        """What the page's own requests carry."""
        return {"Cookie": f"facesync_{self.port}={COOKIE}", "Origin": self.origin}

    @property
    def program(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {API_TOKEN}"}

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request as a program (or with other headers); a mapping goes as JSON."""
        headers = dict(self.program if headers is None else headers)
        if isinstance(body, Mapping):
            body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
            _check_described(method, path, answer)
            return answer
        finally:
            connection.close()

    def form(self, path: str, *parts: tuple[str, str | tuple[str, bytes]], **more: Any) -> Answer:
        """Post a form: pairs of a field and its text, or a file's name and content."""
        body = b""
        for name, value in parts:
            file = "" if isinstance(value, str) else f'; filename="{value[0]}"'
            content = value.encode() if isinstance(value, str) else value[1]
            head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            body += head.encode() + content + b"\r\n"
        headers = {**self.program, "Content-Type": "multipart/form-data; boundary=b"}
        return self.ask("POST", path, body + b"--b--\r\n", {**headers, **more.get("headers", {})})

    def camera(self, headers: Mapping[str, str] | None = None) -> ClientConnection:
        """Open the camera's WebSocket as a program (or with other headers)."""
        return connect(
            f"ws://127.0.0.1:{self.port}/api/camera",
            additional_headers=dict(self.program if headers is None else headers),
            compression=None,
            proxy=None,
        )


def _check_described(method: str, path: str, answer: Answer) -> None:
    """Check that an answer is what the description of the API says."""
    place = urlsplit(path).path
    for endpoint in ENDPOINTS:
        if endpoint.method == method and compile_path(endpoint.path)[0].match(unquote(place)):
            if answer.status == endpoint.status:
                assert answer.headers["Content-Type"] == endpoint.gives
                if endpoint.answer:
                    jsonschema.validate(answer.json, openapi.fields(endpoint.answer))
                    assert set(answer.json) <= set(endpoint.answer)
            else:
                assert str(answer.status) in openapi.ERRORS
                assert set(answer.json) <= {"error", "doubt", "outcomes"}
            return


@contextmanager
def serving(session: Session, keys: Keys | None = None) -> Iterator[Served]:
    """Serve a session as `web` does, on any free port."""
    options = WebOptions(port=0)
    keys = keys or Keys(api_token=API_TOKEN)
    keys.sessions.add(COOKIE)
    with server._listening(options) as listening:
        desk = Desk(session)
        app = build(desk, server._address(options, listening), keys)
        running = uvicorn.Server(server._config(app, options))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield Served(listening.getsockname()[1], keys, desk)
        finally:
            running.should_exit = True
            thread.join(20)
            desk.close()
    assert not thread.is_alive()
    assert logging.getLogger("uvicorn.error").level > logging.CRITICAL


class Web:
    """`faceid_app.py web` as a process; `address` is what it printed."""

    def __init__(self, folder: Path, *arguments: object, env: Mapping[str, str] | None = None):
        store = ("--embeddings", folder / "s.pkl", "--faces", folder / "f")
        command = [sys.executable, ROOT / "faceid_app.py", *store, "web", "--no-browser"]
        port = () if "--port" in arguments else ("--port", 0)
        self.process = subprocess.Popen(
            [str(each) for each in (*command, *port, *arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("The page is at "):
            raise AssertionError(line + self.process.communicate(timeout=60)[1])
        self.address = line.removeprefix("The page is at ").strip()

    def stop(self) -> tuple[int, str, str]:
        """Press Ctrl-C; return exit code, output and errors."""
        self.process.send_signal(signal.SIGINT)
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, out, error


@contextmanager
def web_running(folder: Path, *arguments: object, **how: Any) -> Iterator[Web]:
    """Run `web` until the end of the block."""
    web = Web(folder, *arguments, **how)
    try:
        yield web
    finally:
        if web.process.poll() is None:
            code, _, error = web.stop()
            assert code == 0 and "Traceback" not in error, error


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
