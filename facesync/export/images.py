"""Faces to calibrate an export on, and to compare it on with the original."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from facesync.cli import count
from facesync.errors import DataError, ImageError
from facesync.evaluation.protocols import PairSet, assign_folds, read_lfw_pairs
from facesync.export.original import Original
from facesync.faces.detection import FaceDetector, main_face
from facesync.images import images_below, read_image_rgb
from facesync.liveness.samples import LIVE, frames, read_samples
from facesync.metrics.attacks import attack_curve
from facesync.metrics.pairs import all_pairs
from facesync.metrics.rates import fold_accuracy
from facesync.sample_images import photographs, vary

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 128
"""Images used for calibration: enough to find the ranges of the activations."""

COPIES = 20
"""Copies of each sample photograph to compare on, if nothing else is given."""

FAR = 1e-5
"""At which TAR is measured, over all pairs of images."""

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Trial:
    """What an export is compared on.

    Attributes:
        inputs: float32, each for one face.
        source: where they come from, for the user.
        likeness: what `alike` returns, in a word.
        alike: from two models' outputs to how alike they are, at most 1, image by image.
        measure: from outputs to figures of a model.
    """

    inputs: list[np.ndarray]
    source: str
    likeness: str
    alike: Callable[[np.ndarray, np.ndarray], np.ndarray]
    measure: Callable[[np.ndarray], Figures]


def calibration_inputs(folder: Path | None, original: Original) -> list[np.ndarray]:
    """Cut faces from a folder's images or from sample photographs.

    Raises:
        DataError: no faces are found in the folder.
    """
    if folder is None:
        random = np.random.default_rng(1)
        photos = list(photographs().values())
        images = (vary(photos[n % len(photos)], random) for n in range(CALIBRATION_IMAGES))
        return _found(images, original)
    paths = images_below(folder, subfolders=True)
    step = max(1, len(paths) // CALIBRATION_IMAGES)
    inputs = _found(_readable(paths[::step][:CALIBRATION_IMAGES]), original)
    if not inputs:
        raise DataError(f"{folder} has no images with faces to calibrate on")
    return inputs


def trial_of_pairs(pairs: Path, images: Path, original: Original) -> Trial:
    """Read pairs in LFW's format; pairs with an image that shows no face are left out.

    Raises:
        FileError: the list cannot be read.
        DataError: it has another format, images are missing, or too few of them show a face.
    """
    listed = read_lfw_pairs(pairs, images)
    inputs = list(_cut((image.decode() for image in listed.images), original))
    seen = np.array([given is not None for given in inputs])
    usable = seen[listed.left] & seen[listed.right]
    if len(np.unique(listed.fold[usable])) < 2:
        raise DataError(f"{pairs}: a face was found in both images of too few pairs")
    kept = listed.subset(usable)
    by_name = {image.name: given for image, given in zip(listed.images, inputs, strict=True)}
    found = [by_name[image.name] for image in kept.images]
    people = [str(image.identity) for image in kept.images]
    return _trial_of_faces(found, kept, people)  # type: ignore[arg-type]


def trial_of_copies(original: Original) -> Trial:
    """Pair every varied copy of the sample photographs with every other; all of them are live."""
    random = np.random.default_rng(0)
    inputs: list[np.ndarray] = []
    who: list[int] = []
    for number, photo in enumerate(photographs().values()):
        found = _found((vary(photo, random) for _ in range(COPIES)), original)
        inputs.extend(found)
        who.extend([number] * len(found))
    source = f"varied copies of {count(who[-1] + 1, 'photograph', 'photographs')}"
    if original.threshold is not None:
        return _trial_of_liveness(inputs, source, [LIVE] * len(inputs), original.threshold)
    left, right = np.triu_indices(len(inputs), 1)
    same = np.array(who)[left] == np.array(who)[right]
    pairs = PairSet(source, [], left, right, same, assign_folds(same), folds_given=False)
    return _trial_of_faces(inputs, pairs, [str(number) for number in who])


def trial_of_samples(folder: Path, original: Original) -> Trial:
    """Read live faces and attacks, in folders by kind; of each video one frame.

    Raises:
        DataError: the folders are not there, or no faces are found.
        ImageError: a folder cannot be read.
    """
    assert original.threshold is not None
    samples = {sample.video: sample for sample in read_samples(folder)}.values()
    images = (next(frames(sample)) for sample in samples)
    cut = zip(_cut(images, original), samples, strict=True)
    found = [(given, sample.kind) for given, sample in cut if given is not None]
    if not found:
        raise DataError(f"{folder} has no images with faces to compare on")
    inputs, kinds = zip(*found, strict=True)
    source = f"{folder.name}, {count(len(inputs), 'video', 'videos')}"
    return _trial_of_liveness(list(inputs), source, kinds, original.threshold)


def _trial_of_faces(inputs: list[np.ndarray], pairs: PairSet, people: Sequence[str]) -> Trial:
    return Trial(
        inputs,
        f"{pairs.source}, {count(len(pairs.same), 'pair', 'pairs')}",
        "cosine",
        partial(np.einsum, "ij,ij->i"),
        partial(_recognition, pairs, people),
    )


def _recognition(pairs: PairSet, people: Sequence[str], embeddings: np.ndarray) -> Figures:
    """Return accuracy, mean over the folds, and TAR; None unless there are pairs of both kinds."""
    if pairs.same.all() or not pairs.same.any():
        return {"accuracy": None, "tar": None}
    accuracy = fold_accuracy(pairs.scores(embeddings), pairs.same, pairs.fold).mean
    return {"accuracy": accuracy, "tar": all_pairs(embeddings, people).roc().tar_at(FAR)}


def _trial_of_liveness(
    inputs: list[np.ndarray], source: str, kinds: Sequence[str], threshold: float
) -> Trial:
    live = np.array([kind == LIVE for kind in kinds])
    return Trial(inputs, source, "score", _same_scores, partial(_liveness, live, threshold))


def _same_scores(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    alike: np.ndarray = 1 - np.abs(ours[:, 0] - theirs[:, 0])
    return alike


def _liveness(live: np.ndarray, threshold: float, chances: np.ndarray) -> Figures:
    """Return the share of right decisions, and AUC: None unless there are attacks."""
    scores = chances[:, 0]
    accuracy = float(((scores >= threshold) == live).mean())
    auc = None if live.all() else attack_curve(scores[live], scores[~live]).auc
    return {"accuracy": accuracy, "auc": auc}


def _found(images: Iterable[np.ndarray], original: Original) -> list[np.ndarray]:
    return [given for given in _cut(images, original) if given is not None]


def _cut(images: Iterable[np.ndarray], original: Original) -> Iterator[np.ndarray | None]:
    detector = FaceDetector()
    for image_rgb in images:
        faces = detector.detect(image_rgb)
        yield original.cut(image_rgb, main_face(faces, image_rgb)) if faces else None


def _readable(paths: Iterable[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        try:
            yield read_image_rgb(path)
        except ImageError as error:
            log.warning("%s: left out", error)
