"""How long a training would take on this machine: some of its batches are timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from facesync.cli import count
from facesync.training.board import Board
from facesync.training.epoch import train_epoch
from facesync.training.run import Run
from facesync.training.unseen import for_calibration
from facesync.training.validation import embed

MOST_BATCHES = 100
MOST_SECONDS = 10.0
"""When a timing has seen enough, once it has three batches."""

WARM_UP = 20
"""Batches at the start that do not count, at most half: workers and kernels are still starting."""


class _Enough(Exception):
    """A timing has seen enough."""


@dataclass
class _Stopwatch:
    """Notes when each batch ends."""

    ends: list[float] = field(default_factory=lambda: [time.perf_counter()])

    def note(self) -> None:
        """Note the time; raise `_Enough` after enough batches."""
        self.ends.append(time.perf_counter())
        if len(self.ends) > MOST_BATCHES or (
            len(self.ends) > 3 and self.ends[-1] - self.ends[0] > MOST_SECONDS
        ):
            raise _Enough

    @property
    def seconds_each(self) -> float:
        """Mean time of a batch."""
        first = min(WARM_UP, (len(self.ends) - 1) // 2)
        return (self.ends[-1] - self.ends[first]) / (len(self.ends) - 1 - first)


def estimate(run: Run, *, imprint: bool) -> str:
    """Say how long a run would take, by some of its steps and some images that are only embedded.

    Args:
        run: at its start, of one process. Its weights change, so it is of no further use.
        imprint: whether it would begin with the mean features of its identities.
    """
    batches = run.loader.batches(run.order)
    step = _timed(lambda note: train_epoch(run, batches, note, Board(None)))
    look = _timed(lambda note: embed(run.learner, batches, "timing", check_stop=note))
    data, epochs = run.data, run.recipe.epochs
    measured = len(for_calibration(data)[0])
    looked = epochs * (len(data.validation) + measured)
    looked += (len(data.train) if imprint else 0) + (measured if data.holdout else 0)
    size = min(run.order.batch_size, len(data.train))
    seconds = (epochs * len(data.train) * step + looked * look) / size
    cuda = run.device.type == "cuda"
    return (
        f"This training would take about {_in_words(seconds)} on "
        f"{torch.cuda.get_device_name(run.device) if cuda else run.device.type.upper()}: "
        f"{count(epochs, 'epoch', 'epochs')} of {count(len(data.train), 'image', 'images')} at "
        f"{size / step:.1f} images/s, and {count(looked, 'image', 'images')} that are only "
        f"measured, at {size / look:.1f}. Reading the data and writing files comes on top."
    )


def _timed(work: Callable[[Callable[[], None]], object]) -> float:
    """Return the mean seconds of a batch of some work, which is told what to call after each."""
    watch = _Stopwatch()
    try:
        work(watch.note)
    except _Enough:
        pass
    return watch.seconds_each


def _in_words(seconds: float) -> str:
    """Say a time as nobody would doubt its precision: two units at most."""
    minutes = round(seconds / 60)
    if not minutes:
        return "a minute"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return count(minutes, "minute", "minutes")
    return f"{count(hours, 'hour', 'hours')} {count(minutes, 'minute', 'minutes')}"
