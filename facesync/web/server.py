"""`web`: serves the page until Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import secrets
import socket
import ssl
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from cryptography import x509
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.exceptions import InvalidState

from facesync import cli
from facesync.app.session import Session
from facesync.app.settings import WebOptions
from facesync.errors import FileError, UsageError
from facesync.files import read_regular, replacing
from facesync.web import choices, passphrase, uploads
from facesync.web.access import Address, Keys
from facesync.web.app import build
from facesync.web.camera import MOST_BYTES
from facesync.web.desk import Desk

log = logging.getLogger(__name__)

_LEAVE_SECONDS = 3  # How long the end waits for answers that are not finished.


def serve(session: Session, options: WebOptions) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        UsageError: other machines would reach it unprotected.
        FileError: a certificate or the file of the token cannot be used.
        StoreError: the store cannot be read.
    """
    session = Session(choices.chosen(session.settings))  # what the page sets is the page's alone
    session.gallery.people()  # asks for the store's passphrase while somebody looks
    _check_certificate(options)
    keys = Keys(api_token=_api_token(options.api_token))
    with _listening(options) as listening:
        address = _address(options, listening)
        if address.any_ip:
            keys.passphrase, keys.token = passphrase.ask(), None
        shown = _shown(options, address, keys)
        desk = Desk(session)
        server = _Server(_config(build(desk, address, keys), options), shown, options.no_browser)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            print("Stopped.")
        finally:
            desk.close()
    return cli.DONE


class _Server(uvicorn.Server):
    """Says where it is once it listens."""

    def __init__(self, config: uvicorn.Config, shown: str, no_browser: bool) -> None:
        super().__init__(config)
        self._shown, self._no_browser = shown, no_browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        print(f"The page is at {self._shown}", flush=True)
        print("Press Ctrl-C to stop.", flush=True)
        if not self._no_browser and _has_screen():
            # It may take a while, and the page has to be answered meanwhile.
            threading.Thread(target=webbrowser.open, args=(self._shown,), daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; uvicorn raises for a camera session that is just ending: it is waited for."""
        for _ in range(20 * _LEAVE_SECONDS):
            try:
                return await super().shutdown(sockets)
            except InvalidState:
                await asyncio.sleep(0.05)


class _Protocol(H11Protocol):
    """Gives up who connects and asks for nothing, or has its answer: some would keep all out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._look(self)

    def _look(self, before: object) -> None:
        """Close the connection if it was idle the last time, too, and nothing was asked since."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # or it is a WebSocket now
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is before:
            self.transport.close()
        else:
            seen = self.cycle if idle else self
            self.loop.call_later(uploads.STALL_SECONDS, self._look, seen)


def _has_screen() -> bool:
    """Whether a browser has where to open; without a screen, one of text would take the terminal.

    `BROWSER` names one that is meant.
    """
    names = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return not sys.platform.startswith("linux") or any(map(os.environ.get, names))


def _config(app: object, options: WebOptions) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level=logging.CRITICAL + 1,  # what the user can do something about, the app says
        access_log=False,
        http=_Protocol,  # h11: everywhere the same, and strict: it takes no second Host
        loop="asyncio",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        ws_max_size=MOST_BYTES,
        ws_max_queue=2,
        ws_per_message_deflate=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=_LEAVE_SECONDS,
        ssl_certfile=options.certfile,
        ssl_keyfile=options.keyfile,
    )


def _listening(options: WebOptions) -> socket.socket:
    """Listen where the options say."""
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise UsageError(f"web: there is no address {options.host} here") from error
    family, kind, protocol, _, where = found[0]
    if not ipaddress.ip_address(where[0]).is_loopback and options.certfile is None:
        raise UsageError(
            f"web: other machines reach {options.host}, which needs --certfile and --keyfile"
        )
    listening = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: or another program could share it
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(64)
    except OSError as error:
        listening.close()
        already = "perhaps FaceSync runs already; " if error.errno == errno.EADDRINUSE else ""
        raise UsageError(
            f"web: cannot listen on {options.host} port {options.port} ({error.strerror}); "
            f"{already}choose another with --port N, or --port 0 for any"
        ) from error
    return listening


def _address(options: WebOptions, listening: socket.socket) -> Address:
    ip, port = listening.getsockname()[:2]
    local = ipaddress.ip_address(ip).is_loopback
    names = [*_names_in(options.certfile), options.host, *(["localhost", ip] if local else [])]
    lower = frozenset(name.lower() for name in names)
    return Address(options.certfile is not None, port, lower, any_ip=not local)


def _names_in(certfile: Path | None) -> Sequence[str]:
    """Return the host names that a certificate is for."""
    if certfile is None:
        return ()
    try:
        certificate = x509.load_pem_x509_certificate(read_regular(certfile, most=1 << 20))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        return ()


def _check_certificate(options: WebOptions) -> None:
    """Check that the certificate can be used.

    Raises:
        FileError: a file cannot be read, or the key is not that of the certificate.
    """
    if options.certfile is None or options.keyfile is None:
        return
    for file in (options.certfile, options.keyfile):
        try:
            read_regular(file, most=1 << 20)
        except OSError as error:
            raise FileError(f"cannot read {file}: {error.strerror}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.certfile, options.keyfile)
    except OSError as error:  # ssl.SSLError, too
        raise FileError(
            f"{options.certfile} and {options.keyfile} are no certificate and its key, both in PEM"
        ) from error


def _shown(options: WebOptions, address: Address, keys: Keys) -> str:
    """Return the address for the user; one that stands for all of this machine's is none."""
    host = options.host
    if host in ("0.0.0.0", "::"):
        host = next(iter(_names_in(options.certfile)), socket.gethostname())
    place = f"[{host}]" if ":" in host else host
    start = f"{'https' if address.secure else 'http'}://{place}:{address.port}/"
    return start if keys.token is None else f"{start}?token={keys.token}"


def _api_token(file: Path | None) -> str | None:
    """Read the token of programs; write one, for the owner alone, where there is no file.

    Raises:
        FileError: the file cannot be read or written, others may write it, or it holds no token.
    """
    if file is None:
        return None
    try:
        _check_owner(file)
        token = read_regular(file, most=1 << 20).decode("ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        with replacing(file, private=True) as opened:
            opened.write(token.encode() + b"\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it holds no token"
        raise FileError(f"cannot use {file}: {reason}") from error
    if len(token) < 16 or len(token.split()) != 1:
        raise FileError(f"{file} holds no token: it needs 16 characters without spaces, or more")
    return token


def _check_owner(file: Path) -> None:
    """Check that nobody else can know the token in a file, where the system says who can."""
    if os.name != "posix":
        return
    found = file.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise FileError(f"cannot use {file}: others may have written it; if not, chmod 600 it")
    if found.st_mode & 0o044:
        log.warning("others may read the token: chmod 600 %s", file)
