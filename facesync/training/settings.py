"""What the training scripts can be told: one frozen dataclass each.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VALIDATION_FRACTION = 0.2
"""Share of the images that is kept for validation."""

CROPS = ("five_points", "square")
"""What the images of a dataset can be: see `facesync.faces.crops.CropSpec.kind`."""

MARGINS = {"softmax": 0.0, "arcface": 0.5, "cosface": 0.35, "adaface": 0.4, "triplet": 0.2}
"""Each loss and its paper's margin; see `facesync.training.heads`."""

SCALE = 64.0
"""What the papers of ArcFace, CosFace and AdaFace multiply cosines by."""

SCHEDULES = ("step", "plateau", "cosine", "constant")
AUGMENTATIONS = ("none", "basic", "strong")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SELECT = {"val_accuracy": "val_acc", "tar": "val_tar"}
"""What the best model is chosen by, and the column of the history that has it."""

TAR_FAR = 1e-3
"""The false-accept rate at which TAR is measured on identities that are never trained on."""


def default_workers() -> int:
    """Loader processes when nobody says how many: one a CPU, at most 4."""
    return min(4, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What both scripts can be told about the training itself.

    Attributes:
        epochs: times the training images are gone through.
        batch_size: images a step, over all processes, at least 2; None finds what fits.
        accumulate: batches a step of the optimizer.
        lr: the head's highest learning rate.
        backbone_lr: the network's; None is `lr`.
        schedule: `step` multiplies the rates by `lr_gamma` every `lr_step` epochs; `plateau` by
            `lr_factor` after more than `lr_patience` epochs without a lower validation loss;
            `cosine` lets them fall to nothing by the end; `constant` leaves them.
        lr_step: see `schedule`.
        lr_gamma: see `schedule`.
        lr_patience: see `schedule`.
        lr_factor: see `schedule`.
        warmup_steps: steps in which the rates rise from nothing.
        freeze_steps: steps in which the head alone is trained.
        freeze_batchnorm: BatchNorm keeps the means and variances that it starts with.
        weight_decay: AdamW's; 0 makes it Adam. Spares BatchNorm and biases.
        label_smoothing: share of the target that is spread over all identities.
        dropout: share of the features that is dropped in training.
        ema: decay of the running average of the weights, which is measured and saved in their
            place; 0 keeps none.
        clip_norm: longest gradient that is used whole; 0 clips none.
        augment: `none`, `basic` (mirrored) or `strong`.
        select: `val_accuracy` or `tar`: what the best model is chosen by.
        patience: epochs without a better model after which training ends early; 0 never does.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: the short format that the machine is fast in.
        compile: translate the network with torch.compile first.
        sync_batchnorm: BatchNorm over the batches of all processes together.
        checkpoint_activations: compute activations again instead of keeping them: less memory.
        workers: processes that decode images; 0 decodes in the main process.
        device: `auto`, `cpu` or `cuda`.
        save_every: batches between two checkpoints within an epoch.
        keep: how many of these checkpoints are kept.
        resume: go on with the run that was stopped or killed in `output`, if there is one.
        tensorboard: write a log for TensorBoard too.
    """

    epochs: int = 1
    batch_size: int | None = 16
    accumulate: int = 1
    lr: float = 1e-4
    backbone_lr: float | None = None
    schedule: str = "step"
    lr_step: int = 3
    lr_gamma: float = 0.3
    lr_patience: int = 1
    lr_factor: float = 0.5
    warmup_steps: int = 0
    freeze_steps: int = 0
    freeze_batchnorm: bool = False
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.6
    ema: float = 0.0
    clip_norm: float = 0.0
    augment: str = "basic"
    select: str = "val_accuracy"
    patience: int = 0
    precision: str = "fp32"
    compile: bool = False
    sync_batchnorm: bool = False
    checkpoint_activations: bool = False
    workers: int = field(default_factory=default_workers)
    device: str = "auto"
    save_every: int = 1000
    keep: int = 1
    resume: bool = False
    tensorboard: bool = False


RESUMABLE = {
    "resume", "overwrite", "offline", "data", "output", "model", "weights", "compile", "workers",
    "device", "save_every", "keep", "tensorboard", "checkpoint_activations",
}  # fmt: skip
"""Settings that may be others when a run goes on; all the rest decide what comes out of it."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Recipe):
    """What `train_model.py` can be told; the defaults are the recipe of the README.

    They give three epochs of 1e-4, then 3e-5, which is where continue_training.py goes on.

    Attributes:
        data: a folder of identity folders, or a RecordIO pack (its folder or .rec file).
        output: folder for the model, the history and the plot.
        preset: which of `PRESETS` the other settings started from.
        loss: one of `MARGINS`.
        margin: None is the loss's own.
        scale: of the cosines; see `facesync.training.heads.Head`.
        imprint: start from each identity's mean feature as its class weights (arXiv:1712.07136).
        pictures_per_identity: of each identity in a batch, with the triplet loss.
        holdout_identities: share of the identities that are never trained on, to measure how well
            strangers are told apart.
        seed: of the split, the shuffling, the augmentation and the new layers.
        min_images: identities with fewer images are left out.
        max_images: of an identity with more images, the first so many are taken.
        weights: `vggface2`, `none`, or a file.
        crop: what the images are, one of `CROPS`; saved with the model, served the same way.
        offline: open no socket.
        overwrite: replace the model in `output`.
    """

    data: Path
    output: Path = Path("models")
    preset: str = "paper"
    loss: str = "softmax"
    margin: float | None = None
    scale: float = SCALE
    imprint: bool = False
    pictures_per_identity: int = 4
    holdout_identities: float = 0.0
    seed: int = 42
    min_images: int = 5
    max_images: int = 100
    weights: str = "vggface2"
    crop: str = CROPS[0]
    offline: bool = False
    overwrite: bool = False


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},  # the defaults: batches of 16, Adam at 1e-4 with steps, cross-entropy
    "best": {
        "loss": "cosface",
        "scale": 32.0,
        "lr": 1e-3,
        "backbone_lr": 3e-5,
        "schedule": "cosine",
        "warmup_steps": 50,
        "imprint": True,
        "freeze_batchnorm": True,
        "weight_decay": 5e-4,
        "ema": 0.98,
        "clip_norm": 5.0,
        "augment": "strong",
        "precision": "auto",
        "holdout_identities": 0.05,
        "select": "tar",
    },
}
"""What `train_model.py --preset` sets; docs/recipes.md compares them."""


@dataclass(frozen=True, kw_only=True)
class ContinueSettings(Recipe):
    """What `continue_training.py` can be told; the loss and its margin are the model's.

    Attributes:
        model: the checkpoint to go on from.
        data: the data it was trained on; see `TrainSettings.data`.
        output: folder for the model, the history and the plot; None is the model's own.
        seed: None is the checkpoint's, so that the split stays as it was.
        min_images: None is the checkpoint's.
        max_images: None is the checkpoint's.
    """

    model: Path
    data: Path
    output: Path | None = None
    lr: float = 3e-5
    schedule: str = "plateau"
    augment: str = "strong"
    seed: int | None = None
    min_images: int | None = None
    max_images: int | None = None
