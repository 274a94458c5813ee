"""Find out whether an ONNX file has weights in other files, which its checksum does not cover.

ONNX is a protocol buffer; of it only the fields are walked that lead to tensors (`onnx.proto`).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from facesync.errors import ModelError

# Of each message: the field numbers of messages inside it that have or lead to tensors.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5


def names_other_files(path: Path) -> bool:
    """Whether a tensor of an ONNX file says that its numbers are elsewhere.

    Raises:
        ModelError: it cannot be read, or is not an ONNX file.
    """
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _names_other_files(content)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX file, or is damaged") from error


def _names_other_files(content: mmap.mmap) -> bool:
    parts = [("model", 0, len(content))]
    while parts:
        message, start, end = parts.pop()
        for number, value_start, value_end in _fields(content, start, end):
            if message != "tensor":
                if inside := _INSIDE[message].get(number):
                    parts.append((inside, value_start, value_end))
            elif number == _EXTERNAL_DATA:
                return True
            elif number == _DATA_LOCATION and content[value_start:value_end] != b"\0":
                return True
    return False


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walk a message: each field's number, and where its value begins and ends."""
    while at < end:
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == _VARINT:
            start, (_, at) = at, _varint(content, at)
        elif kind == _LENGTH:
            length, start = _varint(content, at)
            at = start + length
        elif kind in (_FIXED_64, _FIXED_32):
            start, at = at, at + (8 if kind == _FIXED_64 else 4)
        else:
            raise ValueError("a group")
        if at > end:
            raise ValueError("a field beyond the end")
        yield tag >> 3, start, at


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
