"""One pass through the pictures, to train or to measure."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from facesync.errors import DataError, FaceSyncError
from facesync.training.batches import Batch

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


class LossError(FaceSyncError):
    """The loss is no longer a finite number."""


@dataclass
class Totals:
    """What a pass measured.

    Attributes:
        pictures: how many went through the network.
        loss: mean cross-entropy.
        accuracy: share that was told right, 0…1.
        seconds: wall time.
        undecodable: a line for each picture that could not be decoded.
    """

    pictures: int = 0
    loss: float = 0.0
    accuracy: float = 0.0
    seconds: float = 0.0
    undecodable: list[str] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Speed of the pass."""
        return self.pictures / self.seconds if self.seconds else 0.0


def renew_batchnorm(
    network: torch.nn.Module,
    loader: DataLoader[Batch],
    *,
    device: torch.device,
    check_stop: Callable[[], None],
    batches: int = 100,
) -> None:
    """Measure BatchNorm's means and variances anew, for the weights as they are now.

    Training keeps running averages. They lag behind weights that started from random numbers and
    still change fast, until a network that has learnt its pictures tells all of them alike in use
    (Wu and Johnson, arXiv:2105.07576, who call the remedy precise BN). What `check_stop` raises
    between two batches ends it with the averages of those seen.
    """

    def images() -> Iterator[torch.Tensor]:
        for number, batch in enumerate(itertools.islice(loader, batches)):
            if number:
                check_stop()
            if len(batch.labels) > 1:
                yield batch.images

    update_bn(images(), network, device)


def run_epoch(
    network: torch.nn.Module,
    loader: DataLoader[Batch],
    title: str,
    *,
    device: torch.device,
    check_stop: Callable[[], None],
    optimizer: torch.optim.Optimizer | None = None,
) -> Totals:
    """Go through the pictures once: train with an optimizer, measure without one.

    Args:
        network: images (N, 3, S, S) to logits (N, classes).
        loader: what gives the batches.
        title: what the progress bar shows.
        device: where the network is.
        check_stop: called with each batch before it is used; what it raises ends the pass.
        optimizer: updates the weights; None to measure only.

    Raises:
        LossError: the loss is not finite; the weights are as before that batch.
        DataError: not one picture could be used.
    """
    training = optimizer is not None
    network.train(training)
    totals = Totals()
    loss_sum, right = 0.0, 0
    started = time.perf_counter()
    terminal = sys.stderr.isatty()
    with (
        torch.set_grad_enabled(training),
        tqdm(
            total=len(loader.sampler),  # type: ignore[arg-type]
            desc=title,
            unit="img",
            leave=False,
            dynamic_ncols=terminal,
            # A log file wants a line now and then.
            delay=0 if terminal else 30,
            mininterval=0.3 if terminal else 30,
        ) as bar,
    ):
        for batch in loader:
            check_stop()
            totals.undecodable += batch.undecodable
            bar.update(len(batch.labels) + len(batch.undecodable))
            # BatchNorm has nothing to normalise in a batch of one.
            if len(batch.labels) < (2 if training else 1):
                continue
            images = batch.images.to(device, non_blocking=True)
            labels = batch.labels.to(device, non_blocking=True)
            logits = network(images)
            loss = cross_entropy(logits, labels)
            value = loss.item()
            if not math.isfinite(value):
                raise LossError(f"the loss became {value}")
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            totals.pictures += len(labels)
            loss_sum += value * len(labels)
            right += int((logits.argmax(dim=1) == labels).sum())
            bar.set_postfix_str(
                f"loss {loss_sum / totals.pictures:.4f}, accuracy {right / totals.pictures:.4f}",
                refresh=False,
            )
    if not totals.pictures:
        raise DataError("not one picture could be used: " + "; ".join(totals.undecodable[:3]))
    totals.loss = loss_sum / totals.pictures
    totals.accuracy = right / totals.pictures
    totals.seconds = time.perf_counter() - started
    return totals
