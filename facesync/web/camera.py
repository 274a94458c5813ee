"""The camera of a browser: a WebSocket that takes JPEGs and says what to show for each.

The first message is JSON and names the task (`facesync.web.tasks`); the answer is `ready`. Then
each binary message is a frame, and its answer a `view`; `key` and, after a `doubt`, `answer` are
JSON. Another first message begins another task. An error is said in words before the close.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from facesync.errors import StoreError, UsageError
from facesync.gallery.registration import Doubt
from facesync.web import tasks
from facesync.web.desk import Desk
from facesync.web.endpoints import doubt_of, says, status_of
from facesync.web.tasks import Task

MOST_BYTES = 1 << 20
"""The longest message."""

IDLE_SECONDS, READING_SECONDS = 60.0, 600.0
"""A page that sends nothing for so long loses the camera session; while a question is open, or all
is done, it has the longer time."""

_IN_USE = "the camera is in use in another window of this page: close that one, or its camera"
_CODES = {400: 4400, 409: 4409, 429: 4429, 503: 4503}
_MOST_TEXT = 4096


class Conversation:
    """One camera session.

    Args:
        desk: what requests share.
        socket: accepted.
    """

    def __init__(self, desk: Desk, socket: WebSocket) -> None:
        self._desk, self._socket = desk, socket
        self._task: Task | None = None
        self._doubt: Doubt | None = None

    async def run(self) -> None:
        """Answer messages until the other side leaves, or an error ends it."""
        try:
            while True:
                message = await asyncio.wait_for(self._socket.receive(), self._patience())
                if message["type"] == "websocket.disconnect":
                    return
                await self._answer(message)
        except asyncio.TimeoutError:
            await self._end(UsageError("nothing came from the camera for too long"))
        except WebSocketDisconnect:
            return  # it left before the answer
        except Exception as error:
            await self._end(error)
        finally:
            await self._leave()

    def _patience(self) -> float:
        """Return how long to wait for a message: who reads a question, or the end, takes time."""
        reads = self._doubt is not None or (self._task is not None and self._task.done)
        return READING_SECONDS if reads else IDLE_SECONDS

    async def _answer(self, message: MutableMapping[str, Any]) -> None:
        if message.get("bytes") is not None:
            await self._frame(message["bytes"])
            return
        said = _parsed(message.get("text") or "")
        if "task" in said:
            await self._leave()
            self._task = await self._desk.do(
                tasks.begin, self._desk.session, self._desk.sightings, said
            )
            await self._send({"type": "ready"})
        elif said.get("type") == "key" and self._task is not None:
            await self._desk.do(self._task.key, str(said.get("key"))[:1].lower())
        elif said.get("type") == "answer" and self._task is not None and self._doubt is not None:
            doubt, self._doubt = self._doubt, None
            if said.get("yes") is not True:
                raise StoreError(f"{doubt.what}; nothing is stored")
            self._task.allow(doubt)
        else:
            raise UsageError("the first message names the task: verify, watch or register")

    async def _frame(self, jpeg: bytes) -> None:
        if self._task is None:
            raise UsageError("the first message names the task: verify, watch or register")
        if self._doubt is not None:
            raise UsageError("answer the question first")
        try:
            await self._send(await self._desk.do(self._task.frame, jpeg))
        except Doubt as doubt:
            self._doubt = doubt
            await self._send({"type": "doubt", **doubt_of(doubt)["doubt"]})

    async def _leave(self) -> None:
        task, self._task, self._doubt = self._task, None, None
        if task is not None:
            await self._desk.do(task.close)

    async def _send(self, data: dict[str, Any]) -> None:
        try:
            await self._socket.send_text(json.dumps(data, allow_nan=False))
        except RuntimeError as error:  # it has left, and the server has seen that
            raise WebSocketDisconnect(1006) from error

    async def _end(self, error: Exception) -> None:
        try:
            await self._send({"type": "error", "error": says(error), **doubt_of(error)})
            await self._socket.close(_CODES.get(status_of(error), 1011))
        except (WebSocketDisconnect, RuntimeError):
            return  # it has left


async def serve(socket: WebSocket, desk: Desk) -> None:
    """Serve a camera session, if there is none yet."""
    await socket.accept()
    if desk.camera_in_use:
        await socket.send_text(json.dumps({"type": "error", "error": _IN_USE}))
        await socket.close(4503)
        return
    desk.camera_in_use = True
    try:
        await Conversation(desk, socket).run()
    finally:
        desk.camera_in_use = False


def _parsed(text: str) -> dict[str, Any]:
    """Parse a message.

    Raises:
        UsageError: it is no JSON object.
    """
    try:
        said = json.loads(text) if len(text) <= _MOST_TEXT else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise UsageError("a message is neither a frame nor a JSON object")
    return said
