"""What the training scripts can be told: one frozen dataclass each.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

VALIDATION_FRACTION = 0.2
"""Share of the pictures that is kept for validation."""

CROPS = ("five_points", "square")
"""What the pictures of a data set can be: see `facesync.faces.crops.CropSpec.kind`."""


def default_workers() -> int:
    """Loader processes when nobody says how many: one a CPU, at most 4."""
    return min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class TrainSettings:
    """What `train_model.py` can be told; the defaults are the recipe of the README.

    Attributes:
        data: a folder of identity folders, or a RecordIO pack (its folder or .rec file).
        output: folder for the model, the history and the plot.
        epochs: times the training pictures are gone through.
        batch_size: pictures a step, at least 2.
        lr: Adam's learning rate.
        lr_step: epochs after which the learning rate is multiplied by `lr_gamma`. The defaults
            give three epochs of 1e-4, then 3e-5, which is where continue_training.py goes on.
        lr_gamma: see `lr_step`.
        workers: processes that decode pictures; 0 decodes in the main process.
        device: `auto`, `cpu` or `cuda`.
        seed: of the split, the shuffling, the augmentation and the new layers.
        min_images: identities with fewer pictures are left out.
        max_images: of an identity with more pictures, the first so many are taken.
        weights: `vggface2`, `none`, or a file.
        crop: what the pictures are, one of `CROPS`; saved with the model, served the same way.
        offline: open no socket.
        overwrite: replace the model in `output`.
    """

    data: Path
    output: Path = Path("models")
    epochs: int = 1
    batch_size: int = 16
    lr: float = 1e-4
    lr_step: int = 3
    lr_gamma: float = 0.3
    workers: int = field(default_factory=default_workers)
    device: str = "auto"
    seed: int = 42
    min_images: int = 5
    max_images: int = 100
    weights: str = "vggface2"
    crop: str = CROPS[0]
    offline: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class ContinueSettings:
    """What `continue_training.py` can be told.

    Attributes:
        model: the checkpoint to go on from.
        data: the data it was trained on; see `TrainSettings.data`.
        output: folder for the model, the history and the plot; None is the model's own.
        epochs: further times the training pictures are gone through.
        batch_size: pictures a step, at least 2.
        lr: Adam's learning rate, whatever the checkpoint ended with.
        lr_patience: epochs without a lower validation loss that are put up with before the
            learning rate is multiplied by `lr_factor`.
        lr_factor: see `lr_patience`.
        workers: processes that decode pictures; 0 decodes in the main process.
        device: `auto`, `cpu` or `cuda`.
        seed: None is the checkpoint's, so that the split stays as it was.
        min_images: None is the checkpoint's.
        max_images: None is the checkpoint's.
    """

    model: Path
    data: Path
    output: Path | None = None
    epochs: int = 1
    batch_size: int = 16
    lr: float = 3e-5
    lr_patience: int = 1
    lr_factor: float = 0.5
    workers: int = field(default_factory=default_workers)
    device: str = "auto"
    seed: int | None = None
    min_images: int | None = None
    max_images: int | None = None
