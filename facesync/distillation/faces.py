"""The faces a student learns from, and what the teacher says of them, computed once.

Every face is kept as a canvas: the image turned and scaled so that its five landmarks meet
`TEMPLATE_112`, with a border around it, so that the student can be shown the face a little turned,
nearer or aside. The teacher sees the same face cut as the teacher's own crop demands. Both are
written in blocks of `BLOCK` faces that appear whole, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.data.datasets import FaceDataset, natural_key
from facesync.data.pack import packs_in
from facesync.data.progress import Progress
from facesync.errors import DataError, FileError, ImageError
from facesync.faces.crops import TEMPLATE_112, cut_aligned
from facesync.faces.detection import Face, FaceDetector, main_face
from facesync.faces.embedding import FaceModel
from facesync.files import replacing
from facesync.images import IMAGE_SUFFIXES, read_image_rgb

log = logging.getLogger(__name__)

BORDER = 24
"""Pixels of the canvas on each side of the 112 x 112 crop."""

CANVAS = 112 + 2 * BORDER
BLOCK = 256

# Where MTCNN's box lies around a face whose landmarks meet the template: the median over the
# 10,542 faces of UTKFace, MEBeauty, SCUT-FBP5500 and DFDC that the shipped student learnt from.
_ALIGNED_BOX = np.array([15.5, 12.5, 94.5, 115.6], dtype=np.float32)


@dataclass(frozen=True)
class ImageRef:
    """An image of a source.

    Attributes:
        name: relative to its source, `/` between folders; what `--leave-out` names.
        read: decodes it to RGB, or raises ImageError.
        aligned: it is cut on five points; else faces are to be found in it.
    """

    name: str
    read: Callable[[], np.ndarray]
    aligned: bool


def images_in(source: Path, *, aligned: bool) -> list[ImageRef]:
    """List the images of a folder (searched whole) or a pack, sorted.

    Raises:
        DataError: there are none.
    """
    if source.suffix == ".rec" or (source.is_dir() and packs_in(source)):
        pack = FaceDataset(source, min_images=1, max_images=2**31)
        return [
            ImageRef(name, lambda i=i: np.asarray(pack[i][0]), aligned)  # type: ignore[misc]
            for i, name in enumerate(pack.names)
        ]
    files = [p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    if not files:
        raise DataError(f"{source}: no images in it, and no pack (train.rec)")
    named = sorted(
        ((path.relative_to(source).as_posix(), path) for path in files),
        key=lambda pair: natural_key(pair[0]),
    )
    return [
        ImageRef(name, lambda path=path: read_image_rgb(path), aligned)  # type: ignore[misc]
        for name, path in named
    ]


def all_images(
    data: Sequence[Path], aligned: Sequence[Path], leave_out: Path | None
) -> list[ImageRef]:
    """List the images of all sources, without those that a file names.

    Raises:
        DataError: a source holds no images, or nothing is left.
        FileError: the file cannot be read.
    """
    images = [p for source in data for p in images_in(source, aligned=False)]
    images += [p for source in aligned for p in images_in(source, aligned=True)]
    if leave_out is not None:
        try:
            names = set(leave_out.read_text(encoding="utf-8").split("\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"cannot read {leave_out}: {error}") from error
        kept = [image for image in images if image.name not in names]
        log.info("%d images are left out by %s", len(images) - len(kept), leave_out)
        images = kept
    if not images:
        raise DataError("no images are left to learn from")
    return images


def canvas_of(image_rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Turn and scale an image to a canvas, uint8 RGB (CANVAS, CANVAS, 3)."""
    return cut_aligned(image_rgb, landmarks, TEMPLATE_112 + BORDER, CANVAS)


def aligned_face(side: int) -> Face:
    """Say where the face is in an image of `side` pixels that was cut on five points."""
    scale = side / 112
    return Face(_ALIGNED_BOX * scale, (TEMPLATE_112 * scale).astype(np.float32), 1.0)


def face_of(image: ImageRef, image_rgb: np.ndarray, detector: FaceDetector) -> Face | None:
    """Say where the face is: as the alignment says, or where it is found."""
    if image.aligned:
        return aligned_face(max(image_rgb.shape[:2]))
    faces = detector.detect(image_rgb)
    return main_face(faces, image_rgb) if faces else None


class Faces:
    """Canvases and the teacher's embeddings of them, read from the cache block by block.

    Attributes:
        canvases: one uint8 array (n, CANVAS, CANVAS, 3) a block, mapped from its file.
        targets: float32 (number of faces, 512), unit rows.
    """

    def __init__(self, blocks: Iterable[tuple[Path, Path]]) -> None:
        self.canvases = []
        targets = [np.empty((0, 512), np.float32)]
        for canvases, embeddings in blocks:
            mapped = np.load(canvases, mmap_mode="r", allow_pickle=False)
            self.canvases.append(mapped)
            targets.append(np.load(embeddings, allow_pickle=False).astype(np.float32))
        self.targets = np.concatenate(targets)
        self._ends = np.cumsum([len(block) for block in self.canvases])

    def __len__(self) -> int:
        return len(self.targets)

    def canvas(self, index: int) -> np.ndarray:
        """Return one face's canvas, uint8 RGB."""
        block = int(np.searchsorted(self._ends, index, side="right"))
        start = 0 if block == 0 else int(self._ends[block - 1])
        return np.asarray(self.canvases[block][index - start])


def collect(images: Sequence[ImageRef], teacher: FaceModel, cache: Path) -> Faces:
    """Find the faces and ask the teacher about each, or read both from the cache.

    Images that cannot be read, or show no face, are counted and left out.
    """
    names = "\n".join(f"{image.name}\t{image.aligned}" for image in images)
    key = hashlib.sha256(f"{teacher.fingerprint}\n{CANVAS}\n{names}".encode()).hexdigest()[:16]
    folder = cache / key
    detector = FaceDetector()
    blocks = []
    with Progress(total=len(images), desc="Teacher", unit=" images") as bar:
        for start in range(0, len(images), BLOCK):
            part = images[start : start + BLOCK]
            files = folder / f"{start:07d}.faces.npy", folder / f"{start:07d}.teacher.npy"
            if not files[1].exists():
                _write_block(files, _found(part, detector, teacher), teacher)
            blocks.append(files)
            bar.update(len(part))
    faces = Faces(blocks)
    log.info("%d faces of %d images, in %s", len(faces), len(images), folder)
    if not len(faces):
        raise DataError("not one face was found in the images")
    return faces


def _found(
    images: Sequence[ImageRef], detector: FaceDetector, teacher: FaceModel
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield canvas and teacher's crop of each face."""
    for image in images:
        try:
            image_rgb = image.read()
        except ImageError as error:
            log.warning("%s: %s; left out", image.name, error)
            continue
        face = face_of(image, image_rgb, detector)
        if face is not None:
            yield canvas_of(image_rgb, face.landmarks), teacher.crop.cut(image_rgb, face)


def _write_block(
    files: tuple[Path, Path], found: Iterator[tuple[np.ndarray, np.ndarray]], teacher: FaceModel
) -> None:
    canvases, crops = [], []
    for canvas, crop in found:
        canvases.append(canvas)
        crops.append(crop)
    embeddings = teacher.embed_crops(crops)
    shape = (len(canvases), CANVAS, CANVAS, 3)
    with replacing(files[0]) as file:
        np.save(file, np.array(canvases, dtype=np.uint8).reshape(shape), allow_pickle=False)
    with replacing(files[1]) as file:
        np.save(file, embeddings.astype(np.float16), allow_pickle=False)
