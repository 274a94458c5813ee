"""Resuming a run exactly where it was stopped, and finding the same data again."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from facesync.cli import count
from facesync.errors import DataError, ModelError, UsageError
from facesync.training.batches import SplitData, seed_everything
from facesync.training.checkpoint import (
    RUN_FOLDER,
    Checkpoint,
    load_checkpoint,
    restore_optimizer,
    run_checkpoints,
)
from facesync.training.run import Run
from facesync.training.settings import RESUMABLE, ContinueSettings, Recipe, TrainSettings

log = logging.getLogger(__name__)

S = TypeVar("S", TrainSettings, ContinueSettings)


def interrupted_run(settings: S, output: Path) -> tuple[S, Checkpoint | None]:
    """Find the newest checkpoint of the run that was stopped in a folder, if `--resume` is given.

    Returns:
        The settings, with what was left open as it was decided when the run started; and the
        checkpoint, None where a run is to be started.

    Raises:
        UsageError: the run was started with other settings.
    """
    if not settings.resume:
        return settings, None
    found = run_checkpoints(output)
    if not found:
        log.info("%s has no run to resume; starting a new one", output)
        return settings, None
    checkpoint = load_checkpoint(found[-1])
    if checkpoint.run is None or checkpoint.run.get("script") != settings.script:
        log.info("%s has no run of this script; starting a new one", output / RUN_FOLDER)
        return settings, None
    _check_same_settings(settings, checkpoint, output)
    left_open = {
        name: checkpoint.settings[name]
        for name, value in asdict(settings).items()
        if value is None and name not in RESUMABLE and name in checkpoint.settings
    }
    return replace(settings, **left_open), checkpoint


def _check_same_settings(settings: Recipe, checkpoint: Checkpoint, output: Path) -> None:
    for name, value in plain(asdict(settings)).items():
        saved = checkpoint.settings.get(name, value)  # older versions had fewer settings
        if name not in RESUMABLE and value is not None and value != saved:
            raise UsageError(
                f"--{name.replace('_', '-')} is {value}, but the run in {output} was started with "
                f"{saved}; give the same options, or start a new run without --resume"
            )


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with paths as text, for JSON and checkpoints."""
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in settings.items()
    }


def same_data(checkpoint: Checkpoint, data: SplitData) -> SplitData:
    """Return the data with the checkpoint's classes, after checking that it is the same data.

    Raises:
        DataError: its identities, its images or its split differ.
    """
    again = "use the data it was trained on, or train a new model with train_model.py"
    if len(data.label_map) != checkpoint.num_classes:
        raise DataError(
            f"{checkpoint.path} was trained on {checkpoint.num_classes} identities, the data has "
            f"{len(data.label_map)}; {again}"
        )
    if checkpoint.label_map is None:
        log.warning(
            "%s has no label map: the data's %d identities are assumed to be its own, in order",
            checkpoint.path,
            checkpoint.num_classes,
        )
        return data
    missing = sorted(set(checkpoint.label_map) - set(data.label_map))
    if missing:
        raise DataError(
            f"{checkpoint.path} was trained on other identities: {len(missing)} of its "
            f"{checkpoint.num_classes} are not in the data, such as {missing[0]!r}; {again}"
        )
    now = data.split()
    if checkpoint.split is not None and checkpoint.split.get("fingerprint") != now["fingerprint"]:
        raise DataError(
            f"{checkpoint.path} was trained on other images or another split "
            f"({checkpoint.split.get('pictures')} images then, {now['pictures']} now), and would "
            f"be validated on images it was trained on; {again}"
        )
    classes = {label: checkpoint.label_map[name] for name, label in data.label_map.items()}
    labels = [classes.get(label, label) for label in data.labels]
    return replace(data, labels=labels, label_map=checkpoint.label_map)


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Put a run where the checkpoint was taken.

    Raises:
        ModelError: the checkpoint lacks something.
    """
    learner = run.learner
    state = checkpoint.optimizer_state
    # It is still empty if no step has been taken, or every step was skipped.
    unused = isinstance(state, dict) and state.get("state") == {}
    if not unused and not restore_optimizer(
        learner.optimizer, learner.optimizer_names(), checkpoint
    ):
        raise ModelError(
            f"cannot resume from {checkpoint.path}: the state of its optimizer does not fit"
        )
    run.load_state_dict(checkpoint.run or {}, str(checkpoint.path))
    run.history, run.start = checkpoint.history, checkpoint.start
    run.kept = run_checkpoints(run.output)
    if run.ranks.first:
        log.info(
            "Resuming from %s, after %s and %s",
            checkpoint.path,
            count(run.progress.epochs_done, "epoch", "epochs"),
            count(run.progress.batch, "batch", "batches"),
        )


def seed_ranks_apart(run: Run, checkpoint: Checkpoint | None, seed: int, epochs_done: int) -> None:
    """Let the processes draw different numbers for dropout, after they drew the same weights."""
    rank, size = run.ranks.rank, run.ranks.size
    if checkpoint is None:
        if rank:
            seed_everything(seed, epochs_done, rank)
    elif len((checkpoint.run or {})["random"]) != size:  # nobody has what each drew before
        seed_everything(seed, epochs_done, rank, run.learner.steps)
