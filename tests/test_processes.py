from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from facesync.processes import Ranks, ranks
from tests.conftest import ROOT

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_single_process_is_the_first_and_does_not_wait():
    alone = Ranks()
    assert (alone.rank, alone.size, alone.first) == (0, 1, True)
    alone.wait()
    values = torch.tensor([1.0, 2.0])
    assert alone.sum(values) is values and values.tolist() == [1, 2]
    assert alone.gather({"a": 1}) == [{"a": 1}]
    assert not Ranks(1, 2).first


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks(CPU) as (group, device):
        assert (group, device) == (Ranks(), CPU)
    assert not torch.distributed.is_initialized()


@pytest.fixture
def torchrun(monkeypatch, tmp_path):
    """Pretend to be the only process started by torchrun; more are tested end to end."""
    environment = {
        "WORLD_SIZE": "1",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    start = torch.distributed.init_process_group

    def with_a_file(backend):
        start(backend, init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)

    monkeypatch.setattr(torch.distributed, "init_process_group", with_a_file)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without processes")
def test_under_torchrun_processes_meet_and_part(torchrun):
    with pytest.raises(ValueError), ranks(CPU) as (group, device):
        assert torch.distributed.is_initialized() and device == CPU
        assert group == Ranks(0, 1)
        raise ValueError  # an error parts them too
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("cards", "backend", "card"), [(4, "nccl", 3), (3, "gloo", 0), (1, "gloo", 0)]
)
def test_processes_share_cards_where_there_are_too_few(torchrun, monkeypatch, cards, backend, card):
    joined, chosen = [], []
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    start = torch.distributed.init_process_group

    def noted(backend):
        joined.append(backend)
        start("gloo")

    monkeypatch.setattr(torch.distributed, "init_process_group", noted)
    with ranks(CUDA) as (_, device):
        assert device == torch.device("cuda", card)
    assert (joined, chosen) == ([backend], [device])


THREADS = """
import os, sys, tempfile
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from facesync.processes import ranks

os.environ |= {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
start = torch.distributed.init_process_group
meet = "file://" + tempfile.mktemp()
torch.distributed.init_process_group = lambda backend: start(
    backend, init_method=meet, rank=0, world_size=1
)

def train():
    network = DistributedDataParallel(torch.nn.Linear(2, 2))
    network.circle = network
    network(torch.rand(3, 2)).sum().backward()
    if sys.argv[1] == "error":
        raise ValueError

try:
    with ranks(torch.device("cpu")):
        train()
except ValueError as error:
    kept = error
threads = {path.read_text() for path in Path("/proc/self/task").glob("*/comm")}
print([name for name in threads if "gloo" in name])
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="names threads in /proc")
@pytest.mark.parametrize("end", ["done", "error"])
def test_no_thread_of_the_group_outlives_it(end):
    # One that lets go of a tensor while Python shuts down aborts the process.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THREADS, end],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
