"""Which addresses of a server are used, and what is asked of who answers there."""

from __future__ import annotations

import pytest

from facesync.errors import StoreError, UsageError

pytest.importorskip("psycopg")

from facesync.gallery.server import address
from facesync.gallery.server.address import parameters


@pytest.fixture(autouse=True)
def nothing_else_is_set(monkeypatch):
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "here", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "", "%2Frun%2Fpostgresql"]
)
def test_this_machine_needs_no_certificate(here):
    assert "sslmode" not in parameters(f"postgresql://ada@{here}/people", offline=True)


@pytest.mark.parametrize(
    "there",
    [
        "//door.example/people",
        "//10.0.0.1/people",
        "//localhost,door.example/people",
        "//localhost/people?hostaddr=10.0.0.1",
        "///people?service=doors",
        "//localhost.door.example/people",
    ],
)
def test_another_machine_must_show_who_it_is(there):
    assert parameters(f"postgresql:{there}")["sslmode"] == "verify-full"
    weaker = f"postgresql:{there}{'&' if '?' in there else '?'}sslmode=require"
    with pytest.raises(UsageError, match="--gallery-insecure does without"):
        parameters(weaker)
    assert parameters(weaker, insecure=True)["sslmode"] == "require"
    with pytest.raises(UsageError, match="--offline forbids"):
        parameters(weaker, insecure=True, offline=True)


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGSERVICE"])
def test_the_environment_may_lead_elsewhere(monkeypatch, name):
    monkeypatch.setenv(name, "10.0.0.1")
    monkeypatch.setenv("PGSSLMODE", "disable")
    try:
        assert parameters("postgresql:///people")["sslmode"] == "verify-full"
    except UsageError:
        assert name == "PGSERVICE"  # there is no such service here


@pytest.mark.parametrize("text", ["mysql://ada:secret@h/d", "postgresql://ada:secret%zz@h/d", "x"])
def test_what_is_no_address_is_one_line_without_the_password(text):
    with pytest.raises(UsageError, match="postgresql://USER@HOST/DATABASE") as caught:
        parameters(text)
    assert "secret" not in str(caught.value)


def test_without_psycopg_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install \"facesync\[doors\]\""):
        address.psycopg()
