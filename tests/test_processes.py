from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from facesync.devices import short_format
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


def test_the_cpus_short_format_is_bf16_where_it_computes_in_it(monkeypatch):
    assert short_format(CPU) in (None, torch.bfloat16)
    for able, expected in ((True, torch.bfloat16), (False, None)):
        mkldnn = SimpleNamespace(_is_mkldnn_bf16_supported=lambda able=able: able)
        monkeypatch.setattr(torch.ops, "mkldnn", mkldnn, raising=False)
        assert short_format(CPU) is expected


@pytest.mark.parametrize(("able", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_cards_short_format_is_bf16_or_fp16(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able)
    assert short_format(CUDA) is expected
