"""One step of training, and everything that a step changes."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from facesync.devices import short_format
from facesync.errors import FaceSyncError, ModelError, UsageError
from facesync.processes import Ranks
from facesync.training.augment import DRAWS
from facesync.training.batches import Batch
from facesync.training.memory import fitting_batch_size
from facesync.training.model import Classifier
from facesync.training.recomputing import checkpoint_activations
from facesync.training.schedule import Schedule, parameter_groups
from facesync.training.settings import Recipe
from facesync.training.sync_batchnorm import with_synchronised_batchnorm
from facesync.training.transforms import ToInput

log = logging.getLogger(__name__)

PUT_UP_WITH = 3
"""So many steps in a row without a finite loss end a training."""


class LossError(FaceSyncError):
    """The loss is no longer a finite number."""


@dataclass
class Outcome:
    """What a step measured, over all processes: sums over its images.

    Attributes:
        images: how many were used.
        loss: sum of their losses.
        right: how many were told right.
        skipped: whether the step was left out, because its loss was not finite.
    """

    images: int = 0
    loss: float = 0.0
    right: int = 0
    skipped: bool = False


class Learner:
    """A classifier, its optimizer, schedule, scaler and running average.

    Args:
        model: on the CPU.
        recipe: how it is trained.
        inputs: batches to the network's input.
        device: where it runs.
        ranks: the processes that train together.

    Raises:
        UsageError: the recipe trains the head alone at first, and the head has nothing to train.
    """

    def __init__(
        self,
        model: Classifier,
        recipe: Recipe,
        inputs: ToInput,
        *,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        if recipe.freeze_steps and not list(model.head.parameters()):
            raise UsageError("--freeze-steps trains class weights alone, and this loss has none")
        model.to(device)
        if recipe.sync_batchnorm and ranks.size > 1:
            model.backbone = with_synchronised_batchnorm(model.backbone)
        if recipe.checkpoint_activations:
            checkpoint_activations(model.backbone)
        # mypy does not know this form of to().
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.inputs, self.device, self.ranks = recipe, inputs, device, ranks
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model.backbone, model.head, recipe), lr=recipe.lr, fused=True
        )
        self.schedule = Schedule(self.optimizer, recipe)
        self.short = _format(recipe.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.short is torch.float16)
        self.average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
            if recipe.ema
            else None
        )
        if recipe.compile:
            model.backbone.compile()
        self.step = 0
        self.bad_in_a_row = 0
        self._parameters = list(model.parameters())
        self._buffers = list(model.buffers())
        self._before = [buffer.clone() for buffer in self._buffers]
        self._wrapped: nn.Module | None = None
        self._wrapped_frozen = False

    @property
    def judged(self) -> Classifier:
        """The model that is measured and saved: the running average where there is one."""
        if self.average is None:
            return self.model
        averaged: Classifier = self.average.module  # type: ignore[assignment]
        return averaged

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the short format within the block, where the recipe wants one."""
        return torch.autocast(
            self.device.type, self.short or torch.bfloat16, enabled=self.short is not None
        )

    def learn(self, batches: Sequence[Batch]) -> Outcome:
        """Take one step of the optimizer on some batches, whose gradients are added up.

        Batches in which a process has fewer than two images are left out: BatchNorm has nothing
        to normalise in a batch of one.

        Raises:
            LossError: the loss was not finite for the third time in a row.
        """
        counts = self.counts(batches)
        used = [(batch, count) for batch, count in zip(batches, counts, strict=True) if count]
        self.schedule.set_rates(self.step)
        if not used:
            self.step += 1  # the schedule counts it in the epoch's steps
            return Outcome()
        outcome = Outcome(images=sum(count for _, count in used))
        network = self._ready()
        self._before = _copied(self._buffers, self._before)
        self.optimizer.zero_grad()
        finite = True
        for number, (batch, count) in enumerate(used, 1):
            images = self.inputs(batch.images, batch.draws)
            labels = batch.labels.to(self.device, non_blocking=True)
            with self._exchange(network, last=number == len(used)):
                with self.autocast():
                    losses, logits = network(images, labels)
                # DistributedDataParallel takes the mean over the processes, of parts that need not
                # be of one size: the sum over all images, divided by their number.
                total = losses.sum()
                right = (logits.argmax(dim=1) == labels).sum()
                sums = self.ranks.sum(torch.stack([total.detach(), right.to(total.dtype)]))
                loss_sum, right_sum = sums.tolist()
                finite = math.isfinite(loss_sum)
                if not finite:
                    break
                outcome.loss += loss_sum
                outcome.right += round(right_sum)
                self.scaler.scale(total * (self.ranks.size / count / len(used))).backward()
        if finite:
            self.scaler.unscale_(self.optimizer)
            longest = self.recipe.clip_norm or math.inf
            norm = nn.utils.clip_grad_norm_(self._parameters, longest)
            # In fp16 a gradient that is not finite means only that the scale is too high yet.
            finite = self.scaler.is_enabled() or math.isfinite(norm.item())
        if not finite:
            return self._skip()
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < scale:  # it left the step out, and finds its scale
            _copied(self._before, self._buffers)
            self.step += 1
            return Outcome(skipped=True)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        self.bad_in_a_row = 0
        return outcome

    def counts(self, batches: Sequence[Batch]) -> list[int]:
        """Images of each batch over all processes, 0 where one process has fewer than two."""
        own = [len(batch.labels) for batch in batches]
        values = torch.tensor([own, [count < 2 for count in own]], device=self.device)
        total, too_few = self.ranks.sum(values).tolist()
        return [0 if few else count for count, few in zip(total, too_few, strict=True)]

    def _ready(self) -> nn.Module:
        """Set the training mode and return what is called: frozen at first, then the whole."""
        frozen = self.step < self.recipe.freeze_steps
        self.model.train()
        if frozen:
            self.model.backbone.eval()
        if self.recipe.freeze_batchnorm:
            for module in self.model.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        if self._wrapped is None or frozen != self._wrapped_frozen:
            self.model.backbone.requires_grad_(not frozen)
            self._wrapped, self._wrapped_frozen = self._wrap(), frozen
        return self._wrapped

    def _wrap(self) -> nn.Module:
        if self.ranks.size == 1:
            return self.model
        # It must be made anew when other weights are trained: it waits for all their gradients.
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(self.model, device_ids=ids, gradient_as_bucket_view=True)

    def _exchange(self, network: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        if isinstance(network, DistributedDataParallel) and not last:
            return network.no_sync()
        return contextlib.nullcontext()

    def _skip(self) -> Outcome:
        """Leave the step out; what the forward pass told BatchNorm is taken back."""
        self.optimizer.zero_grad()
        _copied(self._before, self._buffers)
        self.step += 1
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= PUT_UP_WITH:
            raise LossError(f"the loss was not finite in {self.bad_in_a_row} steps in a row")
        return Outcome(skipped=True)

    def optimizer_names(self) -> list[str]:
        """Return the names of the weights in the optimizer's order."""
        names = dict(zip(self._parameters, self.model.names(), strict=True))
        return [names[p] for group in self.optimizer.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the model, which `Classifier.state` gives; every process calls.

        The random states are those of all processes, in their order.
        """
        return {
            "scheduler_state_dict": self.schedule.state_dict(),
            "scaler_state_dict": self.scaler.state_dict(),
            "average": None if self.average is None else self.judged.state(),
            "averaged": 0 if self.average is None else int(self.average.n_averaged),
            "step": self.step,
            "bad_in_a_row": self.bad_in_a_row,
            "random": self.ranks.gather(_random_state(self.device)),
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ModelError: it holds something odd.
        """
        try:
            self.schedule.load_state_dict(state["scheduler_state_dict"])
            self.scaler.load_state_dict(state["scaler_state_dict"])
            if self.average is not None:
                self.judged.load(state["average"], source)
                self.average.n_averaged.fill_(state["averaged"])
            self.step = int(state["step"])
            self.bad_in_a_row = int(state["bad_in_a_row"])
            self.schedule.set_rates(max(0, self.step - 1))  # of the last step, for the history
            if len(state["random"]) == self.ranks.size:
                _set_random_state(state["random"][self.ranks.rank], self.device)
            else:
                log.warning(
                    "%s is of %d processes, now there are %d: their random numbers are new ones",
                    source,
                    len(state["random"]),
                    self.ranks.size,
                )
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ModelError(f"{source} cannot be gone on from: {error!r:.100}") from error


def largest_batch(
    model: Classifier,
    recipe: Recipe,
    inputs: ToInput,
    *,
    device: torch.device,
    ranks: Ranks,
    most: int = 512,
) -> int:
    """Find the largest batch, over all processes, whose steps fit into memory.

    Tried on a copy of the model, with noise for images.

    Raises:
        FaceSyncError: not even a batch of two for each process fits.
    """
    size = inputs.crop.input_size
    alone = replace(recipe, compile=False, freeze_steps=0)
    tried = copy.deepcopy(model)
    tried.head.ranks = Ranks()  # the other processes may try more sizes, or fewer
    trial = Learner(tried, alone, inputs, device=device, ranks=Ranks())

    def step(count: int) -> None:
        images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
        labels = torch.zeros(count, dtype=torch.int64)
        trial.learn([Batch(images, labels, torch.rand(count, DRAWS), [])])

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        own = fitting_batch_size(step, device, most=max(2, most // ranks.size))
    return min(ranks.gather(own)) * ranks.size


def _format(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        return short_format(device)
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _copied(source: list[torch.Tensor], target: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copy tensors over others, in few calls, and return these."""
    with torch.no_grad():
        torch._foreach_copy_(target, source)
    return target


def _random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of Python's, NumPy's, torch's and CUDA's generators as plain values."""
    version, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
