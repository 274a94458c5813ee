"""The settings of `train_model.py` and `continue_training.py`, each field an option.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from facesync.errors import UsageError
from facesync.options import (
    device_option,
    option,
    override,
    positive_float,
    positive_int,
    rate,
    seed,
    whole,
)

T = TypeVar("T")

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
SELECT = ("auto", "val_accuracy", "tar")

TAR_FAR = 1e-3
"""The false accept rate at which TAR is measured on unseen identities."""

TEACHER_WEIGHT = 20.0

HOLDOUT_SHARE = 0.05
HOLDOUT_LEAST, HOLDOUT_MOST = 10, 500
"""How many identities are held out if nothing else is said: this share, but so many."""

GROUPS = ("data", "model and loss", "training", "machine", "stopping and resuming")
"""The groups of `--help`, in order."""

_data, _model, _training, _machine, _stopping = (partial(option, group=name) for name in GROUPS)


def default_workers() -> int:
    """Loader processes by default: one per CPU, at most 4."""
    return min(4, os.cpu_count() or 1)


def _number(
    kind: Callable[[str], T], accepts: Callable[[T], bool], expected: str
) -> Callable[[str], T]:
    """Make an argparse type: a number that is accepted, or else a line on what was expected."""

    def number(text: str) -> T:
        value = kind(text)
        if not accepts(value):
            raise argparse.ArgumentTypeError(f"{text} is not {expected}")
        return value

    return number


_two_or_more = _number(int, lambda value: value >= 2, "2 or more")
_not_negative = _number(float, lambda value: 0 <= value < math.inf, "0 or more")
_share = _number(float, lambda value: 0 <= value < 1, "0 or more, and below 1")
_holdout = _number(
    lambda text: float(text[:-1]) / 100 if text.endswith("%") else float(text),
    lambda value: 0 <= value <= 0.5,
    "between 0 and 50%",
)


def _batch_size(text: str) -> int | None:
    """Argparse type: `auto`, or at least 2: BatchNorm needs two values to normalise."""
    return None if text == "auto" else _two_or_more(text)


# What `option` is told about the values of a setting.
_COUNT: dict[str, Any] = {"parse": positive_int, "metavar": "N"}
_WHOLE: dict[str, Any] = {"parse": whole, "metavar": "N"}
_POSITIVE: dict[str, Any] = {"parse": positive_float, "metavar": "F"}
_SHARE: dict[str, Any] = {"parse": _share, "metavar": "F"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of the training itself, which both scripts have."""

    script: ClassVar[str] = ""

    epochs: int = _training(1, "passes over the training images", **_COUNT)
    batch_size: int | None = _training(
        16,
        "images per step over all processes, at least 2; auto finds what fits on a CUDA device",
        parse=_batch_size,
        metavar="N|auto",
    )
    accumulate: int = _training(1, "batches whose gradients are summed into one step", **_COUNT)
    lr: float = _training(1e-3, "peak learning rate", **_POSITIVE)
    backbone_lr: float | None = _training(
        3e-5, "peak learning rate of everything but the head", **_POSITIVE
    )
    schedule: str = _training(
        "cosine",
        "step cuts the learning rate every --lr-step epochs by --lr-gamma, plateau by --lr-factor "
        "when the validation loss stalls; cosine decays it to zero",
        choices=SCHEDULES,
    )
    lr_step: int = _training(3, "with step: epochs between cuts of the learning rate", **_COUNT)
    lr_gamma: float = _training(0.3, "with step: factor of each cut", **_POSITIVE)
    lr_patience: int = _training(
        1, "with plateau: epochs without a lower validation loss before a cut", **_WHOLE
    )
    lr_factor: float = _training(0.5, "with plateau: factor of each cut", parse=rate, metavar="F")
    warmup_steps: int = _training(
        50, "steps over which the learning rate rises from zero", **_WHOLE
    )
    freeze_steps: int = _training(0, "first steps, in which only the head is trained", **_WHOLE)
    freeze_batchnorm: bool = _training(
        True,
        "keep BatchNorm's means and variances fixed, so that small batches do not shift them and "
        "several processes need not exchange them",
        both=True,
        shown_default="on",
    )
    weight_decay: float = _training(
        5e-4, "AdamW's weight decay; not applied to BatchNorm or biases", **_SHARE
    )
    label_smoothing: float = _training(
        0.0, "share of the target that is spread evenly over all identities", **_SHARE
    )
    dropout: float = _training(0.6, "share of the features that dropout removes", **_SHARE)
    ema: float = _training(
        0.98,
        "decay of a running average of the weights; the average is then evaluated and saved as the "
        "model; 0 turns it off",
        **_SHARE,
    )
    clip_norm: float = _training(
        5.0,
        "scale gradients down to at most this norm; 0 turns it off",
        parse=_not_negative,
        metavar="F",
    )
    augment: str = _training(
        "strong",
        "basic mirrors; strong also rotates, crops, recolours, blurs, compresses and occludes",
        choices=AUGMENTATIONS,
    )
    select: str = _training(
        "auto",
        "what to select the best model by: tar, that on the identities held out, or val_accuracy; "
        "auto takes tar if any are held out",
        choices=SELECT,
    )
    teacher: str = _training(
        "none",
        "a better model, whose similarities between the images of a batch the new model is to "
        "keep: edgeface-xs, vggface2 or a file",
        metavar="MODEL",
    )
    teacher_weight: float = _training(
        TEACHER_WEIGHT, "with --teacher: weight of these similarities in the loss", **_POSITIVE
    )
    patience: int = _training(
        0, "stop after this many epochs without a better model; 0 turns it off", **_WHOLE
    )
    precision: str = _machine(
        "auto",
        "number format; auto uses bf16 or fp16 if the device is faster with it",
        choices=PRECISIONS,
    )
    compile: bool = _machine(False, "compile the network with torch.compile")
    sync_batchnorm: bool = _machine(
        False, "share BatchNorm statistics among all processes (torchrun, CUDA only)"
    )
    checkpoint_activations: bool = _machine(
        False, "recompute activations instead of keeping them: less memory, more time"
    )
    workers: int = _machine(
        factory=default_workers,
        shown_default="one per CPU, at most 4",
        help="processes that decode images; 0 decodes in the main process",
        **_WHOLE,
    )
    device: str = device_option("machine")
    offline: bool = _machine(False, "make no network connection: do not download weights")
    resume: bool = _stopping(
        False,
        (
            "resume the run in the output folder exactly where it stopped, or start one if "
            "there is none; give the same options as before"
        ),
        kept=False,
    )
    save_every: int = _stopping(1000, "batches between two checkpoints within an epoch", **_COUNT)
    keep: int = _stopping(1, "number of checkpoints to keep", **_COUNT)
    tensorboard: bool = _stopping(False, "also write a TensorBoard log (pip install tensorboard)")


RESUMABLE = {
    "resume", "overwrite", "estimate", "offline", "data", "output", "model", "weights", "compile",
    "workers", "device", "save_every", "keep", "tensorboard", "checkpoint_activations",
}  # fmt: skip
"""Settings that may change when a run is resumed; all others determine its result."""

SPLIT_SETTINGS = ("seed", "min_images", "max_images", "holdout_identities")
"""Settings that decide which images are trained on."""

PAPER: dict[str, Any] = {
    "loss": "softmax",
    "scale": SCALE,
    "lr": 1e-4,
    "backbone_lr": None,
    "schedule": "step",
    "warmup_steps": 0,
    "imprint": False,
    "freeze_batchnorm": False,
    "weight_decay": 0.0,
    "ema": 0.0,
    "clip_norm": 0.0,
    "augment": "basic",
    "precision": "fp32",
    "holdout_identities": 0.0,
    "select": "val_accuracy",
}
"""Batches of 16, Adam at 1e-4 with steps, cross-entropy: the recipe of the original system."""

PRESETS: dict[str, dict[str, Any]] = {"paper": PAPER, "best": {}}
"""What `train_model.py --preset` sets: best is the defaults; docs/training.md compares them."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Recipe):
    """The settings of `train_model.py`."""

    script: ClassVar[str] = "train"

    data: Path = _data(
        help="folder of identity folders, or a RecordIO pack (its folder or .rec file)",
        metavar="DIR|PACK",
    )
    output: Path = _data(
        Path("models"), "folder for the model, the history and the plot", metavar="DIR"
    )
    overwrite: bool = _data(False, "replace the model in the output folder", kept=False)
    min_images: int = _data(5, "leave out identities with fewer images", **_COUNT)
    max_images: int = _data(100, "use at most this many images of an identity", **_COUNT)
    holdout_identities: float | None = _data(
        None,
        "share of the identities to hold out from training, to measure how well the model tells "
        "unseen identities apart (TAR at a false accept rate of 1e-3)",
        parse=_holdout,
        metavar="5%",
        shown_default=f"{HOLDOUT_SHARE:.0%} of them, from {HOLDOUT_LEAST} to {HOLDOUT_MOST}; none "
        f"of fewer than {2 * HOLDOUT_LEAST}",
    )
    crop: str = _data(
        CROPS[0],
        "how the images are cropped: aligned on five points, as in CASIA-WebFace, or as upright "
        "squares around the face; the app crops faces the same way",
        choices=CROPS,
    )
    estimate: bool = _machine(
        False,
        "only time some batches, say how long this training would take here (without --teacher), "
        "and end; no model is written or replaced",
        kept=False,
    )
    seed: int = _data(
        42,
        "seed of the split, the shuffling, the augmentation and the new layers",
        parse=seed,
        metavar="N",
    )
    preset: str = _model(
        "best",
        "best is the defaults shown here, paper the recipe of the original system (see "
        "docs/training.md); other options override the preset",
        choices=tuple(PRESETS),
    )
    weights: str = _model(
        "vggface2",
        "the weights to start from; none trains from scratch",
        metavar="vggface2|none|FILE",
    )
    loss: str = _model("cosface", "the loss", choices=tuple(MARGINS))
    margin: float | None = _model(
        None,
        "margin of the loss",
        **_POSITIVE,
        shown_default="its paper's: "
        + ", ".join(f"{loss} {margin}" for loss, margin in MARGINS.items() if margin),
    )
    scale: float = _model(
        32.0, "factor on the cosines of arcface, cosface and adaface", **_POSITIVE
    )
    imprint: bool = _model(
        True,
        "initialise the weights of each class with its identity's mean feature (arXiv:1712.07136); "
        "random weights would distort the network with their first gradients",
        both=True,
        shown_default="on",
    )
    pictures_per_identity: int = _model(
        4,
        "with --loss triplet: images of each identity in a batch",
        parse=_two_or_more,
        metavar="N",
    )

    def for_its_weights(self) -> TrainSettings:
        """Return the settings without what `best` protects known weights with, if there are none.

        Random weights have no statistics worth keeping, and nothing that a high rate could harm.
        """
        if self.weights != "none" or self.preset != "best":
            return self
        rate = None if self.backbone_lr == TrainSettings.backbone_lr else self.backbone_lr
        return replace(self, freeze_batchnorm=False, backbone_lr=rate)


_MODELS_OWN: dict[str, Any] = {"shown_default": "the model's"}


@dataclass(frozen=True, kw_only=True)
class ContinueSettings(Recipe):
    """The settings of `continue_training.py`; the loss and its margin are the model's.

    What is None is the model's too, once it is read.
    """

    script: ClassVar[str] = "continue"

    model: Path = _data(
        help="the checkpoint to continue from, such as models/best_face_model.pth", metavar="FILE"
    )
    data: Path = override(TrainSettings, "data", MISSING)
    output: Path | None = override(
        TrainSettings,
        "output",
        None,
        shown_default="the model's folder",
    )
    lr: float = override(Recipe, "lr", 3e-5)
    backbone_lr: float | None = override(Recipe, "backbone_lr", None, shown_default="--lr")
    schedule: str = override(Recipe, "schedule", "plateau")
    warmup_steps: int = override(Recipe, "warmup_steps", 0)
    precision: str = override(Recipe, "precision", "fp32")
    freeze_batchnorm: bool = override(Recipe, "freeze_batchnorm", None, **_MODELS_OWN)
    weight_decay: float = override(Recipe, "weight_decay", None, **_MODELS_OWN)
    ema: float = override(Recipe, "ema", None, **_MODELS_OWN)
    clip_norm: float = override(Recipe, "clip_norm", None, **_MODELS_OWN)
    teacher: str = override(Recipe, "teacher", None, **_MODELS_OWN)
    teacher_weight: float = override(Recipe, "teacher_weight", None, **_MODELS_OWN)
    seed: int | None = override(
        TrainSettings,
        "seed",
        None,
        help="seed of the split and the augmentation",
        **_MODELS_OWN,
    )
    min_images: int | None = override(TrainSettings, "min_images", None, **_MODELS_OWN)
    max_images: int | None = override(TrainSettings, "max_images", None, **_MODELS_OWN)


def check(effective: Mapping[str, Any], device: str, processes: int) -> None:
    """Check that settings go together, before anything is opened.

    Args:
        effective: all settings of a run, by name.
        device: `cpu` or `cuda`.
        processes: how many train together.

    Raises:
        UsageError: they do not.
    """
    if effective["select"] == "tar" and effective["holdout_identities"] == 0:
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
