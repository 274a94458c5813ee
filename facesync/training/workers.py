"""The worker processes that load batches: how they start, end, and say why they cannot work.

They are spawned once for a run: that takes seconds each, since torch is imported anew.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from facesync.errors import DataError, FaceSyncError
from facesync.spawning import starting

T = TypeVar("T")

AHEAD = 4
"""Batches that each worker loads ahead."""

PATIENCE = 300
"""Seconds to wait for a batch of the workers."""


class Loader(Generic[T]):
    """Loads batches of a dataset, with the same worker processes in every pass.

    The dataset is copied to each worker once: what a pass changes belongs into the keys.

    Args:
        dataset: by key.
        batch_bytes: upper bound of what a batch takes.
        workers: processes that load; 0 loads in this one.
        device: the batches are for it.
        seed: of the loader's own random numbers: it must not draw from those that dropout uses.
        collate: makes a batch of the samples; None stacks them.

    Raises:
        DataError: the workers cannot be started, or shared memory is too small for what they load.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_bytes: int,
        *,
        workers: int,
        device: torch.device,
        seed: int,
        collate: Callable[[list[Any]], T] | None = None,
    ) -> None:
        self._turns = _Turns()
        options: dict[str, Any] = {}
        if workers:
            _check_shared_memory(workers * AHEAD * batch_bytes)
            options = {
                "num_workers": workers,
                "multiprocessing_context": "spawn",
                "worker_init_fn": functools.partial(start_worker, _lifeline()),
                "prefetch_factor": AHEAD,
                "timeout": PATIENCE,
                "persistent_workers": True,
            }
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._turns,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(seed),
            **options,
        )
        if workers:
            with starting("--workers 0", signal.SIGINT, signal.SIGTERM):
                multiprocessing.get_context("spawn").Lock()  # torch says a lot where this fails
                iter(self._loader)  # there is nothing to load yet

    def batches(self, order: Sampler[Any]) -> Pass[T]:
        """Return the batches of an order, lists of keys; a pass over them ends the one before."""
        return Pass(self._loader, self._turns, order)


class _Turns(Sampler[Any]):
    """The order whose turn it is."""

    def __init__(self) -> None:
        self.order: Iterable[Any] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.order)


@dataclass(frozen=True)
class Pass(Generic[T]):
    """The batches of a loader in one order; each iteration is a pass over them."""

    loader: DataLoader[Any]
    turns: _Turns
    order: Sampler[Any]

    def __len__(self) -> int:
        return len(self.order)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[T]:
        self.turns.order = self.order
        return iter(self.loader)


@contextmanager
def explaining() -> Iterator[None]:
    """Say what to do when workers die or hang; torch raises that wherever this process is then.

    Raises:
        FaceSyncError: they did.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader"):
            raise
        raise FaceSyncError(
            f"the workers that load images died or hung ({str(error).splitlines()[0]}); "
            "run again with --workers 0, or with more shared memory (docker run --shm-size)"
        ) from error


def _check_shared_memory(needed: int) -> None:
    shared = Path("/dev/shm")
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < needed:
        raise DataError(
            f"shared memory ({shared}) is full: the workers need {needed / 1e6:.1f} MB and "
            f"{free / 1e6:.1f} MB are free; run again with --workers 0 or a larger shared memory "
            "(docker run --shm-size)"
        )


@functools.cache
def _lifeline() -> Connection:
    """Return a pipe on which nothing is sent: its end tells the workers that this process ends.

    They ignore SIGTERM, by which multiprocessing would end them at exit.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    atexit.register(writer.close)
    return reader


def start_worker(lifeline: Connection, worker: int) -> None:
    """Prepare a worker process: only the main process handles Ctrl-C; one thread each."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """End this process when the other end of the pipe is closed, however that came about."""
    lifeline.poll(None)
    os._exit(0)
