"""The worker processes: started once, never in the way of the end, and explained when they fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.synchronize import SemLock
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from facesync.errors import DataError, FaceSyncError
from facesync.training import workers
from facesync.training.workers import Loader, explaining
from tests.conftest import ROOT
from tests.training.stand_ins import posix


class Numbers(Dataset[int]):
    """By any key: the number of the process that loads it, unless that is to be killed."""

    def __init__(self, wanted: str = "") -> None:
        self.wanted = wanted

    def __getitem__(self, key: int) -> int:
        if self.wanted == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()


def loader_of(dataset, count=2):
    return Loader(dataset, 100, workers=count, device=torch.device("cpu"), seed=1, collate=list)


def test_the_same_workers_serve_every_pass():
    before = torch.get_rng_state()
    loader = loader_of(Numbers())
    first, other = loader.batches([[1, 2], [3], [4]]), loader.batches([[5]] * 4)
    assert (len(first), len(other)) == (3, 4)
    next(iter(first))  # a pass that is not ended does no harm to the next
    passes = [list(first), list(other), list(first)]
    assert [len(batches) for batches in passes] == [3, 4, 3]
    seen = {pid for batches in passes for batch in batches for pid in batch}
    assert len(seen) == 2 and os.getpid() not in seen
    assert seen == {child.pid for child in multiprocessing.active_children()}
    assert torch.equal(torch.get_rng_state(), before)  # dropout's


@posix
def test_a_worker_that_dies_is_one_line():
    with pytest.raises(FaceSyncError, match="run again with --workers 0") as raised, explaining():
        list(loader_of(Numbers("killed"), 1).batches([[1]]))
    assert "\n" not in str(raised.value)


def test_other_errors_are_not_explained():
    with pytest.raises(RuntimeError, match="a bug"), explaining():
        raise RuntimeError("a bug")


ENDING = """
import multiprocessing, os, signal, sys
from facesync.training.workers import explaining
from tests.training.test_workers import Numbers, loader_of

if __name__ == "__main__":
    loader = loader_of(Numbers())
    signal.signal(signal.SIGINT, lambda *_: None)
    os.killpg(os.getpgid(0), signal.SIGINT)  # while they start: they must not die of it
    assert len(list(loader.batches([[1], [2], [3]]))) == 3
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise TypeError("a bug")
"""


@posix
@pytest.mark.parametrize("end", ["killed", "error"])
def test_workers_end_with_the_process_however_it_ends_and_not_before(end):
    # Workers hold its output open: it ends when all have ended.
    done = subprocess.run(
        [sys.executable, "-c", ENDING, end],
        cwd=ROOT, capture_output=True, text=True, timeout=120, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == {"killed": -signal.SIGKILL, "error": 1}[end], done.stderr
    assert len(done.stdout.split()) == 2, done.stderr
    assert "KeyboardInterrupt" not in done.stderr


def test_a_small_shared_memory_is_said_at_once(monkeypatch):
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda path: SimpleNamespace(free=700))
    monkeypatch.setattr(workers.Path, "is_dir", lambda path: True)
    with pytest.raises(DataError, match="--workers 0"):
        loader_of(Numbers())


def test_missing_shared_memory_is_said(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(SemLock, "__init__", fail)
    with pytest.raises(DataError, match=r"cannot be started.*--workers 0"):
        loader_of(Numbers())
