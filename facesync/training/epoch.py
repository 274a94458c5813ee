"""Epoch after epoch: train, validate, save."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facesync.cli import count
from facesync.errors import DataError
from facesync.faces.calibration import Calibration
from facesync.training import messages
from facesync.training.batches import Batch
from facesync.training.board import FOLDER, Board
from facesync.training.run import Run, Totals
from facesync.training.saving import save_epoch, save_run, save_stopped
from facesync.training.step import LossError, take_step
from facesync.training.stopping import Stopped, StopRequest
from facesync.training.unseen import EmbeddedPeople, calibrated, compared, for_calibration
from facesync.training.validation import measure_start, validate
from facesync.training.workers import Pass

log = logging.getLogger(__name__)


def train_epochs(run: Run) -> bool:
    """Train to the last epoch and save everything to `run.output` after each.

    Returns:
        Whether it was completed; False after Ctrl-C or SIGTERM.

    Raises:
        FaceSyncError: the loss is not finite, memory is full, or a file cannot be written.
    """
    messages.announce(run)
    batches = run.loader.batches(run.order)
    wanted = run.recipe.tensorboard and run.ranks.first
    with (
        StopRequest(run.ranks, run.device) as stop,
        Board(run.output / FOLDER if wanted else None) as board,
    ):
        try:
            if not run.kept:
                # There is always one to resume from; and a full disk shows before the long work.
                save_run(run)
            if run.data.holdout and run.start is None and not run.learner.steps:
                run.start = measure_start(run, stop.check)
            while run.progress.epochs_done < run.last_epoch and not _patience_is_over(run):
                stop.check()
                train_epoch(run, batches, stop.check, board)
                lr = run.learner.lr
                measured, embedded = validate(run, batches, stop.check)
                _end_epoch(run, measured, embedded, lr)
                board.epoch(run.history.rows[-1])
        except Stopped:
            save_stopped(run)
            messages.say(run.ranks, messages.how_to_resume(run))
            return False
        except (LossError, RuntimeError, MemoryError) as error:
            messages.explain(error, run)
            raise
    messages.say(run.ranks, messages.where_it_is(run))
    return True


def train_epoch(
    run: Run, batches: Pass[Batch], check_stop: Callable[[], None], board: Board
) -> None:
    """Train on what is left of the current epoch.

    Raises:
        LossError: the loss was not finite, three times in a row or in the whole epoch.
        DataError: not one image could be used.
    """
    learner, progress, totals = run.learner, run.progress, run.progress.totals
    run.order.epoch, run.order.first = progress.epochs_done + 1, progress.batch
    with messages.bar(f"{run.title}, training", len(batches), quiet=not run.ranks.first) as bar:
        left = iter(batches)
        while True:
            started = time.perf_counter()
            group = list(itertools.islice(left, run.recipe.accumulate))
            ready = time.perf_counter()
            if not group:
                break
            outcome = take_step(learner, group)
            totals.images += outcome.images
            totals.loss_sum += outcome.loss
            totals.right += outcome.right
            totals.skipped += outcome.skipped
            totals.undecodable += [line for batch in group for line in batch.undecodable]
            totals.seconds += time.perf_counter() - started
            totals.waited += ready - started
            before, progress.batch = progress.batch, progress.batch + len(group)
            bar.update(len(group))
            if totals.images:
                bar.set_postfix_str(messages.so_far(totals), refresh=False)
                board.step(learner.steps, totals.loss, learner.lr)
            if progress.batch // run.recipe.save_every > before // run.recipe.save_every:
                save_run(run)
            check_stop()
    run.order.first = 0
    if not totals.images:
        if totals.skipped:
            raise LossError(f"the loss was not finite in any of the {totals.skipped} steps")
        reasons = totals.undecodable[:3] or ["no batch had two images for each process"]
        raise DataError("not one image could be used: " + "; ".join(reasons))


def _end_epoch(run: Run, measured: Totals, embedded: EmbeddedPeople, lr: float) -> None:
    """Take an epoch into the history, save everything and print a line."""
    progress, trained, title = run.progress, run.progress.totals, run.title
    if not math.isfinite(measured.loss):
        raise LossError("the validation loss is not finite")
    run.learner.schedule.end_epoch(measured.loss)
    messages.report_undecodable(run, [*trained.undecodable, *measured.undecodable])
    first = progress.epochs_done == progress.first_epoch
    row: dict[str, Any] = {
        "epoch": progress.epochs_done + 1,
        "run": run.history.last_run() + first,
        "train_loss": trained.loss,
        "train_acc": trained.accuracy,
        "val_loss": measured.loss,
        "val_acc": measured.accuracy,
        "val_tar": embedded.tar if run.data.holdout else None,
        "start_tar": None if run.start is None else run.start.tar,
        "lr": lr,
        "seconds": round(trained.seconds + measured.seconds, 3),
        "images_per_second": round(trained.images_per_second, 3),
        "input_share": round(trained.input_share, 4),
        "skipped": trained.skipped,
    }
    run.history.rows.append(row)
    unseen = compared(embedded, run.start) if run.start is not None else None
    reached = row[run.selects_by]
    better = progress.best is None or reached > progress.best
    if better:
        progress.best, progress.best_unseen = reached, unseen
    progress.epochs_without_improvement = 0 if better else progress.epochs_without_improvement + 1
    progress.epochs_done, progress.batch, progress.totals = row["epoch"], 0, Totals()
    save_epoch(run, row, better=better, unseen=unseen, calibration=_calibrated(run, embedded))
    messages.say(run.ranks, messages.epoch_line(title, row, trained, better=better))


def _calibrated(run: Run, embedded: EmbeddedPeople) -> Calibration | None:
    """Calibrate the evaluated model; None, with a line, where there are too few images."""
    if not run.ranks.first:
        return None
    name = Path(run.settings["data"]).name.replace(":", "_")
    try:
        return calibrated(
            embedded, run.learner.evaluated.backbone, run.crop,
            source=f"{name}, {for_calibration(run.data)[1]}",
            data_fingerprint=str(run.data.split()["fingerprint"]),
        )  # fmt: skip
    except DataError as error:
        log.warning(
            "The models are not calibrated (%s); evaluate_model.py --calibrate can do it", error
        )
        return None


def _patience_is_over(run: Run) -> bool:
    """Whether the last epochs brought no better model for as long as `--patience` allows."""
    epochs = run.progress.epochs_without_improvement
    if not run.recipe.patience or epochs < run.recipe.patience:
        return False
    without = count(epochs, "epoch", "epochs")
    messages.say(run.ranks, f"No better model in {without}: stopped early (--patience)")
    return True
