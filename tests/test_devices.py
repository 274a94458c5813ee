"""Where to compute."""

import pytest

from facesync import devices
from facesync.errors import ModelError


def test_cuda_is_refused_without_a_device(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.pick_device("auto").type == "cpu"
    with pytest.raises(ModelError, match="--device cpu"):
        devices.pick_device("cuda")


def test_the_device_is_named_without_torch_if_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(devices, "_cuda_driver", lambda: False)
    monkeypatch.setattr(devices, "pick_device", None)
    assert [devices.device_name(name) for name in ("cpu", "auto")] == ["cpu", "cpu"]


def test_torch_is_asked_if_there_is_a_driver(monkeypatch):
    import torch

    monkeypatch.setattr(devices, "_cuda_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.device_name("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.device_name("auto") == "cpu"
