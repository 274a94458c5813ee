"""Capture keeps the newest frame, analysis takes the newest, and both end."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from itertools import repeat

import pytest

from facesync.app import live
from facesync.app.live import Analysis, Capture, frames
from facesync.errors import CameraError
from tests.app.fakes import FakeCamera, FakeRecognizer, picture


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.005)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"capture", "analysis"}


def test_capture_keeps_the_newest_and_closes_the_camera():
    camera = FakeCamera([picture(variant=i) for i in range(5)], live=True)
    with Capture(camera) as capture:
        wait_for(lambda: capture.ended)
        assert capture.newest.number == 4
        assert capture.error is None and not capture.stalled
        capture.check()
    assert camera.closed.is_set()
    assert not threads()


def test_a_recording_plays_at_its_own_speed():
    camera = FakeCamera([picture()] * 4)
    start = time.monotonic()
    with Capture(camera) as capture:
        wait_for(lambda: capture.ended)
    assert time.monotonic() - start >= 0.3  # frames at 0, 0.1, 0.2 and 0.3 seconds


def test_leaving_stops_at_once_and_closes_the_camera():
    camera = FakeCamera(repeat(picture()), live=True)
    with Capture(camera) as capture, Analysis(capture, FakeRecognizer()) as analysis:
        wait_for(lambda: analysis.newest is not None)
        assert threads() == {"capture", "analysis"}
    assert camera.closed.is_set()
    assert not threads()


def test_analysis_takes_the_newest_frame():
    """While the first frame is looked at, many pass; the next look is at the last of them."""
    camera = FakeCamera([picture(variant=i) for i in range(30)], live=True, then="hang")
    go = threading.Event()

    class Slow(FakeRecognizer):
        def look(self, image_rgb, **kwargs):
            if self.looks == 0:
                go.wait(20)
            return super().look(image_rgb)

    recognizer = Slow()
    with Capture(camera) as capture, Analysis(capture, recognizer) as analysis:
        wait_for(lambda: capture.newest is not None and capture.newest.number == 29)
        go.set()
        wait_for(lambda: analysis.newest is not None and analysis.newest.frame.number == 29)
        camera.closed.set()
    assert recognizer.looks == 2


@pytest.mark.parametrize("error", [CameraError("unplugged"), RuntimeError("driver\nbroke")])
def test_an_error_of_the_camera_reaches_the_caller_as_one_line(error):
    camera = FakeCamera([picture()], live=True, then=error)
    with Capture(camera) as capture:
        wait_for(lambda: capture.error is not None)
        with pytest.raises(CameraError) as caught:
            capture.check()
    assert "\n" not in str(caught.value)
    assert camera.closed.is_set()


def test_an_error_of_the_models_reaches_the_caller_as_one_line():
    recognizer = FakeRecognizer()
    recognizer.failure = RuntimeError("out of memory\nand more")
    with Capture(FakeCamera([picture()], live=True)) as capture:
        with Analysis(capture, recognizer) as analysis:
            wait_for(lambda: analysis.error is not None)
            with pytest.raises(CameraError, match="looking for faces failed: RuntimeError: out"):
                analysis.check()


def test_a_camera_that_hangs_is_stalled(monkeypatch):
    monkeypatch.setattr(live, "STALL_SECONDS", 0.2)
    camera = FakeCamera([picture()], live=True, then="hang")
    with Capture(camera) as capture:
        wait_for(lambda: capture.stalled)
        with pytest.raises(CameraError, match="gives no frames any more: check its cable"):
            capture.check()
        camera.closed.set()


def test_frames_of_a_recording_are_all_there():
    camera = FakeCamera([picture(variant=i) for i in range(5)])
    assert [frame.number for frame in frames(camera)] == list(range(5))
    assert camera.closed.is_set()


def test_frames_of_a_live_camera_are_the_newest():
    camera = FakeCamera(repeat(picture()), live=True)
    with closing(frames(camera)) as stream:
        first = next(stream).number
        time.sleep(0.3)
        assert next(stream).number > first + 1
    assert camera.closed.is_set()


def test_frames_of_a_camera_that_hangs_end_with_a_line(monkeypatch):
    monkeypatch.setattr(live, "STALL_SECONDS", 0.2)
    camera = FakeCamera([picture()], live=True, then="hang")
    with pytest.raises(CameraError, match="no frames"), closing(frames(camera)) as stream:
        for _ in stream:
            pass
    camera.closed.set()
