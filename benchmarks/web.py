"""The page: what its server costs beside recognition itself, and how soon it is there.

    python -m benchmarks.web
    python -m benchmarks.web --frames 200 --model vggface2

Frames of the shared videos, 640 pixels wide as the page sends them, go one by one through the
camera's WebSocket to a server in a process of its own, and in turns through the recogniser here,
decoded already: the round trip in ratio to the recognition. "To the first screen" is from the
start of the process to its answer with the page.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
from websockets.sync.client import ClientConnection, connect

from benchmarks.material import ROOT, add_counts, parse_for_app, video_frames
from facesync import cli
from facesync.faces.recognizer import Recognizer
from facesync.images import encode_jpeg

WIDTH = 640
VIDEOS = {"one face": "one_face_head_turns_live", "several faces": "stage_several_faces"}


@contextmanager
def served(folder: Path, model: str) -> Iterator[tuple[str, str, float]]:
    """Run the server; yield its address, a program's token, and the seconds to the first screen."""
    token = folder / "token"
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "faceid_app.py", "--model", model, "--offline", "--no-encrypt",
         "--embeddings", str(folder / "store.pkl"), "--faces", str(folder / "faces"), "web",
         "--port", "0", "--no-browser", "--api-token", str(token)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "XDG_CONFIG_HOME": str(folder)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("The page is at ").strip()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with browser.open(address) as page:
            assert b"<html" in page.read()
        yield address, token.read_text().strip(), time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def frames(path: Path, count: int) -> list[np.ndarray]:
    """Return frames of a video at the page's width, uint8 RGB."""
    found = []
    for frame_rgb in islice(video_frames(path, step=3), count):
        high, wide = frame_rgb.shape[:2]
        found.append(cv2.resize(frame_rgb, (WIDTH, round(high * WIDTH / wide))))
    return list(islice(cycle(found), count))


def register(address: str, token: str, image: bytes) -> None:
    """Register somebody, so that there is somebody to verify."""
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % part
        for part in ((b"name", b"", b"Somebody"), (b"images", b'; filename="a.jpg"', image))
    )
    where = urlsplit(address)
    request = urllib.request.Request(
        f"http://{where.netloc}/api/people",
        body + b"--b--\r\n",
        {"Authorization": f"Bearer {token}", "Content-Type": "multipart/form-data; boundary=b"},
    )
    urllib.request.urlopen(request).close()


def trip(camera: ClientConnection, jpeg: bytes) -> float:
    """Send a frame and wait for the answer; return the milliseconds."""
    begun = time.perf_counter()
    camera.send(jpeg)
    camera.recv()
    return 1000 * (time.perf_counter() - begun)


def look(recognizer: Recognizer, image_rgb: np.ndarray) -> float:
    """Recognise who is in a frame; return the milliseconds."""
    begun = time.perf_counter()
    recognizer.look(image_rgb)
    return 1000 * (time.perf_counter() - begun)


def begin(camera: ClientConnection, task: str) -> None:
    camera.send(json.dumps({"task": task}))
    answer = json.loads(camera.recv())
    assert answer == {"type": "ready"}, answer


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, frames=100, starts=3)
    args, data, settings = parse_for_app(parser, "auto")
    recognizer = Recognizer(settings)
    recognizer.load()
    print(f"model {recognizer.model_in_words}, frames {WIDTH} pixels wide; medians")
    print("frames          recognition  round trip  web adds         verify     watch")
    first = []
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        with served(Path(folder), args.model) as (address, token, seconds):
            first.append(seconds)
            where = f"ws://{urlsplit(address).netloc}/api/camera"
            bearer = {"Authorization": f"Bearer {token}"}
            with connect(where, additional_headers=bearer, compression=None, proxy=None) as camera:
                for name, video in VIDEOS.items():
                    shown = frames(data / "videos" / f"{video}.mp4", args.frames)
                    jpegs = [encode_jpeg(frame, quality=85) for frame in shown]
                    if name == next(iter(VIDEOS)):
                        register(address, token, jpegs[0])
                    begin(camera, "verify")
                    both = [
                        (trip(camera, jpeg), look(recognizer, frame))
                        for jpeg, frame in zip(jpegs, shown, strict=True)
                    ]
                    round_trip, alone = (statistics.median(ms) for ms in zip(*both, strict=True))
                    adds = statistics.median(trip_ms / ms - 1 for trip_ms, ms in both)
                    begin(camera, "watch")
                    watched = statistics.fmean(trip(camera, jpeg) for jpeg in jpegs)
                    print(
                        f"{name:<14} {alone:9.1f} ms {round_trip:8.1f} ms {adds:8.2f} x "
                        f"recognition {1000 / round_trip:6.1f}/s {1000 / watched:6.1f}/s"
                    )
        for _ in range(args.starts - 1):
            with served(Path(folder), args.model) as (_, _, seconds):
                first.append(seconds)
    each = ", ".join(f"{seconds:.2f}" for seconds in first)
    print(f"to the first screen: {statistics.median(first):.2f} s  ({each})")


if __name__ == "__main__":
    main()
