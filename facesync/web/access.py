"""Who may talk to the page's server: every request and every WebSocket passes here first.

In this order: the name it was called by (Host: a page of another site may have its name lead to
this machine), the page it comes from (Origin and Sec-Fetch-Site: a page on another port of
127.0.0.1 counts as the same site, and cookies are sent for it), then what it knows: a program's
token, or the cookie that the one-time token of the printed address, or the passphrase, was
exchanged for. What is refused here reaches nothing else.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facesync.web.answers import failure
from facesync.web.endpoints import in_json
from facesync.web.passphrase import MOST_BYTES, Passphrase, WrongPassphrase
from facesync.web.uploads import TooLarge, TooSlow, body

log = logging.getLogger(__name__)

_PUBLIC = re.compile(r"/[\w-]+\.(css|js|svg)")
"""What the page is made of; it is in every copy of the app, and the login needs its style."""

_HARMLESS = ("GET", "HEAD")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: a browser would send the login with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
    "Cache-Control": "no-store",
}

_POLICY = (
    "default-src 'self'; img-src 'self' blob:; connect-src 'self'{socket}; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass
class Keys:
    """What lets somebody in.

    Attributes:
        api_token: what a program has to send; None: no program is let in.
        passphrase: what a person has to type, where other machines reach the page; None: the
            one-time token does instead.
        token: of the printed address; None once it was used.
        sessions: the cookies given out; they end with the server.
    """

    api_token: str | None = None
    passphrase: Passphrase | None = None
    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(32))
    sessions: set[str] = field(default_factory=set)

    def new_session(self) -> str:
        """Let somebody in, and return their cookie."""
        session = secrets.token_urlsafe(32)
        self.sessions.add(session)
        return session


@dataclass(frozen=True)
class Address:
    """Where the server is.

    Attributes:
        secure: by https.
        port: it listens on.
        names: host names it may be called by, in lower case.
        any_ip: it may be called by any IP address, too, of which no name server can make another.
    """

    secure: bool
    port: int
    names: frozenset[str]
    any_ip: bool = False

    def is_called(self, host: str) -> bool:
        """Whether a Host header is one of this server."""
        name, port = _split(host)
        default = 443 if self.secure else 80
        if (default if port is None else port) != self.port:
            return False
        return name in self.names or (self.any_ip and _is_ip(name))


class Access:
    """Middleware that refuses whoever may not talk to the app behind it, and adds the headers.

    Args:
        app: the app.
        address: where the server is.
        keys: what lets somebody in.
    """

    def __init__(self, app: ASGIApp, address: Address, keys: Keys) -> None:
        self._app, self._address, self._keys = app, address, keys
        self._cookie = f"facesync_{address.port}"  # a browser does not tell ports apart
        self._scheme = "https" if address.secure else "http"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app behind it answer."""
        host = HTTPConnection(scope).headers.get("host", "")
        socket = f" {'wss' if self._address.secure else 'ws'}://{host}"
        policy = _POLICY.format(socket=socket if self._address.is_called(host) else "")

        async def with_headers(message: Message) -> None:
            if message["type"].endswith("response.start"):
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = policy
                headers.update(_HEADERS)
            await send(message)

        app = await self._entrance(scope, receive) or self._app
        await app(scope, receive, with_headers)

    async def _entrance(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer to whoever is not let through; None for who is."""
        request = HTTPConnection(scope)
        if not self._address.is_called(request.headers.get("host", "")):
            return failure("this server has another address", 421)
        if not self._from_own_page(request):
            return failure("another page may not ask that", 403)
        method, path = scope.get("method"), scope["path"]
        if path == "/login" and self._keys.passphrase is not None and method == "POST":
            return await self._login(Request(scope, receive), self._keys.passphrase)
        if "authorization" in request.headers:
            known = self._is_program(request.headers["authorization"])
            return None if known else failure("the token is wrong", 401)
        if path == "/" and "token" in request.query_params:
            return self._exchange(request)
        if method in _HARMLESS and _PUBLIC.fullmatch(path):
            return None
        if not self._is_person(request):
            return self._unknown(path)
        # A browser says where a change comes from, and a WebSocket.
        if method not in _HARMLESS and "origin" not in request.headers:
            return failure("a page that asks for that must send its Origin", 403)
        return None

    def _from_own_page(self, request: HTTPConnection) -> bool:
        headers = request.headers
        origins = headers.getlist("origin")
        own = f"{self._scheme}://{headers['host']}"
        if any(origin.lower() != own.lower() for origin in origins):
            return False
        # A link to the page may stand anywhere; it shows the page and does nothing else.
        if headers.get("sec-fetch-mode") == "navigate" and request.url.path == "/":
            return True
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")

    def _is_program(self, authorization: str) -> bool:
        kind, _, token = authorization.partition(" ")
        return (
            self._keys.api_token is not None
            and kind.lower() == "bearer"
            and _same(token, self._keys.api_token)
        )

    def _is_person(self, request: HTTPConnection) -> bool:
        given = request.cookies.get(self._cookie)
        return given is not None and any(_same(given, each) for each in self._keys.sessions)

    def _exchange(self, request: HTTPConnection) -> Response:
        """Exchange the one-time token for a cookie."""
        token = self._keys.token
        right = token is not None and _same(request.query_params["token"], token)
        if right and _is_ours(request.client.port if request.client else 0, self._address.port):
            self._keys.token = None
            return self._let_in(request)
        if self._is_person(request):  # the printed address once more, in the same browser
            return RedirectResponse("/", 303)
        return self._unknown("/")

    async def _login(self, request: Request, passphrase: Passphrase) -> Response:
        if "origin" not in request.headers:
            return failure("a page that asks for that must send its Origin", 403)
        try:
            await passphrase.check(await body(request, MOST_BYTES))
        except (TooLarge, TooSlow) as error:
            return in_json(error)
        except WrongPassphrase as error:
            return _page(str(error), _FORM, 429 if error.paused else 401)
        return self._let_in(request)

    def _let_in(self, request: HTTPConnection) -> Response:
        response: Response = RedirectResponse("/", 303)
        if request.headers.get("sec-fetch-site") == "cross-site":
            # After a link in another page, a terminal in the browser perhaps, the cookie would not
            # come along with a redirect.
            response = _page("Opening the page.", _GO_ON, 200)
        response.set_cookie(
            self._cookie,
            self._keys.new_session(),
            httponly=True,
            samesite="strict",
            secure=self._address.secure,
        )
        return response

    def _unknown(self, path: str) -> Response:
        if path not in ("/", "/login"):
            return failure("this needs a token or the page's cookie", 401)
        if self._keys.passphrase is not None:
            return _page("This page is private.", _FORM, 401)
        return _page("This page is private.", _START_AGAIN, 401)


_FORM = """<form method="post" action="/login">
<label for="passphrase">Passphrase</label>
<input id="passphrase" name="passphrase" type="password" autocomplete="current-password" autofocus>
<button type="submit">Open</button>
</form>"""

_GO_ON = '<meta http-equiv="refresh" content="0; url=/"><p><a href="/">Go on</a></p>'

_START_AGAIN = """<p>Open the address that the app printed in its terminal. It works once: if it was
used already, stop the app there with Ctrl-C and start it again.</p>"""


def _page(says: str, content: str, status: int) -> Response:
    """Return a page for who is not let in yet."""
    return HTMLResponse(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>FaceSync</title>
<link rel="stylesheet" href="/app.css">
</head>
<body>
<main class="door">
<h1>FaceSync</h1>
<p role="status">{escape(says)}</p>
{content}
</main>
</body>
</html>
""",
        status,
    )


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode())


_CONNECTIONS = "/proc/net/tcp", "/proc/net/tcp6"


def _is_ours(port: int, server_port: int) -> bool:
    """Whether the other end of a connection is this user's, as far as Linux says whose it is.

    The browser gets the address as an argument, which others can read before it has used it.
    """
    for table in _CONNECTIONS:
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, remote, _, _, _, _, user, *_ = line.split()
                if local.endswith(f":{port:04X}") and remote.endswith(f":{server_port:04X}"):
                    return os.geteuid() == 0 or int(user) in (0, os.geteuid())
    return True


def _split(host: str) -> tuple[str, int | None]:
    """Split a Host header into the name, in lower case, and the port; a name of "" fits nothing."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]@/\s]+)(?::([0-9]{1,5}))?", host)
    if match is None:
        return "", None
    return match[1].strip("[]").lower(), int(match[2]) if match[2] else None


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return False
