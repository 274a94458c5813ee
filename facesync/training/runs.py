"""What the two training scripts do, from their settings to a training under way."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from facesync.cli import pick_device
from facesync.errors import DataError, FileError, ModelError
from facesync.faces.crops import ALIGNED_112, SQUARE
from facesync.files import replacing
from facesync.training.batches import SplitData, load_split, seed_everything
from facesync.training.checkpoint import (
    BEST_NAME,
    FINAL_NAME,
    Checkpoint,
    load_checkpoint,
    restore_optimizer,
)
from facesync.training.fit import Run, fit
from facesync.training.history import HISTORY_NAME, History, load_history
from facesync.training.model import new_classifier, starting_state
from facesync.training.settings import ContinueSettings, TrainSettings
from facesync.training.transforms import strong_transform, train_transform

log = logging.getLogger(__name__)

CROP_SPECS = {spec.kind: spec for spec in (ALIGNED_112, SQUARE)}


def train(settings: TrainSettings) -> bool:
    """Fine-tune a face model: `train_model.py`.

    Returns:
        Whether it came to its end; False after Ctrl-C.

    Raises:
        FaceSyncError: one line on what is wrong with the settings, the data or the weights.
    """
    device = pick_device(settings.device)
    if not settings.overwrite:
        _refuse_to_replace(
            settings.output,
            "go on with continue_training.py, replace it with "
            "--overwrite, or choose another --output",
        )
    _check_writable(settings.output)
    if not settings.data.exists():  # before 107 MB of weights are downloaded for nothing
        raise DataError(f"{settings.data}: no such folder or pack")
    # The weights first: to look through a large data set takes long, to miss a file does not.
    state, source = starting_state(settings.weights, offline=settings.offline)
    if state:
        log.info("Starting from %s", source)
    else:
        log.warning(
            "WARNING: --weights none: training FROM SCRATCH. Every layer starts from random "
            "numbers; useful accuracy needs hundreds of thousands of pictures and many epochs."
        )
    data = load_split(settings.data, settings.seed, settings.min_images, settings.max_images)
    seed_everything(settings.seed, epochs_done=0)
    crop = CROP_SPECS[settings.crop]
    network = new_classifier(len(data.label_map), state, source).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(
        optimizer, settings.lr_step, gamma=settings.lr_gamma
    )
    return fit(
        Run(
            network=network,
            optimizer=optimizer,
            scheduler=scheduler,
            data=data,
            transform=train_transform(crop),
            crop=crop,
            settings=_plain(asdict(settings)),
            history=History(),
            epochs_done=0,
            epochs=settings.epochs,
            output=settings.output,
            best_accuracy=None,
            device=device,
            batch_size=settings.batch_size,
            workers=settings.workers,
            from_scratch=not state,
        )
    )


def continue_training(settings: ContinueSettings) -> bool:
    """Go on training a model on the data it was trained on: `continue_training.py`.

    Returns:
        Whether it came to its end; False after Ctrl-C.

    Raises:
        FaceSyncError: one line on what is wrong with the settings, the data or the checkpoint.
    """
    device = pick_device(settings.device)
    start = load_checkpoint(settings.model)
    network = new_classifier(start.num_classes, start.state, str(start.path)).to(device)
    output = settings.output or settings.model.parent
    if not _same_folder(output, settings.model.parent):
        _refuse_to_replace(output, "choose another --output")
    _check_writable(output)
    history = _known_history(start)
    best_accuracy = _best_accuracy(output, history)
    # The split stays as it was: by default everything that makes it comes from the checkpoint.
    made_by: dict[str, int] = {
        "seed": _known(settings.seed, start.split or {}, "seed"),
        "min_images": _known(settings.min_images, start.settings, "min_images"),
        "max_images": _known(settings.max_images, start.settings, "max_images"),
    }
    data = _as_before(start, load_split(settings.data, **made_by))
    epochs_done = max(start.epoch, history.last_epoch())
    seed_everything(made_by["seed"], epochs_done)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    # Its averages alone: a saved learning rate would take the place of the new one.
    if not restore_optimizer(optimizer, start.optimizer_state):
        log.warning("%s holds no optimizer state that fits; starting a fresh one", start.path)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, patience=settings.lr_patience, factor=settings.lr_factor
    )
    log.info("Going on from %s, trained up to epoch %d", start.path, start.epoch)
    if best_accuracy is None and start.accuracy is not None:
        # The model to beat; so the best one is there also when no epoch is better.
        _copy(start.path, output / BEST_NAME)
        best_accuracy = start.accuracy
    return fit(
        Run(
            network=network,
            optimizer=optimizer,
            scheduler=scheduler,
            data=data,
            transform=strong_transform(start.crop),
            crop=start.crop,
            settings=_plain({**asdict(settings), "output": output, **made_by}),
            history=history,
            epochs_done=epochs_done,
            epochs=settings.epochs,
            output=output,
            best_accuracy=best_accuracy,
            device=device,
            batch_size=settings.batch_size,
            workers=settings.workers,
        )
    )


def _same_folder(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _refuse_to_replace(folder: Path, instead: str) -> None:
    """Raise where a folder holds a model; hours of work are not replaced unasked."""
    for name in (BEST_NAME, FINAL_NAME):
        if (folder / name).exists():
            raise FileError(f"{folder / name} is already there; {instead}")


def _check_writable(folder: Path) -> None:
    """Find out before the long work, not after it, that nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileError(f"cannot write to {folder}: {error.strerror}") from error


def _known_history(start: Checkpoint) -> History:
    """Return the history beside a checkpoint where it is the checkpoint's, else its own."""
    path = start.path.with_name(HISTORY_NAME)
    if not path.exists():
        return start.history
    try:
        beside = load_history(path)
    except FileError as error:
        log.warning("%s; the history starts with what %s holds", error, start.path)
        return start.history
    if beside.begins_with(start.history):
        return beside
    log.warning("%s is not the history of %s, whose own is extended", path, start.path)
    return start.history


def _best_accuracy(output: Path, history: History) -> float | None:
    """Return what the best model in the output folder reached, None where there is none."""
    path = output / BEST_NAME
    if not path.exists():
        return None
    accuracy = load_checkpoint(path).accuracy
    return history.best_accuracy() if accuracy is None else accuracy


def _known(given: int | None, saved: dict[str, Any], name: str) -> int:
    """Return a setting: as given, else as saved, else train_model.py's default."""
    value = saved.get(name, getattr(TrainSettings, name)) if given is None else given
    if not isinstance(value, int) or value < 0:
        raise ModelError(f"the model's {name} is {value!r:.60}, not a number")
    return value


def _as_before(start: Checkpoint, data: SplitData) -> SplitData:
    """Return the data with the checkpoint's classes, once it is sure to be the same data.

    Raises:
        DataError: its identities, its pictures or its split are others.
    """
    again = "give the data it was trained on, or train a new model with train_model.py"
    if len(data.label_map) != start.num_classes:
        raise DataError(
            f"{start.path} was trained on {start.num_classes} identities, the data has "
            f"{len(data.label_map)}; {again}"
        )
    if start.label_map is None:
        log.warning(
            "%s has no label map: the data's %d identities are taken for its own, in their order",
            start.path,
            start.num_classes,
        )
        return data
    missing = sorted(set(start.label_map) - set(data.label_map))
    if missing:
        raise DataError(
            f"{start.path} was trained on other identities: {len(missing)} of its "
            f"{start.num_classes} are not in the data, {missing[0]!r} for one; {again}"
        )
    now = data.split()
    if start.split is not None and start.split.get("fingerprint") != now["fingerprint"]:
        raise DataError(
            f"{start.path} was trained on other pictures or another split "
            f"({start.split.get('pictures')} pictures then, {now['pictures']} now), and would be "
            f"measured on what it was trained on; {again}"
        )
    identities = {label: name for name, label in data.label_map.items()}
    labels = [start.label_map[identities[label]] for label in data.labels]
    return replace(data, labels=labels, label_map=start.label_map)


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as file, replacing(target) as copy:
        shutil.copyfileobj(file, copy)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with paths as text, for JSON and checkpoints."""
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in settings.items()
    }
