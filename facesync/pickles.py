"""Read untrusted pickles: plain data only, and no code is run.

A pickle is a program for a small stack machine, which can name any function and call it. Refusing
the names, as Python's own documentation suggests ("Restricting Globals"), is not enough: Python's
machine allocates as much memory as a file claims to need (a memo entry of number 2^31, a bytearray
of 8 GB), NumPy makes arrays of any size from a few bytes, and hashing tuples nested a million deep
crashes the process. So the program is run here, by `_Machine`: it knows containers, numbers,
strings and NumPy arrays, calls nothing, and never holds much more memory than the file has bytes.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from facesync.errors import FileError
from facesync.files import replacing


class _Refused(Exception):
    """The file asks for something that is not plain data."""


class _Named:
    """Something that a pickle may name, and what is done instead of calling it."""

    def __init__(self, make: Callable[[_Machine, tuple[Any, ...]], Any]) -> None:
        self.make = make


class _Unbuilt:
    """An array or its type, whose state is still to be read; `value` is the finished one."""

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind, self.value = kind, value


_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,5})")
_SCALARS = (str, bytes, int, float, complex, bool, type(None))


def _bytes_of(machine: _Machine, arguments: tuple[Any, ...]) -> bytes:
    """`_codecs.encode`, by which pickle protocols 0 to 2 carry bytes."""
    text, encoding = arguments
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode to {encoding!r:.40}")
    machine.spend(len(text))
    encoded: bytes = text.encode("latin1")
    return encoded


def _bytearray(machine: _Machine, arguments: tuple[Any, ...]) -> bytearray:
    if not arguments:
        return bytearray()
    content = arguments[0] if len(arguments) == 1 else _bytes_of(machine, arguments)
    if not isinstance(content, bytes):  # a number would be a size
        raise _Refused("a bytearray that is not made of bytes")
    machine.spend(len(content))
    return bytearray(content)


def _set(kind: Callable[..., Any]) -> _Named:
    def make(machine: _Machine, arguments: tuple[Any, ...]) -> Any:
        items = arguments[0] if arguments else []
        if not isinstance(items, (list, tuple)):
            raise _Refused("a set that is not made of a list")
        machine.spend(len(items))
        return kind(map(_key, items))

    return _Named(make)


def _ordered(machine: _Machine, arguments: tuple[Any, ...]) -> OrderedDict[Any, Any]:
    pairs = arguments[0] if arguments else []
    machine.spend(len(pairs))
    return OrderedDict((_key(key), value) for key, value in pairs)


def _dtype(machine: _Machine, arguments: tuple[Any, ...]) -> _Unbuilt:
    text = arguments[0]
    if isinstance(text, bytes):
        text = text.decode("ascii")
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise _Refused(f"an array of {text!r:.40}")
    return _Unbuilt("dtype", np.dtype(text))


def _array(machine: _Machine, shape: Any, dtype: Any, order: str, content: Any) -> np.ndarray:
    """Make an array from bytes that are all there; anything else is refused."""
    if isinstance(content, str):  # bytes of Python 2, read as latin1
        content = content.encode("latin1")
    if isinstance(dtype, _Unbuilt):
        dtype = dtype.value
    if not isinstance(dtype, np.dtype) or not isinstance(content, (bytes, bytearray)):
        raise _Refused("an array of objects")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("an array without a shape")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise _Refused("an array that is larger or smaller than its content")
    machine.spend(len(content))
    return np.ndarray(shape, dtype, content, order="F" if order == "F" else "C").copy("K")


def _from_buffer(machine: _Machine, arguments: tuple[Any, ...]) -> np.ndarray:
    content, dtype, shape, order = arguments
    return _array(machine, shape, dtype, order, content)


def _scalar(machine: _Machine, arguments: tuple[Any, ...]) -> Any:
    dtype, content = arguments
    return _array(machine, (), dtype, "C", content)[()]


_ndarray = _Named(lambda machine, arguments: _refuse("numpy.ndarray"))
_NAMED: dict[tuple[str, str], _Named] = {
    ("_codecs", "encode"): _Named(_bytes_of),
    ("collections", "OrderedDict"): _Named(_ordered),
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _Named(_dtype),
}
for _module in ("builtins", "__builtin__"):
    _NAMED[_module, "set"] = _set(set)
    _NAMED[_module, "frozenset"] = _set(frozenset)
    _NAMED[_module, "bytearray"] = _Named(_bytearray)
for _module in ("numpy.core", "numpy._core"):  # the name before NumPy 2 and since
    _NAMED[f"{_module}.multiarray", "_reconstruct"] = _Named(lambda m, a: _Unbuilt("array"))
    _NAMED[f"{_module}.multiarray", "scalar"] = _Named(_scalar)
    _NAMED[f"{_module}.numeric", "_frombuffer"] = _Named(_from_buffer)


def _refuse(what: str) -> Any:
    raise _Refused(what)


def _key(value: Any) -> Any:
    """Return a key of a dictionary or a member of a set, which must not be a container."""
    if not isinstance(value, _SCALARS) and not isinstance(value, np.generic):
        raise _Refused(f"a {type(value).__name__} as a key")
    return value


class _Machine:
    """Runs one pickle: a stack, marks in it, and a memo, as `pickletools` documents them.

    Args:
        data: the pickle.
        encoding: of strings of Python 2; `bytes` leaves them bytes.
    """

    def __init__(self, data: bytes, encoding: str) -> None:
        self._data, self._encoding = data, encoding
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._budget = 2 * len(data) + 4096

    def spend(self, size: int) -> None:
        """Account for what is copied: plain data does not copy one part again and again."""
        self._budget -= size
        if self._budget < 0:
            raise _Refused("more data than the file holds")

    def run(self) -> Any:
        stack, memo = self._stack, self._memo
        argument: Any
        for opcode, argument, _ in pickletools.genops(self._data):
            name = opcode.name
            if name in _VALUES:
                stack.append(argument)
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                value = memo[argument]
                built = isinstance(value, _Unbuilt) and value.kind == "array"
                stack.append(value.value if built and value.value is not None else value)
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[argument] = stack[-1]
            elif name == "MARK":
                self._marks.append(len(stack))
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name]())
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                stack.append(tuple(self._pop(int(name[-1]))))
            elif name == "STOP":
                (value,) = stack
                return value
            elif name not in ("PROTO", "FRAME"):
                self._step(name, argument)
        raise _Refused("no end")

    def _since_mark(self) -> list[Any]:
        place = self._marks.pop()
        items = self._stack[place:]
        del self._stack[place:]
        return items

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            items = self._since_mark()
            if name == "DICT":
                stack.append({_key(k): v for k, v in zip(*[iter(items)] * 2, strict=True)})
            elif name == "FROZENSET":
                stack.append(frozenset(map(_key, items)))
            else:
                stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop(2) if name == "SETITEM" else self._since_mark()
            target = self._top(dict)
            for key, value in zip(*[iter(items)] * 2, strict=True):
                target[_key(key)] = value
        elif name in ("APPEND", "APPENDS"):
            items = self._pop(1) if name == "APPEND" else self._since_mark()
            self._top(list).extend(items)
        elif name == "ADDITEMS":
            items = self._since_mark()
            self._top(set).update(map(_key, items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, _, member = (argument or "").partition(" ")
            if name == "STACK_GLOBAL":
                module, member = self._pop(2)
            known = isinstance(module, str) and isinstance(member, str)
            named = _NAMED.get((module, member)) if known else None
            stack.append(named or _refuse(f"{module!s:.60}.{member!s:.60}"))
        elif name == "REDUCE":
            function, arguments = self._pop(2)
            if not isinstance(function, _Named) or not isinstance(arguments, tuple):
                raise _Refused("a call of something that is not a function")
            stack.append(function.make(self, arguments))
        elif name == "BUILD":
            unbuilt, state = self._pop(2)
            stack.append(self._build(unbuilt, state))
        elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):  # Python 2
            raw = argument.encode("latin1")
            stack.append(raw if self._encoding == "bytes" else raw.decode(self._encoding))
        elif name in ("POP", "DUP"):
            top = stack.pop()
            stack.extend([top, top] if name == "DUP" else [])
        elif name == "POP_MARK":
            self._since_mark()
        else:
            raise _Refused(f"the opcode {name}")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("stack")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise _Refused(f"filling a {type(self._stack[-1]).__name__} as a {kind.__name__}")
        return self._stack[-1]

    def _build(self, unbuilt: Any, state: Any) -> Any:
        if not isinstance(unbuilt, _Unbuilt) or not isinstance(state, tuple):
            raise _Refused("a state for something that has none")
        if unbuilt.kind == "array":
            if unbuilt.value is not None:
                raise _Refused("an array made twice")
            _, shape, dtype, fortran, content = state
            order = "F" if fortran else "C"
            unbuilt.value = _array(self, shape, dtype, order, content)
            return unbuilt.value
        _, order, subtype, names, fields = state[:5]
        if isinstance(order, bytes):
            order = order.decode("ascii")
        if (subtype, names, fields) != (None, None, None) or order not in ("<", ">", "|", "="):
            raise _Refused("an array of records")
        unbuilt.value = unbuilt.value.newbyteorder(order)
        return unbuilt


_VALUES = frozenset(
    "BININT BININT1 BININT2 INT LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE BINUNICODE8 "
    "SHORT_BINUNICODE BINBYTES BINBYTES8 SHORT_BINBYTES BYTEARRAY8".split()
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


def load_plain(path: Path, *, encoding: str = "ASCII") -> Any:
    """Read a pickle of plain containers, numbers, strings and NumPy arrays.

    Args:
        path: the file.
        encoding: of strings of Python 2; `bytes` leaves them bytes.

    Raises:
        FileError: the file is missing or damaged, or asks for anything else to be created.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"there is no file {path}") from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "it is too large"
        raise FileError(f"cannot read {path}: {reason}") from error
    return loads_plain(data, path, encoding=encoding)


def loads_plain(data: bytes, path: Path | str, *, encoding: str = "ASCII") -> Any:
    """Read a pickle of plain data from memory, as `load_plain`; errors name `path`."""
    try:
        with warnings.catch_warnings():  # about escapes in the text of a damaged file
            warnings.simplefilter("ignore")
            return _Machine(data, encoding).run()
    except _Refused as error:
        raise FileError(
            f"{path} was not opened: it is damaged or asks to run code "
            f"({' '.join(str(error).split())})"
        ) from error
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        MemoryError,
        OverflowError,
    ) as error:  # what a meaningless program may lead to
        raise FileError(f"{path} is damaged: it is not a complete pickle file") from error


def dumps_plain(data: Any) -> bytes:
    """Pickle plain data (protocol 4)."""
    return pickle.dumps(data, protocol=4)


def save_plain(data: Any, path: Path) -> None:
    """Write plain data as a pickle file, whole or not at all."""
    with replacing(path) as file:
        file.write(dumps_plain(data))
