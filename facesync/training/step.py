"""One step of the optimizer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from facesync.errors import FaceSyncError
from facesync.training.batches import Batch
from facesync.training.learner import Learner

TOLERATED_BAD_STEPS = 2
"""How many steps in a row may have a loss that is not finite."""


class LossError(FaceSyncError):
    """The loss is no longer a finite number."""


@dataclass
class Outcome:
    """What a step measured, summed over the images of all processes.

    Attributes:
        images: how many were used.
        loss: sum of their losses.
        right: how many were correctly classified.
        skipped: whether the step was skipped because its loss was not finite.
    """

    images: int = 0
    loss: float = 0.0
    right: int = 0
    skipped: bool = False


def take_step(learner: Learner, batches: Sequence[Batch]) -> Outcome:
    """Take one step on some batches, whose gradients are summed.

    A step whose loss or gradient is not finite changes nothing. Every step counts for the
    schedule, which relies on the number of steps in an epoch.

    Raises:
        LossError: the loss was not finite for the third time in a row.
    """
    learner.schedule.set_rates(learner.steps)
    counts = usable_images(learner, batches)
    used = [(batch, count) for batch, count in zip(batches, counts, strict=True) if count]
    outcome = Outcome()
    if used:
        network = learner.network()
        learner.save_buffers()
        learner.optimizer.zero_grad()
        outcome = _forward_and_backward(learner, network, used)
        if outcome.skipped or not _gradients_are_finite(learner):
            learner.optimizer.zero_grad()
            learner.restore_buffers()
            learner.bad_in_a_row += 1
            outcome = Outcome(skipped=True)
        else:
            scale = learner.scaler.get_scale()
            learner.scaler.step(learner.optimizer)
            learner.scaler.update()
            if learner.scaler.get_scale() < scale:  # it skipped the step to find its scale
                learner.restore_buffers()
                outcome = Outcome(skipped=True)
            else:
                learner.bad_in_a_row = 0
                if learner.average is not None:
                    learner.average.update_parameters(learner.model)
    learner.steps += 1
    if learner.bad_in_a_row > TOLERATED_BAD_STEPS:
        raise LossError(f"the loss was not finite in {learner.bad_in_a_row} steps in a row")
    return outcome


def _forward_and_backward(
    learner: Learner, network: nn.Module, used: Sequence[tuple[Batch, int]]
) -> Outcome:
    """Sum up the gradients of some batches; stop at the first loss that is not finite."""
    outcome = Outcome(images=sum(count for _, count in used))
    for number, (batch, count) in enumerate(used, 1):
        images = learner.inputs(batch.images, batch.draws)
        labels = batch.labels.to(learner.device, non_blocking=True)
        with _exchange(network, last=number == len(used)):
            with learner.autocast():
                targets = (
                    learner.targets.of(batch.indices, learner.device) if learner.targets else None
                )
                losses, logits = network(images, labels, targets)
            total = losses.sum()
            right = (logits.argmax(dim=1) == labels).sum()
            sums = learner.ranks.sum(torch.stack([total.detach(), right.to(total.dtype)]))
            loss_sum, right_sum = sums.tolist()
            if not math.isfinite(loss_sum):
                return Outcome(skipped=True)
            outcome.loss += loss_sum
            outcome.right += round(right_sum)
            # The mean over all images. DistributedDataParallel divides by the number of processes,
            # whose parts of a batch can differ in size; that is undone here.
            mean = total * (learner.ranks.size / count / len(used))
            learner.scaler.scale(mean).backward()
    return outcome


def _gradients_are_finite(learner: Learner) -> bool:
    """Clip the gradients; say whether a step can be taken with them."""
    learner.scaler.unscale_(learner.optimizer)
    longest = learner.recipe.clip_norm or math.inf
    norm = nn.utils.clip_grad_norm_(learner.parameters, longest)
    # In fp16 an infinite gradient only means that the scale is still too high.
    return learner.scaler.is_enabled() or math.isfinite(norm.item())


def usable_images(learner: Learner, batches: Sequence[Batch]) -> list[int]:
    """Count the images of each batch over all processes; 0 if one process has fewer than two.

    BatchNorm has nothing to normalise in a batch of one.
    """
    own = [len(batch.labels) for batch in batches]
    values = torch.tensor([own, [count < 2 for count in own]], device=learner.device)
    total, too_few = learner.ranks.sum(values).tolist()
    return [0 if few else count for count, few in zip(total, too_few, strict=True)]


def _exchange(network: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
    """Let processes exchange gradients with the last batch of a step only."""
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return contextlib.nullcontext()
