"""The address of a server: what is connected to, and what must be known of who answers.

On another machine a door asks for `sslmode=verify-full`: templates and images are sealed, but
whoever sits between could read the password, put back an older gallery or hide a change. The way
to the same machine, a Unix socket or the loopback interface, has nobody in between.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from facesync import cli
from facesync.errors import StoreError, UsageError

SCHEMES = ("postgresql://", "postgres://")

CONNECT_SECONDS = 3
"""How long to wait for a server that does not answer when connected to; libpq's least is 2."""

# Neither the address nor the text of libpq is quoted: any part may be a password, or its end.
_NO_ADDRESS = "--gallery: not an address postgresql://USER@HOST/DATABASE"
_SURE = "verify-full"
_ALIVE = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
    "application_name": "facesync",
    "client_encoding": "UTF8",
}


def psycopg() -> Any:
    """Import psycopg, which an installation without servers does not have.

    Raises:
        StoreError: it is missing, or its libpq is.
    """
    try:
        import psycopg
    except ImportError as error:
        raise StoreError(
            'a gallery on a server needs psycopg: pip install "facesync[doors]"'
        ) from error
    return psycopg


def parameters(address: str, *, insecure: bool = False, offline: bool = False) -> dict[str, Any]:
    """Return what `psycopg.connect` is given for an address, `postgresql://…`.

    Args:
        address: may leave out anything that libpq finds elsewhere (`~/.pgpass`, `PGSERVICE` …).
        insecure: do not check who answers on another machine.
        offline: refuse another machine.

    Raises:
        UsageError: it is no such address, or asks for less than is needed to know who answers.
        StoreError: psycopg is missing.
    """
    if not address.startswith(SCHEMES):
        raise UsageError(_NO_ADDRESS)
    package = psycopg()
    try:
        given = package.conninfo.conninfo_to_dict(address)
        found = {
            option.keyword.decode(): option.val.decode()
            for option in package.pq.Conninfo.get_defaults()
            if option.val
        } | given
    except (package.Error, UnicodeError) as error:
        raise UsageError(_NO_ADDRESS) from error
    ports = str(given.get("port", "")).replace(",", "")
    if "@" in str(given.get("host", "")) or (ports and not ports.isdecimal()):
        raise UsageError(f"{_NO_ADDRESS}; in a password, `@` is written %40, `/` %2F and `:` %3A")
    parameters = {**_ALIVE, **given}
    here = _is_here(found)
    if offline and not here:
        raise UsageError(
            f"--gallery {cli.masked(address)} is on another machine, and --offline forbids it"
        )
    if not insecure and not here:
        if given.get("sslmode", _SURE) != _SURE:
            raise UsageError(
                f"--gallery {cli.masked(address)} is on another machine: sslmode={_SURE} is what "
                "makes sure which; --gallery-insecure does without"
            )
        parameters |= {"sslmode": _SURE, "gssencmode": "disable"}  # Kerberos would do without TLS
    return parameters


def _is_here(found: dict[str, Any]) -> bool:
    """Whether all that an address may lead to is on this machine; a service may lead anywhere."""
    if found.get("service"):
        return False
    hosts = [*str(found.get("host", "")).split(","), *str(found.get("hostaddr", "")).split(",")]
    return all(map(_is_loopback, hosts))


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
