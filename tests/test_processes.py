from __future__ import annotations

import pytest
import torch

from facesync.processes import Ranks, ranks

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
