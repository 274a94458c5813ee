"""Images and videos of live faces and of attacks, in folders by what they show.

A folder of `live/` and others, one for each kind of attack, of images or videos; a file's name says
who it shows and, of an image, which video it is from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.errors import DataError
from facesync.images import images_below, is_video, read_image_rgb
from facesync.videos import spread_frames

LIVE = "live"
"""Name of the folder of live faces; every other one is a kind of attack."""

MOST_FRAMES = 20
"""Frames taken of a video file, spread evenly over it."""

_NUMBER = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Sample:
    """An image or a video file.

    Attributes:
        path: the file.
        kind: name of its folder: `live`, or an attack.
        person: who it shows: its name up to the first `_`.
        video: the video that it is, or that its image is from; the same for all images of one.
    """

    path: Path
    kind: str
    person: str
    video: str


def read_samples(folder: Path) -> list[Sample]:
    """List the images and videos of `live/` and of all other folders beside it, sorted.

    Raises:
        DataError: `live/` or the attacks are missing, or one of the folders holds nothing.
        ImageError: a folder cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    kinds = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if LIVE not in kinds or len(kinds) == 1:
        raise DataError(
            f"{folder} needs a folder {LIVE} and one for each kind of attack, such as print, replay"
        )
    return [sample for kind in kinds for sample in _samples(folder, kind)]


def frames(sample: Sample) -> Iterator[np.ndarray]:
    """Yield the image, or at most `MOST_FRAMES` of the video, uint8 RGB (height, width, 3).

    Raises:
        ImageError: it cannot be decoded.
    """
    if is_video(sample.path):
        yield from spread_frames(sample.path, MOST_FRAMES)
    else:
        yield read_image_rgb(sample.path)


def video_of(path: Path) -> str:
    """Return the name that all images of one video share: without the last `_` and its number."""
    name, found = _NUMBER.subn("", path.stem)
    return name if found and not is_video(path) else path.name


def _samples(folder: Path, kind: str) -> list[Sample]:
    paths = images_below(folder / kind, subfolders=True, videos=True)
    if not paths:
        raise DataError(f"{folder / kind} holds neither images nor videos")
    return [
        Sample(
            path,
            kind,
            path.stem.partition("_")[0],
            str(path.parent.relative_to(folder) / video_of(path)),
        )
        for path in paths
    ]
