"""From images to embeddings as the app computes them, each step cached on disk.

In whole photographs the main face is detected and cropped as the model expects; ready crops are
embedded as they are. Faces do not depend on the model and are cached apart from the embeddings,
which belong to one model and crop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facesync.data.progress import BAR_AFTER_SECONDS, Progress
from facesync.errors import DataError, FileError, ImageError
from facesync.evaluation.cache import VectorCache, content_id
from facesync.evaluation.faces import CachedFaces
from facesync.evaluation.images import ImageRef
from facesync.faces.detection import Detector, Face, FaceDetector
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel
from facesync.images import read_image_rgb

_BATCH = 32
_UNREADABLE = (ImageError, FileError, DataError)

CropFunction = Callable[[np.ndarray, Face], "np.ndarray | None"]
"""Crops a face: (image_rgb, face) -> crop_rgb, or None if that is impossible."""


@dataclass
class Embedded:
    """Embeddings of images, in their order.

    Attributes:
        vectors: float32 (images, 512), unit length; rows of NaN for failures.
        ids: content id of each image, bytes (images,): equal if the bytes are; empty if unreadable.
        failures: reason by index, for each image without an embedding.
        computed: number of images embedded in this run; the others came from the cache.
    """

    vectors: np.ndarray
    ids: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
    computed: int = 0


class Embedder:
    """Embeds images with one model and a cache.

    Args:
        model: the model.
        detector: finds the face in whole photographs; None if the images are ready crops.
        cache: folder of all caches.
        detection_label: names the detector's settings: faces are cached by it.
        label: names what `crop` does differently: embeddings are cached by both labels.
        crop: crops the face; as the model specifies if None.
    """

    def __init__(
        self,
        model: FaceModel,
        detector: Detector | None,
        cache: Path,
        *,
        detection_label: str = "mtcnn",
        label: str = "plain",
        crop: CropFunction | None = None,
    ) -> None:
        self._model = model
        self._faces = CachedFaces(detector, cache, detection_label) if detector else None
        self._crop_function = crop
        kind = "crops" if detector is None else detection_label
        self._embeddings = VectorCache(
            cache / f"embeddings-{model.fingerprint}-{kind}-{label}", EMBEDDING_SIZE
        )

    def embed(self, images: Sequence[ImageRef], description: str = "Embedding") -> Embedded:
        """Embed images; those that cannot be read or show no face are failures.

        Raises:
            FileError: the cache cannot be written.
        """
        done = Embedded(
            np.full((len(images), EMBEDDING_SIZE), np.nan, dtype=np.float32),
            np.zeros(len(images), dtype="S32"),
        )
        missing = self._identify(images, done)
        for key, vector in self._embeddings.stored():
            if key in missing:
                done.vectors[missing.pop(key)] = vector
        try:
            self._compute(images, missing, done, description)
        finally:
            if self._faces:
                self._faces.flush()
            self._embeddings.flush()
        return done

    def crop(self, image: ImageRef) -> np.ndarray | None:
        """Return what the model sees of an image, uint8 RGB; None if no face is found.

        Raises:
            ImageError, FileError, DataError: the image cannot be read.
        """
        data = image.read()
        return self._crop(data, content_id(data), image.name)

    def face(self, image_rgb: np.ndarray, key: str) -> Face | None:
        """Return the main face of an image with this content id, detected or from the cache."""
        return self._faces.face(image_rgb, key) if self._faces else None

    def decode(self, data: bytes, key: str, name: str = "") -> np.ndarray:
        """Decode an image to uint8 RGB; a study's embedder may change it here."""
        return read_image_rgb(data, name)

    def _identify(self, images: Sequence[ImageRef], done: Embedded) -> dict[str, list[int]]:
        """Fill in `done.ids`; return the indices of the readable images by content id."""
        indices: dict[str, list[int]] = {}
        for index, image in enumerate(
            Progress(images, unit=" images", desc="Reading", delay=BAR_AFTER_SECONDS)
        ):
            try:
                key = content_id(image.read())
            except _UNREADABLE as error:
                done.failures[index] = str(error)
                continue
            done.ids[index] = key
            indices.setdefault(key, []).append(index)
        return indices

    def _compute(
        self,
        images: Sequence[ImageRef],
        missing: dict[str, list[int]],
        done: Embedded,
        description: str,
    ) -> None:
        """Embed the images that the cache does not have; those of equal bytes once."""
        crops: dict[str, np.ndarray] = {}
        with Progress(
            total=len(missing), unit=" images", desc=description, disable=not missing
        ) as bar:
            for key, indices in missing.items():
                bar.update()
                try:
                    image = images[indices[0]]
                    crop = self._crop(image.read(), key, image.name)
                except _UNREADABLE as error:
                    reason = str(error).removeprefix(f"{image.name}: ")
                    done.failures.update(dict.fromkeys(indices, reason))
                    continue
                if crop is None:
                    done.failures.update(dict.fromkeys(indices, "no face found"))
                    continue
                crops[key] = crop
                if len(crops) == _BATCH:
                    self._embed_batch(crops, missing, done)
            self._embed_batch(crops, missing, done)

    def _embed_batch(
        self, crops: dict[str, np.ndarray], missing: dict[str, list[int]], done: Embedded
    ) -> None:
        vectors = self._model.embed_crops(list(crops.values()), _BATCH)
        for key, vector in zip(crops, vectors, strict=True):
            done.vectors[missing[key]] = vector
            self._embeddings.add(key, vector)
        done.computed += len(crops)
        crops.clear()

    def _crop(self, data: bytes, key: str, name: str) -> np.ndarray | None:
        if self._faces is None:
            return self.decode(data, key, name)
        if self._faces.known_empty(key):
            return None  # without decoding it
        image_rgb = self.decode(data, key, name)
        face = self.face(image_rgb, key)
        if face is None:
            return None
        return (self._crop_function or self._model.crop.cut)(image_rgb, face)


def mirrored(crop: CropFunction) -> CropFunction:
    """Mirror the crops that a function returns."""

    def mirror(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        crop_rgb = crop(image_rgb, face)
        return None if crop_rgb is None else np.ascontiguousarray(crop_rgb[:, ::-1])

    return mirror


def detector_label(detector: FaceDetector) -> str:
    """Name a detector's settings, for the cache."""
    return f"mtcnn-{detector.min_face}-{detector.max_side}-{detector.min_probability}"
