"""Every kind of camera gives frames in BGR, or one line that says what to try."""

from __future__ import annotations

import os
from typing import ClassVar

import cv2
import numpy as np
import pytest

from facesync.app import camera_help, cameras
from facesync.app.cameras import open_camera
from facesync.errors import CameraError, ImageError
from facesync.images import save_jpeg
from tests.videos import write_video

RED = np.full((60, 80, 3), (250, 10, 10), dtype=np.uint8)


def grey(level: int) -> np.ndarray:
    return np.full((60, 80, 3), level, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    for number, level in enumerate((10, 90, 200)):
        save_jpeg(grey(level), tmp_path / "images" / f"{number}.jpg")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.avi", map(grey, range(0, 250, 10)))


def test_an_image_is_one_frame_in_bgr(tmp_path):
    save_jpeg(RED, tmp_path / "red.JPG")
    with open_camera(str(tmp_path / "red.JPG")) as camera:
        frame = camera.read()
        assert camera.read() is None
    assert frame.name == "red.JPG"
    assert frame.frame_bgr.shape == (60, 80, 3)
    blue, _, red = frame.frame_bgr[30, 40]
    assert red > 200 > 50 > blue
    np.testing.assert_array_equal(frame.image_rgb, frame.frame_bgr[:, :, ::-1])
    assert camera.stills and not camera.mirrored


def test_a_folder_is_each_image_once(folder):
    with open_camera(str(folder)) as camera:
        levels = [int(frame.frame_bgr[0, 0, 0]) for frame in iter(camera.read, None)]
    assert levels == pytest.approx([10, 90, 200], abs=3)


def test_images_are_known_by_their_content(shared, tmp_path, caplog):
    """Under any name; what is none is counted."""
    made = tmp_path / "images"
    made.mkdir()
    for number, name in enumerate(("img/y.jfif", "img/x.pgm", "img/x.pgm")):
        data = (shared / "cases" / name).read_bytes()
        (made / f"{number}{'' if number == 2 else name[-5:]}").write_bytes(data)
    (made / "notes.txt").write_text("no image")
    with open_camera(str(made)) as camera:
        assert len(list(iter(camera.read, None))) == 3
    assert "passed over as not being images: 1 (the first: notes.txt)" in caplog.text
    with open_camera(str(made / "2")) as camera:
        assert camera.stills


def test_a_slideshow_goes_round_a_second_an_image(folder):
    with open_camera(str(folder), slideshow=True) as camera:
        frames = [camera.read() for _ in range(45)]
    levels = [int(frame.frame_bgr[0, 0, 0]) for frame in frames]
    assert levels[::10] == pytest.approx([10, 90, 200, 10, 90], abs=3)
    assert [frame.seconds for frame in frames[::10]] == [0, 1, 2, 3, 4]
    assert [frame.number for frame in frames] == list(range(45))


def test_one_image_stands_in_for_a_camera(tmp_path):
    save_jpeg(RED, tmp_path / "red.jpg")
    with open_camera(str(tmp_path / "red.jpg"), slideshow=True) as camera:
        frames = [camera.read() for _ in range(30)]
    assert frames[0].frame_bgr is frames[29].frame_bgr


@pytest.mark.parametrize("slideshow", [False, True])
def test_unreadable_images_of_a_folder_are_left_out(folder, slideshow, caplog):
    (folder / "1.jpg").write_bytes(b"")
    with open_camera(str(folder), slideshow=slideshow) as camera:
        frames = [camera.read() for _ in range(21 if slideshow else 2)]
    levels = [int(frame.frame_bgr[0, 0, 0]) for frame in frames]
    assert set(levels) == {10, 200}
    assert "1.jpg: the file is empty (0 bytes); skipped" in caplog.text


@pytest.mark.parametrize("slideshow", [False, True])
def test_a_folder_without_one_readable_image(folder, slideshow):
    for path in folder.glob("*.jpg"):
        path.write_bytes(b"")
    with open_camera(str(folder), slideshow=slideshow) as camera, pytest.raises(ImageError):
        camera.read()


def test_a_video_has_its_own_time(video):
    with open_camera(str(video)) as camera:
        frames = list(iter(camera.read, None))
    assert len(frames) == 25
    assert frames[-1].seconds == pytest.approx(2.4)
    assert not camera.live and not camera.stills


def test_the_frames_of_a_video_keep_their_own_times(shared):
    """Ten seconds at 30 frames/s, then one frame a second, then 30 a second again."""
    with open_camera(str(shared / "cases" / "vid" / "vfr.mp4")) as camera:
        seconds = [frame.seconds for frame in iter(camera.read, None)]
    assert [seconds[number] for number in (0, 300, 330)] == pytest.approx([0, 10, 40], abs=0.1)
    assert seconds[-1] == pytest.approx(42.97, abs=0.1)


@pytest.mark.parametrize("clock", [0, -1, float("nan"), 1e15])
def test_a_video_without_a_sensible_clock_has_that_of_its_rate(video, monkeypatch, clock):
    times = iter((0, 100, clock, clock, 1e300))
    real = cv2.VideoCapture(str(video))

    class Odd(FakeVideoCapture):
        def get(self, what):
            return next(times) if what == cv2.CAP_PROP_POS_MSEC else 10.0

        def read(self):
            return real.read()

    monkeypatch.setattr(cv2, "VideoCapture", Odd)
    with open_camera(str(video)) as camera:
        seconds = [camera.read().seconds for _ in range(5)]
    assert seconds == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("nothing.mp4", "nothing.mp4 does not exist; --camera takes a number"),
        ("empty_folder", "holds no images"),
        ("text.mp4", "not a video or image that can be decoded"),
        ("empty.mp4", "not a video or image that can be decoded"),
    ],
)
def test_what_is_no_camera_is_one_line(tmp_path, source, line, capfd):
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(CameraError, match=line), open_camera(str(tmp_path / source)) as camera:
        camera.read()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="there are no such files on Windows")
def test_a_pipe_is_not_said_to_be_missing(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CameraError, match="pipe is a pipe or a device; --camera takes"):
        open_camera(str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("97", r"camera 97 does not open: .*is it plugged in"),
        ("/dev/v4l/by-id/none", r"/dev/v4l/by-id/none does not open: .*is it plugged in"),
        ("", "--camera is empty; it takes"),
        ("99999999999", "there is no camera 99999999999: try --camera 1"),
        ("9" * 5000, f"there is no camera {'9' * 20}: try"),
        ("http://127.0.0.1:9/x", "does not open: check the address"),
    ],
)
def test_a_device_that_does_not_open_is_one_line(source, line, capfd):
    with pytest.raises(CameraError, match=line):
        open_camera(source)
    assert capfd.readouterr() == ("", "")


def test_offline_refuses_a_stream():
    with pytest.raises(CameraError, match="--offline"):
        open_camera("rtsp://127.0.0.1:9/x", offline=True)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("http://me:secret@127.0.0.1:9/x", "http://127.0.0.1:9/x "),
        ("http://me:p@ss/secret@127.0.0.1:9/x?pwd=secret", "http://127.0.0.1:9/x?… "),
        ("me:secret@127.0.0.1:9/x", "127.0.0.1:9/x "),
        ("rtsp:/me:secret@127.0.0.1:9/x", "rtsp:/127.0.0.1:9/x "),
        ("C:\\me@home\\x.mp4", "C:\\me@home\\x.mp4 "),
    ],
)
@pytest.mark.parametrize("offline", [True, False])
def test_a_password_is_in_no_message(source, shown, offline):
    with pytest.raises(CameraError) as error:
        open_camera(source, offline=offline)
    assert str(error.value).startswith(shown)
    assert "secret" not in str(error.value)


class FakeVideoCapture:
    """Stands for cv2.VideoCapture: gives `frames`, then none."""

    frames = 0
    opens = True
    asked: ClassVar[list[tuple[object, ...]]] = []

    def __init__(self, *args: object) -> None:
        FakeVideoCapture.asked.append(args)
        self.left = self.frames
        self.released = False
        FakeVideoCapture.last = self

    def isOpened(self) -> bool:
        return self.opens

    def read(self):
        self.left -= 1
        return (True, grey(1)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize(
    ("frames", "line"), [(0, "opens but delivers no frames"), (2, "has stopped delivering frames")]
)
def test_a_camera_that_gives_no_frames_is_one_line(monkeypatch, frames, line):
    monkeypatch.setattr(cv2, "VideoCapture", FakeVideoCapture)
    monkeypatch.setattr(FakeVideoCapture, "frames", frames)
    monkeypatch.setattr(cameras, "FIRST_FRAME_SECONDS", 0.2)
    with pytest.raises(CameraError, match=f"camera 0 {line}"), open_camera("0") as camera:
        for _ in range(frames):
            assert camera.read().frame_bgr.shape == (60, 80, 3)
        camera.read()
    assert camera.live and camera.mirrored
    assert FakeVideoCapture.last.released


@pytest.mark.parametrize(
    ("platform", "interfaces"),
    [
        ("linux", [cv2.CAP_V4L2]),
        ("darwin", [cv2.CAP_AVFOUNDATION]),
        ("win32", [cv2.CAP_DSHOW, cv2.CAP_MSMF]),
        ("freebsd14", [cv2.CAP_ANY]),
    ],
)
def test_a_camera_is_opened_by_its_number_with_a_named_interface(monkeypatch, platform, interfaces):
    """Left to itself, OpenCV takes 200 for V4L and its camera 0, and Windows takes minutes."""
    monkeypatch.setattr(cv2, "VideoCapture", FakeVideoCapture)
    monkeypatch.setattr(FakeVideoCapture, "opens", False)
    monkeypatch.setattr(FakeVideoCapture, "asked", [])
    monkeypatch.setattr(cameras.sys, "platform", platform)
    with pytest.raises(CameraError, match="camera 200 does not open"):
        open_camera("200")
    assert FakeVideoCapture.asked == [(200, interface) for interface in interfaces]


@pytest.mark.parametrize(
    ("made", "access", "words"),
    [
        ([], True, "or any other camera: is it plugged in?"),
        (["video0", "video1"], True, "video2, only video0, video1:"),
        (["video2"], True, "another program may be using it"),
        (["video2"], False, "sudo usermod -aG video"),
    ],
)
def test_why_a_camera_does_not_open_on_linux(tmp_path, monkeypatch, made, access, words):
    for name in made:
        (tmp_path / name).touch()
    monkeypatch.setattr(camera_help.os, "access", lambda path, mode: access)
    assert words in camera_help._why_not_on_linux(tmp_path, 2)


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("darwin", "Privacy & Security > Camera"),
        ("win32", "let desktop apps use the camera"),
        ("freebsd14", "is it plugged in"),
    ],
)
def test_why_a_camera_does_not_open_elsewhere(monkeypatch, platform, words):
    monkeypatch.setattr(cameras.sys, "platform", platform)
    assert words in camera_help.why_not(0)
