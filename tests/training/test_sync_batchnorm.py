"""Two processes of gloo against one process that has the whole batch, in float64."""

from __future__ import annotations

import copy
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from facesync.training.recomputing import checkpoint_activations
from facesync.training.sync_batchnorm import GlobalBatchNorm, with_synchronised_batchnorm

STEPS = 3
# A layer, the shape of a channel's values, and the images of the two processes.
LAYERS: dict[str, tuple[_BatchNorm, list[int], list[int]]] = {
    "1d": (nn.BatchNorm1d(4), [], [3, 5]),
    "1d with a length": (nn.BatchNorm1d(4), [6], [3, 5]),
    "2d": (nn.BatchNorm2d(4, eps=0.001, momentum=0.3), [5, 3], [3, 5]),
    "cumulative": (nn.BatchNorm2d(4, momentum=None), [5, 3], [3, 5]),
    "without weights": (nn.BatchNorm2d(4, affine=False), [5, 3], [3, 5]),
    "without averages": (nn.BatchNorm1d(4, track_running_stats=False), [], [3, 5]),
    "one image": (nn.BatchNorm1d(4), [], [1, 7]),
    "no image": (nn.BatchNorm2d(4), [5, 3], [8, 0]),
}


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.blocks = nn.Sequential(*(self.block() for _ in range(2)))
        self.last = nn.Sequential(
            nn.Flatten(), nn.Linear(6 * 36, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 3)
        )

    @staticmethod
    def block() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.blocks(self.stem(x)))


def pass_through(layer: _BatchNorm, tail: list[int], own: slice) -> dict[str, Any]:
    """Go forward and backward three times with the images `own` of 8."""
    torch.manual_seed(0)
    images = 5 + 3 * torch.randn(STEPS, 8, 4, *tail, dtype=torch.float64)
    factors = torch.randn(images.shape, dtype=torch.float64)
    layer = layer.double()
    for name, parameter in layer.named_parameters():
        parameter.data.fill_(1.5 if name == "weight" else -0.5)
    outputs, of_images = [], []
    for step in range(STEPS):
        x = images[step, own].clone().requires_grad_()
        output = layer(x)
        (output * factors[step, own]).square().sum().backward()
        outputs.append(output.detach())
        of_images.append(x.grad)
    return {
        "outputs": outputs,
        "of images": of_images,
        "of weights": {name: weight.grad for name, weight in layer.named_parameters()},
        "buffers": dict(layer.named_buffers()),
    }


def train(network: nn.Module, own: slice, share: float) -> None:
    """Take three steps with the images `own` of 8; `share` of the mean loss is theirs."""
    torch.manual_seed(1)
    images = torch.randn(STEPS, 8, 3, 8, 8, dtype=torch.float64)
    labels = torch.randint(3, (STEPS, 8))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        loss = share * cross_entropy(network(images[step, own]), labels[step, own])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def new_network() -> nn.Module:
    torch.manual_seed(2)
    return ConvNet().double()


def one_of_two(rank: int, folder: str) -> None:
    """Do everything as a process of two and write what came out."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    dist.init_process_group(
        "gloo",
        init_method=(Path(folder) / "rendezvous").as_uri(),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=300),
    )
    results: dict[str, Any] = {}
    for name, (layer, tail, parts) in LAYERS.items():
        own = slice(0, parts[0]) if rank == 0 else slice(parts[0], 8)
        results[name] = pass_through(with_synchronised_batchnorm(layer), tail, own)
    for name in ("network", "network computed again"):
        network = with_synchronised_batchnorm(new_network())
        if name != "network":
            checkpoint_activations(network)
        parallel = DistributedDataParallel(network)
        # DistributedDataParallel takes the mean of the two processes' gradients.
        train(parallel, slice(0, 3) if rank == 0 else slice(3, 8), 2 * (3, 5)[rank] / 8)
        results[name] = network.state_dict()
    results["single"] = GlobalBatchNorm(2)(large_mean()[4 * rank : 4 * rank + 4]).detach()
    half = GlobalBatchNorm(2)(large_mean()[4 * rank : 4 * rank + 4].bfloat16() / 1000)
    results["half"] = half.dtype
    if rank == 0:  # alone, and would wait in vain for the other
        results["evaluation"] = GlobalBatchNorm(2).eval()(torch.ones(3, 2))
    with pytest.raises(ValueError, match="more than 1 value per channel in all processes"):
        GlobalBatchNorm(2)(torch.ones(1 - rank, 2))
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def large_mean() -> torch.Tensor:
    return 1000 + torch.randn(8, 2, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(one_of_two, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def same(one: torch.Tensor, other: torch.Tensor, within: float = 1e-9) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), within, within)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_two_processes_is_that_of_one(two, name):
    layer, tail, _ = LAYERS[name]
    whole = pass_through(copy.deepcopy(layer), tail, slice(0, 8))
    first, second = (results[name] for results in two)
    for what in ("outputs", "of images"):
        for step in range(STEPS):
            assert same(torch.cat([first[what][step], second[what][step]]), whole[what][step]), what
    assert list(first["of weights"]) == list(whole["of weights"])
    for key, gradient in whole["of weights"].items():
        assert same(first["of weights"][key] + second["of weights"][key], gradient), key
    assert list(first["buffers"]) == list(whole["buffers"])
    for key, buffer in whole["buffers"].items():
        assert same(first["buffers"][key], buffer), key
        assert torch.equal(first["buffers"][key], second["buffers"][key]), key


@pytest.mark.parametrize("name", ["network", "network computed again"])
def test_a_network_trained_by_two_processes_is_that_of_one(two, name):
    network = new_network()
    before = copy.deepcopy(network.state_dict())
    train(network, slice(0, 8), 1)
    whole = network.state_dict()
    assert not any(same(before[key], value) for key, value in whole.items() if "1." in key)
    for results in two:
        assert list(results[name]) == list(whole)
        for key, value in whole.items():
            assert same(results[name][key], value), key


def test_a_large_mean_leaves_the_variance_its_digits(two):
    exact = nn.BatchNorm1d(2).double()(large_mean().double()).detach()
    assert same(torch.cat([results["single"] for results in two]), exact, within=1e-3)


def test_half_precision_stays_half(two):
    assert two[0]["half"] == torch.bfloat16


def test_evaluation_waits_for_nobody(two):
    expected = nn.BatchNorm1d(2).eval()(torch.ones(3, 2))
    assert torch.equal(two[0]["evaluation"], expected)


def test_without_processes_it_is_batchnorm():
    plain, images = new_network(), torch.randn(5, 3, 8, 8, dtype=torch.float64)
    converted = with_synchronised_batchnorm(copy.deepcopy(plain))
    assert torch.equal(plain(images), converted(images))
    assert list(plain.state_dict()) == list(converted.state_dict())
    for key, value in plain.state_dict().items():
        assert torch.equal(value, converted.state_dict()[key]), key


def test_conversion_keeps_weights_buffers_and_settings():
    network = new_network().eval()
    plain = network.stem[1]
    plain.eps, plain.momentum = 0.002, 0.4
    weight, mean = plain.weight, plain.running_mean
    assert with_synchronised_batchnorm(network) is network
    made = network.stem[1]
    assert isinstance(made, GlobalBatchNorm) and isinstance(made, _BatchNorm)
    assert made.weight is weight and made.running_mean is mean
    assert (made.eps, made.momentum, made.training) == (0.002, 0.4, False)
    kinds = [type(layer) for layer in network.modules() if isinstance(layer, _BatchNorm)]
    assert kinds == [GlobalBatchNorm] * 4


def test_on_cuda_it_is_torchs_own(monkeypatch):
    monkeypatch.setattr(nn.Parameter, "is_cuda", True, raising=False)
    assert isinstance(with_synchronised_batchnorm(new_network()).stem[1], nn.SyncBatchNorm)
