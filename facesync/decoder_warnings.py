"""What native decoders warn of: they write it on standard error, without a file's name."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_LISTENING = threading.RLock()
_WARNING = re.compile(
    rb"^(?:Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS|"
    rb"Unknown Adobe|Warning: unknown JFIF|\[ WARN:|\[ERROR:|tempfile\.tif: |JPEGLib: |"
    rb"TIFF\w+: |\w+Decode: )[^\n]*\n?",
    re.MULTILINE,
)


def listen(decode: Callable[[], T]) -> tuple[T, str | None]:
    """Call a function; return its result, and the first warning, which is not shown.

    There is no other way to learn of a warning. What else is written on standard error meanwhile
    is passed on.
    """
    with _LISTENING:
        return _listen(decode)


def _listen(decode: Callable[[], T]) -> tuple[T, str | None]:
    try:
        shown = os.dup(2)
    except OSError:  # it is closed
        shown = os.open(os.devnull, os.O_WRONLY)
    heard, said = os.pipe()
    try:
        if hasattr(os, "set_blocking"):
            os.set_blocking(heard, False)
            os.set_blocking(said, False)
        os.dup2(said, 2)
        try:
            image = decode()
        finally:
            os.dup2(shown, 2)
            os.close(said)
            text = _read(heard)
            if rest := _WARNING.sub(b"", text):
                os.write(shown, rest)
    finally:
        os.close(heard)
        os.close(shown)
    warning = _WARNING.search(text)
    return image, warning[0].decode("ascii", "replace").strip() if warning else None


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:  # nothing was written
        return b""
