"""What a step of training changes: model, optimizer, schedule, scaler and running average."""

from __future__ import annotations

import logging
import random
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from facesync.devices import short_format
from facesync.errors import ModelError
from facesync.processes import Ranks
from facesync.training.history import INVALID
from facesync.training.model import Classifier
from facesync.training.recomputing import checkpoint_activations
from facesync.training.schedule import Schedule, parameter_groups
from facesync.training.settings import Recipe
from facesync.training.teacher import Targets
from facesync.training.transforms import ToInput

log = logging.getLogger(__name__)


class Learner:
    """A classifier in training; `facesync.training.step.take_step` takes its steps.

    Args:
        model: on the CPU.
        recipe: how it is trained.
        inputs: from batches to the network's input, on the device where it runs.
        ranks: the processes that train together.

    Attributes:
        steps: how many steps have been taken or skipped.
        bad_in_a_row: how many of the last steps were skipped because the loss was not finite.
        targets: what a teacher makes of the training images, if there is one.
    """

    def __init__(self, model: Classifier, recipe: Recipe, inputs: ToInput, ranks: Ranks) -> None:
        device = inputs.device
        model.to(device)
        if recipe.sync_batchnorm and ranks.size > 1:
            model.backbone = nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)
        if recipe.checkpoint_activations:
            checkpoint_activations(model.backbone)
        # mypy does not know this form of to().
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.inputs, self.device, self.ranks = recipe, inputs, device, ranks
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model.backbone, model.head, recipe),
            lr=recipe.lr,
            fused=device.type != "mps",  # not in torch 2.4
        )
        self.schedule = Schedule(self.optimizer, recipe)
        self.short = _short_format(recipe.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.short is torch.float16)
        self.average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
            if recipe.ema
            else None
        )
        if recipe.compile:
            model.backbone.compile()
        self.steps = 0
        self.bad_in_a_row = 0
        self.targets: Targets | None = None
        self.parameters = list(model.parameters())
        self._buffers = list(model.buffers())
        self._saved_buffers = [buffer.clone() for buffer in self._buffers]
        self._network: nn.Module | None = None
        self._network_is_frozen = False

    @property
    def evaluated(self) -> Classifier:
        """The model that is evaluated and saved: the running average, if there is one."""
        if self.average is None:
            return self.model
        averaged: Classifier = self.average.module  # type: ignore[assignment]
        return averaged

    @property
    def lr(self) -> float:
        """The head's current learning rate."""
        return float(self.optimizer.param_groups[-1]["lr"])

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the short format within the block, if the recipe wants one."""
        return torch.autocast(
            self.device.type, self.short or torch.bfloat16, enabled=self.short is not None
        )

    def network(self) -> nn.Module:
        """Return what to call for the next step, in training mode; only the head at first."""
        frozen = self.steps < self.recipe.freeze_steps
        self.model.train()
        if frozen:
            self.model.backbone.eval()
        if self.recipe.freeze_batchnorm:
            for module in self.model.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        if self._network is None or frozen != self._network_is_frozen:
            self.model.backbone.requires_grad_(not frozen)
            self._network, self._network_is_frozen = self._distributed(), frozen
        return self._network

    def _distributed(self) -> nn.Module:
        if self.ranks.size == 1:
            return self.model
        # Needed again when other weights are trained: it waits for the gradients of all of them.
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(self.model, device_ids=ids, gradient_as_bucket_view=True)

    @torch.no_grad()
    def save_buffers(self) -> None:
        """Save BatchNorm's averages before a step."""
        torch._foreach_copy_(self._saved_buffers, self._buffers)

    @torch.no_grad()
    def restore_buffers(self) -> None:
        """Undo what a step did to BatchNorm's averages."""
        torch._foreach_copy_(self._buffers, self._saved_buffers)

    def optimizer_names(self) -> list[str]:
        """Return the names of the weights in the optimizer's order."""
        names = dict(zip(self.parameters, self.model.names(), strict=True))
        return [names[p] for group in self.optimizer.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the model, which `Classifier.state` gives; every process calls.

        The random states are those of all processes, by rank.
        """
        return {
            "scheduler_state_dict": self.schedule.state_dict(),
            "scaler_state_dict": self.scaler.state_dict(),
            "average": None if self.average is None else self.evaluated.state(),
            "averaged": 0 if self.average is None else int(self.average.n_averaged),
            "step": self.steps,
            "bad_in_a_row": self.bad_in_a_row,
            "random": self.ranks.gather(_random_state(self.device)),
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Resume where `state_dict` was taken.

        Raises:
            ModelError: it lacks something.
        """
        try:
            self.schedule.load_state_dict(state["scheduler_state_dict"])
            self.scaler.load_state_dict(state["scaler_state_dict"])
            if self.average is not None:
                self.evaluated.load(state["average"], source)
                self.average.n_averaged.fill_(state["averaged"])
            self.steps = int(state["step"])
            self.bad_in_a_row = int(state["bad_in_a_row"])
            self.schedule.set_rates(max(0, self.steps - 1))  # of the last step, for the history
            if len(state["random"]) == self.ranks.size:
                _set_random_state(state["random"][self.ranks.rank], self.device)
            else:
                log.warning(
                    "%s was written by %d processes, now there are %d: random numbers will "
                    "differ from the original run's",
                    source,
                    len(state["random"]),
                    self.ranks.size,
                )
        except (KeyError, *INVALID, AttributeError) as error:
            raise ModelError(f"cannot resume from {source}: {error!r:.100}") from error


def _short_format(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        return short_format(device)
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


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
