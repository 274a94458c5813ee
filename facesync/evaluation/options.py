"""The command line of an evaluation; imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

import argparse
from pathlib import Path

from facesync import options
from facesync.errors import UsageError
from facesync.evaluation.settings import EvaluateSettings


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate_model.py`."""
    parser.add_argument(
        "--model", required=True, metavar="embedded|vggface2|FILE", help="what is evaluated"
    )
    parser.add_argument(
        "--report", required=True, type=Path, metavar="DIR", help="folder for the report"
    )
    what = parser.add_argument_group("what it is evaluated on (one of the three)")
    what.add_argument("--pairs", type=Path, metavar="FILE", help="LFW's pairs.txt; needs --images")
    what.add_argument("--images", type=Path, metavar="DIR", help="the images it lists")
    what.add_argument(
        "--bin", type=Path, nargs="+", default=(), metavar="FILE", help="InsightFace's .bin sets"
    )
    what.add_argument(
        "--data", type=Path, metavar="DIR|FILE", help="identity folders or a pack: pairs are drawn"
    )
    what.add_argument(
        "--impostors",
        type=options.positive_int,
        metavar="N",
        default=EvaluateSettings.impostors,
        help="impostor pairs to draw from --data (default: %(default)s)",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--crops", action="store_true", help="images are ready crops: look for no face in them"
    )
    how.add_argument(
        "--mirror", action="store_true", help="embed the mean of each face and its mirror image"
    )
    how.add_argument(
        "--cache", type=Path, metavar="DIR", help="where embeddings are kept (default: in --report)"
    )
    how.add_argument(
        "--seed",
        type=int,
        default=EvaluateSettings.seed,
        help="of every draw (default: %(default)s)",
    )
    options.add_device_option(how)
    how.add_argument("--offline", action="store_true", help="open no connection")
    more = parser.add_argument_group("what else it does")
    more.add_argument(
        "--conditions",
        action="store_true",
        help="measure again with images made dark, blurred, turned and so on, each with the "
        "app's remedies",
    )
    more.add_argument(
        "--condition-pairs",
        type=options.positive_int,
        metavar="N",
        default=EvaluateSettings.condition_pairs,
        help="pairs of each kind for --conditions (default: %(default)s)",
    )
    more.add_argument(
        "--by-group",
        type=Path,
        metavar="FILE",
        help="CSV with an image (its name in the report) and a group in each line: error rates "
        "by group",
    )
    more.add_argument(
        "--calibrate",
        type=options.rate,
        metavar="FMR",
        help="measure thresholds and write them into the model's file (beside it, for exported "
        "and shipped models); report the threshold for this false-match rate, such as 1e-3",
    )


def settings_from(args: argparse.Namespace) -> EvaluateSettings:
    """Make settings of what was typed.

    Raises:
        UsageError: options that do not go together.
    """
    values = {**vars(args), "bin": tuple(args.bin)}
    settings = EvaluateSettings(**values)
    if sum(map(bool, (settings.pairs, settings.bin, settings.data))) != 1:
        raise UsageError("give one of --pairs (with --images), --bin and --data")
    if bool(settings.pairs) != bool(settings.images):
        raise UsageError("--pairs and --images go together")
    for name in ("conditions", "by_group", "calibrate"):
        if settings.bin and getattr(settings, name):
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} needs to know who is on each image; a .bin does not say")
    if settings.calibrate and settings.mirror:
        raise UsageError("--calibrate measures what the app does, which is without --mirror")
    if settings.conditions and settings.crops:
        raise UsageError("--conditions needs whole photographs, not --crops")
    return settings
