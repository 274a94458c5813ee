from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import nn

from facesync.training.schedule import Schedule, parameter_groups
from facesync.training.settings import Recipe
from tests.training.stand_ins import PLAIN


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": x} for x in rates])


def schedule(steps_per_epoch: int = 1, rates=(0.1,), **recipe) -> Schedule:
    made = Schedule(optimizer(*rates), Recipe(**{**PLAIN, **recipe}))
    made.steps_per_epoch = steps_per_epoch
    return made


def rates(made: Schedule, steps: int) -> list[float]:
    found = []
    for step in range(steps):
        made.set_rates(step)
        found.append(made.optimizer.param_groups[0]["lr"])
    return found


# The shapes


def test_step_cuts_the_rate_every_so_many_epochs():
    made = schedule(5, schedule="step", lr_step=3, lr_gamma=0.3, epochs=7)
    expected = [0.1] * 15 + [0.03] * 15 + [0.009] * 5
    assert rates(made, 35) == pytest.approx(expected)


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_plateau_cuts_where_torchs_does(patience, seed):
    made = schedule(schedule="plateau", lr_patience=patience, lr_factor=0.5)
    other = optimizer(0.1)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(other, factor=0.5, patience=patience, eps=0)
    draw = random.Random(seed)
    cuts = 0
    for epoch in range(40):
        # Among them ties, and losses that are lower by less than a ten-thousandth.
        loss = draw.choice([1.0, 0.99995, draw.uniform(0.2, 2.0), 1 - epoch / 50])
        made.end_epoch(loss)
        torchs.step(loss)
        made.set_rates(epoch)
        assert made.optimizer.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"])
        cuts = made.cuts
    assert cuts < 1


@pytest.mark.parametrize("name", ["step", "cosine", "constant"])
def test_only_plateau_heeds_the_loss(name):
    made = schedule(2, schedule=name, lr_patience=0)
    for _ in range(5):
        made.end_epoch(3.0)
    assert made.cuts == 1.0
    assert name != "constant" or set(rates(made, 20)) == {0.1}


def test_cosine_falls_from_the_highest_rate_to_almost_nothing():
    found = rates(schedule(25, schedule="cosine", epochs=4), 100)
    assert found[0] == 0.1 and found[50] == pytest.approx(0.05)
    assert found[-1] < 0.1 / 1000
    assert all(one > other for one, other in itertools.pairwise(found))


@pytest.mark.parametrize("name", ["step", "plateau", "cosine", "constant"])
def test_the_rate_rises_in_even_steps(name):
    found = rates(schedule(20, schedule=name, epochs=5, warmup_steps=4), 5)
    assert found == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_warm_up_and_cosine_go_together():
    found = rates(schedule(10, schedule="cosine", epochs=2, warmup_steps=5), 20)
    assert max(found) == found[4] == 0.1 and found[-1] < 0.002
    longer = rates(schedule(2, schedule="cosine", epochs=1, warmup_steps=10), 2)
    assert longer == pytest.approx([0.01, 0.02])


def test_each_group_keeps_its_share_of_the_rate():
    made = schedule(10, rates=(0.1, 0.001), schedule="cosine", epochs=2, warmup_steps=3)
    for step in range(20):
        made.set_rates(step)
        one, other = (group["lr"] for group in made.optimizer.param_groups)
        assert one == pytest.approx(100 * other)


def test_a_schedule_resumes_where_another_was():
    losses = [1.0, 1.2, 1.3, 0.9, 0.95, 0.96, 0.97, 0.98]
    whole, first, second = (schedule(schedule="plateau") for _ in range(3))
    for loss in losses:
        whole.end_epoch(loss)
    for loss in losses[:5]:
        first.end_epoch(loss)
    second.load_state_dict(first.state_dict())
    for loss in losses[5:]:
        second.end_epoch(loss)
    assert second.state_dict() == whole.state_dict() and whole.cuts < 1


# Which weights have which rate


class Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_batchnorm_and_biases_have_no_weight_decay():
    backbone, head = Small(), nn.Linear(2, 3)
    groups = parameter_groups(backbone, head, Recipe(**{**PLAIN, "weight_decay": 0.1}))
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = [*backbone.named_parameters(), *head.named_parameters()]
    assert len(decay) == len(named) == 8  # each once
    decayed = {id(backbone[0].weight), id(backbone[2].weight), id(head.weight)}
    for name, parameter in named:
        assert decay[id(parameter)] == (0.1 if id(parameter) in decayed else 0), name


@pytest.mark.parametrize(("given", "used"), [(None, 0.01), (1e-5, 1e-5)])
def test_the_backbone_may_have_its_own_rate(given, used):
    backbone, head = Small(), nn.Linear(2, 3)
    groups = parameter_groups(backbone, head, Recipe(**{**PLAIN, "lr": 0.01, "backbone_lr": given}))
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rate[id(p)] for p in backbone.parameters()} == {used}
    assert {rate[id(p)] for p in head.parameters()} == {0.01}


def test_a_head_without_weights_makes_no_group():
    groups = parameter_groups(Small(), nn.Identity(), Recipe(**PLAIN))
    assert all(group["params"] for group in groups) and len(groups) == 2
