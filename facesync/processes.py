"""The processes that train together: one, or several started by torchrun."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed

from facesync.errors import FaceSyncError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """One process of `size` that train together, by its rank from 0; or the only one."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        if self.size > 1:
            torch.distributed.barrier()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over the processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def share(self, values: torch.Tensor) -> torch.Tensor:
        """Copy the first process's tensor to all processes, in place."""
        if self.size > 1:
            torch.distributed.broadcast(values, 0)
        return values

    def gather(self, value: T) -> list[T]:
        """Return the value of each process, by rank; plain values only."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        torch.distributed.all_gather_object(found, value)
        return found  # type: ignore[return-value]


@contextlib.contextmanager
def ranks(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other processes started by torchrun, if any; only the first one logs.

    Yields:
        This process among them, and its device: each has a card of its own, as far as there are
        cards.

    Raises:
        FaceSyncError: another process has ended, for a reason that it reported itself.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Ranks(), device
        return
    backend = "gloo"
    if device.type == "cuda":
        cards = torch.cuda.device_count()
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % cards)
        torch.cuda.set_device(device)
        if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= cards:  # else NCCL refuses
            backend = "nccl"
    _join(backend)
    found = Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    logger = logging.getLogger("facesync")
    level = logger.level
    if not found.first:
        logger.setLevel(logging.ERROR)
    try:
        yield found, device
    except RuntimeError as error:
        # gloo has no class of its own for this: "[.../gloo/...] Connection closed by peer".
        if "gloo" in str(error) and "onnection" in str(error):
            raise FaceSyncError("another process of this training has ended") from error
        raise
    finally:
        logger.setLevel(level)
        _forget(sys.exc_info()[1])
        torch.distributed.destroy_process_group()


def _forget(error: BaseException | None) -> None:
    """Let go of what still uses the group, so that its threads end with it.

    A DistributedDataParallel lies in a circle of references, or in the frames of an error, and
    keeps the group's threads alive: one that lets go of a tensor while Python shuts down aborts
    the process ("terminate called without an active exception").
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()


def _join(backend: str) -> None:
    """Meet the other processes.

    After a restart (`torchrun --max-restarts`) the store still holds the addresses of the processes
    that ended (pytorch/pytorch#135712), and new ones would wait for those: each attempt gets its
    own part of the store. Across machines the attempts are not counted alike.
    """
    # Its functions have the group that exists when it is imported as their default: imported later,
    # as DistributedDataParallel does, it would keep the group and its threads for ever.
    import torch.distributed.nn

    if sys.platform == "win32":
        os.environ.setdefault("USE_LIBUV", "0")  # torch for Windows is built without libuv
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        torch.distributed.init_process_group(backend)
        return
    store, rank, size = next(torch.distributed.rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = torch.distributed.PrefixStore(f"attempt {attempt}", store)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
