"""Read untrusted pickles: plain data only, and no code is run.

`facesync.pickle_machine` runs the program that a pickle is; here stands what it may make besides
containers, numbers and strings: sets, bytes and NumPy arrays. It never holds much more memory than
the file has bytes.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facesync.errors import FileError
from facesync.files import read_regular, replacing
from facesync.pickle_machine import DAMAGE, Machine, Named, Refused, Unbuilt, told

MOST_BYTES = 2 << 30
"""The largest pickle that is read: a store of some 200,000 people."""

PLAIN = (str, bytes, bytearray, int, float, complex, type(None), np.ndarray, np.generic)
"""What may be in containers."""

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,5})")


def _bytes_of(machine: Machine, arguments: tuple[Any, ...]) -> bytes:
    """`_codecs.encode`, by which pickle protocols 0 to 2 carry bytes."""
    text, encoding = arguments
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"_codecs.encode to {told(encoding)}")
    machine.copy(len(text))
    encoded: bytes = text.encode("latin1")
    return encoded


def _bytearray(machine: Machine, arguments: tuple[Any, ...]) -> bytearray:
    if not arguments:
        return bytearray()
    content = arguments[0] if len(arguments) == 1 else _bytes_of(machine, arguments)
    if not isinstance(content, bytes):  # a number would be a size
        raise Refused("a bytearray that is not made of bytes")
    machine.copy(len(content))
    return bytearray(content)


def _set(kind: Callable[..., Any], machine: Machine, arguments: tuple[Any, ...]) -> Any:
    items = arguments[0] if arguments else []
    if not isinstance(items, (list, tuple)):
        raise Refused("a set that is not made of a list")
    return kind(map(machine.key, items))


def _ordered(machine: Machine, arguments: tuple[Any, ...]) -> OrderedDict[Any, Any]:
    pairs = arguments[0] if arguments else []
    return OrderedDict((machine.key(key), value) for key, value in pairs)


def _dtype(machine: Machine, arguments: tuple[Any, ...]) -> Unbuilt:
    text = arguments[0]
    if isinstance(text, bytes):
        text = text.decode("ascii")
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise Refused(f"an array of {told(text)}")
    return Unbuilt(partial(_dtype_of, np.dtype(text)))


def _dtype_of(dtype: np.dtype, machine: Machine, state: tuple[Any, ...]) -> np.dtype:
    _, order, *parts = state[:5]
    if isinstance(order, bytes):
        order = order.decode("ascii")
    if any(part is not None for part in parts) or order not in ("<", ">", "|", "="):
        raise Refused("an array of records")
    return dtype.newbyteorder(order)


def _array(machine: Machine, shape: Any, dtype: Any, order: Any, content: Any) -> np.ndarray:
    """Make an array from bytes that are all there; anything else is refused."""
    if isinstance(content, str):  # bytes of Python 2, read as latin1
        content = content.encode("latin1")
    if not isinstance(dtype, np.dtype) or not isinstance(content, (bytes, bytearray)):
        raise Refused("an array of objects")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused("an array without a shape")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise Refused("an array that is larger or smaller than its content")
    machine.copy(len(content))
    return np.ndarray(shape, dtype, content, order=order).copy("K")


def _array_of(machine: Machine, state: tuple[Any, ...]) -> np.ndarray:
    _, shape, dtype, fortran, content = state
    return _array(machine, shape, dtype, "F" if fortran is True else "C", content)


def _from_buffer(machine: Machine, arguments: tuple[Any, ...]) -> np.ndarray:
    content, dtype, shape, order = arguments
    order = "F" if isinstance(order, str) and order == "F" else "C"
    return _array(machine, shape, dtype, order, content)


def _scalar(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    dtype, content = arguments
    return _array(machine, (), dtype, "C", content)[()]


def _refused(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    raise Refused("a call of numpy.ndarray")


NAMES: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): Named(_bytes_of),
    ("collections", "OrderedDict"): Named(_ordered),
    ("numpy", "ndarray"): Named(_refused),  # an argument of `_reconstruct`
    ("numpy", "dtype"): Named(_dtype),
}
for _module in ("builtins", "__builtin__"):
    NAMES[_module, "set"] = Named(partial(_set, set))
    NAMES[_module, "frozenset"] = Named(partial(_set, frozenset))
    NAMES[_module, "bytearray"] = Named(_bytearray)
for _module in ("numpy.core", "numpy._core"):  # the name before NumPy 2 and since
    NAMES[f"{_module}.multiarray", "_reconstruct"] = Named(lambda m, a: Unbuilt(_array_of))
    NAMES[f"{_module}.multiarray", "scalar"] = Named(_scalar)
    NAMES[f"{_module}.numeric", "_frombuffer"] = Named(_from_buffer)


def load_plain(path: Path, *, encoding: str = "ASCII") -> Any:
    """Read a pickle of plain containers, numbers, strings and NumPy arrays.

    Args:
        path: the file.
        encoding: of strings of Python 2; `bytes` leaves them bytes.

    Returns:
        Containers are nested at most 50 deep, and none holds itself. A part that the file has once
        and names again may be one object in several places.

    Raises:
        FileError: the file is missing, damaged or too large, or asks for anything else to be
            created.
    """
    return loads_plain(read_bytes(path, MOST_BYTES), path, encoding=encoding)


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of at most so many bytes.

    Raises:
        FileError: it is missing, cannot be read, is not a file, or is too large.
    """
    try:
        return read_regular(Path(path), most=most)
    except FileNotFoundError as error:
        raise FileError(f"there is no file {path}") from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "it is too large"
        raise FileError(f"cannot read {path}: {reason}") from error


def loads_plain(data: bytes, path: Path | str, *, encoding: str = "ASCII") -> Any:
    """Read a pickle of plain data from memory, as `load_plain`; errors name `path`."""
    try:
        return Machine(data, len(data), NAMES, PLAIN, encoding=encoding).run()
    except Refused as error:
        raise FileError(
            f"{path} was not opened: it is damaged or asks to run code ({error})"
        ) from error
    except DAMAGE as error:
        raise FileError(f"{path} is damaged: it is not a complete pickle file") from error


def is_same(value: Any, expected: Any) -> bool:
    """Whether a value of a file is the one expected; `==` with an array would be an array."""
    return type(value) is type(expected) and bool(value == expected)


def dumps_plain(data: Any) -> bytes:
    """Pickle plain data (protocol 4)."""
    return pickle.dumps(data, protocol=4)


def save_plain(data: Any, path: Path) -> None:
    """Write plain data as a pickle file, whole or not at all."""
    with replacing(path) as file:
        file.write(dumps_plain(data))
