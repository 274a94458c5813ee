"""`watch`: show or print who is in view, record a video, log who appeared when."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import cv2
import numpy as np

from facesync import cli
from facesync.app.cameras import Frame
from facesync.app.drawing import ATTENTION, GOOD, NEUTRAL, Mark, Rgb, View, draw
from facesync.app.live import OpenCamera, Result, frames
from facesync.app.screens import Screen
from facesync.app.settings import WatchOptions
from facesync.app.watcher import Sighting, Watcher
from facesync.app.window import Window, run
from facesync.errors import FileError
from facesync.files import private, refuse_device

RECORD_RATE = 25
"""Frames a second of a recording."""

NOT_LIVE = "not live"
"""What is said of a face that looks like a print or a screen."""

STALE_SECONDS = 1.0
"""Older boxes are not shown: on a slow machine the face is elsewhere by now."""


class WatchScreen(Screen):
    """Names on the boxes of everybody in view."""

    keys = (("Q", "back"),)

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events
        self._seen: Sequence[Sighting] = ()
        self._at = 0.0

    def update(self, result: Result) -> None:
        """Write down who has appeared."""
        self._events.note(result.seen, result.frame.seconds)
        # A detector loses a face for a frame now and then: that is not nobody.
        if result.seen or result.frame.seconds - self._at > STALE_SECONDS:
            self._seen, self._at = result.seen, result.frame.seconds

    def key(self, key: str, result: Result | None) -> None:
        """There is nothing to press."""

    def ready(self, result: Result) -> tuple[str, Rgb]:
        """Say how many faces there are, and how many of them are known."""
        return _summary(result.seen), NEUTRAL

    def ended(self) -> bool:
        """Watching a video ends with the video."""
        self.done = True
        return True

    def view(self, result: Result | None, seconds: float = 0.0) -> View:
        """Show boxes where the faces are by now, moved on from where they were seen."""
        if result is None:
            return View("Looking for faces …", NEUTRAL, keys=self.keys)
        marks = tuple(
            _mark(sighting, seconds)
            for sighting in result.seen
            if seconds - sighting.moving.seconds < STALE_SECONDS
        )
        seen = result.seen or self._seen
        return View(_summary(seen), GOOD if seen else NEUTRAL, "", self.keys, None, marks)


class Events:
    """Prints who appears and, if there is a file, writes each appearance as a line of JSON.

    Another line follows when it becomes known whether the face is live.

    A line has `time` (ISO 8601), `seconds` (of the video or since the start), `track`, `name`
    (null if unknown), `score` (similarity to the most similar person, or null), `probability` (of
    that score, or null) and `live` (false for a print or a screen; null: not known).
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._reported: dict[int, tuple[str | None, bool | None]] = {}

    def note(self, sightings: Sequence[Sighting], seconds: float) -> None:
        """Log what is new: a face that is settled, or one whose name or liveness has changed."""
        for sighting in sightings:
            now = sighting.name, sighting.live
            before = self._reported.get(sighting.track)
            if not sighting.settled or before == now:
                continue
            self._reported[sighting.track] = now
            if before != (sighting.name, None) or sighting.live is False:
                attack = f"  {NOT_LIVE}" if sighting.live is False else ""
                shown = f"{sighting.name or 'unknown'}{_score(sighting, places=3)}{attack}"
                print(f"{seconds:7.1f} s  {shown}", flush=True)
            if self._file is not None:
                line = {
                    "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
                    "seconds": round(seconds, 3),
                    "track": sighting.track,
                    "name": sighting.name,
                    "score": sighting.score and round(sighting.score, 4),
                    "probability": sighting.probability,
                    "live": sighting.live,
                }
                print(json.dumps(line, allow_nan=False), file=self._file, flush=True)


class Recorder:
    """Writes frames to a video, each for as long as it was shown; the file appears at the end."""

    def __init__(self, path: Path) -> None:
        if not path.name or path.is_dir():
            raise FileError(f"cannot record to {path}: name a file .mp4 or .avi")
        refuse_device(path)
        self._path = path
        self._part = path.with_name(f".{path.stem}.part{path.suffix or '.mp4'}")
        # OpenCV crashes on a name that is not UTF-8.
        self._name: Any = os.fsencode(self._part.absolute())
        self._writer: cv2.VideoWriter | None = None
        self._written = 0
        self._start = 0.0
        self._size_wh = (0, 0)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if self._written and not self._can_be_read():
            self._part.unlink(missing_ok=True)
            raise FileError(
                f"the recording {self._path} cannot be read back and is not kept: is the disk full?"
            )
        if self._written:
            self._part.replace(self._path)
            print(f"recorded: {self._path}")
        else:
            self._part.unlink(missing_ok=True)

    def _can_be_read(self) -> bool:
        """Whether the last frame is there: OpenCV does not say when a disk is full."""
        video = cv2.VideoCapture(self._name)
        try:
            video.set(cv2.CAP_PROP_POS_FRAMES, self._written - 1)
            return video.get(cv2.CAP_PROP_FRAME_COUNT) >= self._written and video.read()[0]
        finally:
            video.release()

    def write(self, canvas_bgr: np.ndarray, frame: Frame) -> None:
        """Add a frame as it was drawn, uint8 BGR.

        Raises:
            FileError: the file cannot be written, or its name asks for an unknown format.
        """
        if self._writer is None:
            self._start, self._size_wh = frame.seconds, canvas_bgr.shape[1::-1]
            code = cv2.VideoWriter.fourcc(*("MJPG" if self._path.suffix == ".avi" else "mp4v"))
            try:  # for its owner alone, before anything is in it
                self._part.unlink(missing_ok=True)
                open(self._part, "xb", opener=private).close()
            except OSError as error:
                raise FileError(f"cannot record to {self._path}: {error.strerror}") from error
            self._writer = cv2.VideoWriter(self._name, code, RECORD_RATE, self._size_wh)
            if not self._writer.isOpened():
                raise FileError(f"cannot record to {self._path}: name a file .mp4 or .avi")
        if canvas_bgr.shape[1::-1] != self._size_wh:  # a camera that came back in another size
            canvas_bgr = cv2.resize(canvas_bgr, self._size_wh)
        while self._written <= (frame.seconds - self._start) * RECORD_RATE:
            self._writer.write(canvas_bgr)
            self._written += 1


def watch_window(
    watcher: Watcher, open_camera: OpenCamera, options: WatchOptions, source: str = ""
) -> None:
    """Watch in a window until q, or the end of a video; `source` is what `open_camera` opens."""
    with _outputs(options, source) as (log, recorder):
        drawn = recorder.write if recorder else None
        run(Window(), open_camera, watcher.look, WatchScreen(log), drawn)


def watch_camera(
    watcher: Watcher, open_camera: OpenCamera, options: WatchOptions, source: str = ""
) -> None:
    """Watch without a window: print who appears, until the video ends or Ctrl-C.

    Raises:
        CameraError: the camera gives no frames.
        FileError: what was asked for cannot be written, or would be written over the source.
    """
    camera = open_camera()
    with _outputs(options, source) as (log, recorder), closing(frames(camera, open_camera)) as all_:
        for frame in all_:
            sightings = watcher.look(frame)
            log.note(sightings, frame.seconds)
            if recorder is not None:
                marks = tuple(_mark(sighting, frame.seconds) for sighting in sightings)
                view = View(_summary(sightings), GOOD if marks else NEUTRAL, marks=marks)
                recorder.write(draw(frame.frame_bgr, view), frame)


@contextmanager
def _outputs(options: WatchOptions, source: str) -> Iterator[tuple[Events, Recorder | None]]:
    """Open what is written besides the window; events are appended."""
    record, events = options.record, options.events
    with ExitStack() as stack:
        file = None
        for path in (record, events):
            if path is not None and not path.parent.is_dir():
                raise FileError(f"there is no folder {path.parent}")
            if path is not None and _same(path, source):
                raise FileError(f"{path} is being watched: name another file")
        if record is not None and events is not None and record.resolve() == events.resolve():
            raise FileError(f"the recording and the events cannot both be {record}")
        if events is not None:
            try:
                file = stack.enter_context(open(events, "a", encoding="utf-8", opener=private))
            except OSError as error:
                raise FileError(f"cannot write to {events}: {error.strerror}") from error
        recorder = stack.enter_context(Recorder(record)) if record is not None else None
        yield Events(file), recorder


def _same(path: Path, source: str) -> bool:
    """Whether a path leads to the file that is watched, or to one in the folder that is."""
    found = os.path.exists(source) and path.exists()
    return found and (path.samefile(source) or path.parent.samefile(source))


def _mark(sighting: Sighting, seconds: float) -> Mark:
    box_xyxy, track = tuple(sighting.moving.box_at(seconds).tolist()), sighting.track
    if sighting.live is False:
        whose = f" ({sighting.name})" if sighting.name else ""
        return Mark(box_xyxy, ATTENTION, f"{NOT_LIVE}{whose}", track)
    alive = ", live" if sighting.live else ""
    if sighting.name is not None:
        return Mark(box_xyxy, GOOD, f"{sighting.name}{_score(sighting, places=2)}{alive}", track)
    if sighting.settled:
        return Mark(box_xyxy, ATTENTION, f"unknown{alive}", track)
    return Mark(box_xyxy, NEUTRAL, "…", track)


def _score(sighting: Sighting, places: int) -> str:
    if sighting.score is None:
        return ""
    score = f"  {cli.decimals(sighting.score, places)}"
    if sighting.probability is None:
        return score
    return f"{score}, {cli.certainty(sighting.probability, accepted=sighting.name is not None)}"


def _summary(sightings: Sequence[Sighting]) -> str:
    if not sightings:
        return "Nobody in view"
    known = sum(each.name is not None and each.live is not False for each in sightings)
    return f"{cli.count(len(sightings), 'face', 'faces')} in view, {known} known"
