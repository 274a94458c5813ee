"""Where to compute: the device, and the short number format that is faster on it."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from facesync.errors import ModelError, not_installed

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def device_name(name: str) -> str:
    """Turn `auto` into the name of a device, without importing torch for `cpu`.

    Where torch is not installed, `auto` is the CPU.

    Raises:
        ModelError: the device was asked for and this machine has none.
    """
    if name == "cpu" or (name == "auto" and not (find_spec("torch") and _accelerator())):
        return "cpu"
    return pick_device(name).type


def _accelerator() -> bool:
    """Whether this machine has Apple silicon, or a CUDA device; only then is torch asked."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        driver.cuDeviceGetCount.argtypes = [ctypes.POINTER(ctypes.c_int)]
        return driver.cuInit(0) == 0 == driver.cuDeviceGetCount(count) and count.value > 0
    except (OSError, AttributeError):
        return False


def pick_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `mps` into a torch device.

    Raises:
        ModelError: the device was asked for and this machine has none, torch is not installed, or
            there is no such name.
    """
    if name not in DEVICES:
        raise ModelError(f"unknown device {name!r}; choose one of {', '.join(DEVICES)}")
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModelError(f"--device {name}: {not_installed('torch')}") from error
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device on this machine; use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ModelError("no MPS device (Apple silicon) on this machine; use --device cpu")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        name = "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name)


def short_format(device: torch.device) -> torch.dtype | None:
    """Return the short number format that is fast on a device (bf16, or fp16 on CUDA), or None."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None
