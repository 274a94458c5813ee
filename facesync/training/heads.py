"""The losses, each with the class weights that it trains.

Softmax is the plain classifier. ArcFace (arXiv:1801.07698), CosFace (arXiv:1801.09414) and AdaFace
(arXiv:2204.00964) compare directions and put a margin on the right class. The triplet
loss (arXiv:1503.03832, the hardest of the batch as in arXiv:1703.07737) has no class weights; its
head keeps each class's mean direction, so that it can classify images too.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from facesync.processes import Ranks
from facesync.training.settings import MARGINS, SCALE

FEATURES = 512


class Head(nn.Module):
    """From features to losses.

    Args:
        classes: how many identities.
        features: length of a feature vector.
        label_smoothing: share of the target that is spread over all classes.
        scale: factor on the cosines (s in the papers).
        margin: m in the papers.
        ranks: the processes that train together.
    """

    weight: torch.Tensor

    def __init__(
        self,
        classes: int,
        features: int = FEATURES,
        *,
        label_smoothing: float = 0.0,
        scale: float = SCALE,
        margin: float = 0.0,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing, self.scale, self.margin = label_smoothing, scale, margin
        self.ranks = ranks or Ranks()
        self._make_weights(classes, features)

    def _make_weights(self, classes: int, features: int) -> None:
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.normal_(self.weight, std=0.01)

    def forward(
        self, features: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Measure a batch; margins and smoothing apply in training mode only.

        Args:
            features: (N, features), of any length.
            labels: int64 (N,).

        Returns:
            losses, float32 (N,); logits, float32 (N, classes), without any margin.
        """
        # Differences of cosines in the third decimal matter: float32, whatever the features are.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            logits = self.logits(features)
            with_margin = self.with_margin(logits, features, labels) if self.training else logits
            smoothing = self.label_smoothing if self.training else 0.0
            losses = cross_entropy(with_margin, labels, reduction="none", label_smoothing=smoothing)
        return losses, logits

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return scaled cosines to the classes' directions."""
        return self.scale * normalize(features) @ normalize(self.weight).T

    def with_margin(
        self, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits with the margin applied to the right class."""
        return logits


class Softmax(Head):
    """A linear classifier with cross-entropy."""

    def _make_weights(self, classes: int, features: int) -> None:
        linear = nn.Linear(features, classes)  # for its initial values
        self.weight, self.bias = linear.weight, linear.bias

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the classifier's outputs."""
        return nn.functional.linear(features, self.weight, self.bias)


class ArcFace(Head):
    """The margin is added to the angle."""

    def with_margin(
        self, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits with the right class's angle widened."""
        cosine = (logits / self.scale).clamp(-1 + 1e-6, 1 - 1e-6)
        widened = torch.cos(torch.acos(cosine) + self.margin)
        # Beyond 180 degrees the cosine would rise again; fall linearly instead.
        past = cosine - self.margin * math.sin(self.margin)
        widened = torch.where(cosine > math.cos(math.pi - self.margin), widened, past)
        return torch.where(_right(logits, labels), self.scale * widened, logits)


class CosFace(Head):
    """The margin is subtracted from the cosine."""

    def with_margin(
        self, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits with the right class's lowered."""
        return logits - self.scale * self.margin * _right(logits, labels)


class AdaFace(Head):
    """The margin follows the length of the feature, a proxy for the image's quality.

    Lengths are compared with their running mean and deviation, over all processes.
    """

    CONCENTRATION = 0.333
    MOMENTUM = 0.01
    mean: torch.Tensor
    deviation: torch.Tensor

    def _make_weights(self, classes: int, features: int) -> None:
        super()._make_weights(classes, features)
        # Those of the VGGFace2 weights' features; others are reached in about 100 steps.
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("deviation", torch.tensor(5.0))

    def with_margin(
        self, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits with an angle and a cosine subtracted from the right class."""
        length = features.detach().norm(dim=1).clamp(1e-3, 1e3)
        self._note(length)
        quality = (length - self.mean) / (self.deviation + 1e-3) * self.CONCENTRATION
        quality = quality.clamp(-1, 1)[:, None]
        cosine = (logits / self.scale).clamp(-1 + 1e-6, 1 - 1e-6)
        angle = (torch.acos(cosine) - self.margin * quality).clamp(1e-3, math.pi - 1e-3)
        lowered = torch.cos(angle) - self.margin * (1 + quality)
        return torch.where(_right(logits, labels), self.scale * lowered, logits)

    @torch.no_grad()
    def _note(self, length: torch.Tensor) -> None:
        sums = torch.stack([torch.ones_like(length), length, length.square()]).sum(dim=1)
        count, total, squares = self.ranks.sum(sums)
        mean = total / count
        variance = (squares - count * mean.square()) / (count - 1).clamp(min=1)
        self.mean.lerp_(mean, self.MOMENTUM)
        self.deviation.lerp_(variance.clamp(min=0).sqrt(), self.MOMENTUM)


class Triplet(Head):
    """The furthest of the same class must be nearer than the nearest of any other class.

    Compares the images of one batch in one process; `weight` is not a parameter but a running
    average of each class's mean direction.
    """

    MOMENTUM = 0.1

    def _make_weights(self, classes: int, features: int) -> None:
        self.register_buffer("weight", torch.zeros(classes, features))

    def forward(
        self, features: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Measure a batch; see `Head.forward`. An image alone in its class has loss 0."""
        if not self.training:
            return super().forward(features, labels)
        with torch.autocast(features.device.type, enabled=False):
            unit = normalize(features.float())
            logits = self.logits(unit).detach()
            # Squared distances, 0…4. Masked ones never win against a real one.
            apart = (2 - 2 * unit @ unit.T).clamp(min=0)
            same = labels[:, None] == labels[None, :]
            itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
            furthest = apart.masked_fill(~same | itself, -5.0).amax(dim=1)
            nearest = apart.masked_fill(same, 10.0).amin(dim=1)
            self._note(unit.detach(), labels)
            return (furthest - nearest + self.margin).clamp(min=0), logits

    @torch.no_grad()
    def _note(self, unit: torch.Tensor, labels: torch.Tensor) -> None:
        sums = torch.zeros_like(self.weight).index_add_(0, labels, unit)
        count = torch.zeros_like(self.weight[:, 0]).index_add_(
            0, labels, torch.ones_like(unit[:, 0])
        )
        self.ranks.sum(sums)
        count = self.ranks.sum(count)[:, None]
        moved = self.weight.lerp(sums / count.clamp(min=1), self.MOMENTUM)
        self.weight.copy_(torch.where(count > 0, moved, self.weight))


HEADS: dict[str, type[Head]] = {
    "softmax": Softmax,
    "arcface": ArcFace,
    "cosface": CosFace,
    "adaface": AdaFace,
    "triplet": Triplet,
}


def new_head(loss: str, classes: int, features: int = FEATURES, **options: Any) -> Head:
    """Make the head of a loss, with its paper's margin if None is given; see `Head`."""
    if options.get("margin") is None:
        options["margin"] = MARGINS[loss]
    return HEADS[loss](classes, features, **options)


def _right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return a mask of the logits' shape: True at each image's own class."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    return classes[None, :] == labels[:, None]
