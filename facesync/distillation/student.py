"""The student: VGGFace2's network with most of its repeated blocks left out.

A small network that starts from random weights needs millions of faces to learn what edges, eyes
and noses are; some thousands are enough for one that already knows. So the student, whoever its
teacher is, starts as the InceptionResnetV1 with the VGGFace2 weights (names from Szegedy et al.,
arXiv:1602.07261). Its blocks add little each to what they are given, so it still works with half
of the 17 x 17 blocks, and without all 8 x 8 blocks but the last
(`python -m benchmarks.long.student_layers` compares). What is left has half the weights. One linear
layer leads from its pooled features to the embedding; it starts as the best linear map to the
teacher's (`linear_map`).

Its input is aligned faces of 112 x 112 pixels, in which a face is about as large as in the
160 x 160 of the VGGFace2 weights, so the filters fit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from facesync.faces.crops import CropSpec
from facesync.faces.torch_model import new_network

CROP = CropSpec("five_points", crop_size=112, input_size=112, border="black")

FEATURES = 1792
"""Number of pooled features."""

RIDGE = 300.0
"""Penalty on the weights of a linear map from features of variance 1."""

EPS = 1e-5
"""Added to the features' variance."""


class Student(nn.Module):
    """Embeds aligned faces: float32 (N, 3, 112, 112), normalised, to (N, 512) of unit length.

    Args:
        blocks: how many of the ten 17 x 17 blocks are kept.
    """

    def __init__(self, blocks: int = 5) -> None:
        super().__init__()
        whole: Any = new_network()
        self.blocks = blocks
        self.stem = nn.Sequential(
            whole.conv2d_1a,
            whole.conv2d_2a,
            whole.conv2d_2b,
            whole.maxpool_3a,
            whole.conv2d_3b,
            whole.conv2d_4a,
            whole.conv2d_4b,
            whole.repeat_1,
        )
        self.mixed_6a = whole.mixed_6a
        self.repeat_2 = nn.Sequential(*list(whole.repeat_2)[:blocks])
        self.mixed_7a = whole.mixed_7a
        self.block8 = whole.block8
        self.stem.requires_grad_(False)
        self.norm = nn.BatchNorm1d(FEATURES, eps=EPS, affine=False)
        self.linear = nn.Linear(FEATURES, 512)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pooled features, (N, FEATURES)."""
        with torch.no_grad():  # the stem is frozen
            maps = self.stem(images)
        maps = self.mixed_7a(self.repeat_2(self.mixed_6a(maps)))
        return self.block8(maps).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed a batch; see the class."""
        return functional.normalize(self.linear(self.norm(self.features(images))))

    def train(self, mode: bool = True) -> Student:
        """Switch to training; the stem, which is frozen, stays in evaluation mode."""
        super().train(mode)
        self.stem.eval()
        return self


def from_vggface2(network: Any, blocks: int) -> Student:
    """Build a student that starts from an InceptionResnetV1's weights in the layers they share."""
    student = Student(blocks)
    parts: list[tuple[Any, Any]] = [
        (student.stem[0], network.conv2d_1a),
        (student.stem[1], network.conv2d_2a),
        (student.stem[2], network.conv2d_2b),
        (student.stem[4], network.conv2d_3b),
        (student.stem[5], network.conv2d_4a),
        (student.stem[6], network.conv2d_4b),
        (student.stem[7], network.repeat_1),
        (student.mixed_6a, network.mixed_6a),
        (student.mixed_7a, network.mixed_7a),
        (student.block8, network.block8),
        *zip(student.repeat_2, network.repeat_2, strict=False),
    ]
    for own, theirs in parts:
        own.load_state_dict(theirs.state_dict())
    return student


class LinearMap(NamedTuple):
    """Weights (features, 512) of features of mean 0 and variance 1, and what makes them so."""

    mean: np.ndarray
    variance: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Map features, (N, features), to embeddings not yet of unit length, (N, 512)."""
        return (features - self.mean) / np.sqrt(self.variance + EPS) @ self.weights + self.bias


def linear_map(features: np.ndarray, targets: np.ndarray, penalty: float = RIDGE) -> LinearMap:
    """Find the best linear map from features to embeddings (ridge regression).

    Args:
        features: float32 (faces, features).
        targets: float32 (faces, 512): the teacher's embeddings of the same faces.
        penalty: see `RIDGE`.
    """
    mean, variance = features.mean(axis=0), features.var(axis=0)
    scaled = (features - mean) / np.sqrt(variance + EPS)
    bias = targets.mean(axis=0)
    gram = scaled.T @ scaled + penalty * np.eye(scaled.shape[1], dtype=np.float32)
    return LinearMap(mean, variance, np.linalg.solve(gram, scaled.T @ (targets - bias)), bias)


def start_head(student: Student, features: np.ndarray, targets: np.ndarray) -> None:
    """Set the student's last layer, in place, to the best linear map from its features."""
    found = linear_map(features, targets)
    with torch.no_grad():
        statistics = dict(student.norm.named_buffers())
        statistics["running_mean"].copy_(torch.from_numpy(found.mean))
        statistics["running_var"].copy_(torch.from_numpy(found.variance))
        student.linear.weight.copy_(torch.from_numpy(found.weights.T))
        student.linear.bias.copy_(torch.from_numpy(found.bias))
