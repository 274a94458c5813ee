"""From a data set to batches: the split, the order, the seeds, the worker processes."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from facesync.data.datasets import FaceDataset, split_fingerprint, split_indices
from facesync.errors import DataError, PictureError
from facesync.training.settings import VALIDATION_FRACTION
from facesync.training.transforms import FaceTransform

Key = tuple[int, int]
"""A picture of an epoch: its index in the data set, and the epoch."""


class Batch(NamedTuple):
    """What the loop is handed.

    Attributes:
        images: float32, (N, 3, S, S).
        labels: int64, (N,).
        undecodable: a line for each picture that could not be decoded and is not among `images`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    undecodable: list[str]


@dataclass(frozen=True)
class SplitData:
    """A data set and which of its pictures are trained on.

    Attributes:
        faces: the data set.
        labels: the class of each picture.
        label_map: identity to class.
        train: indices of the pictures that are trained on.
        validation: indices of the pictures that are only measured.
        seed: what the split was drawn with.
    """

    faces: FaceDataset
    labels: list[int]
    label_map: dict[str, int]
    train: list[int]
    validation: list[int]
    seed: int

    def split(self) -> dict[str, int | float | str]:
        """Return what a checkpoint keeps of the split, to tell later whether it is the same."""
        return {
            "seed": self.seed,
            "validation_fraction": VALIDATION_FRACTION,
            "fingerprint": split_fingerprint(self.faces.names, self.seed, VALIDATION_FRACTION),
            "pictures": len(self.faces.names),
        }


def load_split(data: Path, seed: int, min_images: int, max_images: int) -> SplitData:
    """Open a data set and split it 80/20 by its pictures' names and the seed.

    Raises:
        DataError: it cannot be read, or is too small to train on.
    """
    faces = FaceDataset(data, min_images=min_images, max_images=max_images)
    if len(faces.label_map) < 2:
        raise DataError(
            f"{data} has one identity with at least {min_images} pictures, "
            f"{faces.class_names[0]!r}; telling faces apart takes two or more (see --min-images)"
        )
    train, validation = split_indices(faces.names, seed, VALIDATION_FRACTION)
    if len(train) < 2 or not validation:
        raise DataError(
            f"{data} has {len(faces.names)} pictures, too few to train on some and measure on "
            "others; add pictures"
        )
    return SplitData(faces, faces.labels, faces.label_map, train, validation, seed)


class Pictures(Dataset[tuple[torch.Tensor, int] | str]):
    """Transformed pictures and their classes by `Key`; a line in place of an undecodable one.

    What is random in the transform is drawn from the seed, the epoch and the picture alone, so a
    run does not depend on the number of workers.
    """

    def __init__(self, data: SplitData, transform: FaceTransform) -> None:
        self.data = data
        self.transform = transform

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int] | str:
        index, epoch = key
        try:
            picture, _ = self.data.faces[index]
        except PictureError as error:
            return str(error)
        with _seeded(self.data.seed, epoch, index):
            return self.transform(picture), self.data.labels[index]


@contextmanager
def _seeded(*entropy: int) -> Iterator[None]:
    """Seed torch's CPU generator for the block and put it back afterwards."""
    before = torch.get_rng_state()
    # Not torch.manual_seed, which would seed CUDA's generators too.
    torch.default_generator.manual_seed(mixed_seed(*entropy))
    try:
        yield
    finally:
        torch.set_rng_state(before)


def mixed_seed(*entropy: int) -> int:
    """Mix whole numbers into one 64-bit seed."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


class EpochOrder(Sampler[Key]):
    """The pictures of an epoch, in an order drawn from the seed and the epoch.

    Set `epoch` before each pass.
    """

    def __init__(self, indices: Sequence[int], seed: int, *, shuffle: bool) -> None:
        self.indices = list(indices)
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Key]:
        order = list(self.indices)
        if self.shuffle:
            random.Random(mixed_seed(self.seed, self.epoch)).shuffle(order)
        return ((index, self.epoch) for index in order)


def collate(samples: list[tuple[torch.Tensor, int] | str]) -> Batch:
    """Make a batch of the pictures that could be decoded."""
    good = [sample for sample in samples if not isinstance(sample, str)]
    return Batch(
        images=torch.stack([image for image, _ in good]) if good else torch.empty(0),
        labels=torch.tensor([label for _, label in good], dtype=torch.int64),
        undecodable=[sample for sample in samples if isinstance(sample, str)],
    )


def make_loader(
    data: SplitData,
    transform: FaceTransform,
    *,
    train: bool,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> tuple[DataLoader[Batch], EpochOrder]:
    """Make the loader of the training or the validation pictures.

    Returns:
        The loader, and its order, whose `epoch` is to be set before each pass.
    """
    order = EpochOrder(data.train if train else data.validation, data.seed, shuffle=train)
    loader: DataLoader[Batch] = DataLoader(
        Pictures(data, transform),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=start_worker,
        # A generator of its own: the loader must not draw from the one that dropout draws from.
        generator=torch.Generator().manual_seed(data.seed),
        # Validation is short; its workers would idle through the training.
        persistent_workers=train and workers > 0,
    )
    return loader, order


def start_worker(worker: int) -> None:
    """Prepare a worker process: the main process alone answers Ctrl-C; one thread each."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)


def seed_everything(seed: int, epochs_done: int) -> None:
    """Seed Python, NumPy and torch; a continued training does not repeat the first one's draws."""
    mixed = mixed_seed(seed, epochs_done) % 2**32
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)
