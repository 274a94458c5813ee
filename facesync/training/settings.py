"""The settings of `train_model.py` and `continue_training.py`, each field an option.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from facesync.errors import UsageError
from facesync.options import (
    device_option,
    option,
    override,
    positive_float,
    positive_int,
    rate,
)

VALIDATION_FRACTION = 0.2
"""Share of the images kept for validation."""

CROPS = ("five_points", "square")
"""What a dataset's images can be: see `facesync.faces.crops.CropSpec.kind`."""

MARGINS = {"softmax": 0.0, "arcface": 0.5, "cosface": 0.35, "adaface": 0.4, "triplet": 0.2}
"""Each loss and its paper's margin; see `facesync.training.heads`."""

SCALE = 64.0
"""The factor on cosines in the papers of ArcFace, CosFace and AdaFace."""

SCHEDULES = ("step", "plateau", "cosine", "constant")
AUGMENTATIONS = ("none", "basic", "strong")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SELECT = {"val_accuracy": "val_acc", "tar": "val_tar"}
"""What the best model can be selected by, and the history's column that holds it."""

TAR_FAR = 1e-3
"""The false accept rate at which TAR is measured on unseen identities."""

GROUPS = ("data", "model and loss", "training", "machine", "stopping and resuming")
"""The groups of `--help`, in order."""

_GROUPED: list[dict[str, Any]] = [{"group": group} for group in GROUPS]
DATA, MODEL, TRAINING, MACHINE, STOPPING = _GROUPED


def default_workers() -> int:
    """Loader processes by default: one per CPU, at most 4."""
    return min(4, os.cpu_count() or 1)


def _whole(text: str) -> int:
    """Argparse type: a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value


def _seed(text: str) -> int:
    """Argparse type: a seed that Python, NumPy and torch all take."""
    value = _whole(text)
    if value >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not below 2**32")
    return value


def _two_or_more(text: str) -> int:
    """Argparse type: a whole number of at least 2."""
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is not 2 or more")
    return value


def _batch_size(text: str) -> int | None:
    """Argparse type: `auto`, or at least 2: BatchNorm needs two values to normalise."""
    return None if text == "auto" else _two_or_more(text)


def _not_negative(text: str) -> float:
    """Argparse type: a finite number of at least 0."""
    return 0.0 if float(text) == 0 else positive_float(text)


def _share(text: str) -> float:
    """Argparse type: at least 0 and below 1."""
    return 0.0 if float(text) == 0 else rate(text)


def _holdout(text: str) -> float:
    """Argparse type: a share of at most a half, as `0.05` or `5%`."""
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= value <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 50%")
    return value


# Arguments of `option` for common kinds of values.
_COUNT: dict[str, Any] = {"parse": positive_int, "metavar": "N"}
_WHOLE: dict[str, Any] = {"parse": _whole, "metavar": "N"}
_POSITIVE: dict[str, Any] = {"parse": positive_float, "metavar": "F"}
_SHARE: dict[str, Any] = {"parse": _share, "metavar": "F"}
_SEED: dict[str, Any] = {"parse": _seed, "metavar": "N"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of the training itself, which both scripts have."""

    script: ClassVar[str] = ""

    epochs: int = option(1, "passes over the training images", **_COUNT, **TRAINING)
    batch_size: int | None = option(
        16,
        "images per step over all processes, at least 2; auto finds what fits on a CUDA device",
        parse=_batch_size,
        metavar="N|auto",
        **TRAINING,
    )
    accumulate: int = option(
        1, "batches whose gradients are summed into one step", **_COUNT, **TRAINING
    )
    lr: float = option(1e-4, "peak learning rate", **_POSITIVE, **TRAINING)
    backbone_lr: float | None = option(
        None,
        "peak learning rate of everything but the head",
        **_POSITIVE,
        **TRAINING,
        shown_default="--lr",
    )
    schedule: str = option(
        "step",
        "step cuts the learning rate every --lr-step epochs by --lr-gamma, plateau by --lr-factor "
        "when the validation loss stalls; cosine decays it to zero",
        choices=SCHEDULES,
        **TRAINING,
    )
    lr_step: int = option(
        3, "with step: epochs between cuts of the learning rate", **_COUNT, **TRAINING
    )
    lr_gamma: float = option(0.3, "with step: factor of each cut", **_POSITIVE, **TRAINING)
    lr_patience: int = option(
        1, "with plateau: epochs without a lower validation loss before a cut", **_WHOLE, **TRAINING
    )
    lr_factor: float = option(
        0.5, "with plateau: factor of each cut", parse=rate, metavar="F", **TRAINING
    )
    warmup_steps: int = option(
        0, "steps over which the learning rate rises from zero", **_WHOLE, **TRAINING
    )
    freeze_steps: int = option(
        0, "first steps, in which only the head is trained", **_WHOLE, **TRAINING
    )
    freeze_batchnorm: bool = option(
        False,
        "keep BatchNorm's means and variances fixed, so that small batches do not shift them and "
        "several processes need not exchange them",
        both=True,
        **TRAINING,
    )
    weight_decay: float = option(
        0.0, "AdamW's weight decay; not applied to BatchNorm or biases", **_SHARE, **TRAINING
    )
    label_smoothing: float = option(
        0.0, "share of the target that is spread evenly over all identities", **_SHARE, **TRAINING
    )
    dropout: float = option(0.6, "share of the features that dropout removes", **_SHARE, **TRAINING)
    ema: float = option(
        0.0,
        "decay of a running average of the weights; the average is then evaluated and saved as the "
        "model; 0 turns it off",
        **_SHARE,
        **TRAINING,
    )
    clip_norm: float = option(
        0.0,
        "scale gradients down to at most this norm; 0 turns it off",
        parse=_not_negative,
        metavar="F",
        **TRAINING,
    )
    augment: str = option(
        "basic",
        "basic mirrors; strong also rotates, crops, recolours, blurs, compresses and occludes",
        choices=AUGMENTATIONS,
        **TRAINING,
    )
    select: str = option(
        "val_accuracy",
        "what to select the best model by; tar needs --holdout-identities",
        choices=tuple(SELECT),
        **TRAINING,
    )
    patience: int = option(
        0,
        "stop after this many epochs without a better model; 0 turns it off",
        **_WHOLE,
        **TRAINING,
    )
    precision: str = option(
        "fp32",
        "number format; auto uses bf16 or fp16 if the device is faster with it",
        choices=PRECISIONS,
        **MACHINE,
    )
    compile: bool = option(False, "compile the network with torch.compile", **MACHINE)
    sync_batchnorm: bool = option(
        False, "share BatchNorm statistics among all processes (torchrun, CUDA only)", **MACHINE
    )
    checkpoint_activations: bool = option(
        False, "recompute activations instead of keeping them: less memory, more time", **MACHINE
    )
    workers: int = option(
        factory=default_workers,
        shown_default="one per CPU, at most 4",
        help="processes that decode images; 0 decodes in the main process",
        **_WHOLE,
        **MACHINE,
    )
    device: str = device_option("machine")
    resume: bool = option(
        False,
        "resume the run in the output folder exactly where it stopped, or start one if there is "
        "none; give the same options as before",
        **STOPPING,
        kept=False,
    )
    save_every: int = option(
        1000, "batches between two checkpoints within an epoch", **_COUNT, **STOPPING
    )
    keep: int = option(1, "number of checkpoints to keep", **_COUNT, **STOPPING)
    tensorboard: bool = option(
        False, "also write a TensorBoard log (pip install tensorboard)", **STOPPING
    )


RESUMABLE = {
    "resume", "overwrite", "offline", "data", "output", "model", "weights", "compile", "workers",
    "device", "save_every", "keep", "tensorboard", "checkpoint_activations",
}  # fmt: skip
"""Settings that may change when a run is resumed; all others determine its result."""

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
"""What `train_model.py --preset` sets; docs/training.md compares them."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Recipe):
    """The settings of `train_model.py`.

    The defaults give three epochs at 1e-4, then 3e-5, where continue_training.py carries on.
    """

    script: ClassVar[str] = "train"

    data: Path = option(
        help="folder of identity folders, or a RecordIO pack (its folder or .rec file)",
        metavar="DIR|PACK",
        **DATA,
    )
    output: Path = option(
        Path("models"), "folder for the model, the history and the plot", metavar="DIR", **DATA
    )
    overwrite: bool = option(False, "replace the model in the output folder", **DATA, kept=False)
    min_images: int = option(5, "leave out identities with fewer images", **_COUNT, **DATA)
    max_images: int = option(100, "use at most this many images of an identity", **_COUNT, **DATA)
    holdout_identities: float = option(
        0.0,
        "share of the identities to hold out from training, to measure how well the model tells "
        "unseen identities apart (TAR at a false accept rate of 1e-3)",
        parse=_holdout,
        metavar="5%",
        **DATA,
    )
    crop: str = option(
        CROPS[0],
        "how the images are cropped: aligned on five points, as in CASIA-WebFace, or as upright "
        "squares around the face; the app crops faces the same way",
        choices=CROPS,
        **DATA,
    )
    seed: int = option(
        42, "seed of the split, the shuffling, the augmentation and the new layers", **_SEED, **DATA
    )
    preset: str = option(
        "paper",
        "paper is the recipe of the original system, best is ours (see docs/training.md); other "
        "options override the preset",
        choices=tuple(PRESETS),
        **MODEL,
    )
    weights: str = option(
        "vggface2",
        "the weights to start from; none trains from scratch",
        metavar="vggface2|none|FILE",
        **MODEL,
    )
    offline: bool = option(False, "make no network connection: do not download weights", **MODEL)
    loss: str = option("softmax", "the loss", choices=tuple(MARGINS), **MODEL)
    margin: float | None = option(
        None,
        "margin of the loss",
        **_POSITIVE,
        **MODEL,
        shown_default="the paper's value: "
        + ", ".join(f"{loss} {margin}" for loss, margin in MARGINS.items() if margin),
    )
    scale: float = option(
        SCALE, "factor on the cosines of arcface, cosface and adaface", **_POSITIVE, **MODEL
    )
    imprint: bool = option(
        False,
        "initialise the weights of each class with its identity's mean feature (arXiv:1712.07136); "
        "random weights would distort the network with their first gradients",
        both=True,
        **MODEL,
    )
    pictures_per_identity: int = option(
        4,
        "with --loss triplet: images of each identity in a batch",
        parse=_two_or_more,
        metavar="N",
        **MODEL,
    )


@dataclass(frozen=True, kw_only=True)
class ContinueSettings(Recipe):
    """The settings of `continue_training.py`; the loss and its margin are the model's."""

    script: ClassVar[str] = "continue"

    model: Path = option(
        help="the checkpoint to continue from, such as models/best_face_model.pth",
        metavar="FILE",
        **DATA,
    )
    data: Path = override(TrainSettings, "data", MISSING)
    output: Path | None = option(
        None,
        "folder for the model, the history and the plot",
        metavar="DIR",
        **DATA,
        shown_default="the model's folder",
    )
    lr: float = override(Recipe, "lr", 3e-5)
    schedule: str = override(Recipe, "schedule", "plateau")
    augment: str = override(Recipe, "augment", "strong")
    seed: int | None = option(
        None, "seed of the split and the augmentation", **_SEED, **DATA, shown_default="the model's"
    )
    min_images: int | None = option(
        None,
        "leave out identities with fewer images",
        **_COUNT,
        **DATA,
        shown_default="the model's",
    )
    max_images: int | None = option(
        None,
        "use at most this many images of an identity",
        **_COUNT,
        **DATA,
        shown_default="the model's",
    )


def check(effective: Mapping[str, Any], device: str, processes: int) -> None:
    """Check that settings go together, before anything is opened.

    Args:
        effective: all settings of a run, by name.
        device: `cpu` or `cuda`.
        processes: how many train together.

    Raises:
        UsageError: they do not.
    """
    if effective["select"] == "tar" and not effective["holdout_identities"]:
        raise UsageError("--select tar needs --holdout-identities, for example 5%")
    if effective["freeze_steps"] and effective["loss"] == "triplet":
        raise UsageError("--freeze-steps trains only class weights, and --loss triplet has none")
    if effective["sync_batchnorm"] and device == "cpu":
        raise UsageError("--sync-batchnorm needs CUDA devices; leave it out on the CPU")
    if effective["batch_size"] is not None:
        check_batch_size(effective, processes)
    elif device == "cpu":
        raise UsageError(
            "--batch-size auto needs a CUDA device; on the CPU give a number, such as 16"
        )
    if effective["tensorboard"]:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise UsageError("--tensorboard needs: pip install tensorboard") from error


def check_batch_size(effective: Mapping[str, Any], processes: int) -> None:
    """Check a batch size, given or found, against the loss and the number of processes.

    Raises:
        UsageError: the processes cannot share such batches.
    """
    batch_size, group = effective["batch_size"], effective["pictures_per_identity"]
    if effective["loss"] == "triplet" and batch_size % (group * processes):
        raise UsageError(
            f"--loss triplet needs a --batch-size that is a multiple of {group * processes}: "
            f"whole groups of {group} images for each process"
        )
    if batch_size < 2 * processes:
        raise UsageError(
            f"--batch-size {batch_size} gives {processes} processes fewer than two images each; "
            f"use at least {2 * processes}"
        )
