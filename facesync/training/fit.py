"""Epoch after epoch, and what is written after each."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from facesync.errors import FaceSyncError
from facesync.faces.crops import CropSpec
from facesync.faces.torch_model import State
from facesync.files import replacing
from facesync.pickles import save_plain
from facesync.processes import Ranks
from facesync.training.batches import Batch, EpochOrder, SplitData, make_loader, mixed_seed
from facesync.training.board import Board
from facesync.training.checkpoint import (
    BEST_NAME,
    FINAL_NAME,
    LABEL_MAP_NAME,
    RUN_FOLDER,
    run_checkpoints,
    save_checkpoint,
    versions,
)
from facesync.training.history import History
from facesync.training.learner import Learner, LossError, largest_batch
from facesync.training.loop import Totals, measure, renew_batchnorm, speed, tar, train_epoch
from facesync.training.memory import is_out_of_memory
from facesync.training.settings import SELECT, TAR_FAR, Recipe
from facesync.training.stopping import Stopped, StopRequest
from facesync.training.transforms import ToInput

log = logging.getLogger(__name__)

SETTINGS_NAME = "settings.json"
SHOWN = 10
"""How many undecodable images are named; the others are counted."""


@dataclass
class Run:
    """A learner, what it learns from, and how far it is.

    Attributes:
        learner: what is trained.
        order: of the training images.
        data: what it is trained and measured on.
        crop: what the images are.
        loss: what it is trained by.
        recipe: how.
        script: `train` or `continue`.
        settings: plain values, saved with everything that is written.
        history: grows by a row an epoch.
        first_epoch: how many epochs the model had been trained before.
        output: folder for all files.
        best: what the best model in `output` reached in the measure that selects, or None.
        device: where it runs.
        ranks: the processes that train together.
        from_scratch: the network started from random weights, so BatchNorm is renewed.
        epochs_done: completed, counted through all runs.
        batch: batches of the epoch under way that are done.
        totals: what they measured.
        epochs_without: since the best one.
        resumed: whether it goes on with a run that was under way.
        kept: its checkpoints, oldest first.
    """

    learner: Learner
    order: EpochOrder
    data: SplitData
    crop: CropSpec
    loss: str
    recipe: Recipe
    script: str
    settings: dict[str, Any]
    history: History
    first_epoch: int
    output: Path
    best: float | None
    device: torch.device
    ranks: Ranks
    from_scratch: bool = False
    epochs_done: int = 0
    batch: int = 0
    totals: Totals = field(default_factory=Totals)
    epochs_without: int = 0
    resumed: bool = False
    kept: list[Path] = field(default_factory=list)

    @property
    def last_epoch(self) -> int:
        """The epoch after which the run ends."""
        return self.first_epoch + self.recipe.epochs


def fit(run: Run) -> bool:
    """Train to the end and write everything to `run.output` after each epoch.

    Returns:
        Whether it came to its end; False after Ctrl-C or SIGTERM.

    Raises:
        FaceSyncError: the loss is not finite, memory is full, or a file cannot be written.
    """
    log.info(
        "%d identities; %d images to train on, %d to validate%s; %s, %d workers",
        len(run.data.label_map),
        len(run.data.train),
        len(run.data.validation),
        f", {len(run.data.holdout)} of strangers" if run.data.holdout else "",
        run.device if run.ranks.size == 1 else f"{run.ranks.size} processes on {run.device.type}",
        run.recipe.workers,
    )
    training = make_loader(
        run.data, run.crop, run.order, workers=run.recipe.workers, device=run.device
    )
    if not run.resumed:
        # There is always one to go on from; and a full disk shows before the long work.
        save_run(run)
    with StopRequest() as stop, Board(run) as board:

        def check_stop() -> None:
            """Stop all processes at the same place when one of them is told to."""
            asked = torch.tensor(int(stop.asked), device=run.device)
            if run.ranks.sum(asked).item():
                raise Stopped

        reported: set[str] = set()
        while run.epochs_done < run.last_epoch and not _gives_up(run):
            try:
                check_stop()
                _one_epoch(run, training, check_stop, board, reported)
            except Stopped:
                save_run(run)
                if run.batch or run.epochs_done == run.first_epoch:
                    _save_model(run, FINAL_NAME, interrupted=True)
                    _save_descriptions(run)
                _say(run, _how_to_go_on(run))
                return False
            except (LossError, RuntimeError, MemoryError) as error:
                _explain(error, run)
                raise
    _say(run, _where_it_is(run))
    return True


def _one_epoch(
    run: Run,
    training: DataLoader[Batch],
    check_stop: Callable[[], None],
    board: Board,
    reported: set[str],
) -> None:
    """Train what is left of the epoch under way, measure it and save everything."""
    epoch = run.epochs_done + 1
    title = f"epoch {epoch}/{run.last_epoch}"
    done = run.batch
    run.order.epoch, run.order.first = epoch, done

    def after_step(used: int) -> None:
        before, run.batch = run.batch, done + used
        board.step(run)
        if run.batch // run.recipe.save_every > before // run.recipe.save_every:
            save_run(run)
        check_stop()

    train_epoch(run.learner, training, f"{title}, training", run.totals, after_step=after_step)
    trained = run.totals
    lr = run.learner.optimizer.param_groups[-1]["lr"]
    run.order.first = 0
    if run.from_scratch:
        _renew_batchnorm(run, training, check_stop)
    measured, strangers = _measure(run, title, check_stop)
    if not math.isfinite(measured.loss):
        raise LossError("the validation loss is not finite")
    run.learner.schedule.end_epoch(measured.loss)
    lines = [*trained.undecodable, *measured.undecodable]
    _report_undecodable([line for part in run.ranks.gather(lines) for line in part], reported, run)
    row = {
        "epoch": epoch,
        "run": run.history.next_run() if epoch == run.first_epoch + 1 else run.history.last_run(),
        "train_loss": trained.loss,
        "train_acc": trained.accuracy,
        "val_loss": measured.loss,
        "val_acc": measured.accuracy,
        "val_tar": strangers,
        "lr": lr,
        "seconds": round(trained.seconds + measured.seconds, 3),
        "images_per_second": round(trained.images_per_second, 3),
        "input_share": round(trained.input_share, 4),
        "skipped": trained.skipped,
    }
    run.history.rows.append(row)
    reached: Any = row[SELECT[run.recipe.select]]
    better = run.best is None or reached > run.best
    run.best = reached if better else run.best
    run.epochs_without = 0 if better else run.epochs_without + 1
    run.epochs_done, run.batch, run.totals = epoch, 0, Totals()
    for name in (FINAL_NAME, *([BEST_NAME] if better else [])):
        _save_model(run, name, accuracy=measured.accuracy, tar=strangers)
    _save_descriptions(run)
    save_run(run)
    board.epoch(run)
    _say(run, _epoch_line(title, trained, measured, strangers, lr, better))


def _renew_batchnorm(run: Run, training: DataLoader[Batch], check_stop: Callable[[], None]) -> None:
    """See `renew_batchnorm`; what it draws for dropout is no part of the training's draws."""
    learner = run.learner
    network = learner.judged.backbone

    def images() -> Iterator[torch.Tensor]:
        for batch in training:
            if learner.counts([batch])[0]:
                yield learner.inputs(batch.images, batch.draws)

    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(mixed_seed(run.data.seed, run.epochs_done, run.ranks.rank))
        renew_batchnorm(network, images(), device=run.device, check_stop=check_stop)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            run.ranks.sum(buffer).div_(run.ranks.size)


def _measure(run: Run, title: str, check_stop: Callable[[], None]) -> tuple[Totals, float | None]:
    """Measure the validation images and the strangers, if there are any."""
    inputs = ToInput(run.crop, "none", run.device)
    # BatchNorm's averages are each process's own; the first one's are what is saved.
    for buffer in run.learner.judged.buffers():
        run.ranks.share(buffer)

    def loader(indices: list[int]) -> DataLoader[Batch]:
        order = EpochOrder(
            indices, run.data.seed, run.order.batch_size, shuffle=False, ranks=run.ranks
        )
        return make_loader(run.data, run.crop, order, workers=run.recipe.workers, device=run.device)

    measured = measure(
        run.learner, loader(run.data.validation), inputs, f"{title}, validation",
        check_stop=check_stop,
    )  # fmt: skip
    if not run.data.holdout:
        return measured, None
    return measured, tar(
        run.learner, loader(run.data.holdout), inputs, f"{title}, strangers",
        check_stop=check_stop, undecodable=measured.undecodable,
    )  # fmt: skip


def _gives_up(run: Run) -> bool:
    """Whether the last epochs were no better than one before, for as long as is put up with."""
    if not run.recipe.patience or run.epochs_without < run.recipe.patience:
        return False
    _say(run, f"No better model in {run.epochs_without} epochs: ended early (--patience)")
    return True


def save_run(run: Run) -> None:
    """Write a checkpoint to go on from, and remove those beyond `--keep`; every process calls."""
    state = run.learner.state_dict()
    if not run.ranks.first:
        return
    content = _content(run, run.learner.model.state())
    content["run"] = {
        **state,
        "script": run.script,
        "first_epoch": run.first_epoch,
        "epochs_done": run.epochs_done,
        "batch": run.batch,
        "totals": run.totals.to_dict(),
        "best": run.best,
        "epochs_without": run.epochs_without,
        "from_scratch": run.from_scratch,
    }
    number = (run.epochs_done - run.first_epoch) * run.order.batches + run.batch
    path = run.output / RUN_FOLDER / f"batch-{number:08d}.pth"
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(path, content)
    run.kept = [*(other for other in run.kept if other != path), path][-run.recipe.keep :]
    for other in set(run_checkpoints(run.output)) - set(run.kept):
        other.unlink()


def _save_model(
    run: Run,
    name: str,
    *,
    accuracy: float | None = None,
    tar: float | None = None,
    interrupted: bool = False,
) -> None:
    """Write the model that is measured, to be used and to be continued."""
    if run.ranks.first:
        content = _content(run, run.learner.judged.state())
        measured = {"accuracy": accuracy, "tar": tar, "interrupted": interrupted}
        save_checkpoint(run.output / name, {**content, **measured})


def _content(run: Run, state: State) -> dict[str, Any]:
    """Return what every checkpoint holds."""
    return {
        "epoch": run.epochs_done,
        "model_state_dict": state,
        "optimizer_state_dict": run.learner.optimizer.state_dict(),
        "optimizer_names": run.learner.optimizer_names(),
        "loss": run.loss,
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
    with replacing(run.output / SETTINGS_NAME) as file:
        file.write(json.dumps(described, indent=2).encode() + b"\n")
    run.history.save(run.output)


def _explain(error: Exception, run: Run) -> None:
    """Raise a line that says what to do about an error; return where none is known."""
    if isinstance(error, LossError):
        line = f"{error} in epoch {run.epochs_done + 1}; run again with a lower --lr (it was "
        line += f"{run.recipe.lr:g}) or with --clip-norm 5"
        good = [path for path in (run.output / BEST_NAME, run.output / FINAL_NAME) if path.exists()]
        if good:
            line += f"; {good[0]} is as it was"
        raise FaceSyncError(line) from error
    if is_out_of_memory(error):
        batch_size = run.order.batch_size
        raise FaceSyncError(
            f"out of memory on {run.device} with --batch-size {batch_size}; run again with "
            f"{_less_memory(run)}"
        ) from error
    if str(error).startswith("DataLoader worker"):
        raise FaceSyncError(
            f"a process that decodes images died ({str(error).splitlines()[0]}); "
            "run again with --workers 0"
        ) from error


def _less_memory(run: Run) -> str:
    """Say which options would fit: the largest batch tried out, where one fits."""
    batch_size = run.order.batch_size
    if run.ranks.size > 1:  # the others still wait for this one's gradients
        return f"--batch-size {max(2 * run.ranks.size, batch_size // 2)}"
    learner = run.learner
    learner.optimizer.zero_grad()
    try:
        fits = largest_batch(
            learner.model, run.recipe, learner.inputs,
            device=run.device, ranks=run.ranks, most=batch_size // 2,
        )  # fmt: skip
    except FaceSyncError:
        return "--checkpoint-activations or on another machine: not even a batch of 2 fits"
    return f"--batch-size {fits}"


def _report_undecodable(lines: list[str], reported: set[str], run: Run) -> None:
    """Log each image that could not be decoded once in a run."""
    new = sorted(set(lines) - reported)
    reported.update(new)
    if new and run.ranks.first:
        more = f"; and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
        log.warning(
            "%d images could not be decoded and were left out: %s%s",
            len(new),
            "; ".join(new[:SHOWN]),
            more,
        )


def _say(run: Run, text: str) -> None:
    if run.ranks.first:
        print(text, flush=True)


def _epoch_line(
    title: str, trained: Totals, measured: Totals, strangers: float | None, lr: float, better: bool
) -> str:
    minutes, seconds = divmod(round(trained.seconds + measured.seconds), 60)
    parts = [
        f"{title}: training loss {trained.loss:.4f}, accuracy {trained.accuracy:.4f}",
        f"validation loss {measured.loss:.4f}, accuracy {measured.accuracy:.4f}",
        f"lr {lr:g}",
        speed(trained),
        f"{minutes} min {seconds} s",
    ]
    if strangers is not None:
        parts.insert(2, f"strangers' TAR {strangers:.4f} at FAR {TAR_FAR:g}")
    if trained.skipped:
        parts.append(f"{trained.skipped} steps skipped: their loss was not finite")
    return "; ".join([*parts, *(["best so far"] if better else [])])


def _where_it_is(run: Run) -> str:
    name = {"val_accuracy": "validation accuracy", "tar": "strangers' TAR"}[run.recipe.select]
    return (
        f"Best model:   {run.output / BEST_NAME} ({name} {run.best:.4f})\n"
        f"Last model:   {run.output / FINAL_NAME}\n"
        f"Curves:       {run.output / 'training_history.png'}"
    )


def _how_to_go_on(run: Run) -> str:
    return (
        f"Stopped after {run.epochs_done} of {run.last_epoch} epochs and {run.batch} batches. To "
        "go on as if nothing had happened, give the same command again with --resume"
    )
