"""Read files of torch without torch: the values plain, the tensors as NumPy arrays, no code run.

torch's own reader, `weights_only` or not, can be crashed by a file of 678 bytes and made to take a
thousand times a file's size. Here the pickle runs on `facesync.pickle_machine`, a tensor is first
only what the file claims of it, and what is read is measured against the bytes that are there.

Two formats: the zip archive that torch has written since 1.6, and the one before it, a row of
pickles with the tensors' bytes behind them.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facesync.errors import ModelError
from facesync.faces.torch_claims import Storage, Tensor, run
from facesync.pickle_machine import DAMAGE, Refused

MOST_BYTES = 16 << 30
"""The most bytes of tensors that are read from a file."""

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

Leaf = Callable[[np.ndarray], Any]


def read_torch_file(
    path: Path,
    *,
    wanted: Callable[[Any], bool] = lambda key: True,
    leaf: Leaf = lambda array: array,
) -> Any:
    """Read what `torch.save` wrote: plain data and tensors.

    Args:
        path: the file.
        wanted: which entries of the dictionary that the file is are read, by their keys.
        leaf: what becomes of each tensor, which it gets as an array that may be written to; those
            of one storage share its memory. Quantized tensors are float32 again, as is bfloat16.

    Raises:
        ModelError: missing, damaged, too large, or something else than data and tensors.
    """
    if not path.is_file():
        raise ModelError(f"there is no model {path}; train one with train_model.py")
    try:
        with open(path, "rb") as file:
            content = _zip(file) if file.read(4) == b"PK\3\4" else _row(file)
            return content.finish(wanted, leaf)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except Refused as error:
        raise ModelError(
            f"{path} was not opened: it is not a checkpoint, is damaged, or tries to run code "
            f"({error})"
        ) from error
    except (*DAMAGE, EOFError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is not a checkpoint or is damaged") from error


def _zip(file: BinaryIO) -> _Content:
    """Read what an archive claims: `<name>/data.pkl`, and each storage as `<name>/data/<key>`."""
    size = os.fstat(file.fileno()).st_size
    entries = {info.filename: info for info in zipfile.ZipFile(file).infolist()}
    (pickled,) = (name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1)
    folder = pickled.removesuffix("data.pkl")

    def place(name: str) -> tuple[int, int]:
        info = entries[name]
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Refused("an entry that is compressed")
        file.seek(info.header_offset)
        header = file.read(30)
        if header[:4] != b"PK\3\4":
            raise Refused("an entry that is not there")
        of_name, of_extra = struct.unpack("<2H", header[26:])
        return info.header_offset + 30 + of_name + of_extra, info.file_size

    def read(name: str) -> bytes:
        start, length = place(name)
        file.seek(start)
        return file.read(min(length, size))

    if folder + "byteorder" in entries and read(folder + "byteorder") != b"little":
        raise Refused("numbers in another byte order")
    known: dict[str, Storage] = {}
    data = read(pickled)
    value = run(data, len(data), known)
    return _Content(value, file, known, {key: place(f"{folder}data/{key}") for key in known})


def _row(file: BinaryIO) -> _Content:
    """Read what a row of pickles claims: magic, protocol, system, the data, keys; then storages."""
    size = os.fstat(file.fileno()).st_size
    known: dict[str, Storage] = {}
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if run(data, size, known) != _MAGIC or run(data, size, known) != _PROTOCOL:
            raise Refused("another beginning")
        if run(data, size, known)["little_endian"] is not True:
            raise Refused("numbers in another byte order")
        value = run(data, size, known)
        keys = run(data, size, known)
        at = data.tell()
    places = {}
    for key in keys:
        file.seek(at)
        (count,) = struct.unpack("<q", file.read(8))
        if count != known[key].count:
            raise Refused("a storage of another length")
        places[key] = at + 8, known[key].bytes
        at += 8 + known[key].bytes
    return _Content(value, file, known, places)


class _Content:
    """What a file holds, as claimed, and where: the places of its storages' bytes, by key.

    It is made only if the file has them all.
    """

    def __init__(
        self,
        value: Any,
        file: BinaryIO,
        known: Mapping[str, Storage],
        places: Mapping[str, tuple[int, int]],
    ) -> None:
        self._value, self._file, self._places = value, file, places
        size = os.fstat(file.fileno()).st_size
        self._room = min(size, MOST_BYTES)  # for storages; two may not be at one place
        self._converted = size  # for arrays that are not views of them
        self._read: dict[str, np.ndarray] = {}
        for key, storage in known.items():
            start, length = places[key]
            if length != storage.bytes or start + length > size:
                raise Refused("a storage of another length")

    def finish(self, wanted: Callable[[Any], bool], leaf: Leaf) -> Any:
        """Put arrays in the place of what was claimed; a part in several places stays one."""
        value = self._value
        if isinstance(value, dict):
            value = {key: part for key, part in value.items() if wanted(key)}
        return self._finished(value, leaf, {})

    def _finished(self, value: Any, leaf: Leaf, done: dict[int, Any]) -> Any:
        if id(value) in done:
            return done[id(value)]
        made = value
        if isinstance(value, Tensor):
            made = leaf(self._array(value))
        elif isinstance(value, dict):
            parts = ((key, self._finished(part, leaf, done)) for key, part in value.items())
            made = type(value)(parts)
        elif isinstance(value, (list, tuple)):
            made = type(value)(self._finished(part, leaf, done) for part in value)
        done[id(value)] = made
        return made

    def _array(self, tensor: Tensor) -> np.ndarray:
        numbers = self._numbers(tensor.storage)
        step = numbers.itemsize
        view = np.lib.stride_tricks.as_strided(
            numbers[tensor.offset :], tensor.shape, [step * stride for stride in tensor.strides]
        )
        if tensor.quantized is None and tensor.storage.kind != "BFloat16Storage":
            return view
        self._converted -= view.size * step
        if self._converted < 0:
            raise Refused("more numbers than the file holds")
        if tensor.quantized is None:
            return (view.astype(np.uint32) << 16).view(np.float32)
        scale, zero = tensor.quantized
        return (view.astype(np.float32) - np.float32(zero)) * np.float32(scale)

    def _numbers(self, storage: Storage) -> np.ndarray:
        if storage.key not in self._read:
            self._room -= storage.bytes
            if self._room < 0:
                raise Refused("more numbers than the file holds")
            content = np.empty(storage.count, storage.dtype)
            self._file.seek(self._places[storage.key][0])
            if self._file.readinto(content.view(np.uint8)) != storage.bytes:  # type: ignore[attr-defined]
                raise Refused("a storage that is cut off")
            self._read[storage.key] = content
        return self._read[storage.key]


def dequantized(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Turn the state of a network with quantized linear layers into that of the plain network.

    Args:
        state: from `read_torch_file`: a quantized layer has `<layer>._packed_params._packed_params`
            with its weights and bias, and numbers about its activations.

    Returns:
        Arrays by name; for such a layer `<layer>.weight` and, if it has one, `<layer>.bias`.

    Raises:
        ModelError: it is not such a state.
    """
    packed = "._packed_params._packed_params"
    layers = {key.removesuffix(packed) for key in state if str(key).endswith(packed)}
    left_out = {f"{layer}.{name}" for layer in layers for name in ("scale", "zero_point")}
    left_out |= {f"{layer}._packed_params.dtype" for layer in layers}
    plain: dict[str, Any] = {}
    for key, value in state.items():
        layer = str(key).removesuffix(packed)
        if layer in layers and isinstance(value, tuple) and len(value) == 2:
            plain[f"{layer}.weight"], plain[f"{layer}.bias"] = value
        elif key not in left_out:
            plain[key] = value
    plain = {key: value for key, value in plain.items() if value is not None}
    if not all(isinstance(value, np.ndarray) for value in plain.values()):
        raise ModelError("the model holds something that is not a weight")
    return plain
