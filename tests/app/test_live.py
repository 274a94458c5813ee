"""Capture keeps the newest frame, analysis takes the newest, and both end."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from itertools import repeat

import pytest

from facesync.app import live
from facesync.app.cameras import DeviceError
from facesync.app.live import Analysis, Capture, frames
from facesync.errors import CameraError
from tests.app.fakes import FakeCamera, FakeRecognizer, image


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.005)


def look_of(recognizer):
    return lambda frame: recognizer.look(frame.image_rgb)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"capture", "analysis"}


def test_capture_keeps_the_newest_and_closes_the_camera():
    camera = FakeCamera([image(variant=i) for i in range(5)], live=True)
    with Capture(lambda: camera) as capture:
        wait_for(lambda: capture.ended)
        assert capture.newest.number == 4
        assert capture.error is None and capture.trouble is None
        capture.check()
    assert camera.closed.is_set()
    assert not threads()


def test_a_recording_plays_at_its_own_speed():
    camera = FakeCamera([image()] * 4)
    start = time.monotonic()
    with Capture(lambda: camera) as capture:
        wait_for(lambda: capture.ended)
    assert time.monotonic() - start >= 0.3  # frames at 0, 0.1, 0.2 and 0.3 seconds


def test_leaving_stops_at_once_and_closes_the_camera():
    camera = FakeCamera(repeat(image()), live=True)
    with (
        Capture(lambda: camera) as capture,
        Analysis(capture, look_of(FakeRecognizer())) as analysis,
    ):
        wait_for(lambda: analysis.newest is not None)
        assert threads() == {"capture", "analysis"}
    assert camera.closed.is_set()
    assert not threads()


def test_analysis_takes_the_newest_frame():
    """While the first frame is looked at, many pass; the next look is at the last of them."""
    camera = FakeCamera([image(variant=i) for i in range(30)], live=True, then="hang")
    go = threading.Event()

    class Slow(FakeRecognizer):
        def look(self, image_rgb, **kwargs):
            if self.looks == 0:
                go.wait(20)
            return super().look(image_rgb)

    recognizer = Slow()
    with Capture(lambda: camera) as capture, Analysis(capture, look_of(recognizer)) as analysis:
        wait_for(lambda: capture.newest is not None and capture.newest.number == 29)
        go.set()
        wait_for(lambda: analysis.newest is not None and analysis.newest.frame.number == 29)
        camera.closed.set()
    assert recognizer.looks == 2


class Opening:
    """Opens cameras one after the other; an error in their place is raised."""

    def __init__(self, *cameras) -> None:
        self._cameras = iter(cameras)
        self.opened = 0

    def __call__(self):
        self.opened += 1
        camera = next(self._cameras)
        if isinstance(camera, Exception):
            raise camera
        return camera


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(live, "RETRY_SECONDS", (0.01, 0.04))
    monkeypatch.setattr(live, "STALL_SECONDS", 0.2)


def test_a_camera_that_goes_away_is_opened_again(quick):
    """Busy at first, then unplugged after two frames, then busy again, then back."""
    unplugged = FakeCamera([image()] * 2, live=True, then=DeviceError("unplugged"))
    back = FakeCamera([image()] * 3, live=True, then="hang")
    opening = Opening(DeviceError("busy"), unplugged, DeviceError("busy"), back)
    seen = set()
    with Capture(opening) as capture:
        wait_for(lambda: capture.trouble is not None)
        assert str(capture.trouble) == "busy"

        def there() -> bool:
            if capture.newest is not None:
                seen.add((capture.newest.number, capture.newest.seconds))
            return capture.newest is not None and capture.newest.number == 4

        wait_for(there)
        assert capture.trouble is None
        back.closed.set()
    assert opening.opened == 4
    assert unplugged.closed.is_set() and back.closed.is_set()
    assert sorted(seen) == sorted(seen, key=lambda pair: pair[1])  # time moves forward


def test_a_camera_that_hangs_is_said_and_opened_again(quick):
    hangs = FakeCamera([image()], live=True, then="hang")
    again = FakeCamera(repeat(image()), live=True)
    with Capture(Opening(hangs, again)) as capture:

        def back() -> bool:
            capture.check()
            if capture.trouble is not None:
                told.append(str(capture.trouble))
            return capture.newest is not None and capture.newest.number > 3

        told: list[str] = []
        wait_for(back)
        hangs.closed.set()
    assert "has stopped giving frames: check its cable" in told[0]
    assert again.closed.is_set()


def test_a_recording_that_hangs_is_given_up(quick):
    camera = FakeCamera([image()], then="hang")
    with Capture(lambda: camera) as capture:
        with pytest.raises(CameraError, match="has stopped giving frames"):
            wait_for(lambda: capture.check())
        camera.closed.set()


def test_a_pause_in_a_recording_is_no_stall(quick):
    """A recording of a screen may show one frame for a minute."""

    class Paused(FakeCamera):
        def read(self):
            frame = super().read()
            return frame and replace(frame, seconds=frame.seconds * 6)

    with Capture(lambda: Paused([image()] * 2)) as capture:
        wait_for(lambda: capture.check() or capture.ended)
        assert capture.newest.seconds == pytest.approx(0.6)


def test_on_macos_the_main_thread_asks_for_the_camera(monkeypatch):
    """It is refused until the user has answered; then the other thread gets it."""
    monkeypatch.setattr(live.sys, "platform", "darwin")
    monkeypatch.setattr(live, "RETRY_SECONDS", (0.01, 0.04))
    opening = Opening(DeviceError("not allowed yet"), FakeCamera([image()], live=True))
    asked = []

    def open_camera():
        asked.append(threading.current_thread() is threading.main_thread())
        return opening()

    with Capture(open_camera) as capture:
        wait_for(lambda: capture.ended)
    assert asked == [True, False]


def test_what_is_no_camera_is_not_tried_again():
    opening = Opening(CameraError("there is no nothing.mp4"))
    with Capture(opening) as capture:
        wait_for(lambda: capture.error is not None)
        with pytest.raises(CameraError, match=r"there is no nothing\.mp4"):
            capture.check()
    assert opening.opened == 1


def test_frames_of_a_recording_are_all_there():
    camera = FakeCamera([image(variant=i) for i in range(5)])
    assert [frame.number for frame in frames(camera, lambda: camera)] == list(range(5))
    assert camera.closed.is_set()


def test_frames_of_a_live_camera_are_the_newest():
    camera = FakeCamera(repeat(image()), live=True)
    with closing(frames(camera, lambda: camera)) as stream:
        first = next(stream).number
        time.sleep(0.3)
        assert next(stream).number > first + 1
    assert camera.closed.is_set()


def test_frames_of_a_camera_that_stays_away_end_with_a_line(quick, monkeypatch):
    monkeypatch.setattr(live, "LOST_SECONDS", 0.3)
    camera = FakeCamera([image()], live=True, then=DeviceError("unplugged"))

    def gone():
        raise DeviceError("not there")

    with pytest.raises(CameraError, match="not there"), closing(frames(camera, gone)) as stream:
        for _ in stream:
            pass
    assert camera.closed.is_set()


def test_seconds_go_on_while_a_camera_is_away(monkeypatch):
    """Who pulls the plug in a challenge gains no time by it."""
    monkeypatch.setattr(live, "RETRY_SECONDS", (0.01, 0.02))
    clock, away = time.monotonic, [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock() + away[0])
    before = FakeCamera([image()], live=True, then=DeviceError("gone"))
    after = FakeCamera(repeat(image()), live=True)

    def open_camera():
        if before.closed.is_set():
            away[0] = 100.0
            return after
        return before

    with Capture(open_camera) as capture:
        wait_for(lambda: capture.newest is not None and capture.newest.number > 1, seconds=120)
        assert 100 <= capture.newest.seconds < 120
