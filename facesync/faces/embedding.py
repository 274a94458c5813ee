"""A loaded model with its crop: from faces to embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facesync.errors import ModelError
from facesync.faces.calibration import Calibration
from facesync.faces.crops import CropSpec
from facesync.faces.detection import Face
from facesync.faces.models import KnownModel
from facesync.faces.trust import UNMEASURED, Trust

EMBEDDING_SIZE = 512
DEFAULT_THRESHOLD = 0.6
"""Cosine similarity at which two faces are the same person, for models without a threshold."""


@dataclass(frozen=True)
class FaceModel:
    """A network that embeds faces, and everything that belongs to it.

    Attributes:
        network: from crops, float32 (N, 3, S, S) from `crop.array`, to embeddings, float32 (N, 512)
            of unit length; in ONNX Runtime on a CPU, otherwise in torch.
        crop: how faces are cut for it.
        fingerprint: identifies weights and crop; only templates of the same one are comparable.
        source: where the weights come from, for the user.
        threshold: cosine similarity measured for this model, or None.
        calibration: thresholds by false match rate measured for this model, or None.
        why: it was taken, in words; empty if it was asked for.
        known: what the app knows of it; None for other files.
        trust: whether it was measured on people it was not trained on, and is no worse for it.
    """

    network: Callable[[np.ndarray], np.ndarray]
    crop: CropSpec
    fingerprint: str
    source: str
    threshold: float | None = None
    calibration: Calibration | None = None
    why: str = ""
    known: KnownModel | None = None
    trust: Trust = UNMEASURED

    def threshold_for(self, fmr: float | None = None, comparisons: int = 1) -> float:
        """Return the similarity at which a face is accepted, given the number of comparisons.

        That of the calibration for a false match rate (by default its own), which rises with the
        comparisons, faces times people; else the model's own; else `DEFAULT_THRESHOLD`.
        """
        if self.calibration is not None:
            return self.calibration.threshold(fmr, comparisons)
        return DEFAULT_THRESHOLD if self.threshold is None else self.threshold

    def embed_crops(self, crops_rgb: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
        """Embed face crops, each uint8 RGB from `crop.cut`.

        Returns:
            embeddings, float32, (number of crops, 512), each of unit length.

        Raises:
            ModelError: the network gave something else.
        """
        parts = [np.empty((0, EMBEDDING_SIZE), dtype=np.float32)]
        for start in range(0, len(crops_rgb), batch_size):
            batch = [self.crop.array(crop) for crop in crops_rgb[start : start + batch_size]]
            parts.append(self.network(np.stack(batch)))
        return checked(np.concatenate(parts))

    def embed(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Embed faces found in an image, uint8 RGB; returns the same as `embed_crops`."""
        return self.embed_crops([self.crop.cut(image_rgb, face) for face in faces])


def are_embeddings(rows: np.ndarray) -> bool:
    """Whether rows are embeddings: (n, 512), floating point, finite, each of unit length."""
    if rows.ndim != 2 or rows.shape[1] != EMBEDDING_SIZE or rows.dtype.kind != "f":
        return False
    if not (np.abs(rows) <= 1.001).all():  # NaN is not <= either
        return False
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    return bool((np.abs(lengths - 1) < 1e-3).all())


def checked(rows: np.ndarray) -> np.ndarray:
    """Return rows if they are embeddings (see `are_embeddings`).

    Raises:
        ModelError: they are not; whatever they were compared with, the outcome would mean nothing.
    """
    if not are_embeddings(rows):
        raise ModelError("the model gave no valid face embedding; use another model")
    return rows


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale to unit length along the last axis; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
