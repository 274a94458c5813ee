"""The window: frames drawn and latency to a name, compared with one loop that does everything.

    python -m benchmarks.window
    python -m benchmarks.window --seconds 8 --screenshots /tmp/shots

Plays each shared video as a camera into a window on a virtual display (Xvfb). "Ours" is the app's
own `watch`; "in turn" reads, finds, embeds and draws one frame after the other, and always gets
the newest frame, because a camera does not wait. Latency is the time from reading a frame to
showing its names in the window.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageGrab

from benchmarks.material import parse_for_app, person
from facesync import cli, options
from facesync.app.cameras import Frame, VideoFile
from facesync.app.drawing import draw
from facesync.app.live import Result
from facesync.app.settings import AppSettings
from facesync.app.watch import Events, WatchScreen
from facesync.app.watcher import Sighting, Watcher
from facesync.app.window import Window, run
from facesync.faces.lighting import relit
from facesync.faces.quality import measure
from facesync.faces.recognizer import Recognizer
from facesync.gallery.people import Person


class Timed(VideoFile):
    """A video that ends after some seconds and records when each frame was published."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__(path)
        self._seconds = seconds
        self._start = time.perf_counter()
        self.read_at: dict[int, float] = {}

    def read(self) -> Frame | None:
        """Return the next frame, which the capture thread shows at its time in the video."""
        frame = super().read()
        if frame is None or frame.seconds > self._seconds:
            return None
        self.read_at[frame.number] = max(time.perf_counter(), self._start + frame.seconds)
        return frame


class CountingWindow(Window):
    """Records when something was drawn; takes a screenshot in the middle."""

    def __init__(self, screenshot: Path | None, after: float) -> None:
        super().__init__()
        self.shown_at: list[float] = []
        self._screenshot, self._after, self._aside = screenshot, after, 0.0

    def show(self, canvas_bgr: np.ndarray) -> None:
        """Show it and note the time."""
        super().show(canvas_bgr)
        self.shown_at.append(time.perf_counter() - self._aside)
        if self._screenshot and self.shown_at[-1] - self.shown_at[0] > self._after:
            begun = time.perf_counter()
            cv2.waitKey(30)
            whole = ImageGrab.grab(xdisplay=os.environ["DISPLAY"])
            whole.crop(whole.getbbox()).save(self._screenshot)
            self._screenshot = None
            self._aside = time.perf_counter() - begun  # is not the window's time

    def linger(self, canvas_bgr: np.ndarray) -> None:
        """Go on at once."""


class Silent(Events):
    """Writes nothing down."""

    def note(self, sightings: Sequence[Sighting], seconds: float) -> None:
        """Say nothing."""


def enrolled(recognizer: Recognizer, path: Path) -> list[Person]:
    """Enrol the two largest faces of the first frame that shows some."""
    with VideoFile(path) as video:
        while (frame := video.read()) is not None:
            image_rgb = frame.image_rgb
            faces = recognizer.find(relit(image_rgb))[:2]
            if faces:
                embeddings = recognizer.embed(relit(image_rgb), faces)
                good = [measure(image_rgb, face).overall for face in faces]
                return [
                    person(number, embedding, quality, recognizer.fingerprint)
                    for number, (embedding, quality) in enumerate(
                        zip(embeddings, good, strict=True), 1
                    )
                ]
    return []


def ours(
    recognizer: Recognizer, path: Path, seconds: float, people: list[Person], shot: Path | None
) -> dict[str, float]:
    """Play a video through the app's own window and time it."""
    camera = Timed(path, seconds)
    latencies: list[float] = []
    watcher = Watcher(recognizer, people, AppSettings.margin)
    window = CountingWindow(shot, min(seconds, 4.0) / 2)

    class Screen(WatchScreen):
        def update(self, result: Result) -> None:
            super().update(result)
            latencies.append(time.perf_counter() - camera.read_at[result.frame.number])

    drawn: list[int] = []  # each new frame counts, moved boxes on the same one do not

    run(
        window,
        lambda: camera,
        watcher.look,
        Screen(Silent()),
        lambda canvas_bgr, frame: drawn.append(frame.number),
    )
    times = np.array(window.shown_at[1:])
    gaps = np.diff(times)
    return {
        "drawn": len(drawn) / (times[-1] - times[0]),
        "worst_gap": float(gaps.max()),
        "named": len(latencies) / (times[-1] - times[0]),
        "median": float(np.median(latencies)),
        "p95": float(np.percentile(latencies, 95)),
    }


def in_turn(
    recognizer: Recognizer, path: Path, seconds: float, people: list[Person]
) -> dict[str, float]:
    """Read, look and draw in one loop for as long."""
    watcher = Watcher(recognizer, people, AppSettings.margin)
    screen = WatchScreen(Silent())
    latencies: list[float] = []
    with VideoFile(path) as video, Window() as window:
        frames = list(iter(video.read, None))
        start, drawn = time.perf_counter(), 0
        while (now_ := time.perf_counter() - start) < min(seconds, frames[-1].seconds):
            frame = max((f for f in frames if f.seconds <= now_), key=lambda f: f.number)
            read = time.perf_counter()
            seen = watcher.look(frame)
            window.show(draw(frame.frame_bgr, screen.view(Result(frame, seen), frame.seconds)))
            cv2.waitKey(1)
            drawn += 1
            latencies.append(time.perf_counter() - read)
    return {
        "drawn": drawn / (time.perf_counter() - start),
        "median": float(np.median(latencies)),
        "p95": float(np.percentile(latencies, 95)),
    }


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--seconds", type=options.positive_float, default=12.0, metavar="F")
    parser.add_argument("--screenshots", type=Path, metavar="DIR")
    parser.add_argument("--videos", default="*.mp4", metavar="PATTERN", help="default: all")
    args, data, settings = parse_for_app(parser)
    if shutil.which("Xvfb") is None:
        print("Xvfb is not installed: left out")
        return
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    recognizer = Recognizer(settings)
    recognizer.load()
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-noreset"],
        pass_fds=(write,),
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as file:
        os.environ["DISPLAY"] = f":{file.readline().strip()}"
    try:
        print("video                          way       drawn/s  named/s  median ms  95 % ms")
        for path in sorted((data / "videos").glob(args.videos)):
            people = enrolled(recognizer, path)
            shot = args.screenshots / f"{path.stem}.png" if args.screenshots else None
            apart = ours(recognizer, path, args.seconds, people, shot)
            turn = in_turn(recognizer, path, args.seconds, people)
            for way, got in (("ours", apart), ("in turn", turn)):
                print(
                    f"{path.stem:<30} {way:<8} {got['drawn']:8.1f} "
                    f"{got.get('named', got['drawn']):8.1f} {1000 * got['median']:10.0f} "
                    f"{1000 * got['p95']:8.0f}"
                )
            print(
                f"{'':30} ratio    {apart['drawn'] / turn['drawn']:8.1f} times as many drawn; "
                f"longest pause {1000 * apart['worst_gap']:.0f} ms"
            )
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
