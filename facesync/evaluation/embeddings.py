"""From images to embeddings as the app makes them, each step cached on disk.

Whole photographs are searched for their main face and cut as the model wants; ready crops are
taken as they are. What was found (`detections`) does not depend on the model and is kept apart
from the embeddings, which belong to one model and crop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facesync.data.progress import Progress
from facesync.errors import DataError, FileError, ImageError
from facesync.evaluation.cache import VectorCache, content_id
from facesync.evaluation.images import ImageRef
from facesync.faces.detection import Detector, Face, FaceDetector, main_face
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel
from facesync.images import read_image_rgb

log = logging.getLogger(__name__)

_BATCH = 16
_FACE_NUMBERS = 15  # box, landmarks, probability
_NO_FACE = np.full(_FACE_NUMBERS, np.nan, dtype=np.float32)

Change = Callable[[np.ndarray, str], np.ndarray]
"""Changes an image before anything else sees it: (image_rgb, its content id) -> image_rgb."""

Cut = Callable[[np.ndarray, Face], "np.ndarray | None"]
"""Cuts a face: (image_rgb, face) -> crop_rgb, or None where that cannot be done."""


@dataclass
class Embedded:
    """Embeddings of images, in their order.

    Attributes:
        vectors: float32 (images, 512), unit length; rows of NaN where there is none.
        failures: (name, reason) of each image without an embedding.
        computed: how many were computed in this run; the others came from the cache.
        seconds: time this run took.
    """

    vectors: np.ndarray
    failures: list[tuple[str, str]] = field(default_factory=list)
    computed: int = 0
    seconds: float = 0.0

    @property
    def enrolled(self) -> np.ndarray:
        """Bool (images,): which of them have an embedding."""
        return ~np.isnan(self.vectors[:, 0])


class Embedder:
    """Embeds images with one model, by way of the cache.

    Args:
        model: what embeds.
        detector: finds the face in whole photographs; None where images are ready crops.
        cache: folder of all caches.
        detection_label: names the detector and what `change` does: faces found are cached by it.
        label: names what `change` and `cut` do differently: embeddings are cached by both.
        change: see `Change`.
        cut: see `Cut`; as the model's crop says when None.
    """

    def __init__(
        self,
        model: FaceModel,
        detector: Detector | None,
        cache: Path,
        *,
        detection_label: str = "mtcnn",
        label: str = "plain",
        change: Change | None = None,
        cut: Cut | None = None,
    ) -> None:
        self._model = model
        self._detector = detector
        self._change = change
        self._cut = cut or model.crop.cut
        kind = "crops" if detector is None else detection_label
        self._faces = VectorCache(cache / f"faces-{detection_label}", _FACE_NUMBERS)
        self._embeddings = VectorCache(
            cache / f"embeddings-{model.fingerprint}-{kind}-{label}", EMBEDDING_SIZE
        )

    def embed(self, images: Sequence[ImageRef], description: str = "Embedding") -> Embedded:
        """Embed images; those that cannot be read or show no face are failures.

        Raises:
            FileError: the cache cannot be written.
        """
        started = time.monotonic()
        done = Embedded(np.full((len(images), EMBEDDING_SIZE), np.nan, dtype=np.float32))
        waiting: list[tuple[int, str, np.ndarray]] = []
        try:
            # miniters: after many images from the cache, tqdm would wait for as many more.
            with Progress(total=len(images), unit=" images", desc=description, miniters=1) as bar:
                for index, image in enumerate(images):
                    bar.update()
                    try:
                        data = image.read()
                        key = content_id(data)
                        vector = self._embeddings.get(key)
                        if vector is None:
                            crop = self._crop(data, key)
                    except (ImageError, FileError, DataError) as error:
                        done.failures.append((image.name, str(error)))
                        continue
                    if vector is not None:
                        done.vectors[index] = vector
                    elif crop is None:
                        done.failures.append((image.name, "no face found"))
                    else:
                        waiting.append((index, key, crop))
                        if len(waiting) == _BATCH:
                            self._finish(waiting, done)
                self._finish(waiting, done)
        finally:
            self._faces.flush()
            self._embeddings.flush()
        done.seconds = time.monotonic() - started
        return done

    def crop(self, image: ImageRef) -> np.ndarray | None:
        """Return what the model sees of an image, uint8 RGB; None where no face is found.

        Raises:
            ImageError, FileError, DataError: it cannot be read.
        """
        data = image.read()
        return self._crop(data, content_id(data))

    def face(self, image_rgb: np.ndarray, key: str) -> Face | None:
        """Find the main face in an image, by way of the cache.

        Args:
            image_rgb: the image, changed already where it is to be.
            key: its content id.
        """
        if self._detector is None:
            return None
        numbers = self._faces.get(key)
        if numbers is None:
            faces = self._detector.detect(image_rgb)
            numbers = _pack(main_face(faces, image_rgb)) if faces else _NO_FACE
            self._faces.add(key, numbers)
        return _unpack(numbers)

    def _decode(self, data: bytes, key: str) -> np.ndarray:
        image_rgb = read_image_rgb(data)
        return image_rgb if self._change is None else self._change(image_rgb, key)

    def _crop(self, data: bytes, key: str) -> np.ndarray | None:
        if self._detector is None:
            return self._decode(data, key)
        known = self._faces.get(key)
        if known is not None and np.isnan(known[0]):
            return None  # without decoding it again
        image_rgb = self._decode(data, key)
        face = self.face(image_rgb, key)
        return None if face is None else self._cut(image_rgb, face)

    def _finish(self, waiting: list[tuple[int, str, np.ndarray]], done: Embedded) -> None:
        """Embed the crops that wait."""
        crops = [crop for _, _, crop in waiting]
        vectors = self._model.embed_crops(crops, _BATCH)
        for (index, key, _), vector in zip(waiting, vectors, strict=True):
            done.vectors[index] = vector
            self._embeddings.add(key, vector)
        done.computed += len(waiting)
        waiting.clear()


def detector_label(detector: FaceDetector) -> str:
    """Name a detector's settings, for the cache."""
    return f"mtcnn-{detector.min_face}-{detector.max_side}-{detector.min_probability}"


def _pack(face: Face) -> np.ndarray:
    return np.concatenate([face.box_xyxy, face.landmarks.reshape(-1), [face.probability]])


def _unpack(numbers: np.ndarray) -> Face | None:
    if np.isnan(numbers[0]):
        return None
    return Face(numbers[:4], numbers[4:14].reshape(5, 2), float(numbers[14]))
