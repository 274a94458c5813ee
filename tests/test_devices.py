"""Where to compute."""

import sys
from types import SimpleNamespace

import pytest

from facesync import devices
from facesync.errors import ModelError

torch = pytest.importorskip("torch")


def test_cuda_is_refused_without_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.pick_device("auto").type == "cpu"
    with pytest.raises(ModelError, match="--device cpu"):
        devices.pick_device("cuda")


def test_the_device_is_named_without_torch_if_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(devices, "_accelerator", lambda: False)
    monkeypatch.setattr(devices, "pick_device", None)
    assert [devices.device_name(name) for name in ("cpu", "auto")] == ["cpu", "cpu"]


def test_where_torch_is_not_installed_there_is_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "_accelerator", lambda: True)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert devices.device_name("auto") == "cpu"
    with pytest.raises(ModelError, match=r"^--device cuda: this needs torch, .*requirements\.txt$"):
        devices.device_name("cuda")


def test_torch_is_asked_if_there_is_a_driver(monkeypatch):
    monkeypatch.setattr(devices, "_accelerator", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.device_name("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.device_name("auto") == "cpu"


def test_the_cpus_short_format_is_bf16_where_it_computes_in_it(monkeypatch):
    assert devices.short_format(torch.device("cpu")) in (None, torch.bfloat16)
    for able, expected in ((True, torch.bfloat16), (False, None)):
        mkldnn = SimpleNamespace(_is_mkldnn_bf16_supported=lambda able=able: able)
        monkeypatch.setattr(torch.ops, "mkldnn", mkldnn, raising=False)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        assert devices.short_format(torch.device("cpu")) is expected


def test_a_cpu_without_mkldnn_is_not_asked_what_it_supports(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None, raising=False)
    assert devices.short_format(torch.device("cpu")) is None
    assert devices.short_format(torch.device("mps")) is None


def test_apple_silicon_is_used_after_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.pick_device("auto").type == devices.pick_device("mps").type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match="--device cpu"):
        devices.pick_device("mps")


@pytest.mark.parametrize(("able", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_cards_short_format_is_bf16_or_fp16(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able)
    assert devices.short_format(torch.device("cuda")) is expected
