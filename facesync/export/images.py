"""Face crops to calibrate an export on, and pairs of them to compare it on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.cli import count
from facesync.errors import DataError, ImageError
from facesync.evaluation.protocols import PairSet, assign_folds, read_lfw_pairs
from facesync.faces.crops import CropSpec
from facesync.faces.detection import FaceDetector, main_face
from facesync.images import images_below, read_image_rgb
from facesync.sample_images import photographs, vary

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 128
"""Images used for calibration: enough to find the ranges of the activations."""

COPIES = 20
"""Copies of each sample photograph to make pairs of, if no pairs are given."""


@dataclass(frozen=True)
class Trial:
    """Face crops, uint8 (images, side, side, 3), and pairs of them."""

    crops_rgb: np.ndarray
    pairs: PairSet

    @property
    def source(self) -> str:
        """Where they come from, for the user."""
        return f"{self.pairs.source}, {count(len(self.pairs.same), 'pair', 'pairs')}"


def calibration_crops(folder: Path | None, crop: CropSpec) -> np.ndarray:
    """Cut faces, uint8 (N, side, side, 3), from a folder's images or from sample photographs.

    Raises:
        DataError: no faces are found in the folder.
    """
    if folder is None:
        random = np.random.default_rng(1)
        photos = list(photographs().values())
        images = (vary(photos[n % len(photos)], random) for n in range(CALIBRATION_IMAGES))
        return _found(images, crop)
    paths = images_below(folder, subfolders=True)
    step = max(1, len(paths) // CALIBRATION_IMAGES)
    crops = _found(_readable(paths[::step][:CALIBRATION_IMAGES]), crop)
    if not len(crops):
        raise DataError(f"{folder} has no images with faces to calibrate on")
    return crops


def trial_of_pairs(pairs: Path, images: Path, crop: CropSpec) -> Trial:
    """Read pairs in LFW's format; pairs with an image that shows no face are left out.

    Raises:
        FileError: the list cannot be read.
        DataError: it has another format, images are missing, or too few of them show a face.
    """
    listed = read_lfw_pairs(pairs, images)
    crops = list(_cut((image.decode() for image in listed.images), crop))
    seen = np.array([cut is not None for cut in crops])
    usable = seen[listed.left] & seen[listed.right]
    if len(np.unique(listed.fold[usable])) < 2:
        raise DataError(f"{pairs}: a face was found in both images of too few pairs")
    kept = listed.subset(usable)
    by_name = {image.name: cut for image, cut in zip(listed.images, crops, strict=True)}
    found = np.stack([by_name[image.name] for image in kept.images])  # type: ignore[misc]
    return Trial(found, kept)


def trial_of_copies(crop: CropSpec) -> Trial:
    """Pair every varied copy of the sample photographs with every other."""
    random = np.random.default_rng(0)
    crops: list[np.ndarray] = []
    who: list[int] = []
    for number, photo in enumerate(photographs().values()):
        found = _found((vary(photo, random) for _ in range(COPIES)), crop)
        crops.extend(found)
        who.extend([number] * len(found))
    left, right = np.triu_indices(len(crops), 1)
    same = np.array(who)[left] == np.array(who)[right]
    source = f"varied copies of {count(who[-1] + 1, 'photograph', 'photographs')}"
    pairs = PairSet(source, [], left, right, same, assign_folds(same), folds_given=False)
    return Trial(np.stack(crops), pairs)


def _found(images: Iterable[np.ndarray], crop: CropSpec) -> np.ndarray:
    crops = [cut for cut in _cut(images, crop) if cut is not None]
    return np.stack(crops) if crops else np.empty((0, crop.crop_size, crop.crop_size, 3), np.uint8)


def _cut(images: Iterable[np.ndarray], crop: CropSpec) -> Iterator[np.ndarray | None]:
    detector = FaceDetector()
    for image_rgb in images:
        faces = detector.detect(image_rgb)
        yield crop.cut(image_rgb, main_face(faces, image_rgb)) if faces else None


def _readable(paths: Iterable[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        try:
            yield read_image_rgb(path)
        except ImageError as error:
            log.warning("%s: left out", error)
