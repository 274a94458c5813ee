"""A server of the page in a thread of the test, and raw clients for it."""

from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from websockets.sync.client import ClientConnection, connect

from facesync.app.session import Session
from facesync.app.settings import WebOptions
from facesync.web import server
from facesync.web.access import Keys
from facesync.web.app import build
from facesync.web.desk import Desk

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
    headers: dict[str, str] = field(default_factory=dict)

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
            return Answer(response.status, response.headers, response.read())
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
