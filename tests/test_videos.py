"""Frames of video files, without the app."""

import os

import numpy as np
import pytest

from facesync.errors import ImageError
from facesync.videos import spread_frames
from tests.videos import write_video


def brightness(number):
    return np.full((48, 64, 3), number, np.uint8)


@pytest.mark.parametrize(
    "most, expected", [(5, [0, 20, 40, 60, 80]), (1, [0]), (50, range(0, 81, 10))]
)
def test_frames_are_spread_over_the_whole_video(tmp_path, most, expected):
    path = write_video(tmp_path / "a:b.avi", map(brightness, range(0, 81, 10)))
    found = [float(image_rgb.mean()) for image_rgb in spread_frames(path, most)]
    np.testing.assert_allclose(found, list(expected), atol=3)


def test_the_colours_are_rgb(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    (found,) = spread_frames(write_video(tmp_path / "red.avi", [red]), 1)
    assert found[..., 0].mean() > 150 > found[..., 2].mean()


def test_what_is_no_video(tmp_path, capfd):
    (tmp_path / "text_1.mp4").write_text("nothing of the kind")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("text_1.mp4", "pipe.mp4", "missing.mp4"):
        with pytest.raises(ImageError, match=f"{name}: is not a video that can be decoded"):
            list(spread_frames(tmp_path / name, 3))
    assert capfd.readouterr().err == ""
