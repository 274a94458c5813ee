"""What a run writes: checkpoints, models, settings, history."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from facesync.errors import FileError
from facesync.faces.calibration import Calibration
from facesync.faces.torch_model import State
from facesync.files import write_csv, write_json
from facesync.pickles import save_plain
from facesync.training.checkpoint import (
    BEST_NAME,
    FINAL_NAME,
    LABEL_MAP_NAME,
    RUN_FOLDER,
    load_checkpoint,
    run_checkpoints,
    save_checkpoint,
    versions,
)
from facesync.training.history import COLUMNS, HISTORY_NAME, History
from facesync.training.plots import CURVES_NAME, save_curves
from facesync.training.run import Run

SETTINGS_NAME = "settings.json"


def check_writable(folder: Path) -> None:
    """Make sure, before hours of work, that files can be written.

    Raises:
        FileError: nothing can.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileError(f"cannot write to {folder}: {error.strerror}") from error


def refuse_to_replace(folder: Path, instead: str) -> None:
    """Refuse a folder that holds a model: hours of work are never overwritten unasked.

    Raises:
        FileError: it holds one; the message ends with what to do `instead`.
    """
    for path in (folder / BEST_NAME, folder / FINAL_NAME):
        if path.exists():
            raise FileError(f"{path} already exists; {instead}")
    if run_checkpoints(folder):
        raise FileError(
            f"{folder / RUN_FOLDER} holds a run that was not finished; resume it with --resume, "
            f"or {instead}"
        )


def refuse_to_lose_a_run(folder: Path) -> None:
    """Refuse a folder whose run was stopped: a new one would remove the checkpoints to resume it.

    Raises:
        FileError: it holds one.
    """
    found = run_checkpoints(folder)
    if not found:
        return
    newest = load_checkpoint(found[-1])
    run, settings = newest.run or {}, newest.settings
    epochs = run.get("epochs_done", 0) - run.get("first_epoch", 0)
    patience = settings.get("patience") or math.inf
    if epochs < settings.get("epochs", 0) and run.get("epochs_without", 0) < patience:
        raise FileError(
            f"{folder / RUN_FOLDER} holds a run that was not finished; resume it with --resume, "
            "or choose another --output"
        )


def save_run(run: Run) -> None:
    """Write a checkpoint to resume from, and remove those beyond `--keep`; every process calls."""
    state = run.state_dict()
    if not run.ranks.first:
        return
    progress = run.progress
    number = (progress.epochs_done - progress.first_epoch) * run.order.batches + progress.batch
    path = run.output / RUN_FOLDER / f"batch-{number:08d}.pth"
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(path, {**_content(run, run.learner.model.state()), "run": state})
    run.kept = [*(other for other in run.kept if other != path), path][-run.recipe.keep :]
    for other in set(run_checkpoints(run.output)) - set(run.kept):
        other.unlink()


def save_epoch(
    run: Run,
    row: dict[str, Any],
    *,
    better: bool,
    unseen: dict[str, Any] | None,
    calibration: Calibration | None,
) -> None:
    """Write everything after an epoch: `row` is its row of the history, the rest what it found."""
    measured = {"accuracy": row["val_acc"], "tar": row["val_tar"], "interrupted": False}
    if unseen is not None:
        measured["unseen"] = unseen
    if calibration is not None:
        measured["calibration"] = calibration.to_dict()
    for name in (FINAL_NAME, *([BEST_NAME] if better else [])):
        _save_model(run, name, measured)
    _save_descriptions(run)
    save_run(run)


def save_stopped(run: Run) -> None:
    """Write what a stopped run needs to resume, and its model as far as it has come."""
    save_run(run)
    if run.progress.batch or run.progress.epochs_done == run.progress.first_epoch:
        _save_model(run, FINAL_NAME, {"accuracy": None, "tar": None, "interrupted": True})
        _save_descriptions(run)


def _save_model(run: Run, name: str, measured: dict[str, Any]) -> None:
    """Write the evaluated model, to be used and to be continued."""
    if run.ranks.first:
        content = _content(run, run.learner.evaluated.state())
        save_checkpoint(run.output / name, {**content, **measured})


def _content(run: Run, state: State) -> dict[str, Any]:
    """Return what every checkpoint holds."""
    start = {} if run.start is None else {"unseen_start": run.start.to_dict()}
    return {
        **start,
        "epoch": run.progress.epochs_done,
        "model_state_dict": state,
        "optimizer_state_dict": run.learner.optimizer.state_dict(),
        "optimizer_names": run.learner.optimizer_names(),
        "loss": run.settings["loss"],
        "num_classes": len(run.data.label_map),
        "label_map": run.data.label_map,
        "crop": run.crop.to_dict(),
        "split": run.data.split(),
        "settings": run.settings,
        "history": run.history.to_dict(),
    }


def _save_descriptions(run: Run) -> None:
    """Write the files that describe the models."""
    if not run.ranks.first:
        return
    save_plain(run.data.label_map, run.output / LABEL_MAP_NAME)
    described = {
        "settings": run.settings,
        "device": str(run.device),
        "processes": run.ranks.size,
        "identities": len(run.data.label_map),
        "training_images": len(run.data.train),
        "validation_images": len(run.data.validation),
        "held_out_images": len(run.data.holdout),
        "versions": versions(),
    }
    write_json(run.output / SETTINGS_NAME, described, indent=2)
    save_history(run.history, run.output)


def save_history(history: History, folder: Path) -> None:
    """Write `training_history.pkl` and `.csv`, and `.png` once there is an epoch to draw.

    Raises:
        FileError: a file cannot be written.
    """
    path = folder / HISTORY_NAME
    save_plain(history.to_dict(), path)
    rows = ([row[name] for name in COLUMNS] for row in history.rows)
    write_csv(path.with_suffix(".csv"), COLUMNS, rows, line_end="\n")
    if history.rows:
        save_curves(history, folder / CURVES_NAME)
