from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from facesync.errors import DataError
from facesync.training.batches import Batch, collate
from facesync.training.loop import LossError, renew_batchnorm, run_epoch
from facesync.training.stopping import Stopped
from tests.training.stand_ins import TinyNetwork

CPU = torch.device("cpu")


def loader(samples, batch_size=4):
    return DataLoader(samples, batch_size=batch_size, collate_fn=collate)


def samples(count, classes=3):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.rand(3, 160, 160, generator=generator) + i % classes, i % classes)
        for i in range(count)
    ]


def run(network, batches, optimizer=None, check_stop=lambda: None):
    return run_epoch(
        network, batches, "test", device=CPU, check_stop=check_stop, optimizer=optimizer
    )


class Constant(nn.Module):
    """Always says class 1 with a logit of 2."""

    def forward(self, images):
        return torch.tensor([[0.0, 2.0, 0.0]]).repeat(len(images), 1)


def test_loss_and_accuracy_are_means_over_pictures_not_over_batches():
    totals = run(Constant(), loader([(torch.zeros(1), c) for c in (1, 1, 1, 1, 0)]))
    right, wrong = 0.23954, 2.23954  # -log softmax([0, 2, 0]) at 1 and at 0
    assert totals.pictures == 5 and totals.accuracy == 0.8
    assert totals.loss == pytest.approx((4 * right + wrong) / 5, abs=1e-4)
    assert totals.images_per_second > 0


def test_training_learns_and_measuring_changes_nothing():
    torch.manual_seed(0)
    network = TinyNetwork(3)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    before = run(network, loader(samples(12)))
    for _ in range(40):
        run(network, loader(samples(12)), optimizer)
    state = copy.deepcopy(network.state_dict())
    after = run(network, loader(samples(12)))
    assert after.loss < 0.5 * before.loss and after.accuracy == 1
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_a_last_batch_of_one_is_left_out_of_training_only():
    network = TinyNetwork(3)
    optimizer = torch.optim.Adam(network.parameters())
    assert run(network, loader(samples(9)), optimizer).pictures == 8
    assert run(network, loader(samples(9))).pictures == 9


def test_a_batch_larger_than_the_data_set_is_one_batch():
    network = TinyNetwork(3)
    optimizer = torch.optim.Adam(network.parameters())
    assert run(network, loader(samples(3), batch_size=64), optimizer).pictures == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(bad):
    network = TinyNetwork(3)
    optimizer = torch.optim.Adam(network.parameters())
    state = copy.deepcopy(dict(network.named_parameters()))
    images = [(torch.full((3, 160, 160), bad), 0)] * 4
    with pytest.raises(LossError, match="the loss became"):
        run(network, loader(images), optimizer)
    assert all(torch.equal(state[name], value) for name, value in network.named_parameters())


def test_undecodable_pictures_are_counted_not_used():
    totals = run(Constant(), loader(["a.jpg: damaged", (torch.zeros(1), 1), "b.jpg: damaged"]))
    assert (totals.pictures, totals.undecodable) == (1, ["a.jpg: damaged", "b.jpg: damaged"])


def test_not_one_usable_picture_is_one_line():
    with pytest.raises(DataError, match=r"not one picture could be used: a\.jpg: damaged"):
        run(Constant(), loader(["a.jpg: damaged"]))


def test_a_stop_leaves_the_pass_before_the_next_batch():
    calls = []

    def stop_at_the_third():
        calls.append(1)
        if len(calls) == 3:
            raise Stopped

    network = TinyNetwork(3)
    optimizer = torch.optim.Adam(network.parameters())
    with pytest.raises(Stopped):
        run(network, loader(samples(20)), optimizer, stop_at_the_third)
    steps = {int(values["step"]) for values in optimizer.state.values()}
    assert steps == {2}


def test_renewed_batchnorm_is_that_of_the_pictures():
    """Running averages that lag far behind are replaced by what the pictures measure."""
    network = nn.Sequential(nn.BatchNorm2d(3))
    images = 5 + 2 * torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(16, dtype=torch.long)
    batches = [Batch(images[i : i + 16], labels, []) for i in range(0, 64, 16)]
    renew_batchnorm(network, batches, device=CPU, check_stop=lambda: None)
    assert network[0].running_mean.tolist() == pytest.approx([5] * 3, abs=0.1)
    assert network[0].running_var.tolist() == pytest.approx([4] * 3, abs=0.3)
