"""Ctrl-C and SIGTERM stop a training between two batches, with a checkpoint written."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch

from facesync.processes import Ranks


class Stopped(Exception):
    """The user has asked the training to stop."""


class StopRequest:
    """Within the block, Ctrl-C and SIGTERM are noted instead of ending the process.

    After the first, `check` raises `Stopped`, so that work ends where it is safe. The third ends
    the process at once.

    Args:
        ranks: the processes that stop together.
        device: where they exchange tensors.
    """

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        self._ranks, self._device = ranks, device
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        # Only the main thread may set handlers; elsewhere signals keep their effect.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            line = "Stopping after this batch and saving ..."
        elif self._count == 2:
            line = "Still saving; press Ctrl-C again to stop at once without saving."
        else:
            raise KeyboardInterrupt
        # Not print or logging: a handler may run in the middle of either.
        os.write(2, f"\n{line}\n".encode())

    def check(self) -> None:
        """Raise `Stopped` in all processes, at the same batch, if one of them was asked to stop."""
        asked = torch.tensor(int(self._count > 0), device=self._device)
        if self._ranks.sum(asked).item():
            raise Stopped
