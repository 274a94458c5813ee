"""The tables of a gallery on a server, and the connections to it.

    facesync_gallery    one row: the gallery's random id, the header of its key, its revision and
                        its sealed head
    facesync_people     a random id, the revision of the last change, a sealed person
    facesync_images     a sealed image of a person
    facesync_attempts   one row: the sealed counts of failed attempts, and how often they were saved

Each change is one transaction under one advisory lock and ends with NOTIFY. Nothing here waits
longer than it says: where the server stays silent, the connection is cut from this side.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from facesync import cli
from facesync.errors import StoreError
from facesync.gallery.server.address import CONNECT_SECONDS, parameters, psycopg

VERSION = 1
CHANNEL = "facesync"
CHANGE_LOCK, ATTEMPTS_LOCK = 0x6661636501, 0x6661636502
"""Advisory locks of the database: for who changes people, and for who counts an attempt."""

ANSWER_SECONDS = 60.0
"""How long a server may take over one thing."""

_SETTINGS = """
SET statement_timeout = '60s'; SET lock_timeout = '10s';
SET idle_in_transaction_session_timeout = '10min';
SET client_min_messages = error; SET bytea_output = hex
"""
_TABLES = """
CREATE TABLE facesync_gallery (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL,
    gallery text NOT NULL, key text NOT NULL, revision bigint NOT NULL, head bytea NOT NULL);
CREATE TABLE facesync_people (
    id text PRIMARY KEY, revision bigint NOT NULL, sealed bytea NOT NULL);
ALTER TABLE facesync_people ALTER sealed SET STORAGE EXTERNAL;
CREATE INDEX facesync_people_revision ON facesync_people (revision);
CREATE TABLE facesync_images (
    person text NOT NULL REFERENCES facesync_people ON DELETE CASCADE, image text NOT NULL,
    sealed bytea NOT NULL, PRIMARY KEY (person, image));
ALTER TABLE facesync_images ALTER sealed SET STORAGE EXTERNAL;
CREATE TABLE facesync_attempts (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), saves bigint NOT NULL,
    sealed bytea NOT NULL)
"""


class Gone(StoreError):
    """The server does not answer."""


class Server:
    """One database, and one connection to it that is made again when it broke.

    Raises:
        UsageError, StoreError: see `parameters`.
    """

    def __init__(self, address: str, *, insecure: bool = False, offline: bool = False) -> None:
        self._parameters = parameters(address, insecure=insecure, offline=offline)
        self.name = cli.masked(address)
        self.place = self.name  # what answered, whatever the address left out
        self._connection: Any = None

    def connect(self) -> Any:
        """Make another connection, on which each statement is a transaction of its own.

        Raises:
            Gone: the server does not answer, or not as it should.
        """
        with self.failures():
            connection = psycopg().connect(**self._parameters, autocommit=True)
            with limited(connection, CONNECT_SECONDS):
                connection.execute(_SETTINGS)
            info = connection.info
            self.place = f"postgresql {info.host}:{info.port}/{info.dbname}"
        return connection

    def connection(self, seconds: float = ANSWER_SECONDS) -> Any:
        """Return the connection, made anew where there is none or the server has closed it.

        Raises:
            Gone: the server does not answer.
        """
        if self._connection is not None and not self._connection.closed:
            try:
                with limited(self._connection, seconds):
                    self._connection.execute("SELECT 1")
                return self._connection
            except psycopg().Error:
                self.close()
        self._connection = self.connect()
        return self._connection

    def about(self) -> str:
        """Say which version answered, and whether the way to it is encrypted."""
        link = self.connection()
        version = link.info.parameter_status("server_version")
        way = "TLS" if link.pgconn.ssl_in_use else "no TLS"
        return cli.one_line(f"PostgreSQL {version} answers, {way}")

    def cut(self) -> None:
        """End whatever waits for the server on the connection, from another thread."""
        if self._connection is not None:
            cut(self._connection)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(psycopg().Error):
                self._connection.close()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn errors of the server into one line."""
        errors = psycopg()
        try:
            yield
        except (errors.OperationalError, errors.InterfaceError) as error:
            if isinstance(error, errors.errors.LockNotAvailable):
                raise StoreError(
                    f"another door is changing {self.name}; try again when it is done"
                ) from error
            silent = "" if error.sqlstate else " does not answer"
            raise Gone(f"{self.name}{silent}: {_first_line(error)}") from error
        except errors.Error as error:
            raise StoreError(f"{self.name}: {_first_line(error)}") from error

    @contextmanager
    def transaction(
        self, lock: int, *, seconds: float = ANSWER_SECONDS, tables: bool = True
    ) -> Iterator[Any]:
        """Change something, alone among all doors; undone as a whole if the block fails.

        Args:
            lock: whom to keep out.
            seconds: how long the server may stay silent at the beginning and at the end.
            tables: make the tables if there are none.

        Yields:
            The connection.

        Raises:
            Gone: the server does not answer.
            StoreError: it does not allow it, or another door has the lock for too long.
        """
        with self.failures():
            connection = self.connection(seconds)
            try:
                with limited(connection, seconds):
                    connection.execute("BEGIN")
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
                    if tables and not has_tables(connection):
                        connection.execute(_TABLES)
                yield connection
            except BaseException:
                with limited(connection, seconds), suppress(psycopg().Error):
                    connection.execute("ROLLBACK")
                raise
        try:
            with self.failures(), limited(connection, seconds):
                connection.execute("COMMIT")
        except Gone as error:
            raise Gone(f"{error}; the change is stored whole or not at all: look first") from error


@contextmanager
def limited(connection: Any, seconds: float = ANSWER_SECONDS) -> Iterator[None]:
    """Cut a connection if a block takes longer: a server may be there and say nothing."""
    timer = threading.Timer(seconds, cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def cut(connection: Any) -> None:
    """End whatever waits on a connection, from another thread; it cannot be used afterwards."""
    with suppress(Exception):  # it may be closed meanwhile, which is all that is wanted
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)


def has_tables(connection: Any) -> bool:
    """Whether there is a gallery on the server, or its empty tables."""
    found = connection.execute("SELECT to_regclass('facesync_gallery') IS NOT NULL")
    return bool(found.fetchone()[0])


def notify(connection: Any, what: int | str) -> None:
    """Tell all doors, once the transaction is done."""
    connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(what)])


def _first_line(error: Exception) -> str:
    return cli.one_line(str(error).strip().partition("\n")[0]) or type(error).__name__
