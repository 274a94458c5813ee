from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from facesync.errors import ModelError
from facesync.processes import Ranks
from facesync.training.batches import Batch
from facesync.training.checkpoint import restore_optimizer
from facesync.training.learner import Learner
from facesync.training.model import new_classifier
from facesync.training.step import LossError, take_step, usable_images
from tests.training.stand_ins import drawn_batch, everything, same, tensors, tiny_learner


def statistics(learner: Learner) -> list[torch.Tensor]:
    return tensors(dict(learner.model.backbone.named_buffers()))


class Spoilt(nn.Module):
    """A backbone that, when told to, gives a loss that is not finite, or gradients that are not."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.spoil = ""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone(images)
        if self.spoil == "loss":
            return features * math.nan
        if self.spoil == "gradient":  # the root of nothing: 0, and its slope infinite
            return features + (features * 0).sqrt()
        return features


def spoilt(**recipe) -> tuple[Learner, Spoilt]:
    learner = tiny_learner(**recipe)
    backbone = Spoilt(learner.model.backbone)
    learner.model.backbone = backbone
    return learner, backbone


# A step


def test_a_step_says_what_it_measured():
    learner = tiny_learner(dropout=0.0)
    learner.model.backbone.dropout.p = 0.0
    batch = drawn_batch(8)
    trial = copy.deepcopy(learner.model).train()
    losses, logits = trial(learner.inputs(batch.images, batch.draws), batch.labels)
    outcome = take_step(learner, [batch])
    assert (outcome.images, outcome.skipped) == (8, False)
    assert outcome.loss == pytest.approx(losses.sum().item(), rel=1e-5)
    assert outcome.right == (logits.argmax(dim=1) == batch.labels).sum()
    assert learner.steps == 1


def test_steps_learn():
    learner = tiny_learner()
    losses = [take_step(learner, [drawn_batch(12)]).loss for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]


def test_batches_of_one_are_skipped():
    learner = tiny_learner()
    assert usable_images(learner, [drawn_batch(n) for n in (4, 1, 0, 2)]) == [4, 0, 0, 2]
    before = everything(learner)
    assert take_step(learner, [drawn_batch(1)]).images == 0
    assert same(everything(learner), before)
    assert take_step(learner, [drawn_batch(1), drawn_batch(6)]).images == 6
    assert not same(everything(learner), before)


def test_a_batch_in_which_another_process_has_one_image_is_skipped():
    class Both(Ranks):
        """The other process has 2, 1 and 3 images of the three batches."""

        def sum(self, values):
            return values + torch.tensor([[2, 1, 3], [0, 1, 0]])

    learner = tiny_learner()
    learner.ranks = Both(0, 2)
    assert usable_images(learner, [drawn_batch(n) for n in (2, 2, 4)]) == [4, 0, 7]


def test_a_step_without_a_usable_batch_counts_all_the_same():
    """Otherwise an epoch would have fewer steps than the schedule assumes."""
    learner = tiny_learner(schedule="step", lr_step=1, lr_gamma=0.1)
    learner.schedule.steps_per_epoch = 3
    for _ in range(2):
        rates = []
        for images in (4, 4, 1):
            take_step(learner, [drawn_batch(images)])
            rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.001] * 3)


# Losses that are not finite


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_leaves_everything_as_it_was(what):
    learner, backbone = spoilt(loss="adaface", ema=0.9)
    for seed in range(2):
        take_step(learner, [drawn_batch(6, seed=seed)])
    before = [*everything(learner), *tensors(learner.average.state_dict())]
    backbone.spoil = what
    outcome = take_step(learner, [drawn_batch(6, seed=3)])
    assert outcome.skipped and outcome.images == 0 and outcome.loss == 0
    assert same([*everything(learner), *tensors(learner.average.state_dict())], before)
    assert learner.steps == 3  # the schedule moves on
    backbone.spoil = ""
    assert not take_step(learner, [drawn_batch(6, seed=4)]).skipped


def test_one_bad_batch_of_several_spoils_the_step():
    learner, backbone = spoilt(accumulate=2)
    before = everything(learner)
    calls = []

    def second_is_bad(*_):
        calls.append(1)
        backbone.spoil = "loss" if len(calls) == 2 else ""

    backbone.register_forward_pre_hook(second_is_bad)
    assert take_step(learner, [drawn_batch(4), drawn_batch(4)]).skipped and len(calls) == 2
    assert same(everything(learner), before)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_third_in_a_row_ends_the_training(what):
    learner, backbone = spoilt()
    backbone.spoil = what
    for _ in range(2):
        assert take_step(learner, [drawn_batch(4)]).skipped
    with pytest.raises(LossError, match="not finite in 3 steps in a row"):
        take_step(learner, [drawn_batch(4)])


def test_a_good_step_between_bad_ones_is_tolerated():
    learner, backbone = spoilt()
    for _ in range(4):
        for spoil in ("loss", "gradient", ""):
            backbone.spoil = spoil
            assert take_step(learner, [drawn_batch(4)]).skipped == bool(spoil)


# The options


def test_two_batches_of_four_are_one_batch_of_eight():
    whole, parts = (tiny_learner(freeze_batchnorm=True) for _ in range(2))
    batch = drawn_batch(8)
    halves = [Batch(*(part[rows] for part in batch[:3]), []) for rows in (slice(4), slice(4, 8))]
    for learner in (whole, parts):
        learner.model.backbone.dropout.p = 0.0
    assert take_step(whole, [batch]).loss == pytest.approx(take_step(parts, halves).loss, rel=1e-5)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)
    assert max(p.grad.abs().max() for p in whole.model.parameters()) > 1e-3


def norm_of_gradients(learner: Learner) -> float:
    return math.sqrt(sum(float(p.grad.square().sum()) for p in learner.model.parameters()))


def test_gradients_are_clipped_to_a_length_and_keep_their_direction():
    whole, clipped, long = (tiny_learner(clip_norm=norm) for norm in (0.0, 0.01, 1e6))
    for learner in (whole, clipped, long):
        learner.model.backbone.dropout.p = 0.0
        take_step(learner, [drawn_batch(8)])
    length = norm_of_gradients(whole)
    assert length > 0.1 and norm_of_gradients(clipped) == pytest.approx(0.01, rel=1e-3)
    for one, other, same_one in zip(
        *(learner.model.parameters() for learner in (whole, clipped, long)), strict=True
    ):
        assert torch.allclose(one.grad * 0.01 / length, other.grad, atol=1e-6)
        assert torch.equal(one.grad, same_one.grad)


def test_the_backbone_is_frozen_for_the_first_steps_only():
    learner = tiny_learner(freeze_steps=3)
    before = tensors(learner.model.backbone.state_dict())
    for number in range(3):
        weight = learner.model.head.weight.detach().clone()
        take_step(learner, [drawn_batch(6, seed=number)])
        assert same(tensors(learner.model.backbone.state_dict()), before)
        assert not torch.equal(learner.model.head.weight, weight)
    take_step(learner, [drawn_batch(6)])
    after = dict(learner.model.backbone.named_parameters())
    assert not same(tensors(after), tensors(dict(zip(after, before, strict=False))))
    assert not same(statistics(learner), before[-3:])


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorm_may_keep_its_averages_while_its_weights_learn(frozen):
    learner = tiny_learner(freeze_batchnorm=frozen)
    before = statistics(learner)
    weight = learner.model.backbone.features[3].weight.detach().clone()
    for seed in range(3):
        take_step(learner, [drawn_batch(6, seed=seed)])
    assert same(statistics(learner), before) == frozen
    assert not torch.equal(learner.model.backbone.features[3].weight, weight)
    assert learner.model.backbone.dropout.training


def test_what_is_evaluated_is_the_running_average():
    learner = tiny_learner(ema=0.5)
    assert learner.evaluated is not learner.model
    expected = None
    for seed in range(4):
        take_step(learner, [drawn_batch(6, seed=seed)])
        now = [p.detach().clone() for p in learner.model.parameters()]
        before = expected or now
        expected = [0.5 * a + 0.5 * b for a, b in zip(before, now, strict=True)]
    for one, other in zip(learner.evaluated.parameters(), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert not torch.equal(learner.evaluated.head.weight, learner.model.head.weight)
    mean = learner.evaluated.backbone.features[3].running_mean
    assert mean.any() and not torch.equal(mean, learner.model.backbone.features[3].running_mean)
    learner = tiny_learner()
    assert learner.evaluated is learner.model


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("share", [0.0, 0.35])
def test_dropout_is_what_the_recipe_says(share):
    model = new_classifier(3, {}, "", dropout=share)
    assert model.backbone.dropout.p == share
    features = model.backbone.train()
    images = torch.zeros(4, 3, 160, 160)
    dropped = [bool((features(images) != features(images)).any()) for _ in range(5)]
    assert not any(dropped) or share


def test_bf16_computes_short_and_keeps_weights_and_losses_long():
    learner = tiny_learner(precision="bf16")
    seen = []
    learner.model.backbone.features[2].register_forward_hook(lambda *call: seen.append(call[2]))
    losses = [take_step(learner, [drawn_batch(12)]).loss for _ in range(25)]
    assert {output.dtype for output in seen} == {torch.bfloat16}
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(("precision", "short"), [("fp32", None), ("bf16", torch.bfloat16)])
def test_the_precision_is_what_the_recipe_or_the_machine_says(precision, short, monkeypatch):
    learner = tiny_learner(precision=precision)
    assert learner.short == short and not learner.scaler.is_enabled()
    with learner.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (short or torch.float32)
    monkeypatch.setattr("facesync.training.learner.short_format", lambda device: short)
    assert tiny_learner(precision="auto").short == short


def test_recomputing_activations_changes_nothing_that_is_learnt():
    one, other = (tiny_learner(checkpoint_activations=each) for each in (False, True))
    for learner in (one, other):
        torch.manual_seed(5)
        for seed in range(3):
            take_step(learner, [drawn_batch(6, seed=seed)])
    for mine, theirs in zip(everything(one), everything(other), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


# Resuming


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"ema": 0.9, "schedule": "plateau", "lr_patience": 0, "warmup_steps": 4},
        {"freeze_steps": 4, "weight_decay": 0.1, "loss": "arcface"},
        {"loss": "triplet", "clip_norm": 1.0},
        {"loss": "adaface", "precision": "bf16", "schedule": "cosine", "accumulate": 2},
    ],
    ids=["plain", "average", "frozen", "triplet", "adaface"],
)
def test_a_learner_resumes_bit_for_bit_where_another_was(recipe):
    whole = tiny_learner(**recipe)

    def teach(learner, seeds):
        for seed in seeds:
            take_step(learner, [drawn_batch(6, seed=seed), drawn_batch(4, seed=seed + 50)])
            learner.schedule.end_epoch(1.0)

    torch.manual_seed(7)
    teach(whole, range(3))
    weights = copy.deepcopy(whole.model.state())
    optimizer = copy.deepcopy(whole.optimizer.state_dict())
    state = copy.deepcopy(whole.state_dict())
    teach(whole, range(3, 6))
    torch.manual_seed(99)  # another process: dropout would draw other numbers
    second = tiny_learner(**recipe)
    second.model.load(weights, "test")

    class Start:
        optimizer_state = optimizer
        optimizer_names = whole.optimizer_names()

    assert restore_optimizer(second.optimizer, second.optimizer_names(), Start)
    second.load_state_dict(state, "test")
    teach(second, range(3, 6))
    assert same(everything(second), everything(whole))
    assert same(tensors(second.evaluated.state()), tensors(whole.evaluated.state()))
    assert second.steps == whole.steps == 6
    assert second.schedule.state_dict() == whole.schedule.state_dict()


def test_bad_steps_before_a_stop_count_after_it():
    learner, backbone = spoilt()
    backbone.spoil = "loss"
    for _ in range(2):
        take_step(learner, [drawn_batch(4)])
    second, backbone = spoilt()
    second.load_state_dict(learner.state_dict(), "test")
    backbone.spoil = "loss"
    with pytest.raises(LossError):
        take_step(second, [drawn_batch(4)])


@pytest.mark.parametrize("missing", ["step", "random", "scheduler_state_dict"])
def test_a_state_that_lacks_something_is_one_line(missing):
    learner = tiny_learner()
    state = learner.state_dict()
    del state[missing]
    with pytest.raises(ModelError, match=rf"cannot resume from x\.pth: .*{missing}"):
        learner.load_state_dict(state, "x.pth")


def test_another_number_of_processes_is_said(caplog):
    learner = tiny_learner()
    state = learner.state_dict()
    state["random"] *= 2
    learner.load_state_dict(state, "x.pth")
    assert "x.pth was written by 2 processes, now there are 1" in caplog.text


def test_the_optimizers_weights_are_named():
    learner = tiny_learner(weight_decay=0.1)
    names = learner.optimizer_names()
    weights = [p for group in learner.optimizer.param_groups for p in group["params"]]
    state = learner.model.state()
    assert len(names) == len(set(names)) == len(weights)
    for name, weight in zip(names, weights, strict=True):
        assert state[name].data_ptr() == weight.data_ptr()
    assert {"logits.weight", "features.2.weight"} < set(names)
