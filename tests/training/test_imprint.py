from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from facesync.errors import ImageError
from facesync.faces.crops import ALIGNED_112
from facesync.training.batches import EpochOrder, load_split
from facesync.training.imprint import imprint
from facesync.training.run import Run
from tests.training.stand_ins import tiny_learner


def run_of(learner, data) -> Run:
    return Run(learner, data, EpochOrder(data.train, data.seed, 8, shuffle=True), Path(), {})


def mean_directions(learner, data) -> dict[int, torch.Tensor]:
    """Compute each class's mean direction plainly, one image after the other."""
    backbone = learner.model.backbone.eval()
    of_class: dict[int, list[torch.Tensor]] = {}
    for index in data.train:
        try:
            image_rgb = data.faces.image_rgb(index)
        except ImageError:
            continue
        with torch.no_grad():
            features = backbone(torch.from_numpy(ALIGNED_112.array(image_rgb))[None])[0]
        of_class.setdefault(data.labels[index], []).append(normalize(features, dim=0))
    return {
        label: normalize(torch.stack(parts).mean(dim=0), dim=0)
        for label, parts in of_class.items()
    }  # fmt: skip


@pytest.mark.parametrize("loss", ["softmax", "arcface", "cosface", "adaface", "triplet"])
def test_class_weights_are_the_mean_directions_of_the_training_images(loss, small_split):
    learner = tiny_learner(loss=loss)
    length = float(learner.model.head.weight.detach().norm(dim=1).mean()) or 1.0
    imprint(run_of(learner, small_split))
    weight = learner.model.head.weight.detach()
    expected = mean_directions(learner, small_split)
    assert sorted(expected) == [0, 1, 2]
    for label, direction in expected.items():
        assert torch.allclose(normalize(weight[label], dim=0), direction, atol=1e-5)
    assert weight.norm(dim=1).tolist() == pytest.approx([length] * 3, rel=1e-5)


def test_nothing_else_of_the_model_changes(small_split):
    learner = tiny_learner(loss="adaface")
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    random = torch.get_rng_state()
    imprint(run_of(learner, small_split))
    changed = {
        name
        for name, value in learner.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"head.weight"} and learner.model.head.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), random)


def test_the_running_average_starts_from_them_too(small_split):
    learner = tiny_learner(loss="cosface", ema=0.9)
    imprint(run_of(learner, small_split))
    assert torch.equal(learner.evaluated.head.weight, learner.model.head.weight)


def test_images_that_cannot_be_decoded_are_left_out(images, damaged_image):
    data = load_split(images, seed=42, min_images=5, max_images=100)
    whole, learner = tiny_learner(loss="cosface"), tiny_learner(loss="cosface")
    imprint(run_of(whole, data))
    spoilt = next(index for index in data.train if data.labels[index] == 1)
    damaged_image(images / f"{data.faces.names[spoilt]}.jpg")
    imprint(run_of(learner, data))
    weight = learner.model.head.weight.detach()
    assert torch.allclose(
        normalize(weight[1], dim=0), mean_directions(learner, data)[1], atol=1e-5
    )  # fmt: skip
    assert torch.equal(weight[[0, 2]], whole.model.head.weight[[0, 2]])
    assert not torch.equal(weight[1], whole.model.head.weight[1])


def test_an_identity_without_a_usable_image_keeps_its_weights(images, damaged_image):
    for path in (images / "1").iterdir():
        damaged_image(path)
    data = load_split(images, seed=42, min_images=5, max_images=100)
    learner = tiny_learner(loss="cosface")
    before = learner.model.head.weight.detach().clone()
    imprint(run_of(learner, data))
    weight = learner.model.head.weight.detach()
    assert torch.equal(weight[1], before[1])
    assert not torch.isclose(weight[[0, 2]], before[[0, 2]]).all(dim=1).any()
