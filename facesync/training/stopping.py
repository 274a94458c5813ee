"""Ctrl-C and SIGTERM end a training between two batches, with its checkpoint written."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopped(Exception):
    """The user wants the training to stop."""


class StopRequest:
    """Within the block, Ctrl-C and SIGTERM are noted instead of ending the process.

    `check` raises `Stopped` once one came, so that work ends where it is safe. A third one ends
    the process at once, for whoever cannot wait.
    """

    def __init__(self) -> None:
        self._count = 0
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        # Only the main thread may set handlers; elsewhere signals do what they did before.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return  # a worker process that has just been forked
        self._count += 1
        if self._count == 1:
            line = "Stopping after this batch and saving ..."
        elif self._count == 2:
            line = "Still saving; once more stops at once, without saving."
        else:
            raise KeyboardInterrupt
        # Not print or logging: a handler may run in the middle of either.
        os.write(2, f"\n{line}\n".encode())

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._count > 0

    def check(self) -> None:
        """Raise `Stopped` where a stop was asked for."""
        if self.asked:
            raise Stopped
