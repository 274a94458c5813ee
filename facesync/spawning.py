"""Starting worker processes. They are spawned on every system: a fork beside threads may hang."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from facesync.errors import DataError


@contextmanager
def starting(alone: str, *held: signal.Signals) -> Iterator[None]:
    """Hold signals back; the processes that are started in the block never get them.

    Args:
        alone: the option that does without other processes.
        held: the signals.

    Raises:
        DataError: processes cannot be started: their queues are in shared memory.
    """
    try:
        with _held(held):
            yield
    except (OSError, NotImplementedError) as error:
        raise DataError(
            f"processes cannot be started ({error}): shared memory, /dev/shm, may be full or "
            f"missing; use {alone}, or give a container more (docker run --shm-size=1g)"
        ) from error


@contextmanager
def _held(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
