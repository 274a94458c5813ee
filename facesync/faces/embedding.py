"""From face crops to embeddings: a loaded model with the crop that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facesync.faces.calibration import Calibration
from facesync.faces.crops import CropSpec
from facesync.faces.detection import Face

EMBEDDING_SIZE = 512
DEFAULT_THRESHOLD = 0.6
"""Cosine similarity at which two faces count as one person where a model brings no threshold."""


@dataclass(frozen=True)
class FaceModel:
    """A network that embeds faces, and all that belongs to it.

    Attributes:
        network: from crops, float32 (N, 3, S, S) as `crop.array` makes them, to embeddings,
            float32 (N, 512) of unit length; in ONNX Runtime on a CPU, else in torch.
        crop: how faces are cut for it.
        fingerprint: names the weights and the crop; templates of one fingerprint compare.
        source: where the weights come from, in words for the user.
        threshold: cosine similarity measured for this model, or None where nobody measured it.
        calibration: thresholds by false-match rate, or None where nobody measured them.
    """

    network: Callable[[np.ndarray], np.ndarray]
    crop: CropSpec
    fingerprint: str
    source: str
    threshold: float | None = None
    calibration: Calibration | None = None

    def embed_crops(self, crops_rgb: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
        """Embed face crops (each uint8 RGB as `crop.cut` returns it).

        Returns:
            embeddings, float32, (number of crops, 512), each of unit length.
        """
        parts = [np.empty((0, EMBEDDING_SIZE), dtype=np.float32)]
        for start in range(0, len(crops_rgb), batch_size):
            batch = [self.crop.array(crop) for crop in crops_rgb[start : start + batch_size]]
            parts.append(self.network(np.stack(batch)))
        return np.concatenate(parts)

    def embed(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Embed faces found in an image (uint8 RGB); shapes as in `embed_crops`."""
        return self.embed_crops([self.crop.cut(image_rgb, face) for face in faces])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale to unit length along the last axis; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
