from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from facesync.faces.crops import ALIGNED_112, SQUARE, CropSpec
from facesync.training.transforms import strong_transform, train_transform, validation_transform


@pytest.fixture
def picture() -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("crop", [ALIGNED_112, SQUARE], ids=["five_points", "square"])
def test_validation_sees_exactly_what_serving_sees(picture, crop):
    served = CropSpec.from_dict(crop.to_dict()).tensor(np.asarray(picture))
    assert torch.equal(validation_transform(crop)(picture), served)


def test_training_sees_what_serving_sees_or_its_mirror_image(picture):
    served = ALIGNED_112.tensor(np.asarray(picture))
    mirrored = ALIGNED_112.tensor(np.ascontiguousarray(np.asarray(picture)[:, ::-1]))
    seen = {True: 0, False: 0}
    for _ in range(20):
        made = train_transform(ALIGNED_112)(picture)
        assert torch.equal(made, served) or torch.equal(made, mirrored)
        seen[torch.equal(made, served)] += 1
    assert seen[True] and seen[False]


def test_strong_augmentation_keeps_size_and_range_and_is_never_the_same(picture):
    transform = strong_transform(ALIGNED_112)
    one, other = transform(picture), transform(picture)
    assert one.shape == (3, 160, 160) and one.dtype == torch.float32
    assert one.min() >= -1 and one.max() <= 1
    assert not torch.equal(one, other)


def test_strong_augmentation_fills_no_corner_with_black():
    bright = Image.new("RGB", (112, 112), (255, 255, 255))
    transform = strong_transform(ALIGNED_112)
    assert min(float(transform(bright).min()) for _ in range(10)) > -0.5


@pytest.mark.parametrize("size_wh", [(112, 112), (50, 40), (300, 200)])
@pytest.mark.parametrize("make", [train_transform, strong_transform, validation_transform])
def test_pictures_of_any_size_become_the_networks_input(make, size_wh):
    assert make(ALIGNED_112)(Image.new("RGB", size_wh)).shape == (3, 160, 160)


@pytest.mark.parametrize("make", [train_transform, strong_transform, validation_transform])
def test_can_be_pickled_for_worker_processes(make, picture):
    copy = pickle.loads(pickle.dumps(make(SQUARE)))
    assert copy(picture).shape == (3, 160, 160)
