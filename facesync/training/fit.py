"""Epoch after epoch, and what is written after each."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from facesync.errors import FaceSyncError
from facesync.faces.crops import CropSpec
from facesync.files import replacing
from facesync.pickles import save_plain
from facesync.training.batches import SplitData, make_loader
from facesync.training.checkpoint import (
    BEST_NAME,
    FINAL_NAME,
    LABEL_MAP_NAME,
    save_checkpoint,
    versions,
)
from facesync.training.history import History
from facesync.training.loop import LossError, Totals, renew_batchnorm, run_epoch
from facesync.training.stopping import Stopped, StopRequest
from facesync.training.transforms import FaceTransform, validation_transform

log = logging.getLogger(__name__)

SETTINGS_NAME = "settings.json"
SHOWN = 10
"""How many undecodable pictures are named; the others are counted."""


@dataclass
class Run:
    """A network and all that it is trained with.

    Attributes:
        network: images to logits, on `device`.
        optimizer: of the network's weights.
        scheduler: StepLR or ReduceLROnPlateau.
        data: what it is trained and measured on.
        transform: of the training pictures.
        crop: what the pictures are.
        settings: plain values, saved with everything that is written.
        history: grows by a row an epoch.
        epochs_done: how many this network has been trained before.
        epochs: how many to train now.
        output: folder for all files.
        best_accuracy: of the best model in `output`, None where there is none.
        device: where it runs.
        batch_size: pictures a step.
        workers: processes of each loader.
        from_scratch: the network started from random weights, so BatchNorm is renewed.
    """

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    data: SplitData
    transform: FaceTransform
    crop: CropSpec
    settings: dict[str, Any]
    history: History
    epochs_done: int
    epochs: int
    output: Path
    best_accuracy: float | None
    device: torch.device
    batch_size: int
    workers: int
    from_scratch: bool = False


def fit(run: Run) -> bool:
    """Train for `run.epochs` epochs and write everything to `run.output` after each.

    Returns:
        Whether it came to its end; False after Ctrl-C or SIGTERM.

    Raises:
        FaceSyncError: the loss is not finite, memory is full, or a file cannot be written.
    """
    log.info(
        "%d identities; %d pictures to train on, %d to validate; %s, %d workers",
        len(run.data.label_map),
        len(run.data.train),
        len(run.data.validation),
        run.device,
        run.workers,
    )
    loader = partial(
        make_loader,
        run.data,
        batch_size=run.batch_size,
        workers=run.workers,
        device=run.device,
    )
    training, order = loader(run.transform, train=True)
    validation, _ = loader(validation_transform(run.crop), train=False)
    number = run.history.next_run()
    last = run.epochs_done + run.epochs
    reported: set[str] = set()
    with StopRequest() as stop:
        go_through = partial(run_epoch, run.network, device=run.device, check_stop=stop.check)
        for epoch in range(run.epochs_done + 1, last + 1):
            if stop.asked:  # while the last epoch was saved
                _print_stopped(run, last)
                return False
            order.epoch = epoch
            title = f"epoch {epoch}/{last}"
            lr = run.optimizer.param_groups[0]["lr"]
            try:
                trained = go_through(training, f"{title}, training", optimizer=run.optimizer)
                if run.from_scratch:
                    renew_batchnorm(run.network, training, device=run.device, check_stop=stop.check)
                measured = go_through(validation, f"{title}, validation")
            except Stopped:
                _save(run, accuracy=None, interrupted=True)
                _print_stopped(run, last)
                return False
            except (LossError, RuntimeError) as error:
                _explain(error, run, lr, epoch)
                raise
            _report_undecodable([*trained.undecodable, *measured.undecodable], reported)
            if isinstance(run.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                run.scheduler.step(measured.loss)
            else:
                run.scheduler.step()
            run.epochs_done = epoch
            run.history.rows.append(
                {
                    "epoch": epoch,
                    "run": number,
                    "train_loss": trained.loss,
                    "train_acc": trained.accuracy,
                    "val_loss": measured.loss,
                    "val_acc": measured.accuracy,
                    "lr": lr,
                    "seconds": round(trained.seconds + measured.seconds, 3),
                    "images_per_second": round(trained.images_per_second, 3),
                }
            )
            better = run.best_accuracy is None or measured.accuracy > run.best_accuracy
            if better:
                run.best_accuracy = measured.accuracy
            _save(run, accuracy=measured.accuracy, better=better)
            _print_epoch(title, trained, measured, lr, better)
    _print_done(run)
    return True


def _save(
    run: Run, *, accuracy: float | None, better: bool = False, interrupted: bool = False
) -> None:
    """Write every file of a training; the checkpoints first, which the others only describe."""
    for name in (FINAL_NAME, *([BEST_NAME] if better else [])):
        save_checkpoint(
            run.output / name,
            network=run.network,
            optimizer=run.optimizer,
            scheduler=run.scheduler,
            epoch=run.epochs_done,
            accuracy=accuracy,
            interrupted=interrupted,
            label_map=run.data.label_map,
            crop=run.crop,
            split=run.data.split(),
            settings=run.settings,
            history=run.history,
        )
    save_plain(run.data.label_map, run.output / LABEL_MAP_NAME)
    described = {
        "settings": run.settings,
        "device": str(run.device),
        "identities": len(run.data.label_map),
        "training_pictures": len(run.data.train),
        "validation_pictures": len(run.data.validation),
        "versions": versions(),
    }
    with replacing(run.output / SETTINGS_NAME) as file:
        file.write(json.dumps(described, indent=2).encode() + b"\n")
    run.history.save(run.output)


def _explain(error: Exception, run: Run, lr: float, epoch: int) -> None:
    """Raise a line that says what to do about an error of torch's; return where none is known."""
    text = str(error)
    if isinstance(error, LossError):
        line = f"{text} in epoch {epoch}; run again with a lower --lr (it was {lr:g})"
        if run.best_accuracy is not None:
            line += f"; {run.output / BEST_NAME} is as it was"
        raise FaceSyncError(line) from error
    if isinstance(error, torch.cuda.OutOfMemoryError) or ("memory" in text and "allocate" in text):
        raise FaceSyncError(
            f"out of memory on {run.device} with --batch-size {run.batch_size}; "
            f"run again with --batch-size {max(2, run.batch_size // 2)}"
        ) from error
    if text.startswith("DataLoader worker"):
        raise FaceSyncError(
            f"a process that decodes pictures died ({text.splitlines()[0]}); "
            "run again with --workers 0"
        ) from error


def _report_undecodable(lines: list[str], reported: set[str]) -> None:
    """Log each picture that could not be decoded once in a run."""
    new = sorted(set(lines) - reported)
    reported.update(new)
    if new:
        more = f"; and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
        log.warning(
            "%d pictures could not be decoded and were left out: %s%s",
            len(new),
            "; ".join(new[:SHOWN]),
            more,
        )


def _print_epoch(title: str, trained: Totals, measured: Totals, lr: float, better: bool) -> None:
    minutes, seconds = divmod(round(trained.seconds + measured.seconds), 60)
    print(
        f"{title}: training loss {trained.loss:.4f}, accuracy {trained.accuracy:.4f}; "
        f"validation loss {measured.loss:.4f}, accuracy {measured.accuracy:.4f}; "
        f"lr {lr:g}; {trained.images_per_second:.1f} images/s; {minutes} min {seconds} s"
        + ("; best so far" if better else ""),
        flush=True,
    )


def _print_done(run: Run) -> None:
    print(f"Best model:   {run.output / BEST_NAME} (validation accuracy {run.best_accuracy:.4f})")
    print(f"Last model:   {run.output / FINAL_NAME}")
    print(f"Curves:       {run.output / 'training_history.png'}")


def _print_stopped(run: Run, last: int) -> None:
    print(
        f"Stopped after {run.epochs_done} of {last} epochs. To go on:\n"
        f"  python continue_training.py --model {_quoted(run.output / FINAL_NAME)} "
        f"--data {_quoted(run.settings['data'])} --epochs {last - run.epochs_done}"
    )


def _quoted(path: Path | str) -> str:
    """Return a path as every shell takes it."""
    return f'"{path}"' if " " in str(path) else str(path)
