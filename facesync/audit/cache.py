"""The embeddings of a whole set in one array, and on disk so that no run computes them twice.

An image is known by its content, so a renamed image, or the pack instead of the folder, costs
nothing. The files (`.npz`, opened without pickles) hold some hundred embeddings each and appear
whole: an interrupted run loses what came after the last one.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facesync.data.datasets import FaceDataset
from facesync.data.progress import BAR_AFTER_SECONDS, Progress
from facesync.errors import ImageError
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel
from facesync.files import replacing
from facesync.images import read_image_rgb

logger = logging.getLogger(__name__)

# What np.load has been seen to raise; TypeError: the file is a single array, no archive.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)

_PER_FILE = 512
_BATCH = 32


@dataclass
class SetEmbeddings:
    """The embeddings of a set, in its order.

    Attributes:
        vectors: float32 (images, 512), unit length; zeros where an image cannot be decoded.
        ids: (images,), what names each image's content: equal where the bytes are.
        undecodable: why, for the index of each image that cannot be decoded.
        computed: how many were computed in this run.
    """

    vectors: np.ndarray
    ids: np.ndarray
    undecodable: dict[int, str] = field(default_factory=dict)
    computed: int = 0


def embed_set(dataset: FaceDataset, model: FaceModel, folder: Path) -> SetEmbeddings:
    """Embed all images of a set as training sees them: as they are, without a detector.

    Args:
        dataset: the set.
        model: what embeds.
        folder: the cache; each model has its own folder in it.

    Raises:
        FileError: the cache cannot be written.
    """
    ids = np.zeros(len(dataset), dtype="S32")
    done = SetEmbeddings(np.zeros((len(dataset), EMBEDDING_SIZE), dtype=np.float32), ids)
    for index in Progress(
        range(len(dataset)), unit=" images", desc="Reading", delay=BAR_AFTER_SECONDS
    ):
        try:
            ids[index] = _content_id(dataset.encoded(index))
        except ImageError as error:
            done.undecodable[index] = str(error)
    different, first, same_as = np.unique(ids, return_index=True, return_inverse=True)
    files = _Files(folder / model.fingerprint)
    known = files.load(different, first, done.vectors)
    missing = np.setdiff1d(first[~known], list(done.undecodable))
    _embed(dataset, missing, model, files, done)
    # Equal bytes were embedded once.
    copies = np.flatnonzero(first[same_as] != np.arange(len(ids)))
    done.vectors[copies] = done.vectors[first[same_as[copies]]]
    for copy in copies.tolist():
        original = int(first[same_as[copy]])
        if original in done.undecodable:
            done.undecodable.setdefault(copy, done.undecodable[original])
    return done


def _content_id(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:32].encode()


def _embed(
    dataset: FaceDataset, missing: np.ndarray, model: FaceModel, files: _Files, done: SetEmbeddings
) -> None:
    """Embed the images of these indices into `done`, and save them."""
    unsaved: list[int] = []
    try:
        with Progress(
            total=len(missing), unit=" images", desc="Embedding", disable=not len(missing)
        ) as bar:
            for start in range(0, len(missing), _BATCH):
                indices, crops = [], []
                for index in missing[start : start + _BATCH].tolist():
                    try:
                        crops.append(read_image_rgb(dataset.encoded(index)))
                        indices.append(index)
                    except ImageError as error:
                        done.undecodable[index] = str(error).removeprefix("the image: ")
                done.vectors[indices] = model.embed_crops(crops, _BATCH)
                done.computed += len(indices)
                unsaved += indices
                if len(unsaved) >= _PER_FILE:
                    files.save(done.ids[unsaved], done.vectors[unsaved])
                    unsaved = []
                bar.update(min(_BATCH, len(missing) - start))
    finally:
        if unsaved:
            files.save(done.ids[unsaved], done.vectors[unsaved])


class _Files:
    """The files of one model's embeddings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, ids: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Fill in what is there; one file at a time is in memory.

        Args:
            ids: ascending, none twice.
            rows: the row of each in `vectors`.
            vectors: to fill.

        Returns:
            Bool, as `ids`: whether it was there.
        """
        known = np.zeros(len(ids), dtype=bool)
        for path in sorted(self._folder.glob("*.npz")):
            try:
                # Opened here: NumPy leaves a damaged file open.
                with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                    own, values = stored["ids"], stored["vectors"]
                if own.dtype != ids.dtype or values.shape != (len(own), vectors.shape[1]):
                    raise ValueError("other shapes")
            except _DAMAGE as error:
                logger.warning("%s is damaged and made again (%s)", path, error)
                continue
            place = np.searchsorted(ids, own)
            place[place == len(ids)] = 0
            ours = ids[place] == own
            vectors[rows[place[ours]]] = values[ours]
            known[place[ours]] = True
        return known

    def save(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Write some embeddings; named by what they are of, so a name never means two things."""
        name = hashlib.sha256(ids.tobytes()).hexdigest()[:16]
        with replacing(self._folder / f"{name}.npz") as file:
            np.savez(file, ids=ids, vectors=vectors)
