"""How a function becomes a part of the API: what it takes, what it answers, its errors as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facesync.cli import describe_os_error, one_line
from facesync.errors import DataError, FaceSyncError, ImageError, StoreError, UsageError
from facesync.gallery.attempts import Paused
from facesync.gallery.registration import Doubt
from facesync.web.answers import failure, plain
from facesync.web.desk import Desk
from facesync.web.uploads import TooLarge, TooSlow, limited

log = logging.getLogger(__name__)

JSON_BYTES, IMAGES_BYTES = 1 << 16, 128 << 20
"""The largest body: of JSON, and of a form with images."""


class NotFound(StoreError):
    """Nobody, or nothing, has this name."""


@dataclass(frozen=True)
class Endpoint:
    """A part of the API.

    Attributes:
        method, path: of HTTP; `{name:path}` in the path is somebody's name.
        handler: is called with what is shared and the request; returns plain data or a response.
        summary: what it does.
        takes: the fields of its body and what they are: `string`, `boolean`, `number`, `file` or
            `files`, with `?` where one may be left out, `=` before the only value there is, `|`
            between types; with a file, they come as a form.
        gives: the type of its answer.
        answer: the fields of an answer in JSON, as in `takes`; besides, `array`, `object`.
        status: of success.
    """

    method: str
    path: str
    handler: Callable[[Desk, Request], Awaitable[Any]]
    summary: str
    takes: Mapping[str, str] = field(default_factory=dict)
    gives: str = "application/json"
    answer: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    @property
    def has_files(self) -> bool:
        """Whether its body is a form with files."""
        return any(kind.startswith("file") for kind in self.takes.values())

    def route(self, desk: Desk) -> Route:
        """Return the route that answers it."""
        most = IMAGES_BYTES if self.has_files else JSON_BYTES

        async def respond(request: Request) -> Response:
            try:
                found = await self.handler(desk, limited(request, most))
                return found if isinstance(found, Response) else plain(found, self.status)
            except Exception as error:
                return in_json(error)

        return Route(self.path, respond, methods=[self.method])


async def fields(request: Request) -> dict[str, Any]:
    """Read a body of JSON: an object.

    Raises:
        UsageError: it is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise HTTPException(415, "send JSON: application/json")
    try:
        sent = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is not valid JSON") from error
    if not isinstance(sent, dict):
        raise UsageError("the body is no JSON object")
    return sent


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (Paused, 429),
    (StoreError, 409),
    (UsageError, 400),
    (ImageError, 400),
    (DataError, 400),
    (FaceSyncError, 503),
    (OSError, 503),
    (TooLarge, 413),
    (TooSlow, 408),
)


def status_of(error: Exception) -> int:
    """Return the status that says what kind of error it is; 500 for one of the app itself."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def in_json(error: Exception, **more: Any) -> Response:
    """Return any error as the API does."""
    if isinstance(error, HTTPException):
        return failure(error.detail, error.status_code)
    status = status_of(error)
    return failure(says(error), status, **doubt_of(error), **more)


def says(error: Exception) -> str:
    """Return one line for an error; of one of the app itself, the terminal says more."""
    if isinstance(error, OSError):
        return one_line(describe_os_error(error))
    if status_of(error) == 500:
        log.error("%s: %s", type(error).__name__, one_line(error))
        return "something went wrong in the app; its terminal says what"
    return one_line(error)


def doubt_of(error: Exception) -> dict[str, Any]:
    """Return what has to be decided, if an error is about that."""
    if not isinstance(error, Doubt):
        return {}
    about = {"what": error.what, "question": error.question, "allowed_by": error.allowed_by}
    return {"doubt": about}
