"""The server that other tests use: real, stoppable, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
psycopg = pytest.importorskip("psycopg")

DIES = """
import os, signal
def test_it(postgres_server):
    print(f"PID {postgres_server._process.pid} {postgres_server.folder} ", flush=True)
    os.kill(os.getpid(), signal.SIG%s)
"""


def test_a_database_is_new_empty_and_owned_by_a_plain_user(postgres_url, postgres_server):
    with psycopg.connect(postgres_url) as connection:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(tables).fetchone() == (0,)
        rights = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(rights).fetchone() == (False,)
        connection.execute("CREATE TABLE mine (x int)")
    with psycopg.connect(postgres_server.new_database()) as connection:
        assert connection.execute(tables).fetchone() == (0,)


def test_the_password_is_needed(postgres_url):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_url.replace(":s3cret", ":other"))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_committed_is_there_after_it_went_down(postgres_server, postgres_url, how):
    connection = psycopg.connect(postgres_url, autocommit=True)
    connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
    getattr(postgres_server, how)()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_url)
    connection.close()
    postgres_server.start()
    with psycopg.connect(postgres_url) as again:
        assert again.execute("SELECT x FROM kept").fetchone() == (7,)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_frozen_it_says_nothing(postgres_server, postgres_url):
    postgres_server.freeze()
    try:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(postgres_url, connect_timeout=2)
    finally:
        postgres_server.thaw()
    psycopg.connect(postgres_url).close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("signal", ["INT", "KILL"])
def test_it_is_gone_when_the_tests_are(postgres_server, tmp_path, signal):
    (tmp_path / "test_dies.py").write_text(DIES % signal)
    (tmp_path / "conftest.py").write_text("from tests.postgres import postgres_server\n")
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    _, pid, folder, *_ = done.stdout[done.stdout.index("PID ") :].split()
    try:
        # A process that is only told to go needs a moment.
        subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], timeout=60, check=True)
    finally:
        if signal == "KILL":
            subprocess.run(["rm", "-rf", folder])
    assert not os.path.exists(folder)
