"""From the settings of the two training scripts to a run under way."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from facesync.devices import pick_device
from facesync.errors import DataError, FileError, ModelError, UsageError
from facesync.faces.calibration import Calibration
from facesync.faces.crops import ALIGNED_112, SQUARE
from facesync.faces.models import VGGFACE2
from facesync.faces.weights import load_face_model
from facesync.files import replacing
from facesync.processes import Ranks, ranks
from facesync.training.batches import EpochOrder, SplitData, load_split, seed_everything
from facesync.training.checkpoint import BEST_NAME, Checkpoint, load_checkpoint, restore_optimizer
from facesync.training.epoch import train_epochs
from facesync.training.estimate import estimate
from facesync.training.history import HISTORY_NAME, History, load_history
from facesync.training.imprint import imprint
from facesync.training.learner import Learner
from facesync.training.memory import largest_batch
from facesync.training.model import Classifier, new_classifier, starting_state
from facesync.training.resume import interrupted_run, plain, restore, same_data, seed_ranks_apart
from facesync.training.run import Run
from facesync.training.saving import check_writable, refuse_to_lose_a_run, refuse_to_replace
from facesync.training.settings import (
    PAPER,
    SPLIT_SETTINGS,
    ContinueSettings,
    Recipe,
    TrainSettings,
    check,
    check_batch_size,
)
from facesync.training.teacher import Targets, teach
from facesync.training.transforms import ToInput
from facesync.training.workers import explaining

log = logging.getLogger(__name__)

CROP_SPECS = {spec.kind: spec for spec in (ALIGNED_112, SQUARE)}
LOSS_SETTINGS = ("loss", "margin", "scale", "pictures_per_identity")
KEPT_SETTINGS = (
    "freeze_batchnorm", "weight_decay", "ema", "clip_norm", "teacher", "teacher_weight"
)  # fmt: skip
KNOWN_WEIGHTS = {"vggface2": VGGFACE2.title, "none": "random weights"}


def train(settings: TrainSettings) -> bool:
    """Fine-tune a face model: `train_model.py`.

    Worker processes are spawned, so a script that calls this needs the usual
    `if __name__ == "__main__":`.

    Returns:
        Whether it was completed, or with `estimate` how long it would take was said; False after
        Ctrl-C.

    Raises:
        FaceSyncError: something is wrong with the settings, the data or the weights.
    """
    settings = settings.for_its_weights()
    with explaining(), ranks(pick_device(settings.device)) as (group, device):
        if not settings.estimate:
            # Kept in no variable: what uses the group must be gone when `ranks` ends it.
            return train_epochs(_begun(settings, group, device))
        if group.size > 1:
            raise UsageError("--estimate times one process; run it without torchrun")
        # Nothing that takes long beforehand, and no checkpoint.
        timed = replace(
            settings, resume=False, overwrite=True, imprint=False, teacher="none",
            save_every=sys.maxsize,
        )  # fmt: skip
        print(estimate(_new_training(timed, group, device), imprint=settings.imprint), flush=True)
        return True


def _begun(settings: TrainSettings, group: Ranks, device: torch.device) -> Run:
    try:
        return _new_training(settings, group, device)
    except KeyboardInterrupt:
        log.info("Stopped before the first batch: nothing is saved; run the same again")
        raise


def _new_training(settings: TrainSettings, group: Ranks, device: torch.device) -> Run:
    settings, interrupted = interrupted_run(settings, settings.output)
    effective = asdict(settings)
    check(effective, device.type, group.size)
    if not interrupted and not settings.overwrite:
        refuse_to_replace(
            settings.output,
            "continue training with continue_training.py, replace it with --overwrite, or "
            "choose another --output",
        )
    check_writable(settings.output)
    group.wait()
    if not settings.data.exists():  # before 112 MB of weights are downloaded for nothing
        raise DataError(f"{settings.data}: no such folder or pack")
    # The weights first: reading a large dataset takes long, missing a file does not.
    if interrupted:
        state, source = interrupted.state, str(interrupted.path)
    else:
        state, source = _starting_weights(settings, group)
    data = _split(settings.data, effective)
    if interrupted:
        data = same_data(interrupted, data)
    seed_everything(settings.seed, 0)
    model = _model(effective, len(data.label_map), state, source, group)
    inputs = ToInput(CROP_SPECS[settings.crop], settings.augment, device)
    run = _new_run(settings, effective, model, data, inputs, group)
    run.started_from = KNOWN_WEIGHTS.get(settings.weights, Path(settings.weights).name)
    if interrupted:
        restore(run, interrupted)
    else:
        run.progress.from_scratch = not state and not settings.freeze_batchnorm
        if settings.imprint:
            imprint(run)
    seed_ranks_apart(run, interrupted, settings.seed, 0)
    return run


def continue_training(settings: ContinueSettings) -> bool:
    """Continue training a model on the data it was trained on: `continue_training.py`.

    Returns:
        Whether it was completed; False after Ctrl-C.

    Raises:
        FaceSyncError: something is wrong with the settings, the data or the checkpoint.
    """
    with explaining(), ranks(pick_device(settings.device)) as (group, device):
        return train_epochs(_continued_training(settings, group, device))


def _continued_training(settings: ContinueSettings, group: Ranks, device: torch.device) -> Run:
    output = settings.output or settings.model.parent
    settings, interrupted = interrupted_run(settings, output)
    start = interrupted or load_checkpoint(settings.model)
    effective = _effective(settings, start, output)
    settings = replace(settings, **{name: effective[name] for name in KEPT_SETTINGS})
    check(effective, device.type, group.size)
    model = _model(effective, start.num_classes, start.state, str(start.path), group)
    if not interrupted:
        if output.resolve() != settings.model.parent.resolve():
            refuse_to_replace(output, "choose another --output")
        refuse_to_lose_a_run(output)
    check_writable(output)
    group.wait()
    history = start.history if interrupted else _known_history(start)
    data = same_data(start, _split(settings.data, effective))
    inputs = ToInput(start.crop, settings.augment, device)
    run = _new_run(settings, effective, model, data, inputs, group)
    run.started_from = settings.model.name
    epochs_done = max(start.epoch, history.last_epoch())
    seed_everything(effective["seed"], epochs_done)
    if interrupted:
        restore(run, interrupted)
    else:
        run.history, run.start = history, start.start
        run.progress.first_epoch = run.progress.epochs_done = epochs_done
        _take_optimizer(run, start)
        _find_best(run, start)
        _say_what_becomes_of_the_calibration(run, start)
    seed_ranks_apart(run, interrupted, effective["seed"], epochs_done)
    return run


def _effective(settings: ContinueSettings, start: Checkpoint, output: Path) -> dict[str, Any]:
    """Return all settings by name: those of the split and the loss stay the checkpoint's."""
    loss = {name: start.settings.get(name, getattr(TrainSettings, name)) for name in LOSS_SETTINGS}
    others = {
        name: _known(getattr(settings, name, None), start.settings, name)
        for name in (*SPLIT_SETTINGS, *KEPT_SETTINGS)
    }
    return {**asdict(settings), **loss, "loss": start.loss, **others, "output": output}


def _known(given: Any, saved: dict[str, Any], name: str) -> Any:
    """Return a setting: as given, else as saved, else as it was before it could be saved."""
    default = getattr(TrainSettings, name)
    value = saved.get(name, PAPER.get(name, default)) if given is None else given
    if isinstance(default, str):
        sound = isinstance(value, str)
    else:
        sound = value is default or (isinstance(value, int | float) and value >= 0)
    if not sound:
        raise ModelError(f"the model's {name} is {value!r:.60}, not a number")
    return value


def split_of(checkpoint: Checkpoint, data: Path) -> SplitData:
    """Split a dataset as it was split to train a checkpoint.

    Raises:
        DataError: it is other data, or cannot be read.
        ModelError: the checkpoint's settings are none.
    """
    known = {name: _known(None, checkpoint.settings, name) for name in SPLIT_SETTINGS}
    return same_data(checkpoint, _split(data, known))


def _split(data: Path, effective: dict[str, Any]) -> SplitData:
    return load_split(data, **{name: effective[name] for name in SPLIT_SETTINGS})


def _starting_weights(settings: TrainSettings, group: Ranks) -> tuple[dict[str, Any], str]:
    """Find the weights to start from; one process downloads them for all on a machine."""
    if not group.first:
        group.wait()
    state, source = starting_state(settings.weights, offline=settings.offline)
    if group.first:
        group.wait()
        if state:
            log.info("Starting from %s", source)
        else:
            log.warning(
                "WARNING: --weights none: training FROM SCRATCH. Every layer starts from random "
                "numbers; useful accuracy needs hundreds of thousands of images and many epochs."
            )
    return state, source


def _model(
    effective: dict[str, Any], classes: int, state: Any, source: str, group: Ranks
) -> Classifier:
    """Build the network with the head of its loss."""
    head = ("loss", "margin", "scale", "dropout", "label_smoothing", "teacher_weight")
    options = {name: effective[name] for name in head}
    return new_classifier(classes, state, source, ranks=group, **options)


def _new_run(
    settings: Recipe,
    effective: dict[str, Any],
    model: Classifier,
    data: SplitData,
    inputs: ToInput,
    group: Ranks,
) -> Run:
    """Put a run together, at its start."""
    if effective["batch_size"] is None:
        effective["batch_size"] = largest_batch(model, settings, inputs, group)
        if group.first:
            log.info("--batch-size auto: %d", effective["batch_size"])
        check_batch_size(effective, group.size)
    order = EpochOrder(
        data.train, data.seed, effective["batch_size"], shuffle=True, ranks=group,
        groups=[data.labels[i] for i in data.train] if effective["loss"] == "triplet" else None,
        group_size=effective["pictures_per_identity"],
    )  # fmt: skip
    learner = Learner(model, settings, inputs, group)
    learner.targets = _targets(settings, data, inputs, group, effective["output"])
    learner.schedule.steps_per_epoch = -(-order.batches // settings.accumulate)
    return Run(learner, data, order, effective["output"], plain(effective))


def _known_history(start: Checkpoint) -> History:
    """Return the history beside a checkpoint if it is the checkpoint's, else its own."""
    path = start.path.with_name(HISTORY_NAME)
    if not path.exists():
        return start.history
    try:
        beside = load_history(path)
    except FileError as error:
        log.warning("%s; the history starts with that of %s", error, start.path)
        return start.history
    if beside.begins_with(start.history):
        return beside
    log.warning("%s is not the history of %s; the model's own is extended", path, start.path)
    return start.history


def _targets(
    settings: Recipe, data: SplitData, inputs: ToInput, group: Ranks, output: Path
) -> Targets | None:
    """Ask the teacher, if there is one; one process for all on a machine."""
    if settings.teacher == "none":
        return None
    if not group.first:
        group.wait()
    teacher = load_face_model(settings.teacher, inputs.device, offline=settings.offline)
    targets = teach(data, inputs.crop, teacher, output)
    if group.first:
        group.wait()
    return targets


def _find_best(run: Run, start: Checkpoint) -> None:
    """Find the model to beat: the best in the output folder, else the one that is continued."""
    path = run.output / BEST_NAME
    best = load_checkpoint(path) if path.exists() else start
    reached = {"val_acc": best.accuracy, "val_tar": best.tar}[run.selects_by]
    if reached is None and path.exists():
        reached = run.history.best(run.selects_by)
    run.progress.best = reached
    run.progress.best_unseen = None if reached is None else best.unseen
    if reached is not None and not path.exists() and run.ranks.first:
        _copy(start.path, path)  # so that there is a best one even if no epoch is better


def _say_what_becomes_of_the_calibration(run: Run, start: Checkpoint) -> None:
    """Say that a calibration is of the weights it was measured for: new ones get a new one."""
    if start.calibration is not None and run.ranks.first:
        on = "its held-out people" if run.data.holdout else "people it was trained on"
        log.warning(
            "%s is calibrated on %s; what is trained now is calibrated anew, on %s",
            start.path,
            Calibration.from_dict(start.calibration).measured_on,
            on,
        )


def _take_optimizer(run: Run, start: Checkpoint) -> None:
    """Take over the optimizer's averages only: a saved rate would replace the new one."""
    if not restore_optimizer(run.learner.optimizer, run.learner.optimizer_names(), start):
        log.warning("%s has no optimizer state that fits; starting with a new one", start.path)
    log.info("Continuing from %s, trained up to epoch %d", start.path, start.epoch)


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as file, replacing(target) as copy:
        shutil.copyfileobj(file, copy)
