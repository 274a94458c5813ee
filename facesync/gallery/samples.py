"""The sample pictures of each person: `<faces>/<name>/sample_N.jpg`, for their owner's eyes only.

Only files that this module wrote are ever removed, and no link is followed: a folder of faces
that someone points at their home directory costs them nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from facesync.errors import FileError, PictureError
from facesync.images import read_image_rgb, save_jpeg

_STAGE = ".new"


def stage(folder: Path, samples_rgb: Sequence[np.ndarray]) -> None:
    """Write pictures (each uint8 RGB) beside the ones in use; `commit` puts them in their place.

    Raises:
        FileError: they could not all be written; none is left.
    """
    staged = folder / _STAGE
    if folder.is_symlink() or staged.is_symlink():
        raise FileError(f"{folder} is a link; sample pictures are kept in {folder.parent} only")
    discard(folder)  # what a killed process may have left
    try:
        for missing in (folder.parent, folder, staged):
            missing.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, sample_rgb in enumerate(samples_rgb, start=1):
            save_jpeg(sample_rgb, staged / f"sample_{number}.jpg", private=True)
    except OSError as error:
        discard(folder)
        raise FileError(f"cannot write to {folder}: {error.strerror}") from error
    except BaseException:
        discard(folder)
        raise


def commit(folder: Path) -> None:
    """Put the staged pictures in the place of those in use."""
    for old in _pictures(folder):
        old.unlink()
    for new in _pictures(folder / _STAGE):
        new.replace(folder / new.name)
    (folder / _STAGE).rmdir()


def discard(folder: Path) -> None:
    """Remove the staged pictures, and the folder where nothing else is in it."""
    for staged in _pictures(folder / _STAGE):
        staged.unlink()
    for empty in (folder / _STAGE, folder):
        with suppress(OSError):
            empty.rmdir()


def read(folder: Path) -> list[np.ndarray]:
    """Read the pictures in use, uint8 RGB, in the order they were taken."""
    pictures = []
    for path in sorted(_pictures(folder), key=lambda path: (len(path.name), path.name)):
        with suppress(PictureError):
            pictures.append(read_image_rgb(path))
    return pictures


def remove(folder: Path) -> int:
    """Remove a person's sample pictures, and the folder where nothing else is in it.

    Returns:
        How many pictures there were.
    """
    if folder.is_symlink():
        folder.unlink()
        return 1
    pictures = [*_pictures(folder), *_pictures(folder / _STAGE)]
    for picture in pictures:
        picture.unlink()
    discard(folder)
    return len(pictures)


def _pictures(folder: Path) -> list[Path]:
    """List a person's pictures, and what a killed save left of one."""
    if folder.is_symlink():
        return []
    return [*folder.glob("sample_*.jpg"), *folder.glob(".sample_*.jpg.tmp")]
