"""Faults of a disk: the n-th call that changes something on it fails, or is the last."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

FAULTS, KILLS = ("EIO", "full", "short write", "ENOSPC"), ("killed before", "killed after")
KINDS = (*FAULTS, *KILLS)
CALLS = ("open", "fdopen", "replace", "rename", "unlink", "mkdir", "rmdir", "fsync")
NEEDS_SPACE = {"open", "mkdir", "fsync", "write"}


class Killed(BaseException):
    """The process has ended: nothing on disk changes any more."""


class Disk:
    """Counts calls and makes one fail; kinds are those of `KINDS`."""

    def __init__(self, kind: str, call: int) -> None:
        self.kind, self.call = kind, call
        self.calls = 0
        self.hit = False
        self.dead = False

    def __call__(self, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.dead:
            raise Killed
        self.calls += 1
        if self.calls < self.call or (self.calls > self.call and self.kind != "full"):
            return real(*args, **kwargs)
        self.hit = True
        if self.kind.startswith("killed"):
            self.dead = True
            if self.kind == "killed after":
                real(*args, **kwargs)
            raise Killed
        reads = name == "open" and not args[1] & os.O_CREAT
        if self.kind == "full" and (name not in NEEDS_SPACE or reads):
            return real(*args, **kwargs)
        if self.kind == "short write" and name == "write":
            real(args[0][: len(args[0]) // 2])
        code = errno.ENOSPC if self.kind in ("ENOSPC", "full") else errno.EIO
        raise OSError(code, os.strerror(code))


class File:
    """An open file whose writes may fail."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        return self._disk("write", self._file.write, data)


@contextmanager
def faulty(disk: Disk) -> Iterator[None]:
    """Let every change on disk go through `disk`."""

    def through(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        if name == "fdopen":
            return lambda *args, **kwargs: File(real(*args, **kwargs), disk)
        return lambda *args, **kwargs: disk(name, real, *args, **kwargs)

    with mock.patch.multiple(os, **{name: through(name, getattr(os, name)) for name in CALLS}):
        yield
