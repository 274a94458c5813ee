"""Whether a model's decisions may be trusted: it was measured on people it was not trained on.

Training on few people makes a model worse, and validation images of the same people do not show it.
So training measures the model on people held out, beside the weights that it started from, and
enters both figures in the checkpoint as `unseen`. A model is trusted if it is a known one, whose
card has its figures, or if it is not worse than a known one that it started from. This guards
against training that failed, not against a file from somebody else, who can write any figures.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facesync.cli import count, one_line
from facesync.errors import ModelError
from facesync.faces.models import KNOWN, KnownModel
from facesync.faces.onnx_files import read_description
from facesync.faces.torch_files import read_torch_file

ENTRY = "unseen"
"""Where a checkpoint, and the JSON beside an ONNX file, have these figures."""

LEAST_PEOPLE = 10
"""Figures of fewer people say nothing."""

MOST_NOISE = 0.1
"""A larger drop of TAR is not put down to chance, however wide the interval of the difference."""

HIGHEST_FAR = 0.01
"""A TAR at a higher rate says nothing."""


@dataclass(frozen=True)
class Trust:
    """Whether a model is trusted, and why or why not, in words."""

    trusted: bool
    why: str


UNMEASURED = Trust(False, "nobody measured it on people it was not trained on")


def of_known(model: KnownModel) -> Trust:
    """Judge a known model: its card says on whom it was measured."""
    measured_on = model.card().get("open_set_on")
    return Trust(True, f"measured on {measured_on}") if measured_on else UNMEASURED


def of_file(path: Path) -> Trust:
    """Judge a model by its file, of which only the figures are read.

    One that cannot be read is not trusted.
    """
    try:
        if path.suffix == ".onnx":
            return judged(read_description(path).get(ENTRY), path)
        found = path.stat()
        return _of_checkpoint(path, found.st_ino, found.st_mtime_ns)
    except OSError as error:
        return Trust(False, f"cannot read {path}: {error.strerror}")
    except ModelError as error:
        return Trust(False, str(error))


@functools.cache
def _of_checkpoint(path: Path, _inode: int, _changed: int) -> Trust:
    data = read_torch_file(path, wanted=lambda key: key == ENTRY)
    return judged(data.get(ENTRY) if isinstance(data, dict) else None, path)


def judged(figures: Any, path: Path) -> Trust:
    """Judge a model by its figures on people it was not trained on.

    Args:
        figures: `identities`, `images`: how many; `far`; `tar`: at this rate, of the model;
            `start`: of the weights it started from; `weights`: what these were, in words; and, if
            the difference was tested, `high`: the upper end of the 95 % interval of `tar` minus
            `start`. None: there are none.
        path: the model's file, for the user.

    Raises:
        ModelError: they are damaged.
    """
    if figures is None:
        return UNMEASURED
    if not _sound(figures):
        raise ModelError(
            f"{path} is damaged: its figures for people it was not trained on make no sense"
        )
    people = count(figures["identities"], "person", "people")
    if figures["identities"] < LEAST_PEOPLE:
        return Trust(False, f"it was measured on only {people} it was not trained on")
    weights = one_line(figures["weights"]).partition(" (")[0]
    measured = (
        f"TAR at FAR {figures['far']:g} on {people} it was not trained on: {figures['tar']:.3f}, "
        f"{weights}: {figures['start']:.3f}"
    )
    drop = figures["start"] - figures["tar"]
    if drop > 0 and (figures.get("high", -1.0) < 0 or drop > MOST_NOISE):
        return Trust(False, f"it is worse than what it started from ({measured})")
    if weights not in [model.title for model in KNOWN.values()]:
        return Trust(False, f"nobody measured what it started from ({measured})")
    outcome = "not clearly worse" if drop > 0 else "not worse"
    return Trust(True, f"by its own figures {outcome} than what it started from ({measured})")


def _sound(figures: Any) -> bool:
    if not isinstance(figures, dict) or not isinstance(figures.get("weights"), str):
        return False
    counts = [figures.get(name) for name in ("identities", "images")]
    if not all(type(each) is int and 0 <= each < 1 << 40 for each in counts):
        return False
    shares = [figures.get(name) for name in ("far", "tar", "start")]
    numbers = [*shares, figures.get("high", 0.0)]
    if not all(isinstance(number, int | float) and type(number) is not bool for number in numbers):
        return False
    sound = all(0 <= share <= 1 for share in numbers[:3]) and -1 <= numbers[3] <= 1
    sound = sound and figures["identities"] <= figures["images"]
    return sound and 0 < figures["far"] <= HIGHEST_FAR
