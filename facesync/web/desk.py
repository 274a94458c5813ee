"""What all requests share: the session, the one thread that recognises, who appeared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from facesync.app.session import Session
from facesync.app.settings import AppSettings
from facesync.app.sightings import Sightings

T = TypeVar("T")


class Desk:
    """One run of the server.

    Attributes:
        session: settings, gallery and models.
        sightings: who appeared before the camera; for what `do` does.
        camera_in_use: whether a page has the camera session; there is one at a time.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.camera_in_use = False
        self.sightings = Sightings(
            session.gallery, session.recognizer, liveness=session.settings.liveness != "off"
        )
        # Models are not made for several threads, and two at a time would be no faster: whoever
        # uses them, or changes people, does it here, one after the other. The loop never waits.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="recognition")

    async def do(self, work: Callable[..., T], *args: object) -> T:
        """Do what needs models, or changes what is stored; what was begun is finished."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._worker, lambda: work(*args)))

    async def read(self, work: Callable[..., T], *args: object) -> T:
        """Do what only reads what is stored, beside what `do` does."""
        return await asyncio.to_thread(work, *args)

    def use(self, settings: AppSettings) -> None:
        """Go on with other settings of models and liveness."""
        self.session.use(settings)
        self.sightings.recognizer = self.session.recognizer
        self.sightings.liveness = settings.liveness != "off"

    def close(self) -> None:
        """Wait for what was begun."""
        self._worker.shutdown()
