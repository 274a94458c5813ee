from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from facesync.faces.crops import ALIGNED_112, SQUARE, CropSpec
from facesync.training.augment import DRAWS
from facesync.training.transforms import ToInput, sized

CPU = torch.device("cpu")
CROPS = pytest.mark.parametrize("crop", [ALIGNED_112, SQUARE], ids=["five_points", "square"])


def image(width: int = 112, height: int = 112, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def draws(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(seed))


def batch(*images: np.ndarray, crop: CropSpec = ALIGNED_112) -> torch.Tensor:
    return torch.stack([sized(each, crop) for each in images]).permute(0, 3, 1, 2)


@CROPS
@pytest.mark.parametrize("size_wh", [(112, 112), (160, 160), (50, 40), (300, 200), (200, 120)])
def test_without_augmentation_training_sees_exactly_what_serving_sees(crop, size_wh):
    images = [image(*size_wh, seed=seed) for seed in range(3)]
    spec = CropSpec.from_dict(crop.to_dict())
    made = ToInput(crop, "none", CPU)(batch(*images, crop=crop), draws(3))
    assert made.dtype == torch.float32
    for one, image_rgb in zip(made, images, strict=True):
        assert torch.equal(one, torch.from_numpy(spec.array(image_rgb)))
        assert torch.equal(one, torch.from_numpy(spec.array(image_rgb)))


def test_workers_hand_over_bytes_with_colours_last():
    image_rgb = image(300, 200)
    small = sized(image_rgb, ALIGNED_112)
    assert small.dtype == torch.uint8 and small.shape == (160, 160, 3) and small.is_contiguous()
    expected = cv2.resize(image_rgb, (160, 160), interpolation=cv2.INTER_AREA)
    assert np.array_equal(small.numpy(), expected)


def test_an_image_of_the_right_size_is_copied():
    """Its memory may be the dataset's and read-only, of which torch warns."""
    image_rgb = image(160, 160)
    image_rgb.flags.writeable = False
    small = sized(image_rgb, ALIGNED_112)
    small.zero_()
    assert image_rgb.any()


def test_basic_shows_what_serving_sees_or_its_mirror_image():
    image_rgb = image(160, 160)
    served = torch.from_numpy(ALIGNED_112.array(image_rgb))
    made = ToInput(ALIGNED_112, "basic", CPU)(batch(*[image_rgb] * 40), draws(40))
    mirrored = [torch.equal(one, served.flip(2)) for one in made]
    assert all(torch.equal(one, served) for one, is_mirror in zip(made, mirrored, strict=True)
               if not is_mirror)  # fmt: skip
    assert 5 < sum(mirrored) < 35


def test_the_mean_and_deviation_are_the_crops():
    crop = CropSpec("square", crop_size=160, mean=100.0, std=50.0)
    image_rgb = image(160, 160)
    made = ToInput(crop, "none", CPU)(batch(image_rgb, crop=crop), draws(1))[0]
    assert torch.equal(made, torch.from_numpy(crop.array(image_rgb)))
    assert made.max() == pytest.approx((255 - 100) / 50, abs=0.05)


def test_the_input_is_in_channels_last_format():
    made = ToInput(ALIGNED_112, "none", CPU)(batch(image(), image()), draws(2))
    assert made.is_contiguous(memory_format=torch.channels_last)
