"""What a pickle of torch claims of its tensors, checked as far as it can be without their numbers.

`facesync.faces.torch_files` measures the claims against the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from facesync.pickle_machine import Machine, Named, Refused
from facesync.pickles import NAMES, PLAIN

_TENSOR = 1000
"""Bytes that a tensor takes besides its numbers."""

# By the name of torch's storage; BFloat16, which NumPy lacks, is the upper half of a float32.
_STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
    "ByteStorage": "<u1", "BoolStorage": "?", "QInt8Storage": "<i1", "QUInt8Storage": "<u1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of numbers in the file, as claimed: its key there, the numbers' type, how many."""

    key: str
    kind: str
    count: int

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return np.dtype(_STORAGES[self.kind])

    @property
    def bytes(self) -> int:
        """How many bytes they are."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage: offset and strides count numbers; `scale` (q - zero) if quantized."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    quantized: tuple[float, int] | None = None


def _wholes(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(n) is int and n >= 0 for n in values)


def _tensor(machine: Machine, arguments: tuple[Any, ...]) -> Tensor:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not _wholes((offset,)):
        raise Refused("a tensor without numbers")
    if not _wholes(shape) or not _wholes(strides) or len(shape) != len(strides) or len(shape) > 32:
        raise Refused("a tensor without a shape")
    last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    inside = 0 in shape or offset + last < storage.count
    if not inside or offset > storage.count or math.prod(shape) > storage.count:
        raise Refused("a tensor that is larger than its content")
    machine.hold(_TENSOR)
    return Tensor(storage, offset, shape, strides)


def _parameter(machine: Machine, arguments: tuple[Any, ...]) -> Tensor:
    if not isinstance(arguments[0], Tensor):
        raise Refused("a parameter that is not a tensor")
    return arguments[0]


def _quantized(machine: Machine, arguments: tuple[Any, ...]) -> Tensor:
    plain = _tensor(machine, arguments)
    how, *numbers = arguments[4]
    if how != "per_tensor_affine" or len(numbers) != 2:
        raise Refused("a tensor quantized by more than one scale")
    scale, zero = numbers
    if type(scale) is not float or type(zero) is not int or not 0 < scale < math.inf:
        raise Refused("a quantized tensor without a scale")
    return Tensor(plain.storage, plain.offset, plain.shape, plain.strides, (scale, zero))


def _size(machine: Machine, arguments: tuple[Any, ...]) -> tuple[int, ...]:
    (sizes,) = arguments
    return tuple(sizes)


_TORCH_NAMES: dict[tuple[str, str], Any] = {
    **NAMES,
    ("torch._utils", "_rebuild_tensor"): Named(_tensor),  # before torch 0.4
    ("torch._utils", "_rebuild_tensor_v2"): Named(_tensor),
    ("torch._utils", "_rebuild_parameter"): Named(_parameter),
    ("torch._utils", "_rebuild_qtensor"): Named(_quantized),
    ("torch", "Size"): Named(_size),
    # Values that stand for themselves.
    **{("torch", name): name for name in ("per_tensor_affine", "qint8", "quint8", *_STORAGES)},
}


def _storage(known: dict[str, Storage], claim: Any) -> Storage:
    """Make a storage of a persistent id: ('storage', type, key, place, how many numbers)."""
    if not isinstance(claim, tuple) or len(claim) not in (5, 6) or claim[0] != "storage":
        raise Refused("a persistent id that is not a storage")
    kind, key, _, count = claim[1:5]
    if kind not in _STORAGES or not isinstance(key, str) or not _wholes((count,)):
        raise Refused("a storage of unknown numbers")
    if claim[5:] not in ((), (None,)):
        raise Refused("a storage that is a part of another")
    storage = Storage(key, kind, count)
    if known.setdefault(key, storage) != storage:
        raise Refused("two storages of one name")
    return storage


def run(data: Any, size: int, known: dict[str, Storage]) -> Any:
    """Run a pickle of at most `size` bytes: `Tensor`s are in it; storages are added to `known`.

    Raises `Refused`, or one of `DAMAGE`, as `Machine.run`.
    """
    storage = partial(_storage, known)
    return Machine(data, size, _TORCH_NAMES, (*PLAIN, Tensor), persistent=storage).run()
