"""From a picture of a data set to the network's input, with what augments it on the way.

Every way ends in `CropSpec.tensor`, the one that serving uses too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torchvision import transforms

from facesync.faces.crops import CropSpec

if TYPE_CHECKING:
    import torch
    from PIL import Image

GREY = 127
"""What a rotation leaves empty is filled with the middle of the range, not with black."""


class FaceTransform:
    """Picture to the network's input after some augmentation.

    Random draws come from torch's global generator. Can be pickled, for worker processes.
    """

    def __init__(self, crop: CropSpec, *augmentation: torch.nn.Module) -> None:
        self.crop = crop
        self.augment = transforms.Compose(augmentation)

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Turn a PIL picture (RGB) into float32 (3, S, S)."""
        return self.crop.tensor(np.asarray(self.augment(picture)))


def validation_transform(crop: CropSpec) -> FaceTransform:
    """Resize and normalise, as in use."""
    return FaceTransform(crop)


def train_transform(crop: CropSpec) -> FaceTransform:
    """Mirror every second picture; resize, normalise."""
    return FaceTransform(crop, transforms.RandomHorizontalFlip())


def strong_transform(crop: CropSpec) -> FaceTransform:
    """Turn by up to 10 degrees, cut off up to a fifth, mirror, change the colours."""
    bilinear = transforms.InterpolationMode.BILINEAR
    return FaceTransform(
        crop,
        transforms.RandomRotation(10, interpolation=bilinear, fill=GREY),
        transforms.RandomResizedCrop(
            crop.input_size, scale=(0.8, 1.0), ratio=(0.95, 1.05), interpolation=bilinear
        ),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
    )
