"""What the two training scripts do, from their settings to a training under way."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from facesync.devices import pick_device
from facesync.errors import DataError, FileError, ModelError, UsageError
from facesync.faces.crops import ALIGNED_112, SQUARE, CropSpec
from facesync.files import replacing
from facesync.processes import Ranks, ranks
from facesync.training.batches import EpochOrder, SplitData, load_split, seed_everything
from facesync.training.board import check_installed
from facesync.training.checkpoint import (
    BEST_NAME,
    FINAL_NAME,
    RUN_FOLDER,
    Checkpoint,
    load_checkpoint,
    restore_optimizer,
    run_checkpoints,
)
from facesync.training.fit import Run, fit
from facesync.training.history import HISTORY_NAME, History, load_history
from facesync.training.imprint import imprint
from facesync.training.learner import Learner, largest_batch
from facesync.training.loop import Totals
from facesync.training.model import Classifier, new_classifier, starting_state
from facesync.training.settings import (
    RESUMABLE,
    SELECT,
    ContinueSettings,
    Recipe,
    TrainSettings,
)
from facesync.training.transforms import ToInput

log = logging.getLogger(__name__)

S = TypeVar("S", TrainSettings, ContinueSettings)

CROP_SPECS = {spec.kind: spec for spec in (ALIGNED_112, SQUARE)}
SPLIT_SETTINGS = ("seed", "min_images", "max_images", "holdout_identities")
LOSS_SETTINGS = ("loss", "margin", "scale", "pictures_per_identity")


def train(settings: TrainSettings) -> bool:
    """Fine-tune a face model: `train_model.py`.

    Returns:
        Whether it came to its end; False after Ctrl-C.

    Raises:
        FaceSyncError: one line on what is wrong with the settings, the data or the weights.
    """
    _check(settings, settings.holdout_identities)
    with ranks(pick_device(settings.device)) as (group, device):
        under_way = _under_way(settings, settings.output, "train") if settings.resume else None
        settings = _as_decided(settings, under_way)
        if not under_way and not settings.overwrite:
            _refuse_to_replace(
                settings.output,
                "go on with continue_training.py, replace it with "
                "--overwrite, or choose another --output",
            )
        _check_writable(settings.output)
        group.wait()
        if not settings.data.exists():  # before 107 MB of weights are downloaded for nothing
            raise DataError(f"{settings.data}: no such folder or pack")
        # The weights first: to look through a large dataset takes long, to miss a file does not.
        if under_way:
            state, source = under_way.state, str(under_way.path)
        else:
            state, source = _starting_weights(settings, group)
        data = load_split(
            settings.data, **{name: getattr(settings, name) for name in SPLIT_SETTINGS}
        )
        if under_way:
            data = _as_before(under_way, data)
        seed_everything(settings.seed, 0)
        model = _model(settings, asdict(settings), len(data.label_map), state, source, group)
        run = _new_run(
            settings, model, data, device, group,
            crop=CROP_SPECS[settings.crop], script="train", loss=asdict(settings),
            output=settings.output,
            from_scratch=not state and not settings.freeze_batchnorm,
        )  # fmt: skip
        if under_way:
            _go_on(run, under_way)
        elif settings.imprint:
            imprint(run.learner, data, run.crop, settings.workers)
        _draw_apart(run, under_way, settings.seed, 0)
        return fit(run)


def continue_training(settings: ContinueSettings) -> bool:
    """Go on training a model on the data it was trained on: `continue_training.py`.

    Returns:
        Whether it came to its end; False after Ctrl-C.

    Raises:
        FaceSyncError: one line on what is wrong with the settings, the data or the checkpoint.
    """
    output = settings.output or settings.model.parent
    with ranks(pick_device(settings.device)) as (group, device):
        under_way = _under_way(settings, output, "continue") if settings.resume else None
        settings = _as_decided(settings, under_way)
        start = under_way or load_checkpoint(settings.model)
        # The split and the loss stay as they were: what makes them comes from the checkpoint.
        before: dict[str, Any] = {
            name: _known(getattr(settings, name, None), start.settings, name)
            for name in SPLIT_SETTINGS
        }
        loss = {
            name: start.settings.get(name, getattr(TrainSettings, name)) for name in LOSS_SETTINGS
        }
        loss["loss"] = start.loss
        _check(settings, before["holdout_identities"])
        model = _model(settings, loss, start.num_classes, start.state, str(start.path), group)
        if not _same_folder(output, settings.model.parent) and not under_way:
            _refuse_to_replace(output, "choose another --output")
        _check_writable(output)
        group.wait()
        history = start.history if under_way else _known_history(start)
        column = SELECT[settings.select]
        best = None if under_way else _best(output, history, column)
        data = _as_before(start, load_split(settings.data, **before))
        run = _new_run(
            settings, model, data, device, group,
            crop=start.crop, script="continue", loss=loss, output=output, **before,
        )  # fmt: skip
        epochs_done = max(start.epoch, history.last_epoch())
        seed_everything(before["seed"], epochs_done)
        if under_way:
            _go_on(run, under_way)
        else:
            run.history = history
            run.first_epoch = run.epochs_done = epochs_done
            # Its averages alone: a saved rate would take the place of the new one.
            if not restore_optimizer(run.learner.optimizer, run.learner.optimizer_names(), start):
                log.warning(
                    "%s holds no optimizer state that fits; starting a fresh one", start.path
                )
            log.info("Going on from %s, trained up to epoch %d", start.path, start.epoch)
            reached = {"val_acc": start.accuracy, "val_tar": start.tar}[column]
            if best is None and reached is not None:
                # The model to beat; so the best one is there also when no epoch is better.
                if group.first:
                    _copy(start.path, output / BEST_NAME)
                best = reached
            run.best = best
        _draw_apart(run, under_way, before["seed"], epochs_done)
        return fit(run)


def _check(settings: Recipe, holdout: float) -> None:
    """Find settings that do not go together, before anything is opened."""
    if settings.select == "tar" and not holdout:
        raise UsageError("--select tar needs --holdout-identities, say 5%")
    if settings.tensorboard:
        check_installed()


def _starting_weights(settings: TrainSettings, group: Ranks) -> tuple[dict[str, Any], str]:
    """Find the weights to start from; one process downloads them for all of a machine."""
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
    settings: Recipe, loss: dict[str, Any], classes: int, state: Any, source: str, group: Ranks
) -> Classifier:
    """Build the network with the head of a loss."""
    return new_classifier(
        classes, state, source,
        loss=loss["loss"], margin=loss["margin"], scale=loss["scale"], ranks=group,
        dropout=settings.dropout, label_smoothing=settings.label_smoothing,
    )  # fmt: skip


def _new_run(
    settings: Recipe,
    model: Classifier,
    data: SplitData,
    device: torch.device,
    group: Ranks,
    *,
    crop: CropSpec,
    script: str,
    loss: dict[str, Any],
    output: Path,
    from_scratch: bool = False,
    **more: Any,
) -> Run:
    """Put a run together, at its start."""
    inputs = ToInput(crop, settings.augment, device)
    order = EpochOrder(
        data.train, data.seed, settings.batch_size or 0, shuffle=True, ranks=group,
        groups=[data.labels[i] for i in data.train] if loss["loss"] == "triplet" else None,
        group_size=loss["pictures_per_identity"],
    )  # fmt: skip
    if settings.batch_size is None:
        order.batch_size = largest_batch(model, settings, inputs, device=device, ranks=group)
        if group.first:
            log.info("--batch-size auto: %d", order.batch_size)
    whole = loss["pictures_per_identity"] * group.size
    if loss["loss"] == "triplet" and order.batch_size % whole:
        raise UsageError(
            f"--loss triplet needs a --batch-size that is a multiple of {whole}: whole groups of "
            f"{loss['pictures_per_identity']} images for each process"
        )
    learner = Learner(model, settings, inputs, device=device, ranks=group)
    if order.batch_size < 2 * group.size:
        raise UsageError(
            f"--batch-size {order.batch_size} gives {group.size} processes fewer than two images "
            f"each; at least {2 * group.size}"
        )
    learner.schedule.steps_per_epoch = -(-order.batches // settings.accumulate)
    kept = {field.name: getattr(settings, field.name) for field in fields(settings)}
    kept |= {**loss, **more, "output": output, "batch_size": order.batch_size}
    return Run(
        learner=learner, order=order, data=data, crop=crop, loss=loss["loss"], recipe=settings,
        script=script, settings=_plain(kept), history=History(), first_epoch=0, output=output,
        best=None, device=device, ranks=group, from_scratch=from_scratch,
    )  # fmt: skip


def _draw_apart(run: Run, start: Checkpoint | None, seed: int, epochs_done: int) -> None:
    """Let the processes differ in what they draw for dropout, after they drew the same weights."""
    rank, size = run.ranks.rank, run.ranks.size
    if start is None:
        if rank:
            seed_everything(seed, epochs_done, rank)
    elif len((start.run or {})["random"]) != size:  # nobody has what each drew before
        seed_everything(seed, epochs_done, rank, run.learner.step)


def _under_way(settings: Recipe, output: Path, script: str) -> Checkpoint | None:
    """Return the newest checkpoint of the run that was stopped in a folder, or None.

    Raises:
        UsageError: the run was started with other settings.
    """
    found = run_checkpoints(output)
    if not found:
        log.info("%s has no run to go on with; starting one", output)
        return None
    start = load_checkpoint(found[-1])
    if start.run is None or start.run.get("script") != script:
        log.info("the run in %s is none of this script; starting one", output / RUN_FOLDER)
        return None
    now = _plain(asdict(settings))
    for name, value in now.items():
        saved = start.settings.get(name)
        # What is left open is as it was decided when the run started: see `_as_decided`.
        if name in RESUMABLE or value is None or value == saved:
            continue
        raise UsageError(
            f"{_option(name)} is {value}, but the run in {output} was started with {saved}; give "
            "the same options, or start another run without --resume"
        )
    return start


def _as_decided(settings: S, start: Checkpoint | None) -> S:
    """Return the settings with what was left open as it was decided when the run started."""
    if start is None:
        return settings
    open_ones = {
        name: start.settings[name]
        for name, value in asdict(settings).items()
        if value is None and name not in RESUMABLE and name in start.settings
    }
    return replace(settings, **open_ones)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _go_on(run: Run, start: Checkpoint) -> None:
    """Put a run where the checkpoint was taken."""
    saved = start.run or {}
    learner = run.learner
    optimizer = start.optimizer_state
    # It is empty still where no step has been taken, or each was left out.
    unused = isinstance(optimizer, dict) and optimizer.get("state") == {}
    if not unused and not restore_optimizer(learner.optimizer, learner.optimizer_names(), start):
        raise ModelError(f"{start.path} cannot be gone on from: its optimizer's state does not fit")
    learner.load_state_dict(saved, str(start.path))
    try:
        run.first_epoch, run.epochs_done = int(saved["first_epoch"]), int(saved["epochs_done"])
        run.batch, run.best = int(saved["batch"]), saved["best"]
        run.totals = Totals.from_dict(saved["totals"])
        run.epochs_without = int(saved["epochs_without"])
        run.from_scratch = bool(saved["from_scratch"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{start.path} cannot be gone on from: {error!r:.100}") from error
    run.history, run.resumed, run.kept = start.history, True, run_checkpoints(run.output)
    if run.ranks.first:
        log.info(
            "Going on from %s: %d epochs and %d batches are done",
            start.path, run.epochs_done, run.batch,
        )  # fmt: skip


def _same_folder(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _refuse_to_replace(folder: Path, instead: str) -> None:
    """Raise where a folder holds a model; hours of work are not replaced unasked."""
    for path in (folder / BEST_NAME, folder / FINAL_NAME):
        if path.exists():
            raise FileError(f"{path} is already there; {instead}")
    if run_checkpoints(folder):
        raise FileError(
            f"{folder / RUN_FOLDER} is of a run that was not finished; go on with --resume, or "
            f"{instead}"
        )


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


def _best(output: Path, history: History, column: str) -> float | None:
    """Return what the best model in the output folder reached, None where there is none."""
    path = output / BEST_NAME
    if not path.exists():
        return None
    best = load_checkpoint(path)
    reached = {"val_acc": best.accuracy, "val_tar": best.tar}[column]
    return history.best(column) if reached is None else reached


def _known(given: Any, saved: dict[str, Any], name: str) -> Any:
    """Return a setting: as given, else as saved, else train_model.py's default."""
    value = saved.get(name, getattr(TrainSettings, name)) if given is None else given
    if not isinstance(value, int | float) or value < 0:
        raise ModelError(f"the model's {name} is {value!r:.60}, not a number")
    return value


def _as_before(start: Checkpoint, data: SplitData) -> SplitData:
    """Return the data with the checkpoint's classes, once it is sure to be the same data.

    Raises:
        DataError: its identities, its images or its split are others.
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
            f"{start.path} was trained on other images or another split "
            f"({start.split.get('pictures')} images then, {now['pictures']} now), and would be "
            f"measured on what it was trained on; {again}"
        )
    turned = {label: start.label_map[name] for name, label in data.label_map.items()}
    labels = [turned.get(label, label) for label in data.labels]
    return replace(data, labels=labels, label_map=start.label_map)


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as file, replacing(target) as copy:
        shutil.copyfileobj(file, copy)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with paths as text, for JSON and checkpoints."""
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in settings.items()
    }
