"""Starting worker processes. They are spawned on every system: a fork beside threads may hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from facesync.errors import DataError

T = TypeVar("T")

RESUME = "run the same command again to resume"

_TASKS_AHEAD = 4


def default_workers() -> int:
    """Return the number of processes: one for each processor, at most 8."""
    return min(os.cpu_count() or 1, 8)


def in_processes(
    workers: int,
    work: Callable[..., T],
    tasks: Iterable[tuple[Any, ...]],
    prepare: Callable[..., None] | None = None,
    *given: Any,
) -> Iterator[T]:
    """Yield what `work` returns for each task, in turn; a few tasks are queued at any time.

    Args:
        workers: number of processes; they ignore Ctrl-C and exit when this one does.
        work: a function of a module.
        tasks: its arguments.
        prepare: called in each process first, with `given`.
        given: its arguments.

    Raises:
        DataError: processes cannot be started, or one of them died.
    """
    with starting("--workers 1", signal.SIGINT):
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(workers, context, _start_process, (prepare, given))
    pending: deque[Future[T]] = deque()
    try:
        for task in tasks:
            if len(pending) >= workers * _TASKS_AHEAD:
                yield pending.popleft().result()
            with starting("--workers 1", signal.SIGINT):
                pending.append(executor.submit(work, *task))
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died: out of memory, or a script of yours lacks `if __name__ == "
            f"'__main__':`; {RESUME}"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start_process(prepare: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    """Prepare a process of the pool: it ignores Ctrl-C and exits when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if prepare:
        prepare(*given)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


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
