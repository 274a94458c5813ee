"""What is sent to the server, as much of it as is taken: counted while it arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message, Receive

from facesync.cli import one_line
from facesync.errors import UsageError
from facesync.images import NamedImage

MOST_IMAGES = 20
"""Of one request."""

STALL_SECONDS = 30.0
"""A sender that sends nothing for so long is given up."""

_MB = 1 << 20


class TooLarge(Exception):
    """More was sent than is taken."""


class TooSlow(Exception):
    """Nothing was sent for too long."""


def limited(request: Request, most: int, within: float | None = None) -> Request:
    """Return a request that fails once more than so many bytes were sent, or nothing for long.

    All of it has to be there `within` so many seconds, if that is given.

    Raises:
        TooLarge: it announces more; when its body is read, also where it announces nothing.
        TooSlow: when its body is read.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(most)
    return Request(request.scope, _counted(request.receive, most, within))


def _counted(receive: Receive, most: int, within: float | None) -> Receive:
    taken, end = 0, None if within is None else time.monotonic() + within

    async def counted() -> Message:
        nonlocal taken
        left = STALL_SECONDS if end is None else end - time.monotonic()
        try:
            message = await asyncio.wait_for(receive(), left)
        except asyncio.TimeoutError:
            raise TooSlow(f"nothing, or not all, was sent for {STALL_SECONDS:.0f} s") from None
        taken += len(message.get("body", b""))
        if taken > most:
            raise _too_large(most)
        return message

    return counted


def _too_large(most: int) -> TooLarge:
    size = f"{most // _MB} MB" if most >= _MB else f"{most:,} bytes"
    return TooLarge(f"too much was sent: at most {size}")


async def body(request: Request, most: int) -> bytes:
    """Read a small body, which has to be there soon: of whom nothing is known yet.

    Raises:
        TooLarge, TooSlow: see `limited`.
    """
    return await limited(request, most, STALL_SECONDS).body()


class _InMemory(MultiPartParser):
    """Keeps files in memory: they are faces, and no disk has to forget them."""

    spool_max_size = 0  # no size: never


@asynccontextmanager
async def form(request: Request) -> AsyncIterator[FormData]:
    """Read a form with files.

    Raises:
        UsageError: it has too many parts, or cannot be read.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "send a form with files: multipart/form-data")
    parser = _InMemory(
        request.headers, request.stream(), max_files=MOST_IMAGES, max_fields=20, max_part_size=4096
    )
    try:
        sent = await parser.parse()
    except (MultiPartException, KeyError) as error:  # there is no boundary
        reason = one_line(error) if isinstance(error, MultiPartException) else "it has no boundary"
        raise UsageError(f"the form cannot be read: {reason}") from error
    try:
        yield sent
    finally:
        await sent.close()


async def images(sent: FormData, field: str) -> list[NamedImage]:
    """Read the images of a field, one or more.

    Raises:
        UsageError: there is none.
    """
    found = []
    for each in sent.getlist(field):
        if isinstance(each, UploadFile):
            name = (each.filename or "").replace("\\", "/").rpartition("/")[2]
            found.append(NamedImage(one_line(name)[:200] or "the image", await each.read()))
    if not found:
        raise UsageError(f"send a file as {field}")
    return found


def text(sent: Mapping[str, object], field: str) -> str | None:
    """Return the text of a field; None if it was not sent.

    Raises:
        UsageError: it is something else.
    """
    value = sent.get(field)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{field} is no text")
    return value


def flag(sent: Mapping[str, object], field: str) -> bool:
    """Whether a field says yes: `true`, in a form as text.

    Raises:
        UsageError: it is neither true nor false.
    """
    value = sent.get(field, False)
    if value in (True, "true"):
        return True
    if value in (False, "false", ""):
        return False
    raise UsageError(f"{field} is neither true nor false")
