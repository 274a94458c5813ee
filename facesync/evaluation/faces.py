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
        self._found: dict[bytes, np.ndarray] = {}  # where nothing is kept on disk

    def known_empty(self, key: bytes) -> bool:
        """Whether an image of this content id is known to show no face."""
        found = self._known(key)
        return found is not None and bool(np.isnan(found[0]))

    def face(self, image_rgb: np.ndarray, key: bytes) -> Face | None:
        """Return the main face of an image with this content id, detected or from the cache."""
        found = self._known(key)
        if found is None:
            faces = self._detector.detect(image_rgb)
            found = _pack(main_face(faces, image_rgb)) if faces else _NO_FACE
            if self._cache:
                self._cache.add([key], found)
            else:
                self._found[key] = found
        return _unpack(found)

    def _known(self, key: bytes) -> np.ndarray | None:
        if self._cache is None:
            return self._found.get(key)
        places = self._cache.find([key])
        return self._cache.take(places)[0] if places[0] >= 0 else None

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
