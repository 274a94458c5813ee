"""The command lines of the training scripts; their defaults are those of the settings.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from facesync.options import positive_float, positive_int, rate
from facesync.training.settings import (
    AUGMENTATIONS,
    CROPS,
    MARGINS,
    PRECISIONS,
    PRESETS,
    SCHEDULES,
    SELECT,
    ContinueSettings,
    Recipe,
    TrainSettings,
    default_workers,
)

GIVEN_ONLY = argparse.SUPPRESS
"""An option that is not given is not in the result, so that a preset can say what it is."""


def train_settings(parser: argparse.ArgumentParser, argv: Any = None) -> TrainSettings:
    """Parse a command line: the defaults, over them the preset, over that what was given."""
    given = vars(parser.parse_args(argv))
    preset = PRESETS[given.get("preset", TrainSettings.preset)]
    return TrainSettings(**{**preset, **given})


def continue_settings(parser: argparse.ArgumentParser, argv: Any = None) -> ContinueSettings:
    """Parse a command line."""
    return ContinueSettings(**vars(parser.parse_args(argv)))


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of `TrainSettings`."""
    group = _groups(parser, TrainSettings)
    add = group("data")
    _add_data(add)
    add("--output", type=Path, metavar="DIR", help="folder for the model, the history and the plot")
    add("--overwrite", action="store_true", help="replace the model that --output holds")
    add(
        "--min-images",
        type=positive_int,
        metavar="N",
        help="leave out identities with fewer images",
    )
    add(
        "--max-images",
        type=positive_int,
        metavar="N",
        help="take at most so many images of an identity",
    )
    add(
        "--holdout-identities",
        type=_holdout,
        metavar="5%",
        help="share of the identities that are never trained on: they measure how well strangers "
        "are told apart (TAR at a false-accept rate of 1e-3)",
    )
    add(
        "--crop",
        choices=CROPS,
        help="what the images are: faces aligned on five points, as CASIA-WebFace's, or upright "
        "squares around the face; the app crops faces the same way",
    )
    add("--seed", type=_seed, metavar="N", help="of the split, the shuffling and the augmentation")
    add = group("model and loss")
    add(
        "--preset",
        choices=PRESETS,
        help="paper is the recipe of the system that this one implements, best is ours: see "
        "docs/recipes.md; other options win over both",
    )
    add(
        "--weights",
        metavar="vggface2|none|FILE",
        help="what to start from; none trains from scratch",
    )
    add("--offline", action="store_true", help="open no socket: download no weights")
    add("--loss", choices=MARGINS, help="what is learnt by")
    add(
        "--margin",
        type=positive_float,
        metavar="F",
        no_default=True,
        help="of the loss (default: its paper's: "
        + ", ".join(f"{loss} {margin}" for loss, margin in MARGINS.items() if margin)
        + ")",
    )
    add(
        "--scale",
        type=positive_float,
        metavar="F",
        help="of the cosines of arcface, cosface and adaface",
    )
    add(
        "--imprint",
        action=argparse.BooleanOptionalAction,
        help="start from each identity's mean feature as its class weights, instead of random ones "
        "that first pull the network out of shape",
    )
    add(
        "--pictures-per-identity",
        type=_pair,
        metavar="N",
        help="of each identity in a batch, with --loss triplet",
    )
    _add_training(group)
    _add_machine(group)


def add_continue_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of `ContinueSettings`."""
    group = _groups(parser, ContinueSettings)
    add = group("data and model")
    add(
        "--model",
        type=Path,
        required=True,
        metavar="FILE",
        help="the checkpoint to go on from, say models/best_face_model.pth",
    )
    _add_data(add)
    add(
        "--output",
        type=Path,
        metavar="DIR",
        no_default=True,
        help="folder for the model, the history and the plot (default: the model's folder)",
    )
    for name, what in (
        ("--min-images", "leave out identities with fewer images"),
        ("--max-images", "take at most so many images of an identity"),
    ):
        add(
            name,
            type=positive_int,
            metavar="N",
            no_default=True,
            help=f"{what} (default: as the model was trained)",
        )
    add(
        "--seed",
        type=_seed,
        metavar="N",
        no_default=True,
        help="of the split and the augmentation (default: as the model was trained)",
    )
    _add_training(group)
    _add_machine(group)


def _groups(parser: argparse.ArgumentParser, settings: type[Recipe]) -> Any:
    """Return a function that starts a group; it returns what adds an option to it.

    Defaults stand in the help; the settings themselves apply them.
    """
    defaults = {
        field.name: field.default for field in fields(settings) if field.name != "workers"
    } | {"workers": default_workers()}

    def start(title: str) -> Any:
        group = parser.add_argument_group(title)

        def add(name: str, *, no_default: bool = False, **options: Any) -> None:
            if not (no_default or options.get("required") or "action" in options):
                default = defaults[name.removeprefix("--").replace("-", "_")]
                options["help"] += f" (default: {default})"
            group.add_argument(name, default=GIVEN_ONLY, **options)

        return add

    return start


def _add_data(add: Any) -> None:
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DIR|PACK",
        help="folder of identity folders, or a RecordIO pack (its folder or .rec file)",
    )


def _add_training(group: Any) -> None:
    add = group("training")
    add(
        "--epochs",
        type=positive_int,
        metavar="N",
        help="times the training images are gone through",
    )
    add(
        "--batch-size",
        type=_batch_size,
        metavar="N|auto",
        help="images a step, over all processes, at least 2; auto finds what fits",
    )
    add(
        "--accumulate",
        type=positive_int,
        metavar="N",
        help="batches whose gradients are added up to one step",
    )
    add("--lr", type=positive_float, metavar="F", help="highest learning rate")
    add(
        "--backbone-lr",
        type=positive_float,
        metavar="F",
        no_default=True,
        help="highest learning rate of all but the head (default: --lr)",
    )
    add(
        "--schedule",
        choices=SCHEDULES,
        help="step cuts the rates every --lr-step epochs by --lr-gamma, plateau by --lr-factor "
        "where the validation loss stalls; cosine lets them fall to nothing",
    )
    add(
        "--lr-step",
        type=positive_int,
        metavar="N",
        help="epochs between two cuts of the learning rate, with step",
    )
    add(
        "--lr-gamma",
        type=positive_float,
        metavar="F",
        help="what each of them multiplies the rate by",
    )
    add(
        "--lr-patience",
        type=_whole,
        metavar="N",
        help="epochs without a lower validation loss before the rate is cut, with plateau",
    )
    add(
        "--lr-factor",
        type=rate,
        metavar="F",
        help="what each of these cuts multiplies the rate by",
    )
    add(
        "--warmup-steps",
        type=_whole,
        metavar="N",
        help="steps in which the rates rise from nothing",
    )
    add("--freeze-steps", type=_whole, metavar="N", help="steps in which the head alone is trained")
    add(
        "--freeze-batchnorm",
        action=argparse.BooleanOptionalAction,
        help="BatchNorm keeps the means and variances that it starts with: small batches do not "
        "move them, and several processes need not exchange them",
    )
    add("--weight-decay", type=_share, metavar="F", help="AdamW's; spares BatchNorm and biases")
    add(
        "--label-smoothing",
        type=_share,
        metavar="F",
        help="share of the target that is spread over all identities",
    )
    add("--dropout", type=_share, metavar="F", help="share of the features dropped in training")
    add(
        "--ema",
        type=_share,
        metavar="F",
        help="decay of the running average of the weights, which is measured and saved in their "
        "place; 0 keeps none",
    )
    add(
        "--clip-norm",
        type=_not_negative,
        metavar="F",
        help="longest gradient that is used whole; 0 clips none",
    )
    add(
        "--augment",
        choices=AUGMENTATIONS,
        help="basic mirrors; strong also turns, cuts, recolours, blurs, compresses and covers",
    )
    add(
        "--select",
        choices=SELECT,
        help="what the best model is chosen by; tar needs --holdout-identities",
    )
    add(
        "--patience",
        type=_whole,
        metavar="N",
        help="end after so many epochs without a better model; 0 never does",
    )


def _add_machine(group: Any) -> None:
    add = group("machine")
    add(
        "--precision", choices=PRECISIONS, help="auto takes the short format the machine is fast in"
    )
    add("--compile", action="store_true", help="translate the network with torch.compile first")
    add(
        "--sync-batchnorm",
        action="store_true",
        help="BatchNorm over the batches of all processes together (torchrun)",
    )
    add(
        "--checkpoint-activations",
        action="store_true",
        help="compute activations again instead of keeping them: less memory, more time",
    )
    add(
        "--workers",
        type=_whole,
        metavar="N",
        help="processes that decode images; 0 decodes in the main process",
    )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="where to compute; auto takes CUDA when there is one",
    )
    add = group("stopping and going on")
    add(
        "--resume",
        action="store_true",
        help="go on with the run in the output folder where it was stopped or killed; the same as "
        "if it had not been. Give the same options; without such a run, one is started",
    )
    add(
        "--save-every",
        type=positive_int,
        metavar="N",
        help="batches between two checkpoints within an epoch",
    )
    add("--keep", type=positive_int, metavar="N", help="how many of them are kept")
    add(
        "--tensorboard",
        action="store_true",
        help="write a log for TensorBoard too (pip install tensorboard)",
    )


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


def _pair(text: str) -> int:
    """Argparse type: at least 2."""
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is not 2 or more")
    return value


def _batch_size(text: str) -> int | None:
    """Argparse type: `auto`, or at least 2, for BatchNorm needs two values to normalise."""
    return None if text == "auto" else _pair(text)


def _not_negative(text: str) -> float:
    """Argparse type: a finite number of at least 0."""
    return 0.0 if float(text) == 0 else positive_float(text)


def _share(text: str) -> float:
    """Argparse type: at least 0 and below 1."""
    return 0.0 if float(text) == 0 else rate(text)


def _holdout(text: str) -> float:
    """Argparse type: a share below a half, as `0.05` or `5%`."""
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= value <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 50%")
    return value
