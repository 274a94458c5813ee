"""From a dataset to batches: the split, the order, the seeds, the worker processes."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from facesync.data.datasets import FaceDataset, split_fingerprint, split_indices
from facesync.errors import DataError, ImageError
from facesync.faces.crops import CropSpec
from facesync.metrics.pairs import MAX_IMAGES
from facesync.processes import Ranks
from facesync.training.augment import draws
from facesync.training.settings import (
    HOLDOUT_LEAST,
    HOLDOUT_MOST,
    HOLDOUT_SHARE,
    VALIDATION_FRACTION,
)
from facesync.training.transforms import sized
from facesync.training.workers import Loader

Key = tuple[int, int]
"""An image of an epoch: its index in the dataset, and the epoch."""

Sample = tuple[torch.Tensor, int, np.ndarray, int] | str


class Batch(NamedTuple):
    """What a step is trained on.

    Attributes:
        images: uint8, (N, 3, S, S), RGB.
        labels: int64, (N,).
        draws: float32, (N, DRAWS), the random numbers of each image's augmentation.
        undecodable: a line for each image that could not be decoded and so is not in `images`.
        indices: int64, (N,), of the images in the dataset; empty where they are from elsewhere.
    """

    images: torch.Tensor
    labels: torch.Tensor
    draws: torch.Tensor
    undecodable: list[str]
    indices: torch.Tensor = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class SplitData:
    """A dataset and which of its images are trained on.

    Attributes:
        faces: the dataset.
        labels: the class of each image; for held-out identities, a number beyond all classes.
        label_map: identity to class.
        train: indices of the images that are trained on.
        validation: indices of the images that are only evaluated.
        holdout: indices of images of the held-out identities, which are never trained on; of each
            identity the first, so that all can be compared with each other.
        seed: seed of the split.
        holdout_share: share of the identities that is held out.
    """

    faces: FaceDataset
    labels: list[int]
    label_map: dict[str, int]
    train: list[int]
    validation: list[int]
    holdout: list[int]
    seed: int
    holdout_share: float

    def split(self) -> dict[str, int | float | str]:
        """Return what a checkpoint stores of the split, to recognise it later."""
        return {
            "seed": self.seed,
            "validation_fraction": VALIDATION_FRACTION,
            "holdout_identities": self.holdout_share,
            "fingerprint": split_fingerprint(self.faces.names, self.seed, VALIDATION_FRACTION),
            "pictures": len(self.faces.names),
        }


def load_split(
    data: Path, seed: int, min_images: int, max_images: int, holdout_identities: float | None = 0.0
) -> SplitData:
    """Open a dataset and split it 80/20 by its images' names and the seed.

    See `FaceDataset` and `split_indices`. Of `holdout_identities`, at least two identities are held
    out, or none; None leaves it to `default_holdout`.

    Raises:
        DataError: it cannot be read, or is too small to train on.
    """
    faces = FaceDataset(data, min_images=min_images, max_images=max_images)
    if len(faces.label_map) < 2:
        raise DataError(
            f"{data} has one identity with at least {min_images} images, "
            f"{faces.class_names[0]!r}; training needs two or more (see --min-images)"
        )
    total = len(faces.class_names)
    if holdout_identities is None:
        count = default_holdout(total)
    else:
        count = max(2, round(holdout_identities * total)) if holdout_identities else 0
    trained, held_out = _hold_out(faces.class_names, seed, count)
    if len(trained) < 2:
        raise DataError(
            f"{data} has {total} identities, too few to hold some out; drop "
            "--holdout-identities or add identities"
        )
    classes = {name: number for number, name in enumerate([*trained, *held_out])}
    labels = [classes[faces.class_names[label]] for label in faces.labels]
    kept = [index for index, label in enumerate(labels) if label < len(trained)]
    train, validation = split_indices(
        [faces.names[index] for index in kept], seed, VALIDATION_FRACTION
    )
    if len(train) < 2 or not validation:
        raise DataError(
            f"{data} has {len(kept)} images, too few to train on some and validate on others; "
            "add images"
        )
    return SplitData(
        faces=faces,
        labels=labels,
        label_map={name: classes[name] for name in trained},
        train=[kept[index] for index in train],
        validation=[kept[index] for index in validation],
        holdout=_first_of_each(labels, len(trained), len(held_out)),
        seed=seed,
        holdout_share=count / total if holdout_identities is None else holdout_identities,
    )


def default_holdout(identities: int) -> int:
    """Return how many of so many identities are held out if nothing is said of it.

    A few people more or less say nothing about all others: under `HOLDOUT_LEAST` are not measured.
    """
    if identities < 2 * HOLDOUT_LEAST:
        return 0
    return min(max(round(HOLDOUT_SHARE * identities), HOLDOUT_LEAST), HOLDOUT_MOST)


def _first_of_each(labels: list[int], first_label: int, identities: int) -> list[int]:
    """Return the first images of each identity from a label on, at most `MAX_IMAGES` together."""
    most = max(2, MAX_IMAGES // max(1, identities))
    found: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        if label >= first_label:
            found[label].append(index)
    return sorted(index for of_one in found.values() for index in of_one[:most])


def _hold_out(identities: list[str], seed: int, count: int) -> tuple[list[str], list[str]]:
    """Draw the identities that are never trained on, by a hash of each name, as for images."""
    if count == 0:
        return identities, []
    lots = {
        name: hashlib.sha256(f"{seed}/identity/{name}".encode("utf-8", "surrogateescape")).digest()
        for name in identities
    }
    held_out = set(sorted(identities, key=lots.__getitem__)[:count])
    return [name for name in identities if name not in held_out], sorted(held_out)


class TrainingImages(Dataset[Sample]):
    """Images of the network's size, their classes and random numbers, by `Key`.

    An undecodable image is replaced by a line about it. The random numbers depend only on the
    seed, the epoch and the image, so a run does not depend on the number of workers or processes.
    """

    def __init__(self, data: SplitData, crop: CropSpec) -> None:
        # No more of the split than this: each worker gets a copy.
        self.faces, self.labels, self.seed = data.faces, data.labels, data.seed
        self.crop = crop

    def __getitem__(self, key: Key) -> Sample:
        index, epoch = key
        try:
            image_rgb = self.faces.image_rgb(index)
        except ImageError as error:
            return str(error)
        numbers = draws(self.seed, epoch, index)
        return sized(image_rgb, self.crop), self.labels[index], numbers, index


def mixed_seed(*entropy: int) -> int:
    """Mix whole numbers into one 64-bit seed."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


class EpochOrder(Sampler[list[Key]]):
    """The batches of an epoch for one process, in an order drawn from the seed and the epoch.

    Before each pass set `epoch`, and `first` to skip batches that are done.

    Args:
        indices: of the images.
        seed: of the order.
        batch_size: images per batch, over all processes.
        shuffle: False keeps their order.
        groups: the identity of each image in `indices`, to keep `group_size` images of each
            together; None does not.
        group_size: see `groups`.
        ranks: the processes; each gets its part of every batch.
    """

    def __init__(
        self,
        indices: Sequence[int],
        seed: int,
        batch_size: int,
        *,
        shuffle: bool,
        groups: Sequence[int] | None = None,
        group_size: int = 1,
        ranks: Ranks | None = None,
    ) -> None:
        self.indices = list(indices)
        self.seed = seed
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.groups = groups
        self.group_size = group_size
        self.ranks = ranks or Ranks()
        self.epoch = 0
        self.first = 0

    @property
    def batches(self) -> int:
        """Batches per epoch."""
        return -(-len(self.indices) // self.batch_size)

    def __len__(self) -> int:
        return self.batches - self.first

    def __iter__(self) -> Iterator[list[Key]]:
        order = self._order()
        rank, size = self.ranks.rank, self.ranks.size
        for start in range(self.first * self.batch_size, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            own = batch[rank * len(batch) // size : (rank + 1) * len(batch) // size]
            yield [(index, self.epoch) for index in own]

    def _order(self) -> list[int]:
        order = list(self.indices)
        if not self.shuffle:
            return order
        shuffled = random.Random(mixed_seed(self.seed, self.epoch))
        if self.groups is None:
            shuffled.shuffle(order)
            return order
        of_one: dict[int, list[int]] = defaultdict(list)
        for index, identity in zip(self.indices, self.groups, strict=True):
            of_one[identity].append(index)
        parts = []
        for images in of_one.values():
            shuffled.shuffle(images)
            step = self.group_size
            parts += [images[start : start + step] for start in range(0, len(images), step)]
        # Whole groups first, so that no smaller one pushes them across the edge of a batch.
        shuffled.shuffle(parts)
        parts.sort(key=lambda part: len(part) < self.group_size)
        return [index for part in parts for index in part]


def collate(samples: list[Sample]) -> Batch:
    """Make a batch of the images that could be decoded."""
    good = [sample for sample in samples if not isinstance(sample, str)]
    return Batch(
        # Colours last, as decoded: the layout that convolutions are fastest in.
        images=(
            torch.stack([image for image, *_ in good]).permute(0, 3, 1, 2)
            if good
            else torch.empty(0)
        ),
        labels=torch.tensor([label for _, label, _, _ in good], dtype=torch.int64),
        draws=torch.from_numpy(np.stack([each[2] for each in good])) if good else torch.empty(0),
        undecodable=[sample for sample in samples if isinstance(sample, str)],
        indices=torch.tensor([each[3] for each in good], dtype=torch.int64),
    )


def make_loader(
    data: SplitData, crop: CropSpec, batch_size: int, *, workers: int, device: torch.device
) -> Loader[Batch]:
    """Make the loader of images; `batches` of it takes an `EpochOrder`.

    Raises:
        DataError: the workers cannot be started, or shared memory is too small for them.
    """
    return Loader(
        TrainingImages(data, crop), batch_size * 3 * crop.input_size**2,
        workers=workers, device=device, seed=data.seed, collate=collate,
    )  # fmt: skip


def seed_everything(*entropy: int) -> None:
    """Seed Python, NumPy and torch."""
    mixed = mixed_seed(*entropy) % 2**32
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)
