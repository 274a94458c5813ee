"""The faces a student learns from and the teacher's embeddings of them, computed once.

Each face is kept as the student sees it (`View`); the teacher sees the same face in its own crop.
Both are cached by the content of the image (`facesync.evaluation.cache`), as is where the face is.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facesync.cli import count
from facesync.data.datasets import FaceDataset, natural_key
from facesync.data.pack import packs_in
from facesync.data.progress import Progress
from facesync.distillation.student import CROP
from facesync.errors import DataError, ImageError
from facesync.evaluation.cache import Rows, VectorCache, content_id
from facesync.evaluation.embeddings import detector_label
from facesync.evaluation.faces import CachedFaces
from facesync.faces.aligned import aligned_face
from facesync.faces.crops import CropSpec
from facesync.faces.detection import FaceDetector
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel, unit
from facesync.files import read_text
from facesync.images import images_below, read_file, read_image_rgb

log = logging.getLogger(__name__)

_BATCH = 64


@dataclass(frozen=True)
class FaceImage:
    """An image of a source.

    Attributes:
        name: relative to its source, with `/` between folders; `--leave-out` lists these names.
        read: returns its encoded bytes; raises ImageError.
        aligned: it is already cut on five points; otherwise the face has to be detected.
    """

    name: str
    read: Callable[[], bytes]
    aligned: bool


def images_in(source: Path, *, aligned: bool) -> list[FaceImage]:
    """List the images of a folder (including its subfolders) or a pack, sorted.

    Raises:
        DataError: there are none.
    """
    if source.suffix == ".rec" or (source.is_dir() and packs_in(source)):
        pack = FaceDataset(source, min_images=1, max_images=2**31)
        return [
            FaceImage(name, partial(pack.encoded, index), aligned)
            for index, name in enumerate(pack.names)
        ]
    files = {
        path.relative_to(source).as_posix(): path for path in images_below(source, subfolders=True)
    }
    if not files:
        raise DataError(f"{source}: no images and no pack (train.rec) in it")
    return [
        FaceImage(name, partial(read_file, files[name]), aligned)
        for name in sorted(files, key=natural_key)
    ]


def all_images(
    data: Sequence[Path], aligned: Sequence[Path], leave_out: Path | None
) -> list[FaceImage]:
    """List the images of all sources except those named in the file `leave_out`.

    Raises:
        DataError: a source has no images, or all of them are left out.
        FileError: the file cannot be read.
    """
    images = [image for source in data for image in images_in(source, aligned=False)]
    images += [image for source in aligned for image in images_in(source, aligned=True)]
    if leave_out is not None:
        names = set(read_text(leave_out).split("\n"))
        kept = [image for image in images if image.name not in names]
        log.info("%s: %d of %d images left out", leave_out, len(images) - len(kept), len(images))
        images = kept
    if not images:
        raise DataError("there are no images left to learn from")
    return images


def as_they_are(crops_rgb: Sequence[np.ndarray]) -> np.ndarray:
    """Return crops of the student as one array, uint8 (N, 112, 112, 3)."""
    return np.array(crops_rgb, dtype=np.uint8)


@dataclass(frozen=True)
class View:
    """What a student is given of a face.

    Attributes:
        crop: how the face is cut.
        encode: turns crops, uint8 RGB, into an array of what is kept, one row for each.
        name: distinguishes in the cache what `encode` gives.
        shape: of what is kept of one face.
        dtype: of it.
    """

    crop: CropSpec
    encode: Callable[[Sequence[np.ndarray]], np.ndarray]
    name: str
    shape: tuple[int, ...]
    dtype: Any


CROPS = View(CROP, as_they_are, str(CROP), (CROP.crop_size, CROP.crop_size, 3), np.uint8)


class Faces:
    """What is kept of each face and the teacher's embeddings, read from the cache when asked for.

    Args:
        parts: rows of what is kept, and of embeddings, of the same faces.
        shape: of what is kept of one face.
    """

    def __init__(self, parts: Sequence[tuple[Rows, Rows]], shape: tuple[int, ...]) -> None:
        self._parts, self._shape = list(parts), shape
        self._ends = np.cumsum([len(kept) for kept, _ in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def crop(self, index: int) -> np.ndarray:
        """Return one face, with `CROPS` uint8 RGB (112, 112, 3)."""
        part, row = self._place(index)
        return self._parts[part][0][row].reshape(self._shape)

    def target(self, index: int) -> np.ndarray:
        """Return the teacher's embedding of one face, float32 (512,), unit length."""
        part, row = self._place(index)
        return self._parts[part][1][row].astype(np.float32)

    def rows(self) -> np.ndarray:
        """Return what is kept of all faces, one row each."""
        return np.concatenate([kept[:] for kept, _ in self._parts])

    @property
    def targets(self) -> np.ndarray:
        """All embeddings of the teacher, float32 (number of faces, 512)."""
        return np.concatenate([targets[:] for _, targets in self._parts]).astype(np.float32)

    def _place(self, index: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._ends, index, side="right"))
        return part, int(index - (self._ends[part - 1] if part else 0))


def collect(
    images: Sequence[FaceImage], teacher: FaceModel, cache: Path, view: View = CROPS
) -> Faces:
    """Detect the faces and embed them with the teacher, or read both from the cache.

    Images that cannot be read or show no face are left out.

    Raises:
        DataError: no face was found in any image.
        FileError: the cache cannot be written.
    """
    if old := sorted({file.parent.name for file in cache.glob("*/*.teacher.npy")}):
        log.info("%s: %s is of a former layout and not read; delete it", cache, ", ".join(old))
    parts = []
    with Progress(total=len(images), desc="Teacher", unit=" images") as bar:
        for aligned in sorted({image.aligned for image in images}):
            some = [image for image in images if image.aligned == aligned]
            parts.append(_Collection(teacher, cache, view, aligned=aligned).of(some, bar))
    faces = Faces(parts, view.shape)
    found = f"{count(len(faces), 'face', 'faces')} in {count(len(images), 'image', 'images')}"
    log.info("%s, cached in %s", found, cache)
    if not len(faces):
        raise DataError("no face was found in any of the images")
    return faces


class _Collection:
    """Faces of images that are aligned, or of those in which they have to be found."""

    def __init__(self, teacher: FaceModel, cache: Path, view: View, *, aligned: bool) -> None:
        kind, self._found = "aligned", None
        if not aligned:
            detector = FaceDetector()
            kind = detector_label(detector)
            self._found = CachedFaces(detector, cache, kind)
        self._teacher, self._view = teacher, view
        name = hashlib.sha256(view.name.encode()).hexdigest()[:16]
        width = int(np.prod(view.shape))
        self._kept = VectorCache(cache / f"kept-{name}-{kind}", width, view.dtype)
        self._embeddings = VectorCache(
            cache / f"teacher-{teacher.fingerprint}-{kind}", EMBEDDING_SIZE, np.float16
        )

    def of(self, images: Sequence[FaceImage], bar: Progress) -> tuple[Rows, Rows]:
        """Return rows of what is kept, and of embeddings, of each face, in the images' order."""
        parts = [np.empty((0, 2), np.int64)]
        try:
            for start in range(0, len(images), _BATCH):
                parts.append(self._places(images[start : start + _BATCH]))
                bar.update(len(images[start : start + _BATCH]))
        finally:
            for cache in (self._kept, self._embeddings, self._found):
                if cache:
                    cache.flush()
        places = np.concatenate(parts)
        return Rows(self._kept, places[:, 0]), Rows(self._embeddings, places[:, 1])

    def _places(self, images: Sequence[FaceImage]) -> np.ndarray:
        """Return where in both caches the faces of some images are, int64 (faces, 2)."""
        read: list[tuple[bytes, bytes, str]] = []
        for image in images:
            try:
                data = image.read()
            except ImageError as error:
                log.warning("%s: %s; left out", image.name, error)
            else:
                read.append((content_id(data), data, image.name))
        ids = [key for key, _, _ in read]
        places = np.stack([self._kept.find(ids), self._embeddings.find(ids)], axis=1)
        crops: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
        for (key, data, name), place in zip(read, places, strict=True):
            if place.min() < 0 and key not in crops and (found := self._crops(key, data, name)):
                crops[key] = found
        if crops:
            own = self._view.encode([crop for crop, _ in crops.values()])
            self._kept.add(list(crops), own.reshape(len(crops), -1))
            self._embeddings.add(list(crops), self._embed([crop for _, crop in crops.values()]))
            places = np.stack([self._kept.find(ids), self._embeddings.find(ids)], axis=1)
        return places[places.min(axis=1) >= 0]

    def _crops(self, key: bytes, data: bytes, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the student's and the teacher's crop of the face in an image, if there is one."""
        if self._found and self._found.known_empty(key):
            return None
        try:
            image_rgb = read_image_rgb(data)
        except ImageError as error:
            log.warning("%s: %s; left out", name, error)
            return None
        size = max(image_rgb.shape[:2])
        face = self._found.face(image_rgb, key) if self._found else aligned_face(size)
        if face is None:
            return None
        return self._view.crop.cut(image_rgb, face), self._teacher.crop.cut(image_rgb, face)

    def _embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        # A face and its mirror image are one person: the mean of both is the better target.
        mirrored = self._teacher.embed_crops([np.ascontiguousarray(c[:, ::-1]) for c in crops])
        return unit(self._teacher.embed_crops(crops) + mirrored)
