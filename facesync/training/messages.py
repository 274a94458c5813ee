"""What training prints: progress, results, and explained errors."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

from facesync.cli import count
from facesync.errors import FaceSyncError
from facesync.processes import Ranks
from facesync.training.checkpoint import BEST_NAME, FINAL_NAME
from facesync.training.memory import is_out_of_memory
from facesync.training.plots import CURVES_NAME
from facesync.training.run import Run, Totals
from facesync.training.settings import HOLDOUT_LEAST, TAR_FAR
from facesync.training.step import LossError
from facesync.training.unseen import verdict

log = logging.getLogger(__name__)

SHOWN = 10
"""How many undecodable images are named; the others are only counted."""

INPUT_BOUND = 0.1
"""Above this share of the time spent waiting for images, a pass is called input-bound."""


def bar(title: str, total: int, *, quiet: bool) -> Any:
    """Return a progress bar over batches; a log file gets a line every 30 seconds."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=title,
        unit="batch",
        leave=False,
        disable=quiet,
        dynamic_ncols=terminal,
        delay=0 if terminal else 30,
        mininterval=0.3 if terminal else 30,
    )


def say(ranks: Ranks, text: str) -> None:
    """Print a line, in the first process only."""
    if ranks.first:
        print(text, flush=True)


def announce(run: Run) -> None:
    """Log what is trained, and on what data."""
    held_out = len(run.data.holdout)
    log.info(
        "%d identities; %s to train on, %d to validate%s; %s, %s",
        len(run.data.label_map),
        count(len(run.data.train), "image", "images"),
        len(run.data.validation),
        f", {held_out} of unseen identities" if held_out else "",
        run.device if run.ranks.size == 1 else f"{run.ranks.size} processes on {run.device.type}",
        count(run.recipe.workers, "worker", "workers"),
    )
    if not held_out:
        log.warning(
            "No identities are held out%s: how the model does on people it has never seen is not "
            "measured, so the app will not take it unasked; and it is calibrated on people it "
            "knows, so it will accept strangers more often than the calibration says",
            "" if run.settings["holdout_identities"] == 0 else
            f" (that takes {2 * HOLDOUT_LEAST} with at least "
            f"{count(run.settings['min_images'], 'image', 'images')} each)",
        )  # fmt: skip


def report_undecodable(run: Run, lines: list[str]) -> None:
    """Log each image that could not be decoded once in a run; every process calls."""
    everywhere = {line for part in run.ranks.gather(lines) for line in part}
    new = sorted(everywhere - run.reported)
    run.reported.update(new)
    if new and run.ranks.first:
        log.warning(
            "%s could not be decoded and %s left out: %s%s",
            count(len(new), "image", "images"),
            "was" if len(new) == 1 else "were",
            "; ".join(new[:SHOWN]),
            f"; and {len(new) - SHOWN} more" if len(new) > SHOWN else "",
        )


def speed(totals: Totals) -> str:
    """Say how fast a pass was, and what its bottleneck is."""
    limit = "input" if totals.input_share > INPUT_BOUND else "compute"
    return (
        f"{totals.images_per_second:.1f} images/s, {limit}-bound "
        f"({totals.input_share:.0%} waiting for input)"
    )


def so_far(totals: Totals) -> str:
    """Sum up an epoch that is not over yet, for the progress bar."""
    return f"loss {totals.loss:.4f}, accuracy {totals.accuracy:.4f}, {speed(totals)}"


def epoch_line(title: str, row: dict[str, Any], trained: Totals, *, better: bool) -> str:
    """Sum up an epoch: `row` is its row of the history."""
    minutes, seconds = divmod(round(row["seconds"]), 60)
    parts = [
        f"{title}: training loss {row['train_loss']:.4f}, accuracy {row['train_acc']:.4f}",
        f"validation loss {row['val_loss']:.4f}, accuracy {row['val_acc']:.4f}",
    ]
    if row["val_tar"] is not None:
        before = row["start_tar"]
        parts.append(
            f"TAR {row['val_tar']:.4f} at FAR {TAR_FAR:g} on unseen identities"
            + ("" if before is None else f" ({before:.4f} before training)")
        )
    parts += [f"lr {row['lr']:g}", speed(trained), f"{minutes} min {seconds} s"]
    if row["skipped"]:
        skipped = count(row["skipped"], "step", "steps")
        parts.append(f"{skipped} skipped because the loss was not finite")
    return "; ".join([*parts, *(["best so far"] if better else [])])


def where_it_is(run: Run) -> str:
    """Say where the models and the curves of a finished run are, and what the best one is worth."""
    name = {"val_acc": "validation accuracy", "val_tar": "TAR on unseen identities"}[run.selects_by]
    return (
        f"Best model:   {run.output / BEST_NAME} ({name} {run.progress.best:.4f})\n"
        f"Last model:   {run.output / FINAL_NAME}\n"
        f"Curves:       {run.output / CURVES_NAME}\n"
        f"{verdict(run.progress.best_unseen)}"
    )


def how_to_resume(run: Run) -> str:
    """Say how far a stopped run got, and how to resume it."""
    batches = count(run.progress.batch, "batch", "batches")
    return (
        f"Stopped after {run.progress.epochs_done} of {count(run.last_epoch, 'epoch', 'epochs')} "
        f"and {batches}; {FINAL_NAME} as it is now is neither measured nor calibrated. To resume "
        "exactly here, run the same command with --resume"
    )


def explain(error: Exception, run: Run) -> None:
    """Raise a one-line error that says what to do; return if the error is not a known one."""
    if isinstance(error, LossError):
        line = f"{error} in epoch {run.progress.epochs_done + 1}; run again with a lower --lr (it "
        line += f"was {run.recipe.lr:g}) or with --clip-norm 5"
        good = [path for path in (run.output / BEST_NAME, run.output / FINAL_NAME) if path.exists()]
        if good:
            line += f"; {good[0]} is unchanged"
        raise FaceSyncError(line) from error
    if is_out_of_memory(error):
        size, half = run.order.batch_size, run.order.batch_size // 2
        smaller = f"--batch-size {half}" if half >= 2 * run.ranks.size else "another --device"
        raise FaceSyncError(
            f"out of memory on {run.device} with --batch-size {size}; run again with {smaller} or "
            "--checkpoint-activations"
        ) from error
