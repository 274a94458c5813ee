"""The sample images of each person: `<faces>/<name>/sample_N.jpg`, readable by their owner alone.

Sealed ones are `sample_N.jpg.enc` (see `facesync.gallery.sealing`). Only files that this module
wrote are ever removed, and no link is followed: pointing the folder of faces at a home directory
does no harm.

Images change together with the store. Each save of the store has a number; the images that belong
to it are staged before it, in a folder named after it, and put in place after it:

    .new-replace-7   instead of those in use, if save 7 of the store was written
    .new-add-7       beside those in use, likewise
    .new-moving      being put in place; those that they replace are gone

`settle` finishes or undoes what a process left that ended in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from facesync.errors import FileError, ImageError, StoreError
from facesync.files import make_private_folder, move, read_regular, replacing, sync_folder
from facesync.gallery import sealing
from facesync.gallery.keys import Key, KeyChain
from facesync.images import read_image_rgb

SEALED = ".enc"
"""What the name of a sealed image ends in."""
_OURS = re.compile(r"sample_([0-9]{1,9})\.jpg(\.enc)?|\.sample_[0-9]{1,9}\.jpg(\.enc)?\.tmp")
_STAGE = re.compile(r"\.new(?:-(replace|add)-([0-9]{1,18})|-(moving))?")  # .new: older versions'


def numbered(images: Iterable[bytes], first: int = 1) -> dict[str, bytes]:
    """Name encoded images, in their order."""
    return {f"sample_{number}.jpg": data for number, data in enumerate(images, first)}


def stage(
    folder: Path, images: Mapping[str, bytes], key: Key | None, save: int, *, add: bool = False
) -> None:
    """Write encoded images beside the ones in use; `settle` puts them in place after a save.

    Args:
        folder: the person's.
        images: by their unsealed names.
        key: seals them.
        save: number of the save of the store that they belong to.
        add: keep the images in use.

    Raises:
        FileError: they cannot be written.
    """
    if folder.is_symlink():
        raise FileError(f"{folder} is a link; sample images are kept in {folder.parent} only")
    staged = folder / f".new-{'add' if add else 'replace'}-{save}"
    try:
        make_private_folder(staged)
        for name, data in images.items():
            _write(staged / name, data, key, folder)
    except OSError as error:
        raise FileError(f"cannot write to {folder}: {error.strerror}") from error
    for changed in (folder, folder.parent):
        sync_folder(changed)


def settle(folder: Path, save: int) -> None:
    """Put staged images in place, or remove those of a save later than `save`, the store's.

    Repeating it after it failed half-way finishes the job. Temporary files of a killed save, and
    the folder if it is then empty, are removed.

    Raises:
        OSError: something cannot be moved or removed.
    """
    for staged in _stages(folder):
        match = _STAGE.fullmatch(staged.name)
        kind, number, moving = match.groups() if match else (None, None, None)
        if not moving and (number is None or int(number) > save):
            _remove_files(staged)
        else:
            if kind == "replace":
                _remove_files(folder)
                sync_folder(folder)
            if not moving:
                staged = staged.rename(folder / ".new-moving")
                sync_folder(folder)
            for new in _files(staged):
                move(new, folder / new.name)
        with suppress(OSError):  # somebody else's files in it
            staged.rmdir()
    for temporary in _temporary(folder):
        temporary.unlink()
    with suppress(OSError):
        folder.rmdir()


def decoded(images: Mapping[str, bytes]) -> list[np.ndarray]:
    """Decode images, uint8 RGB, in their order; what is not an image is skipped."""
    found = []
    for data in images.values():
        with suppress(ImageError):
            found.append(read_image_rgb(data))
    return found


def reseal(folder: Path, key: Key | None, keys: KeyChain) -> None:
    """Seal the images in use with a key, or decrypt them for good; each is replaced whole.

    Raises:
        StoreError: one cannot be opened.
        FileError: one cannot be written.
        OSError: one cannot be removed.
    """
    for path in in_use(folder):
        data = read_one(path, keys)
        plain = folder / path.name.removesuffix(SEALED)
        written = _write(plain, data, key, folder)
        for other in (plain, plain.with_name(plain.name + SEALED)):
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
            found[number(path.name)] = path
    return [found[number] for number in sorted(found)]


def is_name(name: object) -> bool:
    """Whether something is the unsealed name of a sample image."""
    return isinstance(name, str) and re.fullmatch(r"sample_[0-9]{1,9}\.jpg", name) is not None


def number(name: str) -> int:
    """Return the number in the name of an image; 0 if it is not one."""
    match = _OURS.fullmatch(name)
    return int(match[1]) if match and match[1] else 0


def is_sealed(path: Path) -> bool:
    """Whether an image is a sealed one, by its name."""
    return path.suffix == SEALED


def folders(faces: Path) -> list[Path]:
    """List every folder that holds something of this module, whoever's it is."""
    if not faces.is_dir():
        return []
    return [path for path in sorted(faces.iterdir()) if _files(path) or _stages(path)]


def behind_link(folder: Path) -> list[Path]:
    """List images that a person's folder, made a link by somebody, points at."""
    return _files(folder.resolve()) if folder.is_symlink() else []


def leftovers(folder: Path) -> list[Path]:
    """List what a killed save left: staged images and temporary files."""
    return [*_stages(folder), *_temporary(folder)]


def remove(folder: Path) -> int:
    """Remove a person's sample images, and the folder if it is then empty; return how many.

    Raises:
        OSError: one cannot be removed.
    """
    if folder.is_symlink():
        folder.unlink()
        return 1
    removed = 0
    for each in (*_stages(folder), folder):
        removed += _remove_files(each)
        with suppress(OSError):
            each.rmdir()
    return removed


def _files(folder: Path) -> list[Path]:
    """List a person's images, and temporary files of a killed save."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]


def _temporary(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if path.name.startswith(".")]


def _stages(folder: Path) -> list[Path]:
    """List the folders of staged images, the one that is being put in place first."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if _STAGE.fullmatch(path.name))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _remove_files(folder: Path) -> int:
    files = _files(folder)
    for file in files:
        file.unlink()
    return len(files)


def _what(folder: Path, name: str) -> str:
    return f"image {folder.name}/{name}"


def _write(path: Path, data: bytes, key: Key | None, folder: Path) -> Path:
    """Write an image, sealed if there is a key, and return where."""
    target = path.with_name(path.name + SEALED) if key else path
    with replacing(target, private=True) as file:
        file.write(sealing.seal(data, key, _what(folder, path.name)))
    return target


def read_one(path: Path, keys: KeyChain) -> bytes:
    """Read one encoded image in use.

    Raises:
        StoreError: it cannot be read or opened.
    """
    if not is_sealed(path):
        try:
            return read_regular(path, follow=False)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
    what = _what(path.parent, path.name.removesuffix(SEALED))
    data, key = sealing.read(path, keys, what)
    if key is None:
        raise StoreError(f"{path} is damaged: it is not encrypted")
    return data
