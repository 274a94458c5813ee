"""A small Kaggle on 127.0.0.1 for the real client, with the failures of the real one.

It speaks the API of kaggle 2 (`POST …/DatasetApiService/…`) and of kaggle 1.7 (`GET …/datasets/…`)
and, as Kaggle does, sends a download on to a storage of another host name.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DATASET = "someone/tiny-faces"
PIECE = 1 << 16


class KaggleServer:
    """Serves `zip_bytes` as the dataset `DATASET`; use it as a context manager."""

    def __init__(self, zip_bytes: bytes = b"") -> None:
        self.zip_bytes = zip_bytes
        self.etag: str | None = '"first"'
        self.status = 200
        """What the API answers."""
        self.headers: dict[str, str] = {}
        """Headers of a refusal."""
        self.storage_status = 200
        self.cuts: list[int] = []
        """Bytes after which the next bodies break off, one for each."""
        self.ranges = True
        self.midway: Callable[[], None] = lambda: None
        """Called between the first piece of each body and the rest."""
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Path and headers of each request."""
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.kaggle = self
        self.scheme = "http"
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    def __enter__(self) -> KaggleServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def encrypt(self, folder: Path) -> Path:
        """Answer over TLS from now on; returns the certificate, which nobody signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path, both = folder / "certificate.pem", folder / "both.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        both.write_bytes(private + path.read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.scheme = "https"
        return path

    def asked_ranges(self) -> list[str | None]:
        """The Range header, or None, of each request to the storage."""
        return [headers.get("Range") for path, headers in self.requests if "storage" in path]


class _Http(ThreadingHTTPServer):
    kaggle: KaggleServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up in the middle are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(f"{body.get('ownerSlug')}/{body.get('datasetSlug')}")

    def do_GET(self) -> None:
        if self.path.startswith("/storage/"):
            self._record()
            self._send_zip()
        else:
            self._answer("/".join(self.path.partition("?")[0].split("/")[-2:]))

    def _answer(self, dataset: str) -> None:
        kaggle = self.server.kaggle
        self._record()
        if self.path.endswith("AccountService/GenerateAccessToken"):
            self._send_json(200, {"token": "renewed", "expiresIn": 3600})
        elif kaggle.status != 200:
            self._send_json(kaggle.status, {"code": kaggle.status, "message": "no"})
        elif dataset != DATASET:
            self._send_json(404, {"code": 404, "message": "not found"})
        elif "GetDataset" in self.path or "/view/" in self.path:
            self._send_json(200, {"ref": dataset, "totalBytes": len(kaggle.zip_bytes)})
        else:
            self.send_response(302)
            # Another name of this machine: requests takes it for another host.
            self.send_header(
                "Location", f"{kaggle.scheme}://localhost:{kaggle.port}/storage/archive.zip"
            )
            self.send_header("Content-Length", "0")
            self.send_header("Content-Type", "text/html")
            self.end_headers()

    def _send_zip(self) -> None:
        kaggle = self.server.kaggle
        data, start = kaggle.zip_bytes, 0
        if kaggle.storage_status != 200:
            self._send_json(kaggle.storage_status, {})
            return
        wanted = self.headers.get("Range")
        if wanted and kaggle.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if kaggle.etag:
            self.send_header("ETag", kaggle.etag)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if kaggle.cuts:
            body = body[: kaggle.cuts.pop(0)]
        self.wfile.write(body[: 2 * PIECE])
        kaggle.midway()
        self.wfile.write(body[2 * PIECE :])

    def _record(self) -> None:
        self.server.kaggle.requests.append((self.path, dict(self.headers)))

    def _send_json(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in self.server.kaggle.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""
