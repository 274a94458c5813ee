"""The sample images of each person: `<faces>/<name>/sample_N.jpg`, readable by their owner alone.

Sealed ones are `sample_N.jpg.enc` (see `facesync.gallery.sealing`). Only files that this module
wrote are ever removed, and no link is followed: pointing the folder of faces at a home directory
does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from facesync.errors import FileError, ImageError, StoreError
from facesync.files import make_private_folder, read_regular, replacing
from facesync.gallery import sealing
from facesync.gallery.keys import Key, KeyChain
from facesync.images import encode_jpeg, read_image_rgb

_STAGE = ".new"
_SEALED = ".enc"
_OURS = re.compile(r"sample_([0-9]{1,9})\.jpg(\.enc)?|\.sample_[0-9]{1,9}\.jpg(\.enc)?\.tmp")


def stage(
    folder: Path, samples_rgb: Sequence[np.ndarray], key: Key | None, *, add: bool = False
) -> None:
    """Write images (each uint8 RGB) beside the ones in use; `commit` puts them in place.

    A key seals them. With `add`, those in use are kept and the new ones numbered after them.

    Raises:
        FileError: they could not all be written; none is left behind.
    """
    first = 1 + max(map(_number, in_use(folder)), default=0) if add else 1
    encoded = enumerate(map(encode_jpeg, samples_rgb), start=first)
    stage_encoded(folder, {f"sample_{number}.jpg": data for number, data in encoded}, key)


def stage_encoded(folder: Path, images: dict[str, bytes], key: Key | None) -> None:
    """Write images that are encoded already, by name, as `stage` does."""
    staged = folder / _STAGE
    if folder.is_symlink() or staged.is_symlink():
        raise FileError(f"{folder} is a link; sample images are kept in {folder.parent} only")
    discard(folder)  # what a killed process may have left
    try:
        make_private_folder(staged)
        for name, data in images.items():
            _write(staged / name, data, key, folder)
    except OSError as error:
        discard(folder)
        raise FileError(f"cannot write to {folder}: {error.strerror}") from error
    except BaseException:
        discard(folder)
        raise


def commit(folder: Path, *, add: bool = False) -> None:
    """Replace the images in use by the staged ones, or add these."""
    if not add:
        for old in _files(folder):
            old.unlink()
    for new in _files(folder / _STAGE):
        new.replace(folder / new.name)
    (folder / _STAGE).rmdir()


def discard(folder: Path) -> None:
    """Remove the staged images, and the folder if nothing else is in it."""
    for staged in _files(folder / _STAGE):
        staged.unlink()
    for empty in (folder / _STAGE, folder):
        with suppress(OSError):
            empty.rmdir()


def read(folder: Path, keys: KeyChain) -> list[np.ndarray]:
    """Read the images in use, uint8 RGB, in the order they were taken.

    Raises:
        StoreError: one is sealed and cannot be opened. Files that are not images are skipped.
    """
    images = []
    for data in read_encoded(folder, keys).values():
        with suppress(ImageError):
            images.append(read_image_rgb(data))
    return images


def read_encoded(folder: Path, keys: KeyChain) -> dict[str, bytes]:
    """Read the encoded images in use, by their unsealed names.

    Raises:
        StoreError: one cannot be read or opened.
    """
    return {path.name.removesuffix(_SEALED): read_one(path, keys) for path in in_use(folder)}


def reseal(folder: Path, key: Key | None, keys: KeyChain) -> None:
    """Seal the images in use with a key, or decrypt them for good; each is replaced whole.

    Raises:
        StoreError: one cannot be opened.
        FileError: one cannot be written.
    """
    for path in in_use(folder):
        data = read_one(path, keys)
        plain = folder / path.name.removesuffix(_SEALED)
        written = _write(plain, data, key, folder)
        for other in (plain, plain.with_name(plain.name + _SEALED)):
            if other != written:
                other.unlink(missing_ok=True)


def seal_plain(folder: Path, key: Key) -> None:
    """Seal the images that are not sealed yet."""
    for path in _files(folder):
        if path.suffix == ".jpg":
            _write(path, read_regular(path, follow=False), key, folder)
            path.unlink()


def in_use(folder: Path) -> list[Path]:
    """List the images in use, in the order they were taken; one for each number."""
    found = {}
    for path in sorted(_files(folder)):  # a sealed one follows its plain one, and wins
        if not path.name.startswith("."):
            found[_number(path)] = path
    return [found[number] for number in sorted(found)]


def is_name(name: object) -> bool:
    """Whether something is the unsealed name of a sample image."""
    return isinstance(name, str) and re.fullmatch(r"sample_[0-9]{1,9}\.jpg", name) is not None


def leftovers(folder: Path) -> list[Path]:
    """List what a killed save left: staged images and temporary files."""
    return [*_files(folder / _STAGE), *(p for p in _files(folder) if p.name.startswith("."))]


def remove(folder: Path) -> int:
    """Remove a person's sample images, and the folder if it is then empty; return how many."""
    if folder.is_symlink():
        folder.unlink()
        return 1
    images = [*_files(folder), *_files(folder / _STAGE)]
    for image in images:
        image.unlink()
    discard(folder)
    return len(images)


def _files(folder: Path) -> list[Path]:
    """List a person's images, and temporary files of a killed save."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]


def _number(path: Path) -> int:
    match = _OURS.fullmatch(path.name)
    return int(match[1]) if match and match[1] else 0


def _what(folder: Path, name: str) -> str:
    return f"image {folder.name}/{name}"


def _write(path: Path, data: bytes, key: Key | None, folder: Path) -> Path:
    """Write an image, sealed if there is a key, and return where."""
    target = path.with_name(path.name + _SEALED) if key else path
    with replacing(target, private=True) as file:
        file.write(sealing.seal(data, key, _what(folder, path.name)))
    return target


def read_one(path: Path, keys: KeyChain) -> bytes:
    """Read one encoded image in use.

    Raises:
        StoreError: it cannot be read or opened.
    """
    if path.suffix != _SEALED:
        try:
            return read_regular(path, follow=False)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
    what = _what(path.parent, path.name.removesuffix(_SEALED))
    data, key = sealing.read(path, keys, what)
    if key is None:
        raise StoreError(f"{path} is damaged: it is not encrypted")
    return data
