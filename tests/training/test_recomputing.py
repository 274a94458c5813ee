from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

from facesync.faces.torch_model import new_network
from facesync.training.recomputing import checkpoint_activations


class Block(nn.Module):
    """Counts how often it is computed."""

    def __init__(self, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 6), nn.BatchNorm1d(6, momentum=momentum), nn.Dropout(0.5), nn.ReLU()
        )
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layers(x)


class Network(nn.Module):
    def __init__(self, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.stem = Block(momentum)
        self.repeat = nn.Sequential(Block(momentum), Block(momentum))
        self.logits = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.repeat(self.stem(x)))

    def calls(self) -> list[int]:
        return [block.calls for block in (self.stem, *self.repeat)]


def step(network: nn.Module, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """One forward and backward pass; returns the loss."""
    torch.manual_seed(seed)
    network.zero_grad()
    loss = cross_entropy(network(images), torch.arange(len(images)) % 3)
    loss.backward()
    return loss.detach()


def activation_bytes(network: nn.Module, images: torch.Tensor) -> int:
    """Measure what autograd keeps for the backward pass: each storage once, without weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = network(images).sum()
    assert loss.requires_grad
    return sum(kept.values())


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Weights, running averages and gradients are equal to the bit."""
    theirs = other.state_dict()
    assert list(one.state_dict()) == list(theirs)
    for key, value in one.state_dict().items():
        assert torch.equal(value, theirs[key]), key
    for (name, mine), parameter in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine.grad, parameter.grad), name


@pytest.mark.parametrize("momentum", [0.1, None])
def test_steps_are_equal_to_the_bit_with_dropout_and_running_averages(momentum):
    torch.manual_seed(0)
    plain = Network(momentum)
    saving = copy.deepcopy(plain)
    checkpoint_activations(saving)
    images = torch.randn(5, 6)
    for seed in range(3):
        assert torch.equal(step(plain, images, seed), step(saving, images, seed))
        drawn = torch.rand(1)
        step(plain, images, seed)
        assert torch.equal(drawn, torch.rand(1)), "the random numbers after a step are others"
        step(saving, images, seed)
        assert_same(plain, saving)
    assert int(saving.stem.layers[1].num_batches_tracked) == 6


def test_blocks_are_computed_twice_in_training_only():
    network = Network()
    checkpoint_activations(network)
    images = torch.randn(4, 6)
    step(network, images)
    assert network.calls() == [2, 2, 2]
    with torch.no_grad():
        network(images)
    assert network.calls() == [3, 3, 3]
    network.eval()
    network(images).sum().backward()
    assert network.calls() == [4, 4, 4]


def test_asked_twice_is_as_asked_once():
    network = Network()
    checkpoint_activations(network)
    checkpoint_activations(network)
    step(network, torch.randn(4, 6))
    assert network.calls() == [2, 2, 2]


def test_a_copy_computes_with_its_own_weights():
    network = Network()
    checkpoint_activations(network)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    before = copy.deepcopy(network.state_dict())
    assert step(copied, torch.randn(4, 6)) > 0 and copied.calls() == [2, 2, 2]
    assert network.calls() == [0, 0, 0]
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_buffers_are_put_back_when_computing_again_fails():
    network = Network()
    checkpoint_activations(network)
    averages = network.stem.layers[1].running_mean
    loss = network(torch.randn(4, 6)).sum()
    network.stem.layers[3].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loss.backward()
    assert network.stem.layers[1].running_mean is averages


def test_the_real_network_keeps_less_than_half_and_learns_the_same():
    torch.manual_seed(0)
    plain = new_network(10).train()
    saving = copy.deepcopy(plain)
    checkpoint_activations(saving)
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(step(plain, images), step(saving, images))
    assert_same(plain, saving)
    with torch.no_grad():
        assert torch.equal(plain.eval()(images), saving.eval()(images))
    plain.train()
    saving.train()
    kept, all_of_it = (activation_bytes(network, images) for network in (saving, plain))
    assert 0.3 < kept / all_of_it < 0.5
