"""A log of every verification: a line of JSON each, no pictures and no embeddings.

    {"time": "2026-11-05T14:03:00+01:00", "accepted": true, "name": "Ada", "asked": null,
     "similarity": 0.81, "threshold": 0.6, "reason": "…"}

`asked` is the name that was claimed, or null. Names stay in it when the people are deleted: a log
that could be changed afterwards would be none. It is its owner's to keep and to remove.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from facesync.errors import FileError
from facesync.files import make_private_folder
from facesync.gallery.matching import Decision
from facesync.gallery.people import now


def append(path: Path, decision: Decision, asked: str | None = None) -> None:
    """Add a decision to the log, made with mode 0600 where there is none.

    One write at the end of the file: lines of two processes do not mix. What a crash left of a
    last line gets an end first.

    Raises:
        FileError: it cannot be written.
    """
    line = json.dumps(
        {
            "time": now().isoformat(),
            "accepted": decision.accepted,
            "name": decision.name,
            "asked": asked,
            "similarity": decision.similarity,
            "threshold": decision.threshold,
            "reason": decision.reason,
        }
    )
    data = line.encode() + b"\n"
    try:
        make_private_folder(path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags, 0o600)
        try:
            size = os.fstat(handle).st_size
            if size:
                os.lseek(handle, size - 1, os.SEEK_SET)
                if os.read(handle, 1) != b"\n":
                    data = b"\n" + data
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise FileError(f"cannot write the log {path}: {error.strerror}") from error
