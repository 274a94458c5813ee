"""Learning rates: how they change, and which weights have which."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from facesync.training.settings import Recipe


def parameter_groups(backbone: nn.Module, head: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return AdamW's groups: backbone and head, each with and without weight decay.

    BatchNorm's weights and all biases have none: decaying them gains nothing
    (He et al., arXiv:1812.01187).
    """
    groups: list[dict[str, Any]] = []
    for module, lr in ((backbone, recipe.backbone_lr or recipe.lr), (head, recipe.lr)):
        groups += [{**group, "lr": lr} for group in decay_groups(module, recipe.weight_decay)]
    return groups


def decay_groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return the weights of a module that decay, and those that do not; no empty group."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Schedule:
    """Sets the learning rates before each step: the product of warm-up, shape and cuts.

    Args:
        optimizer: its groups' rates are the highest ones.
        recipe: `schedule` is `step`, `plateau`, `cosine` or `constant`.

    Attributes:
        steps_per_epoch: set by the caller, who knows the batches.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
        self.optimizer = optimizer
        self.recipe = recipe
        self.steps_per_epoch = 1
        self.highest = [group["lr"] for group in optimizer.param_groups]
        self.cuts = 1.0
        self.lowest_loss = math.inf
        self.bad_epochs = 0

    def set_rates(self, step: int) -> None:
        """Set the rates of a step, counted from 0."""
        factor = self.cuts * self._shape(step)
        if step < self.recipe.warmup_steps:
            factor *= (step + 1) / self.recipe.warmup_steps
        for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
            group["lr"] = highest * factor

    def _shape(self, step: int) -> float:
        recipe = self.recipe
        if recipe.schedule == "step":
            return recipe.lr_gamma ** (step // self.steps_per_epoch // recipe.lr_step)
        if recipe.schedule == "cosine":
            steps = self.steps_per_epoch * recipe.epochs
            done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
        return 1.0

    def end_epoch(self, loss: float) -> None:
        """Note an epoch's validation loss; `plateau` cuts the rates when it stalls.

        As in torch's ReduceLROnPlateau, an epoch is better if it is so by a ten-thousandth.
        """
        if self.recipe.schedule != "plateau":
            return
        if loss < self.lowest_loss * (1 - 1e-4):
            self.lowest_loss, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.recipe.lr_patience:
            self.cuts *= self.recipe.lr_factor
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, float]:
        """Return what `load_state_dict` takes."""
        return {
            "cuts": self.cuts, "lowest_loss": self.lowest_loss, "bad_epochs": self.bad_epochs
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Resume where another schedule of the same recipe was."""
        self.cuts, self.lowest_loss = float(state["cuts"]), float(state["lowest_loss"])
        self.bad_epochs = int(state["bad_epochs"])
