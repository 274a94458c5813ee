"""Run a pickle on a small machine that makes plain containers and calls nothing.

A pickle is a program for a small stack machine, which can name any function and call it. Refusing
the names, as Python's own documentation suggests ("Restricting Globals"), is not enough: Python's
machine allocates as much memory as a file claims to need (a memo entry of number 2^31, a bytearray
of 8 GB), and a few bytes make what takes for ever to compare, print or free. So the program is run
here: what it may name is looked up in a table, all that it makes is charged to a budget that grows
with the file, and the result is a tree that is neither deep nor larger than the file suggests.
"""

from __future__ import annotations

import pickletools
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

MOST_DEEP = 50
"""How deep containers may be nested."""

_MOST_KEYS = 1 << 15
"""How many whole numbers may be keys: they can be chosen so that a table of them is slow."""

_MOST_BITS = 256
"""The longest whole number."""

_MEMO, _MARK, _ENTRY = 96, 32, 100
"""Bytes for an entry of the memo, a mark, and an entry of a dictionary or a set."""

# What a meaningless program may lead to.
DAMAGE = (ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError)


class Refused(Exception):
    """The file asks for something that is not plain data."""


class Named:
    """Something that a pickle may name, and what is done instead of calling it."""

    def __init__(self, make: Callable[[Machine, tuple[Any, ...]], Any]) -> None:
        self.make = make


class Unbuilt:
    """A value whose state is still to be read by `build`; `value` is the finished one."""

    __slots__ = ("build", "value")

    def __init__(self, build: Callable[[Machine, tuple[Any, ...]], Any]) -> None:
        self.build = build
        self.value: Any = None


def told(value: Any) -> str:
    """Describe a value of a file in a message: short text itself, of all else only the type."""
    return f"{value:.60}" if isinstance(value, str) else type(value).__name__


class Machine:
    """Runs one pickle: a stack, marks in it, and a memo, as `pickletools` documents them.

    Args:
        data: the pickle; or an open file of it (or `mmap`), which is read to the pickle's end.
        size: how many bytes it may have.
        names: what it may name: a `Named`, or a plain value.
        leaves: types of what may be in containers.
        persistent: makes a value of a persistent id, if the pickle may have any.
        encoding: of strings of Python 2; `bytes` leaves them bytes.
    """

    def __init__(
        self,
        data: Any,
        size: int,
        names: Mapping[tuple[str, str], Any],
        leaves: tuple[type, ...],
        *,
        persistent: Callable[[Any], Any] | None = None,
        encoding: str = "ASCII",
    ) -> None:
        self._data, self._names, self._leaves = data, names, leaves
        self._persistent, self._encoding = persistent, encoding
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._copies = 2 * size + 4096
        # Of small values a pickle makes twenty times its size, of arrays (and images) little more.
        self._room = min(32 * size, 1 << 28) + 4 * size + (1 << 16)
        self._most_items = 16 * size + 1024
        self._number_keys = 0

    def copy(self, size: int) -> None:
        """Account for bytes that are copied: plain data does not copy one part again and again."""
        self._copies -= size
        if self._copies < 0:
            raise Refused("more data than the file holds")

    def hold(self, size: int) -> None:
        """Account for the memory of containers, in bytes."""
        self._room -= size
        if self._room < 0:
            raise Refused("more containers than the file has room for")

    def key(self, value: Any) -> Any:
        """Return a key of a dictionary or a member of a set, if it may be one."""
        if isinstance(value, (int, np.integer)):
            self._number_keys += 1
            # Below 2^61 - 1 a number is its own hash, so that no two have the same.
            if self._number_keys > _MOST_KEYS or not -(2**60) < int(value) < 2**60:
                raise Refused("too many or too large numbers as keys")
        elif value is not None and not isinstance(value, (str, bytes)):
            raise Refused(f"a {type(value).__name__} as a key")
        self.hold(_ENTRY)
        return value

    def run(self) -> Any:
        """Run it; what it is not allowed raises `Refused`, what has no meaning one of `DAMAGE`."""
        with warnings.catch_warnings():  # about escapes in the text of a damaged file
            warnings.simplefilter("ignore")
            value = self._run()
        self._weigh(value, 0, {})
        return value

    def _run(self) -> Any:
        stack, memo = self._stack, self._memo
        argument: Any
        for opcode, argument, _ in pickletools.genops(self._data):
            name = opcode.name
            if name in _VALUES:
                if type(argument) is int and argument.bit_length() > _MOST_BITS:
                    raise Refused("a number of too many digits")
                stack.append(argument)
            elif name in _PUT:
                self.hold(_MEMO)
                memo[len(memo) if argument is None else argument] = stack[-1]
            elif name in _GET:
                value = memo[argument]
                built = isinstance(value, Unbuilt) and value.value is not None
                stack.append(value.value if built else value)
            elif name == "MARK":
                self.hold(_MARK)
                self._marks.append(len(stack))
            elif name in _CONSTANTS:
                self._push(_CONSTANTS[name]())
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                self._push(tuple(self._pop(int(name[-1]))))
            elif name == "STOP":
                (value,) = stack
                return value
            elif name not in ("PROTO", "FRAME"):
                self._step(name, argument)
        raise Refused("no end")

    def _push(self, made: Any) -> None:
        self.hold(sys.getsizeof(made))
        self._stack.append(made)

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
                self._push({self.key(k): v for k, v in zip(*[iter(items)] * 2, strict=True)})
            elif name == "FROZENSET":
                self._push(frozenset(map(self.key, items)))
            else:
                self._push(tuple(items) if name == "TUPLE" else items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop(2) if name == "SETITEM" else self._since_mark()
            target = self._top(dict)
            for key, value in zip(*[iter(items)] * 2, strict=True):
                target[self.key(key)] = value
        elif name in ("APPEND", "APPENDS"):
            items = self._pop(1) if name == "APPEND" else self._since_mark()
            self.hold(8 * len(items))
            self._top(list).extend(items)
        elif name == "ADDITEMS":
            items = self._since_mark()
            self._top(set).update(map(self.key, items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, _, member = (argument or "").partition(" ")
            if name == "STACK_GLOBAL":
                module, member = self._pop(2)
            known = isinstance(module, str) and isinstance(member, str)
            named = self._names.get((module, member)) if known else None
            if named is None:
                raise Refused(f"{told(module)}.{told(member)}")
            stack.append(named)
        elif name == "REDUCE":
            function, arguments = self._pop(2)
            if not isinstance(function, Named) or not isinstance(arguments, tuple):
                raise Refused("a call of something that is not a function")
            self._push(function.make(self, arguments))
        elif name == "BUILD":
            made, state = self._pop(2)
            if isinstance(made, Unbuilt) and made.value is None and isinstance(state, tuple):
                made.value = made.build(self, state)
                stack.append(made.value)
            elif isinstance(made, OrderedDict) and isinstance(state, dict):
                stack.append(made)  # attributes that nobody asks for, such as torch's `_metadata`
            else:
                raise Refused("a state for something that has none")
        elif name == "BINPERSID" and self._persistent is not None:
            self._push(self._persistent(*self._pop(1)))
        elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):  # Python 2
            raw = argument.encode("latin1")
            stack.append(raw if self._encoding == "bytes" else raw.decode(self._encoding))
        elif name in ("POP", "DUP"):
            top = stack.pop()
            stack.extend([top, top] if name == "DUP" else [])
        elif name == "POP_MARK":
            self._since_mark()
        else:
            raise Refused(f"the opcode {name}")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("stack")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise Refused(f"filling a {type(self._stack[-1]).__name__} as a {kind.__name__}")
        return self._stack[-1]

    def _weigh(self, value: Any, depth: int, known: dict[int, Any]) -> tuple[int, int]:
        """Count what is in a value, shared parts each time, and how deep; refuse too much.

        Whoever compares, prints or writes the value walks all of it.
        """
        if not isinstance(value, (dict, list, tuple, set, frozenset)):
            if not isinstance(value, self._leaves):
                raise Refused("something that is not plain data")
            return 1, 0
        if id(value) not in known:
            known[id(value)] = None
            items, deep = 1 + len(value), 0
            if not isinstance(value, (set, frozenset)):  # keys and members hold nothing
                for part in value.values() if isinstance(value, dict) else value:
                    if depth >= MOST_DEEP:
                        raise Refused("containers nested too deep")
                    more, below = self._weigh(part, depth + 1, known)
                    items, deep = items + more, max(deep, below + 1)
            known[id(value)] = items, deep
        if known[id(value)] is None:
            raise Refused("a container that holds itself")
        items, deep = known[id(value)]
        if depth + deep > MOST_DEEP or items > self._most_items:
            raise Refused("containers nested too deep, or one of them again and again")
        return items, deep


_VALUES = frozenset(
    "BININT BININT1 BININT2 INT LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE BINUNICODE8 "
    "SHORT_BINUNICODE BINBYTES BINBYTES8 SHORT_BINBYTES BYTEARRAY8".split()
)
_PUT = frozenset(("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"))
_GET = frozenset(("BINGET", "LONG_BINGET", "GET"))
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
