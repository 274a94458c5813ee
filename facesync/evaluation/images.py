"""The images of an evaluation: where they come from and who they show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


def dataset_image_refs(dataset: FaceDataset) -> list[ImageRef]:
    """Refer to all images of a dataset, in its order."""
    identities = [dataset.class_names[label] for label in dataset.labels]
    return [
        ImageRef(name, lambda index=index: dataset.encoded(index), identity)  # type: ignore[misc]
        for index, (name, identity) in enumerate(zip(dataset.names, identities, strict=True))
    ]
