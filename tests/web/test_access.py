"""Who may talk to the server, tried with raw clients."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import ssl
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from facesync.app.session import Session
from facesync.app.settings import AppSettings, WebOptions
from facesync.errors import FileError
from facesync.web import access, uploads
from facesync.web.access import Keys
from facesync.web.endpoints import JSON_BYTES
from facesync.web.passphrase import Passphrase
from facesync.web.server import serve
from tests.web.servers import API_TOKEN, COOKIE, serving, write_certificate


def raw(port: int, data: bytes) -> bytes:
    """Send bytes and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        received = b""
        while block := connection.recv(65536):
            received += block
    return received


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", "127.0.0.1.nip.io:{port}",
     "user@127.0.0.1:{port}", "[::1]:{port}", "0.0.0.0:{port}", ""],
)  # fmt: skip
def test_another_host_is_refused(served, host):
    """DNS rebinding: a page of another site whose name leads here now."""
    headers = {**served.program, "Host": host.format(port=served.port)}
    for path in ("/", "/api/people", "/app.css"):
        answer = served.ask("GET", path, headers=headers)
        assert answer.status == 421
        assert "Ada" not in answer.body.decode()


def test_a_websocket_of_another_host_is_refused(served):
    with pytest.raises(InvalidStatus) as refused:
        with connect(
            f"ws://evil.example:{served.port}/api/camera",
            sock=socket.create_connection(("127.0.0.1", served.port)),
            additional_headers=served.program,
            proxy=None,
        ):
            pass
    assert refused.value.response.status_code == 421


def test_two_hosts_are_none(served):
    own = f"Host: 127.0.0.1:{served.port}\r\n"
    head = f"GET /app.css HTTP/1.1\r\n{own}Host: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(served.port, head.encode()).split()[1] == b"400"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_its_own_names_are_answered(served, name):
    headers = {**served.program, "Host": f"{name}:{served.port}"}
    assert served.ask("GET", "/api/people", headers=headers).status == 200


def test_a_request_without_host_is_refused(served):
    answer = raw(served.port, b"GET /api/people HTTP/1.0\r\n\r\n")
    assert answer.split()[1] in (b"421", b"400")


ORIGINS = [
    "http://127.0.0.1:1", "http://localhost:{port}", "https://127.0.0.1:{port}", "null",
    "http://evil.example",
]  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("who", ["browser", "program"])
def test_a_page_of_another_origin_is_refused(served, origin, who):
    """Also of another port of 127.0.0.1, which is the same site: the cookie comes along."""
    headers = {**getattr(served, who), "Origin": origin.format(port=served.port)}
    assert served.ask("GET", "/api/people", headers=headers).status == 403
    assert served.ask("DELETE", "/api/people/Ada", headers=headers).status == 403
    with pytest.raises(InvalidStatus) as refused, served.camera(headers):
        pass
    assert refused.value.response.status_code == 403
    assert served.desk.session.gallery.find("Ada")


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_what_another_page_embeds_is_refused(served, site):
    """An image or a script sends no Origin."""
    cookie = {"Cookie": served.browser["Cookie"], "Sec-Fetch-Site": site}
    for mode in ("no-cors", "navigate"):
        headers = {**cookie, "Sec-Fetch-Mode": mode}
        assert served.ask("GET", "/api/people/Ada/image", headers=headers).status == 403
    assert served.ask("GET", "/", headers={**cookie, "Sec-Fetch-Mode": "navigate"}).status == 200


def test_a_websocket_without_origin_is_refused_unless_of_a_program(served):
    with pytest.raises(InvalidStatus) as refused:
        with served.camera({"Cookie": served.browser["Cookie"]}):
            pass
    assert refused.value.response.status_code == 403
    with served.camera(served.browser) as camera:
        camera.send(json.dumps({"task": "watch"}))
        assert json.loads(camera.recv()) == {"type": "ready"}
    with served.camera(served.program):
        pass


def test_a_change_without_origin_is_refused_unless_of_a_program(served):
    """A form of another page: CSRF."""
    headers = {"Cookie": served.browser["Cookie"]}
    assert served.ask("POST", "/api/people", b"name=Eve", headers).status == 403
    assert served.ask("DELETE", "/api/people/Ada", headers=headers).status == 403
    form = {**headers, "Origin": "http://evil.example", "Content-Type": "text/plain"}
    everything = b'{"confirm": "delete everything"}'
    assert served.ask("DELETE", "/api/people", everything, form).status == 403
    assert len(served.desk.session.gallery.people()) == 2
    assert served.ask("DELETE", "/api/people/Ada", headers=served.program).status == 200


def test_json_is_not_taken_from_a_form(served):
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {**served.browser, "Content-Type": kind}
        answer = served.ask("PATCH", "/api/people/Ada", b'{"name": "Eve"}', headers)
        assert answer.status == 415


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cookie": "facesync_{port}=wrong"},
        {"Cookie": "facesync=" + COOKIE},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {API_TOKEN}"},
        {"Authorization": API_TOKEN},
    ],
)
def test_without_token_or_cookie_nothing_is_said(served, headers):
    headers = {name: value.format(port=served.port) for name, value in headers.items()}
    for method, path in (("GET", "/api/people"), ("GET", "/api/openapi.json"), ("GET", "/api/x"),
                         ("DELETE", "/api/people/Ada"), ("GET", "/index.html")):  # fmt: skip
        answer = served.ask(method, path, headers={**headers, "Origin": served.origin})
        assert answer.status == 401 and set(answer.json) == {"error"}
    with pytest.raises(InvalidStatus) as refused, served.camera(headers):
        pass
    assert refused.value.response.status_code == 401


def test_a_wrong_token_is_not_made_up_for_by_a_cookie(served):
    headers = {**served.browser, "Authorization": "Bearer wrong"}
    assert served.ask("GET", "/api/people", headers=headers).status == 401


def test_without_api_token_no_program_is_let_in(session):
    with serving(session, Keys()) as served:
        for token in (API_TOKEN, "None", ""):
            headers = {"Authorization": f"Bearer {token}"}
            assert served.ask("GET", "/api/people", headers=headers).status == 401


def test_the_page_says_in_words_where_to_begin(served):
    answer = served.ask("GET", "/", headers={})
    assert answer.status == 401
    assert "text/html" in answer.headers["Content-Type"]
    assert "the address that the app printed" in answer.body.decode()


def test_the_token_of_the_address_works_once(served):
    token = served.keys.token
    assert served.ask("GET", "/?token=wrong", headers={}).status == 401
    answer = served.ask("GET", f"/?token={token}", headers={})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie, *flags = answer.headers["Set-Cookie"].split("; ")
    assert {flag.lower() for flag in flags} == {"httponly", "samesite=strict", "path=/"}
    assert token not in cookie

    again = served.ask("GET", f"/?token={token}", headers={})
    assert again.status == 401 and "Set-Cookie" not in again.headers
    reload = served.ask("GET", "/", headers={"Cookie": cookie})
    assert reload.status == 200 and b"<!doctype html>" in reload.body.lower()
    # The printed address once more, in the browser that has been let in.
    same = served.ask("GET", f"/?token={token}", headers={"Cookie": cookie})
    assert (same.status, same.headers["Location"]) == (303, "/")
    assert "Set-Cookie" not in same.headers


def test_a_link_in_another_page_opens_it_too(served):
    """The cookie is not sent along a redirect that another site began."""
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = served.ask("GET", f"/?token={served.keys.token}", headers=link)
    assert answer.status == 200 and "Set-Cookie" in answer.headers
    assert b'<meta http-equiv="refresh" content="0; url=/">' in answer.body


def test_the_token_is_good_for_the_first_page_only(served):
    token = served.keys.token
    assert served.ask("GET", f"/api/people?token={token}", headers={}).status == 401
    assert (
        served.ask("GET", "/api/people", headers={"Authorization": f"Bearer {token}"}).status == 401
    )
    assert served.keys.token == token


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says whose a connection is")
@pytest.mark.parametrize(("user", "status"), [(4321, 401), (1234, 303), (0, 303)])
def test_another_user_who_reads_the_address_is_not_let_in(
    served, tmp_path, monkeypatch, user, status
):
    """The first to come with the token may have read it among the arguments of the browser."""
    monkeypatch.setattr(access.os, "geteuid", lambda: 1234)
    monkeypatch.setattr(access, "_CONNECTIONS", (str(tmp_path / "none"), str(tmp_path / "tcp")))
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=30)) as client:
        ours, server = client.getsockname()[1], served.port
        (tmp_path / "tcp").write_text(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
            f"   0: 0100007F:{server:04X} 00000000:0000 0A 00000000:00000000 00:0 0  9 0 1 1\n"
            f"   1: 0100007F:{ours:04X} 0100007F:{server:04X} 01 0:0 02:0 0  {user} 0 2 1\n"
        )
        head = f"GET /?token={served.keys.token} HTTP/1.1\r\nHost: 127.0.0.1:{server}\r\n\r\n"
        client.sendall(head.encode())
        assert int(client.recv(100).split()[1]) == status
    assert (served.keys.token is None) == (status == 303)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/api/people", 200), ("/api/people/Ada/image", 200), ("/nothing.js", 404),
     ("/api/nothing", 404), ("/api/people/Nobody/image", 404)],
)  # fmt: skip
def test_nothing_is_cached_or_embedded_or_guessed(served, path, status):
    answer = served.ask("GET", path, headers=served.browser)
    assert answer.status == status
    _has_headers(answer.headers)


def test_refusals_have_the_headers_too(served):
    for headers in ({}, {"Host": "evil.example"}, {**served.browser, "Origin": "null"}):
        _has_headers(served.ask("GET", "/", headers=headers).headers)


def _has_headers(headers: http.client.HTTPMessage) -> None:
    assert headers.get_all("Cache-Control") == ["no-store"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Permissions-Policy"].startswith("camera=(self)")
    policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    assert policy["img-src"] == "'self' blob:"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "evil" not in headers["Content-Security-Policy"]
    assert "server" not in headers and "set-cookie" not in headers


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "/static/../../server.py",
     "/..\\server.py", "/%00", "//etc/passwd", "/app.css/../../app.py", "/.", "/..",
     "/index.html%00.js"],
)  # fmt: skip
def test_only_files_of_the_page_are_sent(served, path):
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", "Connection: close",
             f"Authorization: Bearer {API_TOKEN}", "", ""]  # fmt: skip
    answer = raw(served.port, "\r\n".join(lines).encode())
    assert answer.split()[1] in (b"404", b"400")
    assert b"import" not in answer and b"root:" not in answer


class TestSizes:
    def test_a_body_that_announces_too_much_is_not_read(self, served):
        head = (
            f"PATCH /api/people/Ada HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            f"Authorization: Bearer {API_TOKEN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {JSON_BYTES + 1}\r\nConnection: close\r\n\r\n"
        )
        assert raw(served.port, head.encode()).split()[1] == b"413"

    @pytest.mark.parametrize("path", ["/api/people/Ada/merge", "/api/verify"])
    def test_one_that_announces_nothing_is_counted(self, served, monkeypatch, path):
        monkeypatch.setattr("facesync.web.endpoints.IMAGES_BYTES", JSON_BYTES)
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        kind = "multipart/form-data; boundary=b" if path == "/api/verify" else "application/json"
        begin = b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            f"Authorization: Bearer {API_TOKEN}\r\nContent-Type: {kind}\r\n"
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        with serving(served.desk.session) as small:  # with the smaller limit
            head = head.replace(f":{served.port}", f":{small.port}")
            first = b"%x\r\n%s\r\n" % (len(begin), begin)
            assert raw(small.port, head.encode() + first + 2 * chunk).split()[1] == b"413"

    def test_too_many_images(self, served, shot):
        files = [("images", shot(f"{n}.jpg")) for n in range(uploads.MOST_IMAGES + 1)]
        answer = served.form("/api/people", ("name", "Cid"), *files)
        assert answer.status == 400 and "files" in answer.json["error"]

    def test_a_frame_of_more_than_a_megabyte(self, served):
        with served.camera() as camera:
            camera.send(json.dumps({"task": "watch"}))
            camera.recv()
            camera.send(b"\xff\xd8\xff" + bytes(1 << 20))
            with pytest.raises(ConnectionClosed) as closed:
                camera.recv()
        assert closed.value.rcvd.code == 1009

    def test_a_sender_who_stalls_is_given_up_and_others_are_served(self, served, monkeypatch):
        monkeypatch.setattr(uploads, "STALL_SECONDS", 0.2)
        head = (
            f"PATCH /api/people/Ada HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            f"Authorization: Bearer {API_TOKEN}\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\nConnection: close\r\n\r\n{"
        )
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost:")  # and no more
            assert served.ask("GET", "/api/people").status == 200
            assert raw(served.port, head.encode()).split()[1] == b"408"

    def test_who_asks_for_nothing_keeps_nobody_out(self, served, monkeypatch):
        monkeypatch.setattr(uploads, "STALL_SECONDS", 0.5)
        with ExitStack() as stack:
            for _ in range(64):
                stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            end = time.monotonic() + 10
            while served.ask("GET", "/app.css", headers={}).status == 503:
                assert time.monotonic() < end
                time.sleep(0.1)

    @pytest.mark.parametrize(
        "begins",
        ["GET /app.css", "GET /app.css {}\r\n", "POST / {}Content-Length: 9999\r\n\r\n"],
        ids=["a request", "a request after an answer", "a body that nobody reads"],
    )
    def test_who_does_not_come_to_an_end_is_given_up(self, served, monkeypatch, begins):
        monkeypatch.setattr(uploads, "STALL_SECONDS", 0.5)
        begins = begins.format(f"HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n")
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
            slow.sendall(begins.encode())
            end = time.monotonic() + 10
            with pytest.raises(OSError):
                while time.monotonic() < end:
                    slow.sendall(b"x")
                    time.sleep(0.05)

    def test_a_login_has_to_be_there_soon(self, served, monkeypatch):
        monkeypatch.setattr(uploads, "STALL_SECONDS", 0.3)
        served.keys.passphrase = Passphrase("a passphrase")
        head = (
            f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            f"Origin: {served.origin}\r\nContent-Length: 4000\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
            slow.sendall(head.encode())
            for _ in range(3000):  # it would end after 4000
                if select.select([slow], [], [], 0.1)[0]:
                    break
                slow.sendall(b"a")
            assert slow.recv(100).split()[1] == b"408"


class TestOtherMachines:
    @pytest.fixture
    def certificate(self, tmp_path) -> tuple[Path, Path]:
        return write_certificate(tmp_path)

    def test_without_certificate_they_are_refused(self, enter_web):
        code, out, error = enter_web("--host", "0.0.0.0")
        assert (code, out) == (2, "")
        assert error.startswith("error: web: other machines reach 0.0.0.0, which needs --certfile")
        assert error.count("\n") == 1

    @pytest.mark.parametrize("passphrase", [None, "", "short"])
    def test_without_passphrase_they_are_refused(
        self, enter_web, certificate, monkeypatch, passphrase
    ):
        if passphrase is not None:
            monkeypatch.setenv("FACESYNC_WEB_PASSPHRASE", passphrase)
        files = ("--certfile", certificate[0], "--keyfile", certificate[1])
        code, out, error = enter_web("--host", "0.0.0.0", *files)
        assert (code, out) == (2, "") and "passphrase" in error and error.count("\n") == 1

    def test_half_a_certificate_is_wrong_usage(self, enter_web, certificate):
        code, _, error = enter_web("--certfile", certificate[0])
        assert code == 2 and "go together" in error

    def test_a_certificate_that_cannot_be_used_is_one_line(self, tmp_path, certificate):
        text, other = tmp_path / "text.pem", tmp_path / "other"
        text.write_text("no certificate")
        other.mkdir()
        _, key = write_certificate(other)
        for files, said in (
            ((text, text), "are no certificate and its key"),
            ((certificate[0], key), "are no certificate and its key"),  # another's
            ((certificate[0], tmp_path / "none"), f"cannot read {tmp_path / 'none'}: No such file"),
        ):
            options = WebOptions(certfile=files[0], keyfile=files[1])
            with pytest.raises(FileError, match=re.escape(said)) as error:
                serve(Session(AppSettings(embeddings=tmp_path / "s.pkl")), options)
            assert "\n" not in str(error.value)

    def test_with_both_a_client_logs_in(self, web_process, certificate, monkeypatch):
        monkeypatch.setenv("FACESYNC_WEB_PASSPHRASE", "correct horse")
        files = ("--certfile", certificate[0], "--keyfile", certificate[1])
        address = web_process("--host", "0.0.0.0", *files)
        assert address.startswith("https://localhost:") and "token" not in address
        port = int(address.rsplit(":", 1)[1].strip("/"))
        trusting = ssl.create_default_context(cafile=certificate[0])

        def ask(method: str, path: str, body: str | None = None, **headers: str):
            connection = http.client.HTTPSConnection(
                "localhost", port, context=trusting, timeout=60
            )
            own = {"Host": f"localhost:{port}"}
            with closing(connection):
                connection.request(method, path, body, {**own, **headers})
                response = connection.getresponse()
                return response, response.read().decode()

        assert ask("GET", "/", Host=f"evil.example:{port}")[0].status == 421
        assert ask("GET", "/", Host=f"192.0.2.1:{port}")[0].status == 401
        response, page = ask("GET", "/")
        assert response.status == 401 and 'type="password"' in page
        assert ask("GET", "/api/people")[0].status == 401
        origin = {"Origin": f"https://localhost:{port}"}
        assert ask("POST", "/login", "passphrase=correct+horse")[0].status == 403
        assert ask("POST", "/login", "passphrase=" + 5000 * "a", **origin)[0].status == 413
        response, page = ask("GET", "/login")
        assert response.status == 401 and 'type="password"' in page
        response, _ = ask("POST", "/login", "passphrase=correct+horse", **origin)
        assert response.status == 303
        cookie, *flags = response.headers["Set-Cookie"].split("; ")
        assert {flag.lower() for flag in flags} == {
            "httponly", "samesite=strict", "path=/", "secure"
        }  # fmt: skip
        assert ask("GET", "/api/people", Cookie=cookie)[0].status == 200
        for _ in range(5):
            response, page = ask("POST", "/login", "passphrase=wrong", **origin)
            assert response.status == 401 and "The passphrase is wrong" in page
        response, page = ask("POST", "/login", "passphrase=correct+horse", **origin)
        assert response.status == 429 and "try again in 30 s" in page
