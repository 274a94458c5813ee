"""The command lines of the training scripts; their defaults are those of the settings.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facesync import cli
from facesync.training.settings import CROPS, ContinueSettings, TrainSettings, default_workers


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of `TrainSettings`."""
    default = TrainSettings
    data = parser.add_argument_group("data")
    _add_data(data)
    data.add_argument(
        "--output",
        type=Path,
        default=default.output,
        metavar="DIR",
        help="folder for the model, the history and the plot (default: %(default)s)",
    )
    data.add_argument(
        "--overwrite", action="store_true", help="replace the model that --output holds"
    )
    data.add_argument(
        "--min-images",
        type=cli.positive_int,
        default=default.min_images,
        metavar="N",
        help="leave out identities with fewer pictures (default: %(default)s)",
    )
    data.add_argument(
        "--max-images",
        type=cli.positive_int,
        default=default.max_images,
        metavar="N",
        help="take at most so many pictures of an identity (default: %(default)s)",
    )
    data.add_argument(
        "--crop",
        choices=CROPS,
        default=default.crop,
        help="what the pictures are: faces aligned on five points, as CASIA-WebFace's, or upright "
        "squares around the face; the app crops faces the same way (default: %(default)s)",
    )
    data.add_argument(
        "--seed",
        type=_seed,
        default=default.seed,
        metavar="N",
        help="of the split, the shuffling and the augmentation (default: %(default)s)",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--weights",
        default=default.weights,
        metavar="vggface2|none|FILE",
        help="what to start from; none trains from scratch (default: %(default)s)",
    )
    model.add_argument("--offline", action="store_true", help="open no socket: download no weights")
    training = parser.add_argument_group("training")
    _add_training(training, default.epochs, default.batch_size, default.lr)
    training.add_argument(
        "--lr-step",
        type=cli.positive_int,
        default=default.lr_step,
        metavar="N",
        help="epochs between two cuts of the learning rate (default: %(default)s)",
    )
    training.add_argument(
        "--lr-gamma",
        type=cli.positive_float,
        default=default.lr_gamma,
        metavar="F",
        help="what each cut multiplies the learning rate by (default: %(default)s)",
    )
    _add_machine(parser.add_argument_group("machine"))


def add_continue_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of `ContinueSettings`."""
    default = ContinueSettings
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="FILE",
        help="the checkpoint to go on from, say models/best_face_model.pth",
    )
    data = parser.add_argument_group("data")
    _add_data(data)
    data.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for the model, the history and the plot (default: the model's folder)",
    )
    for name, what in (
        ("--min-images", "leave out identities with fewer pictures"),
        ("--max-images", "take at most so many pictures of an identity"),
    ):
        data.add_argument(
            name,
            type=cli.positive_int,
            metavar="N",
            help=f"{what} (default: as the model was trained)",
        )
    data.add_argument(
        "--seed",
        type=_seed,
        metavar="N",
        help="of the split and the augmentation (default: as the model was trained)",
    )
    training = parser.add_argument_group("training")
    _add_training(training, default.epochs, default.batch_size, default.lr)
    training.add_argument(
        "--lr-patience",
        type=_whole,
        default=default.lr_patience,
        metavar="N",
        help="epochs without a lower validation loss before the learning rate is cut "
        "(default: %(default)s)",
    )
    training.add_argument(
        "--lr-factor",
        type=_below_one,
        default=default.lr_factor,
        metavar="F",
        help="what each cut multiplies the learning rate by (default: %(default)s)",
    )
    _add_machine(parser.add_argument_group("machine"))


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR|PACK",
        help="folder of identity folders, or a RecordIO pack (its folder or .rec file)",
    )


def _add_training(group: argparse._ArgumentGroup, epochs: int, batch_size: int, lr: float) -> None:
    group.add_argument(
        "--epochs",
        type=cli.positive_int,
        default=epochs,
        metavar="N",
        help="times the training pictures are gone through (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=_batch_size,
        default=batch_size,
        metavar="N",
        help="pictures a step, at least 2 (default: %(default)s)",
    )
    group.add_argument(
        "--lr",
        type=cli.positive_float,
        default=lr,
        metavar="F",
        help="Adam's learning rate (default: %(default)s)",
    )


def _add_machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workers",
        type=_whole,
        default=default_workers(),
        metavar="N",
        help="processes that decode pictures; 0 decodes in the main process "
        "(default: one a CPU, at most 4; here %(default)s)",
    )
    cli.add_device_option(group)


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


def _batch_size(text: str) -> int:
    """Argparse type: at least 2, for BatchNorm needs two values to normalise."""
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is not 2 or more")
    return value


def _below_one(text: str) -> float:
    """Argparse type: a number between 0 and 1, both left out."""
    value = cli.positive_float(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not below 1")
    return value
