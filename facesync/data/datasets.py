"""Images and the identities they show, from a folder of images or straight from a pack.

A folder is what `preprocessing_dataset.py` writes: `<folder>/<identity>/<key>.jpg`, with any names
and encodings. A pack is a RecordIO file (see `facesync.data.pack`). A pack and the folder it was
converted to give the same images, labels, order and split.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facesync.cli import count
from facesync.data.left_out import list_path, read_list
from facesync.data.listing import files_in_folder, files_in_pack, is_image_folder
from facesync.data.pack import Pack, packs_in
from facesync.errors import DataError, ImageError
from facesync.files import NAME_ENCODING
from facesync.images import read_file, read_image_rgb

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    _Base = Dataset[tuple[Any, int]]
else:
    # DataLoader only needs __len__ and __getitem__, and torch takes seconds to import.
    _Base = object

logger = logging.getLogger(__name__)

Transform = Callable[[Image.Image], Any]


class FaceDataset(_Base):
    """Images and labels for a DataLoader; an image is read when it is asked for.

    Identities, and the images of each, are sorted in natural order (2 before 10). Left out are
    unreadable images, those on the list of `facesync.data.left_out`, and then identities with fewer
    than `min_images`; of an identity with more than `max_images` the first are kept. Unreadable
    means that the start or end of the file does not fit its encoding; an image that proves damaged
    when it is decoded raises `ImageError` then.

    A dataset can be pickled, in a few bytes for each image, so that DataLoader can start its
    workers in any way.

    Args:
        data_dir: folder of identity folders, folder of a pack, or `.rec` file.
        transform: turns a PIL image (RGB) into a sample; None returns the image.
        min_images: identities with fewer usable images are left out.
        max_images: images of an identity beyond this number are left out.

    Attributes:
        names: `identity/key` of each image, without suffix; the same for a folder and its pack.
        image_paths: path of each image; for a pack `<file>.rec/<identity>/<key>`, which names the
            image but cannot be opened.
        labels: label of each image, 0 … number of identities - 1.
        label_map: label by identity name.
        class_names: names of the identities, by label.
        list_path: path of the list of images to leave out, which need not exist.
        left_out: (name, reason) of each image that is unreadable or on the list.

    Raises:
        DataError: there is no such folder or pack, no identity in it has enough readable images,
            or the list cannot be read.
    """

    def __init__(
        self,
        data_dir: Path | str,
        transform: Transform | None = None,
        min_images: int = 5,
        max_images: int = 100,
    ) -> None:
        self.transform = transform
        self.names: list[str] = []
        self.labels: list[int] = []
        self.label_map: dict[str, int] = {}
        self._suffixes: list[str] = []
        self.left_out: list[tuple[str, str]] = []

        data_dir = Path(data_dir)
        self._pack = _pack_in(data_dir)
        self._source = data_dir if self._pack is None else self._pack.path
        self.list_path = list_path(self._source)
        listed = read_list(self.list_path)
        if self._pack is None:
            files = files_in_folder(data_dir, self.left_out)
        else:
            files = files_in_pack(self._pack, self.left_out)
        few: list[str] = []
        many = 0
        for identity in sorted(files, key=natural_key):
            images = self._without_duplicates(identity, files.pop(identity))
            images = self._without_listed(identity, images, listed)
            if len(images) < min_images:
                few.append(identity)
                continue
            many += max(0, len(images) - max_images)
            label = self.label_map[identity] = len(self.label_map)
            for key in sorted(images, key=natural_key)[:max_images]:
                self.names.append(f"{identity}/{key}")
                self._suffixes.append(images[key][len(key) :])
                self.labels.append(label)
        self.class_names = list(self.label_map)
        if not self.names:
            raise DataError(
                f"{data_dir}: no identity with at least {min_images} readable images "
                f"({self._count_left_out(listed)}); expected {data_dir}/<identity>/<image>.jpg"
            )
        self.left_out.sort(key=lambda entry: natural_key(entry[0]))
        self._report(data_dir, listed)
        _report_cuts(data_dir, few, min_images, many, max_images)

    @cached_property
    def image_paths(self) -> list[str]:
        """Path of each image; see above."""
        named = zip(self.names, self._suffixes, strict=True)
        return [f"{self._source}/{name}{suffix}" for name, suffix in named]

    def __getstate__(self) -> dict[str, Any]:
        # Each worker gets a copy, in which the paths would be most of the bytes.
        return {name: value for name, value in vars(self).items() if name != "image_paths"}

    def _without_duplicates(self, identity: str, files: list[str]) -> dict[str, str]:
        """Return the file of each key; of files that differ only in suffix the first is kept."""
        by_key: dict[str, str] = {}
        for file in sorted(files):
            first = by_key.setdefault(os.path.splitext(file)[0], file)
            if first != file:
                self.left_out.append((f"{identity}/{file}", f"has the same name as {first}"))
        return by_key

    def _without_listed(
        self, identity: str, images: dict[str, str], listed: dict[str, str]
    ) -> dict[str, str]:
        """Return the images that are not on the list; add the others to `left_out`."""
        kept: dict[str, str] = {}
        for key, file in images.items():
            name = f"{identity}/{key}"
            if name in listed:
                self.left_out.append((name, listed[name]))
            else:
                kept[key] = file
        return kept

    def _report(self, data_dir: Path, listed: dict[str, str]) -> None:
        """Log how many images are left out, because they are unreadable or listed."""
        unusable = [entry for entry in self.left_out if entry[0] not in listed]
        if unusable:
            logger.warning(
                "%s: %s left out as unusable (the first: %s: %s)",
                data_dir,
                count(len(unusable), "image", "images"),
                *unusable[0],
            )
        if listed:
            logger.info("%s: %s", self.list_path, self._count_left_out(listed))
        unknown = listed.keys() - {name for name, _ in self.left_out}
        if unknown:
            logger.warning(
                "%s: %s on this list not found in %s (the first: %s)",
                self.list_path,
                count(len(unknown), "image", "images"),
                data_dir,
                min(unknown),
            )

    def _count_left_out(self, listed: dict[str, str]) -> str:
        on_list = sum(name in listed for name, _ in self.left_out)
        unreadable = f"{len(self.left_out) - on_list} unreadable"
        return f"{unreadable}, {on_list} left out by the list" if listed else unreadable

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return (image, label): the transformed image, or the PIL image in RGB.

        Raises:
            ImageError: it cannot be decoded; the message names it.
        """
        image_rgb = self.image_rgb(index)
        image = Image.fromarray(image_rgb)
        sample = image if self.transform is None else self.transform(image)
        return sample, self.labels[index]

    def image_rgb(self, index: int) -> np.ndarray:
        """Return an image, uint8 RGB (height, width, 3).

        Raises:
            ImageError: it cannot be decoded; the message names it.
        """
        try:
            data = self.encoded(index)
        except ImageError as error:
            raise ImageError(f"{self.image_paths[index]}: {error}") from error
        return read_image_rgb(data, self.image_paths[index])

    def encoded(self, index: int) -> bytes:
        """Return the encoded bytes of an image.

        Raises:
            ImageError: they cannot be read.
        """
        if self._pack is None:
            return read_file(self.image_paths[index])
        try:
            return self._pack.read(int(self.names[index].rpartition("/")[2])).data
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror})") from error
        except DataError as error:
            raise ImageError(str(error)) from error


def _report_cuts(data_dir: Path, few: list[str], least: int, many: int, most: int) -> None:
    """Log whom `min_images` leaves out, and how many images `max_images` does."""
    if few:
        logger.warning(
            "%s: %s left out for having fewer than %d images (the first: %s)",
            data_dir,
            count(len(few), "identity", "identities"),
            least,
            few[0],
        )
    if many:
        logger.warning(
            "%s: %s left out: of each identity the first %d are used",
            data_dir,
            count(many, "image", "images"),
            most,
        )


def split_indices(
    names: Sequence[str], seed: int = 42, validation_fraction: float = 0.2
) -> tuple[list[int], list[int]]:
    """Split images; return (train, validation) as ascending indices into `names`.

    Each image draws a lot, the SHA-256 of `seed/name`, and the lowest lots are the validation
    part. So the split depends on the names and the seed, not on the order of names, and adding or
    removing an image moves at most one other. The training part has exactly
    `n * (1 - validation_fraction)` images, rounded down.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction {validation_fraction} is not in [0, 1)")
    # An exact fraction: in floating point the size would sometimes be one too small.
    train_size = int(len(names) * (1 - Fraction(str(validation_fraction))))
    lots = [hashlib.sha256(f"{seed}/{name}".encode(*NAME_ENCODING)).digest() for name in names]
    order = sorted(range(len(names)), key=lambda index: (lots[index], names[index]))
    validation_size = len(names) - train_size
    return sorted(order[validation_size:]), sorted(order[:validation_size])


def split_fingerprint(
    names: Sequence[str], seed: int = 42, validation_fraction: float = 0.2
) -> str:
    """Return 16 hexadecimal digits that identify a split."""
    digest = hashlib.sha256(f"{seed}/{Fraction(str(validation_fraction))}".encode())
    for name in sorted(names):
        digest.update(b"\0" + name.encode(*NAME_ENCODING))
    return digest.hexdigest()[:16]


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which numbers inside a name count as numbers: `2`, `10`, `a2`, `a10`."""
    parts = re.split(r"([0-9]+)", text)
    # re.split puts the numbers at odd positions.
    key = [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p]
    return tuple(key)


def _pack_in(data_dir: Path) -> Pack | None:
    """Open the pack at a path; None for a folder of images."""
    if is_image_folder(data_dir):
        return None
    if data_dir.is_dir() and not packs_in(data_dir):
        raise DataError(
            f"{data_dir}: has neither images (<identity>/<image>.jpg) "
            "nor a RecordIO pack (train.rec)"
        )
    return Pack(data_dir)
