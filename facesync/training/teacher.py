"""A better model as a teacher: who is like whom, and how much.

The term that is added to the loss compares similarities, not embeddings, so the teacher's space and
crop may be others. It keeps a network that is trained on a few people from forgetting how all
others differ. The teacher's embeddings are computed once, in blocks that survive an interruption.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch

from facesync.data.blocks import read_block
from facesync.data.progress import Progress
from facesync.errors import ImageError
from facesync.faces.aligned import aligned_face
from facesync.faces.crops import CropSpec
from facesync.faces.detection import FaceDetector, main_face
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel, unit
from facesync.files import replacing
from facesync.training.batches import SplitData

log = logging.getLogger(__name__)

FOLDER = "teacher"
BLOCK = 256


def similarity_loss(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of a batch's similarity matrix (Tung and Mori, 1907.09682).

    Both arguments are float32, of rows of unit length; they may differ in the length of a row.
    """
    return (embeddings @ embeddings.T - targets @ targets.T).square().mean()


class Targets:
    """A teacher's embeddings of the training images.

    Args:
        indices: of these images in the dataset, ascending.
        embeddings: float16 (images, 512), of unit length; zeros where it found no face.
    """

    def __init__(self, indices: list[int], embeddings: np.ndarray) -> None:
        self._indices, self._embeddings = np.array(indices), embeddings

    def of(self, indices: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return the embeddings of images by their index, float32 (N, 512)."""
        rows = self._embeddings[np.searchsorted(self._indices, indices.numpy())]
        return torch.from_numpy(rows.astype(np.float32)).to(device)


def teach(data: SplitData, crop: CropSpec, teacher: FaceModel, output: Path) -> Targets:
    """Embed the training images with a teacher, or read what was kept in the output folder.

    Raises:
        FileError: that is damaged.
    """
    names = "\n".join(data.faces.names[index] for index in data.train)
    content = f"{teacher.fingerprint}\n{crop}\n{names}".encode("utf-8", "surrogateescape")
    folder = output / FOLDER / hashlib.sha256(content).hexdigest()[:16]
    detector = FaceDetector() if crop.kind != "five_points" else None
    blocks = [np.empty((0, EMBEDDING_SIZE), np.float16)]
    with Progress(total=len(data.train), desc="Teacher", unit=" images") as bar:
        for start in range(0, len(data.train), BLOCK):
            part = data.train[start : start + BLOCK]
            path = folder / f"{start:07d}.npy"
            if not path.exists():
                rows = _embedded(data, part, teacher, detector)
                with replacing(path) as file:
                    np.save(file, rows, allow_pickle=False)
            blocks.append(read_block(path, len(part), EMBEDDING_SIZE))
            bar.update(len(part))
    embeddings = np.concatenate(blocks)
    unknown = int((~embeddings.any(axis=1)).sum())
    if unknown:
        log.warning(
            "The teacher found no face in %d of %d images; they are trained on without it",
            unknown,
            len(embeddings),
        )
    return Targets(data.train, embeddings)


def _embedded(
    data: SplitData, indices: list[int], teacher: FaceModel, detector: FaceDetector | None
) -> np.ndarray:
    """Embed images, each the mean of itself and its mirror image; zeros where no face is found."""
    rows = np.zeros((len(indices), EMBEDDING_SIZE), np.float16)
    found, crops = [], []
    for number, index in enumerate(indices):
        try:
            image_rgb = data.faces.image_rgb(index)
        except ImageError:  # the loader reports it
            continue
        if detector is None:
            face = aligned_face(max(image_rgb.shape[:2]))
        elif faces := detector.detect(image_rgb):
            face = main_face(faces, image_rgb)
        else:
            continue
        found.append(number)
        crops.append(teacher.crop.cut(image_rgb, face))
    mirrored = teacher.embed_crops([np.ascontiguousarray(crop[:, ::-1]) for crop in crops])
    rows[found] = unit(teacher.embed_crops(crops) + mirrored)
    return rows
