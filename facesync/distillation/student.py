"""The student: the first layers of VGGFace2's network, and a short path to the embedding.

A small network that starts from random weights needs millions of faces to learn what edges, eyes
and noses are; some thousands are enough for one that already knows. So the student, whoever its
teacher is, starts as the InceptionResnetV1 with the VGGFace2 weights up to its second reduction:
the stem, the five 35 x 35 blocks, Mixed_6a, and some or all of the ten 17 x 17 blocks (names from
Szegedy et al., arXiv:1602.07261). The rest, which holds most of the weights, is replaced by a
global depthwise convolution (MobileFaceNets, arXiv:1804.07573) and one linear layer. Its input is
aligned faces of 112 x 112 pixels, in which a face is about as large as in the 160 x 160 of the
VGGFace2 weights, so the filters fit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from facesync.faces.crops import CropSpec
from facesync.faces.torch_model import new_network

CROP = CropSpec("five_points", crop_size=112, input_size=112, border="black")


class Student(nn.Module):
    """Embeds aligned faces: float32 (N, 3, 112, 112), normalised, to (N, 512) of unit length.

    Args:
        blocks: how many of the ten 17 x 17 blocks are kept.
    """

    def __init__(self, blocks: int = 2) -> None:
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
        self.pool = nn.Conv2d(896, 896, 5, groups=896, bias=False)
        nn.init.constant_(self.pool.weight, 1 / 25)  # starts as average pooling
        self.norm = nn.BatchNorm1d(896)
        self.linear = nn.Linear(896, 512, bias=False)
        self.last_norm = nn.BatchNorm1d(512)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed a batch; see the class."""
        with torch.no_grad():  # the stem is frozen
            features = self.stem(images)
        features = self.repeat_2(self.mixed_6a(features))
        features = self.linear(self.norm(self.pool(features).flatten(1)))
        return functional.normalize(self.last_norm(features))

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
        *zip(student.repeat_2, network.repeat_2, strict=False),
    ]
    for own, theirs in parts:
        own.load_state_dict(theirs.state_dict())
    student.stem.requires_grad_(False)
    return student
