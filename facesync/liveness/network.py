"""The passive model's network, twice: one for each crop; trained in torch, used as ONNX.

Besides live, print and replay, it predicts a coarse map of what is live, and the spectrum of its
input (the auxiliary task of MiniFASNet); both only help training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from facesync.liveness.passive import KINDS

WIDTHS = (24, 32, 64, 96)
"""Channels of the stem and of the three stages; 0.21 million weights."""

_STYLE_SIZE = 32  # of the vectors that the contrastive loss compares


@dataclass(frozen=True)
class Outputs:
    """What the network says about a batch of N crops.

    Attributes:
        kinds: (N, 3), logits of live, print and replay.
        live_map: (N, 1, 7, 7), logits of live, place by place.
        spectrum: (N, 1, 7, 7), the predicted logarithm of the spectrum, normalised.
        style: (N, 32), of unit length: near for what looks alike.
    """

    kinds: torch.Tensor
    live_map: torch.Tensor
    spectrum: torch.Tensor
    style: torch.Tensor


class LivenessNet(nn.Module):
    """A small residual network on one crop, float (N, 3, 112, 112), RGB 0…255."""

    def __init__(self) -> None:
        super().__init__()
        stem, *stages = WIDTHS
        last = stages[-1]
        self.features = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            _Residual(stem, stages[0]),
            _Residual(stages[0], stages[1]),
            _Residual(stages[1], stages[2]),
        )
        self.kinds = nn.Sequential(nn.Dropout(0.3), nn.Linear(last, len(KINDS)))
        self.live_map = nn.Conv2d(last, 1, 1)
        self.spectrum = nn.Sequential(nn.Conv2d(last, 48, 3, 1, 1), nn.ReLU(), nn.Conv2d(48, 1, 1))
        self.style = nn.Linear(last, _STYLE_SIZE)

    def forward(self, crops: torch.Tensor) -> Outputs:
        """Return everything that training compares."""
        features = self._features(crops)
        pooled = features.mean((2, 3))
        return Outputs(
            self.kinds(pooled),
            self.live_map(features),
            self.spectrum(features),
            functional.normalize(self.style(pooled), dim=1),
        )

    def log_chances(self, crops: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities of live, print and replay, (N, 3)."""
        return self.kinds(self._features(crops).mean((2, 3))).log_softmax(dim=1)

    def _features(self, crops: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(_standardised(crops))
        return features


def _standardised(crops: torch.Tensor) -> torch.Tensor:
    """Take out brightness and contrast, of what is not black: they tell sets apart, not attacks."""
    seen = (crops.amax(dim=1, keepdim=True) > 0).float()
    values = 3 * seen.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (crops * seen).sum((1, 2, 3), keepdim=True) / values
    apart = (crops - mean) * seen
    spread = (apart.square().sum((1, 2, 3), keepdim=True) / values).sqrt()
    return apart / (spread + 8)


class _Residual(nn.Module):
    """Two convolutions that halve the size (He et al., 2016)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.skip = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.skip(x))


class Pair(nn.Module):
    """Both networks as one: from two crops, float (N, 2, 3, 112, 112), to chances (N, 3).

    The chances of live, print and replay are the geometric means of the two networks', normalised.
    """

    def __init__(self, texture: LivenessNet, context: LivenessNet) -> None:
        super().__init__()
        self.texture, self.context = texture, context

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the chances."""
        both = self.texture.log_chances(crops[:, 0]) + self.context.log_chances(crops[:, 1])
        return (both / 2).softmax(dim=1)
