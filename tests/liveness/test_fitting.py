"""The networks of the passive model, and what they are shown."""

import numpy as np
import pytest
import torch

from facesync.faces.onnx_export import to_onnx
from facesync.faces.onnx_runtime import open_net
from facesync.liveness import fitting
from facesync.liveness.crops import SIDE
from facesync.liveness.fitting import Pool, chances
from facesync.liveness.material import LIVE_ONLY
from facesync.liveness.network import LivenessNet, Pair


@pytest.fixture
def faces():
    """Sets of unequal size, and faces without attacks: (sets, people, classes)."""
    rows = (
        [("a", "a/1", 0)] * 8 + [("a", "a/2", 0)] * 2 + [("a", "a/1", 1)] * 3 + [("a", "a/2", 2)]
        + [("b", "b/1", 0)] * 2 + [("b", "b/1", 3)] * 5 + [(LIVE_ONLY, "c", 0)] * 4
    )  # fmt: skip
    sets, people, classes = zip(*rows, strict=True)
    return np.array(sets), np.array(people), np.array(classes)


@pytest.fixture
def pool(faces):
    """Each face once, and each live one as a print and as a replay, too."""
    sets, _, classes = faces
    live = np.flatnonzero(classes == 0)
    source = np.concatenate([np.arange(len(sets)), live, live])
    kinds = np.concatenate([classes, np.full(len(live), 1), np.full(len(live), 2)])
    simulated = np.arange(len(source)) >= len(sets)
    return Pool(np.zeros((len(source), 1, 1, 3), np.uint8), source, kinds, simulated)


def test_batches_are_balanced_over_sets_classes_and_people(faces, pool):
    sets, people, _ = faces
    drawn = chances(pool, sets, people, np.ones(len(sets), bool), simulated=0.4)
    assert drawn.sum() == pytest.approx(1)
    assert drawn[pool.simulated].sum() == pytest.approx(0.2)
    attack = ~pool.simulated & (pool.classes > 0)
    of_set, who = sets[pool.source], people[pool.source]
    assert drawn[attack & (of_set == "a")].sum() == pytest.approx(0.15)
    assert drawn[attack & (of_set == "b")].sum() == pytest.approx(0.15)
    assert drawn[attack & (pool.classes == 1)].sum() == pytest.approx(0.075)
    live = ~pool.simulated & (pool.classes == 0)
    one, other = (drawn[live & (who == person)].sum() for person in ("a/1", "a/2"))
    assert one == pytest.approx(other)
    assert drawn[live].sum() == pytest.approx(0.5)


def test_a_set_that_is_left_out_is_not_drawn(faces, pool):
    sets, people, _ = faces
    drawn = chances(pool, sets, people, sets != "a", simulated=0.0)
    assert drawn[sets[pool.source] == "a"].sum() == 0 and drawn.sum() == pytest.approx(1)
    assert drawn[pool.simulated].sum() == 0


def test_training_tells_stripes_from_noise(monkeypatch):
    monkeypatch.setattr(fitting, "BATCH", 16)
    rng = np.random.default_rng(0)
    live = rng.integers(40, 200, (24, SIDE, SIDE, 3))
    stripes = np.broadcast_to(np.where(np.arange(SIDE) % 8 < 4, 60, 180)[:, None], live.shape[:3])
    screens = np.repeat(stripes[..., None], 3, axis=3) + rng.integers(-20, 20, live.shape)
    crops = np.concatenate([live, screens]).astype(np.uint8)
    classes = np.repeat([0, 2], 24)
    pool = Pool(crops, np.arange(48), classes, np.zeros(48, bool))
    losses: list[float] = []
    even = np.full(48, 1 / 48)
    network = fitting.fit(pool, even, np.zeros(48, int), 30, 1, losses.append)
    assert len(losses) == 30 and losses[-1] < 0.7 * losses[0]
    assert not network.training


def test_brightness_and_contrast_say_nothing():
    torch.manual_seed(0)
    network = LivenessNet().eval()
    crop = torch.randint(60, 120, (1, 3, SIDE, SIDE)).float()
    crop[..., :20] = 0  # outside the image, where there is no light to change
    lit = torch.where(crop > 0, 1.5 * crop + 40, crop)
    with torch.inference_mode():
        one, other = network.log_chances(crop), network.log_chances(lit)
        noise = network.log_chances(torch.rand_like(crop) * 255)
    assert (one - other).abs().max() < 0.3 * (one - noise).abs().max()


def test_both_networks_are_one_small_file():
    torch.manual_seed(0)
    pair = Pair(LivenessNet(), LivenessNet()).eval()
    weights = sum(parameter.numel() for parameter in pair.parameters())
    assert 2 * 200_000 < weights < 2 * 600_000
    onnx = to_onnx(pair, (2, 2, 3, SIDE, SIDE), ("chances",))
    assert len(onnx) < 4_000_000
    crops = torch.randint(0, 256, (3, 2, 3, SIDE, SIDE)).float()
    (found,) = open_net(onnx)(crops.numpy())
    with torch.inference_mode():
        assert np.abs(found - pair(crops).numpy()).max() < 1e-4
    assert found.shape == (3, 3) and np.allclose(found.sum(axis=1), 1, atol=1e-5)
