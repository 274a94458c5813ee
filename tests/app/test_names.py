"""Files of any name stand in for a camera, and can be recorded to."""

from __future__ import annotations

import os

import numpy as np
import pytest

from facesync.app.cameras import Frame, open_camera
from facesync.app.watch import Recorder
from facesync.images import encode_jpeg

GREY = np.full((60, 80, 3), 90, np.uint8)


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "a:b", "line\nbreak"])
def test_a_video_of_any_name_is_recorded_and_read(tmp_path, monkeypatch, name):
    """OpenCV crashes on text that is not UTF-8, and takes `a:` for a protocol."""
    monkeypatch.chdir(tmp_path)
    with Recorder(tmp_path / f"{name}.avi") as recorder:
        recorder.write(GREY, Frame(0, 0.0, GREY))
    with open_camera(f"{name}.avi") as camera:
        assert camera.read().frame_bgr.shape == (60, 80, 3)


def test_images_are_known_by_their_content(tmp_path):
    for name in ("a.jfif", "b"):
        (tmp_path / name).write_bytes(encode_jpeg(GREY))
        assert open_camera(str(tmp_path / name)).read().name == name
    with open_camera(str(tmp_path)) as camera:
        assert [camera.read().name, camera.read().name] == ["a.jfif", "b"]
