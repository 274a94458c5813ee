"""Checkpoints: everything needed to use a model and to train it further.

The file is a dict of plain values and tensors, which `torch.load(weights_only=True)` opens too.
Those in the folder `checkpoints` belong to a run that is not finished: they also hold `run`,
everything that `--resume` needs to resume exactly. The older format has only `epoch`,
`model_state_dict`, `optimizer_state_dict`, `accuracy` and `num_classes`, with or without a
`label_map.pkl` beside it.
"""

from __future__ import annotations

import functools
import logging
import platform
import re
import reprlib
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from facesync.errors import FileError, ModelError
from facesync.faces.checkpoints import ARCHITECTURE, checkpoint_crop
from facesync.faces.crops import CropSpec
from facesync.faces.torch_model import State, read_checkpoint, write_checkpoint
from facesync.pickles import load_plain
from facesync.training.history import INVALID, History, share
from facesync.training.settings import MARGINS
from facesync.training.unseen import Start, checked_unseen
from facesync.version import __version__

log = logging.getLogger(__name__)

FORMAT = 2
BEST_NAME = "best_face_model.pth"
FINAL_NAME = "final_face_model.pth"
LABEL_MAP_NAME = "label_map.pkl"
RUN_FOLDER = "checkpoints"

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint, checked except for the optimizer's state.

    Attributes:
        path: the file.
        state: the network's weights, with the head's as `logits.*`.
        optimizer_state: as saved, or None.
        optimizer_names: names of the weights in the optimizer's order; None in the older format,
            which has the network's order.
        epoch: epochs completed.
        accuracy: validation accuracy of exactly these weights, or None if it was not measured.
        tar: TAR of these weights on unseen identities, or None.
        loss: the loss it was trained with.
        num_classes: outputs of the classifier.
        label_map: identity to class, or None if there is none.
        crop: what the images are.
        split: see `SplitData.split`, or None in the older format.
        settings: of the run that wrote it; empty in the older format.
        history: the epochs that led to it; empty in the older format.
        run: see `facesync.training.run.Run.state_dict`, or None.
        unseen: see `facesync.training.unseen.compared`, or None.
        start: what the weights that it began with make of unseen people, or None.
        calibration: as plain data, unchecked, or None.
    """

    path: Path
    state: State
    optimizer_state: Any
    optimizer_names: list[str] | None
    epoch: int
    accuracy: float | None
    tar: float | None
    loss: str
    num_classes: int
    label_map: dict[str, int] | None
    crop: CropSpec
    split: dict[str, Any] | None
    settings: dict[str, Any]
    history: History
    run: dict[str, Any] | None
    unseen: dict[str, Any] | None = None
    start: Start | None = None
    calibration: Any = None


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of everything that a model is made with."""
    found = {"facesync": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "facenet-pytorch", "numpy", "opencv-python", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all, with the format and the versions added.

    Args:
        path: where to.
        content: plain values and tensors; see `Checkpoint` and `facesync.training.saving`.

    Raises:
        FileError: it cannot be written.
    """
    described = {"format": FORMAT, "architecture": ARCHITECTURE, "versions": versions()}
    write_checkpoint(path, {**described, **content})


def run_checkpoints(output: Path) -> list[Path]:
    """Return the checkpoints of the unfinished run in a folder, oldest first."""
    found = {
        int(match[1]): path
        for path in (output / RUN_FOLDER).glob("batch-*.pth")
        if (match := re.fullmatch(r"batch-([0-9]+)\.pth", path.name))
    }
    return [found[number] for number in sorted(found)]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of this or the older format.

    Raises:
        ModelError: it cannot be opened, has no classifier, or holds invalid values.
    """
    data = read_checkpoint(path)
    state = {key.removeprefix("module."): value for key, value in data["model_state_dict"].items()}
    weight = state.get("logits.weight")
    if weight is None or weight.ndim != 2:
        raise ModelError(
            f"{path} has no classifier to continue training; pass it to train_model.py --weights"
        )
    try:
        checkpoint = Checkpoint(
            path=path,
            state=state,
            optimizer_state=data.get("optimizer_state_dict"),
            optimizer_names=_names(data.get("optimizer_names")),
            epoch=_whole(data, "epoch", 0),
            accuracy=_accuracy(data.get("accuracy")),
            tar=_accuracy(data.get("tar")),
            loss=_loss(data.get("loss", "softmax")),
            num_classes=_whole(data, "num_classes", len(weight)),
            label_map=_label_map(data.get("label_map")),
            crop=checkpoint_crop(data),
            split=_dict(data.get("split")),
            settings=_dict(data.get("settings")) or {},
            history=History.from_dict(data["history"]) if "history" in data else History(),
            run=_dict(data.get("run")),
            unseen=checked_unseen(data.get("unseen")),
            start=Start.from_dict(data.get("unseen_start")),
            calibration=data.get("calibration"),
        )
    except (*INVALID, KeyError, AttributeError) as error:
        raise ModelError(f"{path} holds invalid values: {error}") from error
    if checkpoint.num_classes != len(weight):
        raise ModelError(
            f"{path} says it has {checkpoint.num_classes} identities, its classifier {len(weight)}"
        )
    if checkpoint.label_map is None:
        return _with_label_map_beside(checkpoint)
    return _fitting(checkpoint, str(path))


def _with_label_map_beside(checkpoint: Checkpoint) -> Checkpoint:
    """Read `label_map.pkl` from the checkpoint's folder, where the older format has it."""
    path = checkpoint.path.with_name(LABEL_MAP_NAME)
    if not path.exists():
        return checkpoint
    try:
        label_map = _label_map(load_plain(path))
    except INVALID as error:
        raise FileError(f"{path} is not a label map: {error}") from error
    return _fitting(replace(checkpoint, label_map=label_map), str(path))


def _fitting(checkpoint: Checkpoint, source: str) -> Checkpoint:
    """Return the checkpoint if its label map has one identity for each class."""
    classes = sorted((checkpoint.label_map or {}).values())
    if classes != list(range(checkpoint.num_classes)):
        raise ModelError(
            f"the label map in {source} does not number the {checkpoint.num_classes} identities "
            f"that {checkpoint.path} was trained on"
        )
    return checkpoint


def _whole(data: dict[str, Any], key: str, default: int) -> int:
    value = data.get(key, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key} is {reprlib.repr(value)}")
    return value


def _names(value: Any) -> list[str] | None:
    if value is not None and not (isinstance(value, list) and all(type(n) is str for n in value)):
        raise TypeError(f"{reprlib.repr(value)} is not a list of names")
    return value


def _loss(value: Any) -> str:
    if value not in MARGINS:
        raise ValueError(f"its loss is {reprlib.repr(value)}")
    return str(value)


def _accuracy(value: Any) -> float | None:
    return None if value is None else share(float(value))


def _label_map(value: Any) -> dict[str, int] | None:
    if value is None:
        return None
    return {str(name): int(label) for name, label in _dict(value).items()}


def _dict(value: Any) -> Any:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{reprlib.repr(value)} is not a mapping")
    return value


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: list[str], start: Checkpoint
) -> bool:
    """Load the running averages of a saved optimizer; learning rates and options are kept.

    Args:
        optimizer: a fresh one.
        names: of its weights, in its order.
        start: whose state is loaded, by the names of the weights.

    Returns:
        Whether the saved state fitted; if not, the optimizer is as fresh as before.
    """
    fresh = optimizer.state_dict()
    try:
        # The older format has the network's order; buffers have no state.
        saved_names = start.optimizer_names or [
            name for name in start.state if not name.endswith(_BUFFERS)
        ]
        saved = {
            saved_names[number]: each for number, each in start.optimizer_state["state"].items()
        }
        places = {name: number for number, name in enumerate(names)}
        state = {places[name]: each for name, each in saved.items()}
        optimizer.load_state_dict({**fresh, "state": state})
        fits = all(_fits(parameter, values) for parameter, values in optimizer.state.items())
        fits = fits and bool(state)
    except (*INVALID, KeyError, AttributeError, IndexError):
        fits = False
    if not fits:
        optimizer.load_state_dict(fresh)
    return fits


def _fits(parameter: Any, values: Any) -> bool:
    """Tell whether Adam can use what was saved for a parameter."""
    return (
        isinstance(parameter, torch.Tensor)
        and set(values) == {"step", "exp_avg", "exp_avg_sq"}
        and 0 <= float(values["step"]) < float("inf")
        and all(
            values[name].shape == parameter.shape and bool(torch.isfinite(values[name]).all())
            for name in ("exp_avg", "exp_avg_sq")
        )
    )
