"""The images of an evaluation: where they come from and who they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np

from facesync.data.datasets import FaceDataset
from facesync.errors import FileError, ImageError
from facesync.images import read_file, read_image_rgb


@dataclass(frozen=True)
class ImageRef:
    """One image, read on demand.

    Attributes:
        name: unique within an evaluation; for the report.
        read: returns its encoded bytes; raises ImageError, FileError or DataError.
        identity: who it shows, or None if unknown.
    """

    name: str
    read: Callable[[], bytes]
    identity: str | None = None

    def decode(self) -> np.ndarray:
        """Return image_rgb, uint8 (height, width, 3).

        Raises:
            ImageError: it cannot be decoded.
            FileError, DataError: it cannot be read.
        """
        return read_image_rgb(self.read(), self.name)


def file_image_ref(path: Path, name: str, identity: str | None = None) -> ImageRef:
    """Refer to an image file."""

    def read() -> bytes:
        try:
            return read_file(path)
        except ImageError as error:
            raise FileError(f"{path}: {error}") from error

    return ImageRef(name, read, identity)


@dataclass(frozen=True)
class DatasetImages(Sequence[ImageRef]):
    """All images of a dataset, in its order; a reference is made when it is asked for."""

    dataset: FaceDataset

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...

    @overload
    def __getitem__(self, index: slice) -> list[ImageRef]: ...

    def __getitem__(self, index: int | slice) -> ImageRef | list[ImageRef]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        data = self.dataset
        identity = data.class_names[data.labels[index]]
        return ImageRef(data.names[index], partial(data.encoded, index), identity)
