"""Looking, without a window: at a photograph, at frames for their votes, through a challenge."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from facesync.app.cameras import Frame
from facesync.faces.recognizer import Recognizer, Seen
from facesync.gallery.matching import Decision
from facesync.images import NamedImage, read_image_rgb
from facesync.liveness.challenge import Challenge

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Least time between the frames that a verification looks at."""

TURN_SECONDS = 0.1
"""Least time between those in which it watches a challenge."""

PATIENCE_SECONDS = 30.0
"""A live camera is given up after so long without enough looks at a face."""

_OTHERS = 10  # Frames of a recording so short that those in between are looked at, too.

LookAt: TypeAlias = Callable[[Frame], Seen | None]


def look_at_main_face(recognizer: Recognizer, path: Path | NamedImage) -> Seen | None:
    """Look at the main face of a photograph, if any; a warning says if it shows others, too."""
    seen = recognizer.look(read_image_rgb(path), photograph=True)
    if seen is not None and len(seen.faces) > 1:
        log.warning("%s: %d faces, only the main one is compared", path, len(seen.faces))
    return seen


def votes(
    stream: Iterator[Frame],
    look: LookAt,
    decide: Callable[[Seen], Decision],
    looks: int,
    *,
    live: bool,
) -> list[Decision]:
    """Let so many frames with a face vote; fewer if there are not so many, or patience ends."""
    cast: list[Decision] = []
    for frame in _spaced(stream, live):
        seen = look(frame)
        if seen is not None:
            cast.append(decide(seen))
        if len(cast) == looks:
            break
    return cast


def _spaced(stream: Iterator[Frame], live: bool) -> Iterator[Frame]:
    """Yield frames that are some time apart; at the end of a recording, some of the others."""
    next_look = 0.0
    others: deque[Frame] = deque(maxlen=_OTHERS)
    for frame in stream:
        if live and frame.seconds > PATIENCE_SECONDS:
            return
        if frame.seconds >= next_look:
            next_look = frame.seconds + LOOK_SECONDS
            yield frame
        elif not live:
            others.append(frame)
    yield from others


def follow(
    stream: Iterator[Frame],
    look: LookAt,
    challenge: Challenge,
    watch: Callable[[Challenge, Seen | None, float], None],
    say: Callable[[str], object],
) -> None:
    """Say what a challenge asks for, one thing at a time, until it or the stream is over."""
    next_look, said = 0.0, ""
    while not challenge.over:
        if challenge.prompt != said:
            say(said := challenge.prompt)
        frame = next((frame for frame in stream if frame.seconds >= next_look), None)
        if frame is None:
            return
        next_look = frame.seconds + TURN_SECONDS
        watch(challenge, look(frame), frame.seconds)
