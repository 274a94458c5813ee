"""From an image of a dataset to the network's input, augmented on the way.

A worker process decodes and resizes as serving does; the rest is done for the whole batch on the
device. Without augmentation the result is that of `CropSpec.array`, bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch

from facesync.faces.crops import CropSpec, resize
from facesync.training.augment import augmented


def sized(image_rgb: np.ndarray, crop: CropSpec) -> torch.Tensor:
    """Turn an image, uint8 RGB (height, width, 3), into uint8 (S, S, 3)."""
    return torch.from_numpy(np.require(resize(image_rgb, crop.input_size), requirements="W"))


class ToInput:
    """From the loader's images to the network's input.

    Args:
        crop: what the images are.
        preset: of `facesync.training.augment`.
        device: where the network is.
    """

    def __init__(self, crop: CropSpec, preset: str, device: torch.device) -> None:
        self.crop, self.preset, self.device = crop, preset, device

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Augment and normalise.

        Args:
            images: uint8 (N, 3, S, S), RGB.
            draws: float32 (N, DRAWS), the random numbers of each image.

        Returns:
            float32 (N, 3, S, S) on the device, in the layout that convolutions are fastest in.
        """
        images = images.to(self.device, non_blocking=True)
        draws = draws.to(self.device, non_blocking=True)
        varied = augmented(self.preset, images, draws)
        values = (varied.float() - self.crop.mean) / self.crop.std
        return values.contiguous(memory_format=torch.channels_last)
