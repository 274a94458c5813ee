"""The images an evaluation is about: where they come from, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.errors import FileError
from facesync.images import read_image_rgb


@dataclass(frozen=True)
class ImageRef:
    """One image, read when it is needed.

    Attributes:
        name: unique within an evaluation; for the report.
        read: returns its encoded bytes; raises FileError or DataError.
        identity: who is on it, or None where nobody says.
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
        return read_image_rgb(self.read())


def file_image_ref(path: Path, name: str, identity: str | None = None) -> ImageRef:
    """Make an image of a file."""

    def read() -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({error.strerror})") from error

    return ImageRef(name, read, identity)


def image_refs_of(source: Path, min_images: int = 1, max_images: int = 100) -> list[ImageRef]:
    """List the images of an identity folder or a pack as `FaceDataset` finds them.

    Raises:
        DataError: there are none.
    """
    from facesync.data.datasets import FaceDataset

    dataset = FaceDataset(source, min_images=min_images, max_images=max_images)
    identities = [dataset.class_names[label] for label in dataset.labels]
    return [
        ImageRef(name, lambda index=index: dataset.encoded(index), identity)  # type: ignore[misc]
        for index, (name, identity) in enumerate(zip(dataset.names, identities, strict=True))
    ]
