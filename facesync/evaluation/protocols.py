"""Which pairs are compared, and in which folds: LFW's lists, InsightFace's `.bin`, random pairs.

LFW's protocol (Huang et al., 2007, "restricted"): pairs come in folds, and each fold is evaluated
at a threshold chosen on the others.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from facesync import cli
from facesync.data.datasets import FaceDataset
from facesync.errors import DataError
from facesync.evaluation.images import DatasetImages, ImageRef, file_image_ref
from facesync.files import read_text
from facesync.images import IMAGE_SUFFIXES
from facesync.metrics.vectors import Vectors, blocks
from facesync.pickles import load_plain

DEFAULT_FOLDS = 10
"""Folds of pairs whose source names none."""

MOST_GENUINE = 5_000_000
"""Genuine pairs that are drawn from a dataset."""

_MAX_IMAGES = 100


@dataclass(frozen=True)
class PairSet:
    """Pairs of images to compare.

    Attributes:
        source: where they come from, for the report.
        images: all images, each once.
        left: int (pairs,), index of each pair's first image.
        right: int (pairs,), index of its second.
        same: bool (pairs,), whether both show one person.
        fold: int (pairs,), 0 … `folds` - 1.
        folds_given: whether the source names the folds.
    """

    source: str
    images: Sequence[ImageRef]
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    folds_given: bool

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    def subset(self, kept: np.ndarray) -> PairSet:
        """Keep some pairs, bool (pairs,), and their images."""
        used, places = np.unique(
            np.concatenate([self.left[kept], self.right[kept]]), return_inverse=True
        )
        left, right = np.split(places, 2)
        return replace(
            self,
            images=[self.images[index] for index in used],
            left=left,
            right=right,
            same=self.same[kept],
            fold=self.fold[kept],
        )

    def scores(self, vectors: Vectors) -> np.ndarray:
        """Cosine similarity of each pair, float64 (pairs,); NaN if an image has no embedding."""
        found = np.empty(len(self.left))
        for part in blocks(len(found)):
            left, right = vectors[self.left[part]], vectors[self.right[part]]
            found[part] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
        return found


def read_lfw_pairs(path: Path, images: Path) -> PairSet:
    """Read a pairs list in LFW's format and find its images, `<Name>/<Name>_0001.jpg`.

    The first line has the number of folds and of pairs of each kind per fold (`10 300`), or only
    the latter for a single fold (`1100`). A fold lists its genuine pairs (`Name 1 4`), then its
    impostor pairs (`Name 1 Other 2`). A single fold is split into ten.

    Raises:
        FileError: the list cannot be read.
        DataError: it has another format, or images are missing.
    """
    lines = read_text(path).splitlines()
    rows = [line.split("\t") if "\t" in line else line.split() for line in lines if line.strip()]
    folds, count = _header_of(path, rows)
    indices: dict[str, int] = {}  # by image, in order of appearance
    left, right, same = [], [], []
    for number, row in enumerate(rows[1:]):
        genuine = number % (2 * count) < count
        if len(row) != (3 if genuine else 4):
            kind = "a genuine pair (name, number, number)" if genuine else "an impostor pair"
            raise DataError(f"{path}: line {number + 2} should be {kind}: {' '.join(row)!r:.60}")
        one, other = _image_name(row[0], row[1]), _image_name(row[0 if genuine else 2], row[-1])
        left.append(indices.setdefault(one, len(indices)))
        right.append(indices.setdefault(other, len(indices)))
        same.append(genuine)
    truth = np.array(same)
    return PairSet(
        source=f"{path.name}, {cli.count(folds, 'fold', 'folds')}",
        images=_find_images(path, images, indices),
        left=np.array(left),
        right=np.array(right),
        same=truth,
        fold=np.arange(len(truth)) // (2 * count) if folds > 1 else assign_folds(truth),
        folds_given=folds > 1,
    )


def _header_of(path: Path, rows: list[list[str]]) -> tuple[int, int]:
    """Return the number of folds, and of pairs of each kind per fold; checks the list's length."""
    try:
        numbers = [int(value) for value in rows[0]]
        folds, count = numbers if len(numbers) == 2 else (1, *numbers)
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{path} is not a pairs list: its first line should be folds and pairs, like `10 300`"
        ) from error
    if folds < 1 or count < 1 or len(rows) - 1 != 2 * folds * count:
        raise DataError(
            f"{path} announces {folds} folds of {count} + {count} pairs and has {len(rows) - 1}"
        )
    if folds == 1 and count < 2:
        raise DataError(f"{path} has one pair of each kind: too few to choose a threshold on")
    return folds, count


def _image_name(person: str, number: str) -> str:
    stem = f"{person}_{number.lstrip('0').zfill(4) if number.isdecimal() else number}"
    return f"{person}/{stem}"


def _find_images(path: Path, folder: Path, names: Iterable[str]) -> list[ImageRef]:
    """Find the images that a list names."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    # The usual suffix first: thousands of look-ups add up.
    suffixes = (".jpg", *sorted(IMAGE_SUFFIXES - {".jpg"}))
    found, missing = [], []
    for name in names:
        candidates = (folder / (name + suffix) for suffix in suffixes)
        file = next((file for file in candidates if os.path.isfile(file)), None)
        if file is None:
            missing.append(name)
        else:
            found.append(file_image_ref(file, name, name.rpartition("/")[0]))
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise DataError(
            f"{len(missing)} of the images that {path} lists {verb} not in {folder} "
            f"(the first: {missing[0]:.100})"
        )
    return found


def read_bin(path: Path) -> PairSet:
    """Read one of InsightFace's verification sets: a pickle of (images, whether pairs match).

    Images 2i and 2i + 1 are pair i; they are encoded aligned crops. Pickles of Python 2 open too;
    anything but plain data is refused. The folds are ten consecutive parts, as in InsightFace.

    Raises:
        FileError: it cannot be read, is damaged, or would run code.
        DataError: it is not a verification set.
    """
    content = load_plain(path, encoding="bytes")
    try:
        encoded, answers = content
        images = [_encoded(item) for item in encoded]
        truth = np.array([bool(answer) for answer in answers])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} is not a verification set: {error}") from error
    if len(truth) < 2 or len(images) != 2 * len(truth):
        raise DataError(f"{path}: {len(images)} images for {len(truth)} pairs")
    at = np.arange(len(truth))
    parts = np.array_split(at, min(DEFAULT_FOLDS, len(at)))
    fold = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return PairSet(
        path.name,
        [
            ImageRef(f"pair {n // 2}, image {n % 2 + 1}", lambda data=data: data.tobytes())  # type: ignore[misc]
            for n, data in enumerate(images)
        ],
        2 * at,
        2 * at + 1,
        truth,
        fold,
        False,
    )


def _encoded(item: Any) -> memoryview:
    """Check an encoded image; it is not copied, since one may stand in many places."""
    array = isinstance(item, np.ndarray) and item.dtype == np.uint8
    if not array and not isinstance(item, bytes | bytearray):
        raise TypeError(f"an image is {type(item).__name__}")
    return memoryview(item)


def draw_pairs(
    source: Path, impostors: int, seed: int, images: Sequence[ImageRef] | None = None
) -> PairSet:
    """Draw pairs from identity folders or a pack: all genuine pairs, some impostor pairs.

    Where there are more than `MOST_GENUINE`, they are those of people drawn at random.

    Args:
        source: identity folders or a pack; of each identity at most 100 images are used.
        impostors: number of impostor pairs to draw, each at most once; all if there are fewer.
        seed: of the draw and of the split into ten folds.
        images: those of the source to draw from; None for all.

    Raises:
        DataError: there are no images, no two people, or no two images of one person.
    """
    if images is None:
        images = DatasetImages(FaceDataset(source, min_images=1, max_images=_MAX_IMAGES))
    members: dict[str | None, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        members[image.identity].append(index)
    total = sum(len(group) * (len(group) - 1) // 2 for group in members.values())
    if not total or len(members) < 2:
        raise DataError(f"{source}: no two images of one person, or only one person")
    groups = list(members.values())
    if total > MOST_GENUINE:
        random.Random(seed).shuffle(groups)
    genuine = list(islice((pair for g in groups for pair in combinations(g, 2)), MOST_GENUINE))
    pairs = np.array(genuine + _draw_impostors(images, total, impostors, seed))
    truth = np.arange(len(pairs)) < len(genuine)
    order = np.random.default_rng(seed).permutation(len(pairs))
    pairs, truth = pairs[order], truth[order]
    return PairSet(
        f"pairs drawn from {source.name} with seed {seed}",
        images,
        pairs[:, 0],
        pairs[:, 1],
        truth,
        assign_folds(truth),
        False,
    )


def _draw_impostors(
    images: Sequence[ImageRef], genuine: int, wanted: int, seed: int
) -> list[tuple[int, int]]:
    total = len(images) * (len(images) - 1) // 2 - genuine
    if wanted >= total // 2:  # nearly all: random draws would repeat
        every_pair = combinations(range(len(images)), 2)
        pairs = [p for p in every_pair if images[p[0]].identity != images[p[1]].identity]
        return random.Random(seed).sample(pairs, min(wanted, total))
    generator = random.Random(seed)
    drawn: set[tuple[int, int]] = set()
    while len(drawn) < wanted:
        one, other = sorted(generator.sample(range(len(images)), 2))
        if images[one].identity != images[other].identity:
            drawn.add((one, other))
    return sorted(drawn)


def assign_folds(same: np.ndarray) -> np.ndarray:
    """Split pairs into `DEFAULT_FOLDS`, each with its share of genuine and of impostor pairs."""
    fold = np.empty(len(same), dtype=int)
    for kind in (True, False):
        members = np.flatnonzero(same == kind)
        fold[members] = np.arange(len(members)) * DEFAULT_FOLDS // max(len(members), 1)
    return np.unique(fold, return_inverse=True)[1]
