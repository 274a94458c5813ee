"""The main face of each image, found once: cached on disk by the content of the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facesync.evaluation.cache import VectorCache
from facesync.faces.detection import Detector, Face, main_face

_NUMBERS = 15  # box, landmarks, probability
_NO_FACE = np.full(_NUMBERS, np.nan, dtype=np.float32)


class CachedFaces:
    """Finds the main face of images.

    Args:
        detector: finds all faces.
        cache: folder of all caches; None: nothing is kept on disk.
        label: names the detector's settings: faces are cached by it.
    """

    def __init__(self, detector: Detector, cache: Path | None, label: str) -> None:
        self._detector = detector
        self._cache = VectorCache(cache / f"faces-{label}", _NUMBERS) if cache else None
        self._found = dict(self._cache.stored()) if self._cache else {}

    def known_empty(self, key: str) -> bool:
        """Whether an image of this content id is known to show no face."""
        return key in self._found and bool(np.isnan(self._found[key][0]))

    def face(self, image_rgb: np.ndarray, key: str) -> Face | None:
        """Return the main face of an image with this content id, detected or from the cache."""
        if key not in self._found:
            faces = self._detector.detect(image_rgb)
            self._found[key] = _pack(main_face(faces, image_rgb)) if faces else _NO_FACE
            if self._cache:
                self._cache.add(key, self._found[key])
        return _unpack(self._found[key])

    def flush(self) -> None:
        """Write what is new.

        Raises:
            FileError: it cannot be written.
        """
        if self._cache:
            self._cache.flush()


def _pack(face: Face) -> np.ndarray:
    return np.array([*face.box_xyxy, *face.landmarks.reshape(-1), face.probability], np.float32)


def _unpack(numbers: np.ndarray) -> Face | None:
    if np.isnan(numbers[0]):
        return None
    return Face(numbers[:4], numbers[4:14].reshape(5, 2), float(numbers[14]))
