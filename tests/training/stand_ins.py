"""Drawn identities, a network small enough to train in a moment, and marks."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from facesync.faces.crops import ALIGNED_112, CropSpec
from facesync.faces.embedding import FaceModel
from facesync.processes import Ranks
from facesync.training.augment import DRAWS
from facesync.training.batches import Batch
from facesync.training.heads import new_head
from facesync.training.learner import Learner
from facesync.training.model import Classifier
from facesync.training.run import Progress, Run
from facesync.training.settings import PAPER, Recipe
from facesync.training.transforms import ToInput

PLAIN = {
    name: value for name, value in PAPER.items() if name in {each.name for each in fields(Recipe)}
}
"""The settings of a recipe that has nothing but gradients."""

DEVICE = os.environ.get("FACESYNC_TEST_DEVICE", "cpu")
"""Where the tests train that are for any device: `python -m benchmarks.gpu_checks` sets it."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def draw_identity(folder: Path, number: int, images: int) -> None:
    """Write `images` JPEGs of 112 x 112 with one pattern in varying light."""
    rng = np.random.default_rng(number)
    pattern = rng.integers(0, 255, (7, 7, 3))
    folder.mkdir(parents=True, exist_ok=True)
    for key in range(images):
        noisy = np.clip(pattern + rng.integers(-30, 31, pattern.shape), 0, 255).astype(np.uint8)
        image = Image.fromarray(noisy).resize((112, 112), Image.Resampling.BILINEAR)
        image.save(folder / f"{images * number + key + 1}.jpg", quality=95)


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


def drawn_batch(count: int, classes: int = 3, seed: int = 0) -> Batch:
    """Make a batch of images of 8 x 8 coloured squares, in turns of each class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    patterns = np.random.default_rng(100).integers(40, 216, (classes, 3, 8, 8))
    squares = patterns[labels] + rng.integers(-30, 31, (count, 3, 8, 8))
    images = squares.repeat(20, axis=2).repeat(20, axis=3).astype(np.uint8)
    draws = rng.random((count, DRAWS), dtype=np.float32)
    return Batch(torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(draws), [])


def tiny_learner(
    *,
    loss: str = "softmax",
    classes: int = 3,
    head: dict[str, Any] | None = None,
    device: str = "cpu",
    **recipe: Any,
) -> Learner:
    """Make a learner of a `TinyNetwork` that always starts from the same random weights."""
    torch.manual_seed(0)
    model = Classifier(TinyNetwork(), new_head(loss, classes, 16, **(head or {})))
    settings = Recipe(
        **{**PLAIN, "augment": "none", "schedule": "constant", "lr": 0.01, "workers": 0, **recipe}
    )
    inputs = ToInput(ALIGNED_112, settings.augment, torch.device(device))
    return Learner(model, settings, inputs, Ranks())


def tiny_run(learner: Learner, progress: Progress | None = None, output: Path = Path()) -> Run:
    """Make a run whose batches come from elsewhere."""
    data: Any = SimpleNamespace()
    order: Any = SimpleNamespace(epoch=0, first=0)
    return Run(learner, data, order, output, {}, progress=progress or Progress())


def tensors(state: object) -> list[torch.Tensor]:
    """Return all tensors in a state, copied."""
    if isinstance(state, torch.Tensor):
        return [state.detach().clone()]
    if isinstance(state, dict):
        return [each for value in state.values() for each in tensors(value)]
    if isinstance(state, list | tuple):
        return [each for value in state for each in tensors(value)]
    return []


def everything(learner: Learner) -> list[torch.Tensor]:
    """Return the weights, BatchNorm's averages and the optimizer's state, copied."""
    return tensors([learner.model.state_dict(), learner.optimizer.state_dict()["state"]])


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def known_model(calls: list[int]) -> FaceModel:
    """Stands in for a teacher: 512 numbers of an image's colours."""

    def network(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        pooled = images.reshape(len(images), 3, 4, 28, 4, 28).mean(axis=(3, 5)).reshape(-1, 48)
        rows = np.pad(pooled, ((0, 0), (0, 464))).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    crop = CropSpec("five_points", 112, input_size=112)
    return FaceModel(network, crop, "0123", "stand-in")
