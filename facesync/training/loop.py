"""One pass through the images, to train or to measure."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from facesync.errors import DataError
from facesync.metrics.pairs import all_pairs
from facesync.metrics.rates import roc
from facesync.processes import Ranks
from facesync.training.batches import Batch
from facesync.training.learner import Learner, LossError
from facesync.training.settings import TAR_FAR
from facesync.training.transforms import ToInput

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

INPUT_BOUND = 0.1
"""Where waiting for images takes more of the time than this, input is said to be the limit."""


@dataclass
class Totals:
    """What a pass measured.

    Attributes:
        images: how many went through the network.
        loss_sum: of their losses.
        right: how many were told right.
        seconds: wall time.
        waited: of it, the time spent waiting for images.
        skipped: steps left out because their loss was not finite.
        undecodable: a line for each image that could not be decoded.
    """

    images: int = 0
    loss_sum: float = 0.0
    right: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skipped: int = 0
    undecodable: list[str] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean loss."""
        return self.loss_sum / self.images

    @property
    def accuracy(self) -> float:
        """Share that was told right, 0…1."""
        return self.right / self.images

    @property
    def images_per_second(self) -> float:
        """Speed of the pass."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def input_share(self) -> float:
        """Share of the time that was spent waiting for images, 0…1."""
        return self.waited / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the values for a checkpoint."""
        plain = asdict(self)
        plain["pictures"] = plain.pop("images")  # what checkpoints have called them from the first
        return plain

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Totals:
        """Read what `to_dict` gave."""
        values = {**plain, "images": plain["pictures"]}
        del values["pictures"]
        return Totals(**values)


def renew_batchnorm(
    network: nn.Module,
    images: Iterable[torch.Tensor],
    *,
    device: torch.device,
    check_stop: Callable[[], None],
    batches: int = 100,
) -> None:
    """Measure BatchNorm's means and variances anew, for the weights as they are now.

    Training keeps running averages. They lag behind weights that started from random numbers and
    still change fast, until a network that has learnt its images tells all of them alike in use
    (Wu and Johnson, arXiv:2105.07576, who call the remedy precise BN). What `check_stop` raises
    between two batches ends it with the averages of those seen.
    """

    def checked() -> Iterator[torch.Tensor]:
        for number, batch in enumerate(itertools.islice(images, batches)):
            if number:
                check_stop()
            if len(batch) > 1:
                yield batch

    update_bn(checked(), network, device)


def bar(title: str, total: int, *, quiet: bool) -> Any:
    """Return a progress bar over batches; a log file gets a line now and then."""
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


def train_epoch(
    learner: Learner,
    loader: DataLoader[Batch],
    title: str,
    totals: Totals,
    *,
    after_step: Callable[[int], None],
) -> None:
    """Go through the images once and train.

    Args:
        learner: what is trained.
        loader: gives the batches that are left of the epoch.
        title: what the progress bar shows.
        totals: what the epoch measured so far; is added to.
        after_step: called after each step with the number of batches used so far in this call;
            what it raises ends the pass.

    Raises:
        LossError: the loss was not finite, three times in a row or in the whole epoch.
        DataError: not one image could be used.
    """
    used = 0
    with bar(title, len(loader), quiet=not learner.ranks.first) as progress:
        batches = iter(loader)
        while True:
            started = time.perf_counter()
            step = list(itertools.islice(batches, learner.recipe.accumulate))
            ready = time.perf_counter()
            if not step:
                break
            outcome = learner.learn(step)
            used += len(step)
            totals.images += outcome.images
            totals.loss_sum += outcome.loss
            totals.right += outcome.right
            totals.skipped += outcome.skipped
            totals.undecodable += [line for batch in step for line in batch.undecodable]
            totals.seconds += time.perf_counter() - started
            totals.waited += ready - started
            progress.update(len(step))
            if totals.images:
                progress.set_postfix_str(
                    f"loss {totals.loss:.4f}, accuracy {totals.accuracy:.4f}, {speed(totals)}",
                    refresh=False,
                )
            after_step(used)
    if not totals.images:
        if totals.skipped:
            raise LossError(f"the loss was not finite in all {totals.skipped} steps of an epoch")
        reasons = totals.undecodable[:3] or ["no process had two of a batch"]
        raise DataError("not one image could be used: " + "; ".join(reasons))


def speed(totals: Totals) -> str:
    """Say how fast a pass was and what limits it."""
    limit = "input" if totals.input_share > INPUT_BOUND else "compute"
    return (
        f"{totals.images_per_second:.1f} images/s, {limit}-bound "
        f"({totals.input_share:.0%} waiting for input)"
    )


@torch.no_grad()
def measure(
    learner: Learner,
    loader: DataLoader[Batch],
    inputs: ToInput,
    title: str,
    *,
    check_stop: Callable[[], None],
) -> Totals:
    """Measure the judged model: mean loss without margins, and accuracy.

    Each process measures its part; all get the sum. `check_stop` is called before each batch.

    Raises:
        DataError: not one image could be used.
    """
    model = learner.judged.eval()
    totals = Totals()
    sums = torch.zeros(3, dtype=torch.float64)
    started = time.perf_counter()
    for batch in _shown(loader, title, learner.ranks, check_stop):
        totals.undecodable += batch.undecodable
        if not len(batch.labels):
            continue
        labels = batch.labels.to(learner.device, non_blocking=True)
        with learner.autocast():
            losses, logits = model(inputs(batch.images, batch.draws), labels)
        right = (logits.argmax(dim=1) == labels).sum()
        sums += sums.new_tensor([len(labels), losses.double().sum().item(), right.item()])
    totals.seconds = time.perf_counter() - started
    # One process after the other adds up in the same order as one alone nearly would.
    images, totals.loss_sum, right_sum = (sum(part) for part in zip(*learner.ranks.gather(
        sums.tolist()), strict=True))  # fmt: skip
    totals.images, totals.right = round(images), round(right_sum)
    if not totals.images:
        raise DataError("not one image could be used: " + "; ".join(totals.undecodable[:3]))
    return totals


@torch.no_grad()
def tar(
    learner: Learner,
    loader: DataLoader[Batch],
    inputs: ToInput,
    title: str,
    *,
    check_stop: Callable[[], None],
    undecodable: list[str] | None = None,
) -> float:
    """Measure TAR at FAR `TAR_FAR` over all pairs of the images, which show strangers.

    `undecodable` gets a line for each image that could not be decoded.

    Raises:
        DataError: there are no pairs of both kinds.
    """
    backbone = learner.judged.backbone.eval()
    vectors = [np.empty((0, 1), np.float32)]
    labels: list[int] = []
    for batch in _shown(loader, title, learner.ranks, check_stop):
        if undecodable is not None:
            undecodable += batch.undecodable
        if len(batch.labels):
            with learner.autocast():
                features = backbone(inputs(batch.images, batch.draws))
            vectors.append(normalize(features.float()).cpu().numpy())
            labels += batch.labels.tolist()
    found = [part for parts in learner.ranks.gather(vectors[1:]) for part in parts]
    names = [str(label) for part in learner.ranks.gather(labels) for label in part]
    # A network that has come apart tells nobody apart.
    if not all(np.isfinite(part).all() for part in found):
        return 0.0
    pairs = all_pairs(np.concatenate(found), names) if found else None
    if pairs is None or not len(pairs.genuine) or not len(pairs.impostor):
        raise DataError("the identities held out have no two images each that can be used")
    same = np.arange(len(pairs.genuine) + len(pairs.impostor)) < len(pairs.genuine)
    curve = roc(np.concatenate([pairs.genuine, pairs.impostor]), same)
    return float(np.interp(TAR_FAR, curve.far, curve.tar))


def _shown(
    loader: DataLoader[Batch], title: str, ranks: Ranks, check_stop: Callable[[], None]
) -> Iterator[Batch]:
    """Yield the batches under a progress bar."""
    with bar(title, len(loader), quiet=not ranks.first) as progress:
        for batch in loader:
            check_stop()
            progress.update()
            yield batch
