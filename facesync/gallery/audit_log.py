"""A log of every verification: a line of JSON each, no images and no embeddings.

    {"time": "2026-11-05T14:03:00+01:00", "accepted": true, "name": "Ada", "asked": null,
     "similarity": 0.81, "threshold": 0.6, "reason": "…",
     "liveness": {"live": true, "score": 0.97, "challenge": null}}

`asked` is the name that was claimed, or null; `liveness` is null where nobody asked for it. When
another model came into use, a line says who was embedded again and who could not be; `this_run` are
those with an image that could not be opened, and `stored` is false where the store could not be
changed:

    {"time": "2026-11-05T14:02:58+01:00", "event": "embedded again", "names": ["Ada"],
     "model": "a31314377876ab9f", "stored": true, "this_run": {}, "register_again": {"Bob": "…"}}

So do these; after the second, Ada has the samples of the other, who is gone:

    {"time": "2026-11-05T14:02:59+01:00", "event": "renamed", "name": "Ada", "new": "Eva"}
    {"time": "2026-11-05T14:03:01+01:00", "event": "merged", "name": "Ada", "other": "Bob"}

Names stay in the log when people are deleted: a log that can be changed afterwards is worth
nothing. Keeping and removing it is up to its owner.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facesync.errors import FileError
from facesync.files import locked
from facesync.gallery.matching import Decision
from facesync.gallery.people import now


def append(path: Path, decision: Decision, asked: str | None = None) -> None:
    """Append a decision to the log, which is created with mode 0600.

    The file is locked, so that lines of two processes do not mix. A last line that a crash cut
    short is ended first.

    Raises:
        FileError: it cannot be written, or another process has it locked for too long.
    """
    alive = decision.liveness
    _append_line(
        path,
        {
            "accepted": decision.accepted,
            "name": decision.name,
            "asked": asked,
            "similarity": decision.similarity,
            "threshold": decision.threshold,
            "reason": decision.reason,
            "liveness": alive
            and {"live": alive.live, "score": alive.score, "challenge": alive.challenge},
        },
    )


def append_event(path: Path, event: str, facts: Mapping[str, Any]) -> None:
    """Append what was done to the store, as `append` does."""
    _append_line(path, {"event": event, **facts})


def _append_line(path: Path, facts: Mapping[str, Any]) -> None:
    line = json.dumps({"time": now().isoformat(), **facts}, allow_nan=False)
    with locked(path):
        _append(path, line.encode() + b"\n")


def _append(path: Path, data: bytes) -> None:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "rb+", buffering=0) as file:
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                data = data if file.read(1) == b"\n" else b"\n" + data
            file.write(data)
            os.fsync(file.fileno())
    except OSError as error:
        raise FileError(f"cannot write the log {path}: {error.strerror}") from error
