"""Measure a model: loss and accuracy, and how well it tells unseen identities apart."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import update_bn

from facesync.errors import DataError
from facesync.processes import Ranks
from facesync.training.batches import Batch, EpochOrder, mixed_seed
from facesync.training.heads import FEATURES
from facesync.training.learner import Learner
from facesync.training.messages import bar
from facesync.training.run import Run, Totals
from facesync.training.step import usable_images
from facesync.training.transforms import ToInput
from facesync.training.unseen import EmbeddedPeople, Start, for_calibration
from facesync.training.workers import Pass


def validate(
    run: Run, training: Pass[Batch], check_stop: Callable[[], None]
) -> tuple[Totals, EmbeddedPeople]:
    """Measure the validation images, and embed those of `for_calibration`.

    Args:
        run: its evaluated model is measured.
        training: the training images; renews BatchNorm for a network trained
            from scratch.
        check_stop: called before each batch; what it raises ends the measuring.
    """
    if run.progress.from_scratch:
        _renew_batchnorm(run, training, check_stop)
    # Each process has its own averages of BatchNorm; those of the first are saved.
    for buffer in run.learner.evaluated.buffers():
        run.ranks.share(buffer)

    batches = _in_turn(run, run.data.validation)
    measured = measure(run.learner, batches, f"{run.title}, validation", check_stop=check_stop)
    embedded = embed(
        run.learner, _in_turn(run, for_calibration(run.data)[0]),
        f"{run.title}, {'unseen identities' if run.data.holdout else 'calibration'}",
        check_stop=check_stop, undecodable=measured.undecodable,
    )  # fmt: skip
    return measured, embedded


def measure_start(run: Run, check_stop: Callable[[], None]) -> Start:
    """Measure the weights as they are on the unseen identities, before training."""
    batches = _in_turn(run, run.data.holdout)
    found = embed(run.learner, batches, "before training", check_stop=check_stop)
    # As they are read from a checkpoint, so that a resumed run ends with the same figures.
    return Start(
        run.started_from, EmbeddedPeople(found.vectors.astype(np.float16), found.people), found.tar
    )


def _in_turn(run: Run, indices: list[int]) -> Pass[Batch]:
    return run.loader.batches(
        EpochOrder(indices, run.data.seed, run.order.batch_size, shuffle=False, ranks=run.ranks)
    )


def _renew_batchnorm(run: Run, training: Pass[Batch], check_stop: Callable[[], None]) -> None:
    """See `renew_batchnorm`; its draws for dropout are separate from the training's."""
    learner = run.learner
    network = learner.evaluated.backbone

    def images() -> Iterator[torch.Tensor]:
        for batch in training:
            if usable_images(learner, [batch])[0]:
                yield learner.inputs(batch.images, batch.draws)

    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(mixed_seed(run.data.seed, run.progress.epochs_done, run.ranks.rank))
        renew_batchnorm(network, images(), device=run.device, check_stop=check_stop)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            run.ranks.sum(buffer).div_(run.ranks.size)


def renew_batchnorm(
    network: nn.Module,
    images: Iterable[torch.Tensor],
    *,
    device: torch.device,
    check_stop: Callable[[], None],
    batches: int = 100,
) -> None:
    """Recompute BatchNorm's means and variances for the weights as they are now.

    Training keeps running averages. They lag behind weights that started from random numbers and
    still change fast, so that a network that has learnt its images may classify all of them alike
    in evaluation (precise BN: Wu and Johnson, arXiv:2105.07576). What `check_stop` raises between
    two batches ends it with the averages of those seen.
    """

    def checked() -> Iterator[torch.Tensor]:
        for number, batch in enumerate(itertools.islice(images, batches)):
            if number:
                check_stop()
            if len(batch) > 1:
                yield batch

    update_bn(checked(), network, device)


@torch.no_grad()
def measure(
    learner: Learner, batches: Pass[Batch], title: str, *, check_stop: Callable[[], None]
) -> Totals:
    """Measure the evaluated model: mean loss without margins, and accuracy.

    Each process measures its part; all get the sum. `check_stop` is called before each batch.

    Raises:
        DataError: not one image could be used.
    """
    model = learner.evaluated.eval()
    inputs = ToInput(learner.inputs.crop, "none", learner.device)
    totals = Totals()
    sums = torch.zeros(3, dtype=torch.float64)
    started = time.perf_counter()
    for batch in _shown(batches, title, learner.ranks, check_stop):
        totals.undecodable += batch.undecodable
        if not len(batch.labels):
            continue
        labels = batch.labels.to(learner.device, non_blocking=True)
        with learner.autocast():
            losses, logits = model(inputs(batch.images, batch.draws), labels)
        right = (logits.argmax(dim=1) == labels).sum()
        sums += sums.new_tensor([len(labels), losses.double().sum().item(), right.item()])
    totals.seconds = time.perf_counter() - started
    # Process by process: nearly the order in which one alone would add up.
    images, totals.loss_sum, right_sum = (sum(part) for part in zip(*learner.ranks.gather(
        sums.tolist()), strict=True))  # fmt: skip
    totals.images, totals.right = round(images), round(right_sum)
    if not totals.images:
        raise DataError("not one image could be used: " + "; ".join(totals.undecodable[:3]))
    return totals


@torch.no_grad()
def embed(
    learner: Learner,
    batches: Pass[Batch],
    title: str,
    *,
    check_stop: Callable[[], None],
    undecodable: list[str] | None = None,
) -> EmbeddedPeople:
    """Embed images with the evaluated model; all processes get those of all.

    `undecodable` gets a line for each image that could not be decoded.
    """
    backbone = learner.evaluated.backbone.eval()
    inputs = ToInput(learner.inputs.crop, "none", learner.device)
    vectors = [np.empty((0, FEATURES), np.float32)]
    labels: list[int] = []
    for batch in _shown(batches, title, learner.ranks, check_stop):
        if undecodable is not None:
            undecodable += batch.undecodable
        if len(batch.labels):
            with learner.autocast():
                features = backbone(inputs(batch.images, batch.draws))
            vectors.append(normalize(features.float()).cpu().numpy())
            labels += batch.labels.tolist()
    found = [part for parts in learner.ranks.gather(vectors[1:]) for part in parts]
    people = [str(label) for part in learner.ranks.gather(labels) for label in part]
    return EmbeddedPeople(np.concatenate(found or vectors), people)


def _shown(
    batches: Pass[Batch], title: str, ranks: Ranks, check_stop: Callable[[], None]
) -> Iterator[Batch]:
    """Yield the batches under a progress bar."""
    with bar(title, len(batches), quiet=not ranks.first) as progress:
        for batch in batches:
            check_stop()
            progress.update()
            yield batch
