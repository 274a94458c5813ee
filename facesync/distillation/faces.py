"""The faces a student learns from and the teacher's embeddings of them, computed once.

Each face is kept as the student sees it (`View`); the teacher sees the same face in its own crop.
Both are cached in blocks of `BLOCK` images. A block is written whole or not at all, so an
interrupted run resumes after the last complete one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facesync.cli import count
from facesync.data.blocks import read_block
from facesync.data.datasets import FaceDataset, natural_key
from facesync.data.pack import packs_in
from facesync.data.progress import Progress
from facesync.distillation.student import CROP
from facesync.errors import DataError, ImageError
from facesync.faces.aligned import aligned_face
from facesync.faces.crops import CropSpec
from facesync.faces.detection import Detector, FaceDetector, main_face
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel, unit
from facesync.files import read_text, replacing
from facesync.images import images_below, read_image_rgb

log = logging.getLogger(__name__)

BLOCK = 256


@dataclass(frozen=True)
class FaceImage:
    """An image of a source.

    Attributes:
        name: relative to its source, with `/` between folders; `--leave-out` lists these names.
        read: decodes it to RGB; raises ImageError.
        aligned: it is already cut on five points; otherwise the face has to be detected.
    """

    name: str
    read: Callable[[], np.ndarray]
    aligned: bool


def images_in(source: Path, *, aligned: bool) -> list[FaceImage]:
    """List the images of a folder (including its subfolders) or a pack, sorted.

    Raises:
        DataError: there are none.
    """
    if source.suffix == ".rec" or (source.is_dir() and packs_in(source)):
        pack = FaceDataset(source, min_images=1, max_images=2**31)
        return [
            FaceImage(name, partial(pack.image_rgb, index), aligned)
            for index, name in enumerate(pack.names)
        ]
    files = {
        path.relative_to(source).as_posix(): path for path in images_below(source, subfolders=True)
    }
    if not files:
        raise DataError(f"{source}: no images and no pack (train.rec) in it")
    return [
        FaceImage(name, partial(read_image_rgb, files[name]), aligned)
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
    crops = np.array(crops_rgb, dtype=np.uint8)
    return crops.reshape(-1, CROP.crop_size, CROP.crop_size, 3)


@dataclass(frozen=True)
class View:
    """What a student is given of a face.

    Attributes:
        crop: how the face is cut.
        encode: turns crops, uint8 RGB, into an array of what is kept, one row for each.
        name: distinguishes in the cache what `encode` gives.
    """

    crop: CropSpec
    encode: Callable[[Sequence[np.ndarray]], np.ndarray]
    name: str


CROPS = View(CROP, as_they_are, str(CROP))


class Faces:
    """What is kept of each face and the teacher's embeddings, read from the cache block by block.

    Attributes:
        targets: float32 (number of faces, 512), rows of unit length.
    """

    def __init__(self, blocks: Sequence[tuple[Path, Path]]) -> None:
        self._blocks = list(blocks)
        targets = [read_block(embeddings, None, EMBEDDING_SIZE) for _, embeddings in blocks]
        # Mapped, not read: the crops of a large dataset do not fit in memory.
        self._kept = [
            read_block(kept, len(rows), mapped=True)
            for (kept, _), rows in zip(blocks, targets, strict=True)
        ]
        self.targets = np.concatenate(targets).astype(np.float32)
        self._ends = np.cumsum([len(block) for block in self._kept])

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a worker map the files itself: a pickled map holds all that is in them."""
        return Faces, (self._blocks,)

    def __len__(self) -> int:
        return len(self.targets)

    def crop(self, index: int) -> np.ndarray:
        """Return one face, with `CROPS` uint8 RGB (112, 112, 3)."""
        block = int(np.searchsorted(self._ends, index, side="right"))
        return np.array(self._kept[block][index - self._ends[block]])

    def rows(self) -> np.ndarray:
        """Return what is kept of all faces, one row each."""
        return np.concatenate(self._kept)


def collect(
    images: Sequence[FaceImage], teacher: FaceModel, cache: Path, view: View = CROPS
) -> Faces:
    """Detect the faces and embed them with the teacher, or read both from the cache.

    Images that cannot be read or show no face are left out.

    Raises:
        DataError: no face was found in any image.
        FileError: a file of the cache is damaged.
    """
    names = "\n".join(f"{image.name}\t{image.aligned}" for image in images)
    content = f"{teacher.fingerprint}\n{view.name}\n{names}"
    folder = cache / hashlib.sha256(content.encode()).hexdigest()[:16]
    detector = FaceDetector()
    blocks = []
    with Progress(total=len(images), desc="Teacher", unit=" images") as bar:
        for start in range(0, len(images), BLOCK):
            part = images[start : start + BLOCK]
            files = folder / f"{start:07d}.faces.npy", folder / f"{start:07d}.teacher.npy"
            if not all(file.exists() for file in files):
                _write_block(files, list(_crops(part, detector, view, teacher)), view, teacher)
            blocks.append(files)
            bar.update(len(part))
    faces = Faces(blocks)
    found = f"{count(len(faces), 'face', 'faces')} in {count(len(images), 'image', 'images')}"
    log.info("%s, cached in %s", found, folder)
    if not len(faces):
        raise DataError("no face was found in any of the images")
    return faces


def _crops(
    images: Sequence[FaceImage], detector: Detector, view: View, teacher: FaceModel
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the student's and the teacher's crop of each face."""
    for image in images:
        try:
            image_rgb = image.read()
        except ImageError as error:
            log.warning("%s: %s; left out", image.name, error)
            continue
        if image.aligned:
            face = aligned_face(max(image_rgb.shape[:2]))
        elif faces := detector.detect(image_rgb):
            face = main_face(faces, image_rgb)
        else:
            continue
        yield view.crop.cut(image_rgb, face), teacher.crop.cut(image_rgb, face)


def _write_block(
    files: tuple[Path, Path],
    crops: Sequence[tuple[np.ndarray, np.ndarray]],
    view: View,
    teacher: FaceModel,
) -> None:
    seen = [crop for _, crop in crops]
    # A face and its mirror image are one person: the mean of both is the better target.
    mirrored = teacher.embed_crops([np.ascontiguousarray(crop[:, ::-1]) for crop in seen])
    embeddings = unit(teacher.embed_crops(seen) + mirrored).astype(np.float16)
    own = view.encode([crop for crop, _ in crops])
    with replacing(files[0]) as file:
        np.save(file, own, allow_pickle=False)
    with replacing(files[1]) as file:
        np.save(file, embeddings, allow_pickle=False)
