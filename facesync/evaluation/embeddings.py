"""From images to embeddings as the app computes them, each step cached on disk.

In whole photographs the main face is detected and cropped as the model expects; ready crops are
embedded as they are. Faces do not depend on the model and are cached apart from the embeddings,
which belong to one model and crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facesync.data.progress import BAR_AFTER_SECONDS, Progress
from facesync.errors import DataError, FileError, ImageError
from facesync.evaluation.cache import ID_BYTES, Rows, VectorCache, content_id
from facesync.evaluation.faces import CachedFaces
from facesync.evaluation.images import ImageRef
from facesync.faces.detection import Detector, Face, FaceDetector
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel
from facesync.images import read_image_rgb
from facesync.metrics.vectors import Vectors, blocks
from facesync.spawning import in_processes

_BATCH = 32
_LOOKED_UP = 64  # images read ahead and looked up at once
_MANY = 1000  # from so many images on, starting processes pays
_TASK_BYTES = 1 << 16  # of encoded images that a process decodes at once
_UNREADABLE = (ImageError, FileError, DataError)

CropFunction = Callable[[np.ndarray, Face], "np.ndarray | None"]
"""Crops a face: (image_rgb, face) -> crop_rgb, or None if that is impossible."""

_Encoded = tuple[bytes, str, bytes]  # content id, name and bytes of an image
_Decoded = tuple[bytes, "np.ndarray | str"]  # content id, and image_rgb or why there is none


@dataclass
class Embedded:
    """Embeddings of images, in their order.

    Attributes:
        vectors: float32 (images, 512), unit length; rows of NaN for failures. They are read from
            the cache when they are asked for.
        ids: content id of each image, bytes (images,): equal if the bytes are; empty if unreadable.
        failures: reason by index, for each image without an embedding.
        computed: number of images embedded in this run; the others came from the cache.
    """

    vectors: Vectors
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
        workers: processes that decode images, if there are many; with 1 this one does.
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
        workers: int = 1,
    ) -> None:
        self._model = model
        self._workers = workers
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
        places = np.full(len(images), -1, np.int64)
        done = Embedded(Rows(self._embeddings, places), np.zeros(len(images), dtype=f"S{ID_BYTES}"))
        waiting: dict[bytes, list[int]] = {}
        crops: dict[bytes, np.ndarray] = {}
        try:
            with Progress(
                total=len(images), unit=" images", desc=description, delay=BAR_AFTER_SECONDS
            ) as bar:
                missing = self._missing(images, done, places, waiting, bar)
                for key, found in self._decoded(missing, len(images)):
                    crop = None if isinstance(found, str) else self._crop_of(found, key)
                    if crop is None:
                        reason = found if isinstance(found, str) else "no face found"
                        done.failures.update(dict.fromkeys(waiting.pop(key), reason))
                        continue
                    crops[key] = crop
                    if len(crops) == _BATCH:
                        done.computed += self._embed_batch(crops, waiting, places)
                done.computed += self._embed_batch(crops, waiting, places)
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

    def face(self, image_rgb: np.ndarray, key: bytes) -> Face | None:
        """Return the main face of an image with this content id, detected or from the cache."""
        return self._faces.face(image_rgb, key) if self._faces else None

    def decode(self, data: bytes, key: bytes, name: str = "") -> np.ndarray:
        """Decode an image to uint8 RGB; a study's embedder may change it here."""
        return read_image_rgb(data, name)

    def _missing(
        self,
        images: Sequence[ImageRef],
        done: Embedded,
        places: np.ndarray,
        waiting: dict[bytes, list[int]],
        bar: Progress,
    ) -> Iterator[_Encoded]:
        """Read images and fill in what is known; yield the others, those of equal bytes once.

        `waiting` has the indices of those that were yielded, by content id.
        """
        for block in blocks(len(images), _LOOKED_UP):
            read: dict[int, tuple[bytes, bytes]] = {}
            for index in range(block.start, block.stop):
                bar.update()
                try:
                    data = images[index].read()
                except _UNREADABLE as error:
                    done.failures[index] = str(error)
                else:
                    read[index] = content_id(data), data
                    done.ids[index] = read[index][0]
            found = self._embeddings.find([key for key, _ in read.values()])
            for place, (index, (key, data)) in zip(found.tolist(), read.items(), strict=True):
                places[index] = place
                if place >= 0:
                    continue
                if self._faces and self._faces.known_empty(key):  # without decoding it
                    done.failures[index] = "no face found"
                elif key in waiting:
                    waiting[key].append(index)
                else:
                    waiting[key] = [index]
                    yield key, images[index].name, data

    def _decoded(self, encoded: Iterator[_Encoded], most: int) -> Iterator[_Decoded]:
        if self._workers == 1 or most < _MANY:
            yield from (_decode(image, self.decode) for image in encoded)
            return
        for part in in_processes(self._workers, _decode_all, _tasks(encoded)):
            yield from part

    def _embed_batch(
        self, crops: dict[bytes, np.ndarray], waiting: dict[bytes, list[int]], places: np.ndarray
    ) -> int:
        """Embed crops and keep the embeddings; return their number."""
        vectors = self._model.embed_crops(list(crops.values()), _BATCH)
        added = self._embeddings.add(list(crops), vectors)
        for key, place in zip(crops, added, strict=True):
            places[waiting.pop(key)] = place
        crops.clear()
        return len(added)

    def _crop(self, data: bytes, key: bytes, name: str) -> np.ndarray | None:
        if self._faces and self._faces.known_empty(key):
            return None  # without decoding it
        return self._crop_of(self.decode(data, key, name), key)

    def _crop_of(self, image_rgb: np.ndarray, key: bytes) -> np.ndarray | None:
        if self._faces is None:
            return image_rgb
        face = self.face(image_rgb, key)
        if face is None:
            return None
        return (self._crop_function or self._model.crop.cut)(image_rgb, face)


def _tasks(encoded: Iterator[_Encoded]) -> Iterator[tuple[list[_Encoded]]]:
    task: list[_Encoded] = []
    size = 0
    for image in encoded:
        task.append(image)
        size += len(image[2])
        if size >= _TASK_BYTES:
            yield (task,)
            task, size = [], 0
    if task:
        yield (task,)


def _decode_all(images: list[_Encoded]) -> list[_Decoded]:
    """Decode images in a process of its own."""
    return [_decode(image, lambda data, _, name: read_image_rgb(data, name)) for image in images]


def _decode(image: _Encoded, decode: Callable[[bytes, bytes, str], np.ndarray]) -> _Decoded:
    key, name, data = image
    try:
        return key, decode(data, key, name)
    except _UNREADABLE as error:
        return key, str(error).removeprefix(f"{name}: ")


def mirrored(crop: CropFunction) -> CropFunction:
    """Mirror the crops that a function returns."""

    def mirror(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        crop_rgb = crop(image_rgb, face)
        return None if crop_rgb is None else np.ascontiguousarray(crop_rgb[:, ::-1])

    return mirror


def detector_label(detector: FaceDetector) -> str:
    """Name a detector's settings, for the cache."""
    return f"mtcnn-{detector.min_face}-{detector.max_side}-{detector.min_probability}"
