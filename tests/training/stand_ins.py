"""Drawn identities, a network small enough to train in a moment, and marks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

# Python 3.12 warns of fork() beside threads; DataLoader forks on Linux, and torch has threads.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def draw_identity(folder: Path, number: int, pictures: int) -> None:
    """Write `pictures` JPEGs of 112 x 112 with one pattern in varying light."""
    rng = np.random.default_rng(number)
    pattern = rng.integers(0, 255, (7, 7, 3))
    folder.mkdir(parents=True, exist_ok=True)
    for key in range(pictures):
        noisy = np.clip(pattern + rng.integers(-30, 31, pattern.shape), 0, 255).astype(np.uint8)
        picture = Image.fromarray(noisy).resize((112, 112), Image.Resampling.BILINEAR)
        picture.save(folder / f"{pictures * number + key + 1}.jpg", quality=95)


class TinyNetwork(nn.Module):
    """Stands in for InceptionResnetV1: same input, a classifier `logits`, BatchNorm, dropout."""

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.AvgPool2d(20), nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU()
        )
        self.dropout = nn.Dropout(0.2)
        self.logits = nn.Linear(16, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1:] == (3, 160, 160)
        return self.logits(self.dropout(self.features(images)))
