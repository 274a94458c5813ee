from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from facesync.errors import DataError
from facesync.training.batches import Batch
from facesync.training.board import Board
from facesync.training.epoch import train_epoch
from facesync.training.messages import speed
from facesync.training.run import Progress, Totals
from facesync.training.step import LossError, take_step
from facesync.training.stopping import Stopped
from facesync.training.validation import embed, measure, renew_batchnorm
from tests.training.stand_ins import drawn_batch, tiny_learner, tiny_run

CPU = torch.device("cpu")
NONE = Batch(torch.empty(0), torch.empty(0, dtype=torch.long), torch.empty(0), ["a.jpg: damaged"])


def batches(*counts: int, seed: int = 0) -> list[Batch]:
    return [drawn_batch(count, seed=seed + number) for number, count in enumerate(counts)]


def train(learner, loader, totals=None, after_step=lambda used: None) -> Totals:
    run = tiny_run(learner, Progress(totals=totals or Totals()))
    train_epoch(run, loader, lambda: after_step(run.progress.batch), Board(None))
    return run.progress.totals


def evaluate(learner, loader, check_stop=lambda: None) -> Totals:
    return measure(learner, loader, "test", check_stop=check_stop)


def unseen_tar(learner, loader, check_stop=lambda: None) -> float:
    return embed(learner, loader, "test", check_stop=check_stop).tar


class Constant(nn.Module):
    """Stands in for a classifier: always says class 1 with a logit of 2."""

    def forward(self, images, labels):
        logits = torch.tensor([[0.0, 2.0, 0.0]]).repeat(len(images), 1)
        return nn.functional.cross_entropy(logits, labels, reduction="none"), logits


class Known(nn.Module):
    """Stands in for a backbone: gives each image the vector its first pixel says."""

    def __init__(self, vectors) -> None:
        super().__init__()
        self.vectors = torch.tensor(vectors, dtype=torch.float32)

    def forward(self, images):
        return self.vectors[torch.round(images[:, 0, 0, 0] * 128 + 127.5).long()]


def known(learner, vectors, labels, batch_size=4) -> list[Batch]:
    """Let the backbone give these vectors; return batches of the images that they are of."""
    learner.model.backbone = Known(vectors)
    images = torch.zeros(len(labels), 3, 160, 160, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(len(labels))
    whole = drawn_batch(len(labels))._replace(images=images, labels=torch.tensor(labels))
    parts = zip(*(part.split(batch_size) for part in whole[:3]), strict=True)
    return [Batch(*part, []) for part in parts]


# Measuring


def test_loss_and_accuracy_are_means_over_images_not_over_batches():
    learner = tiny_learner()
    learner.model = Constant()
    wanted = [[1, 1, 1, 1], [0]]
    loader = [drawn_batch(len(x))._replace(labels=torch.tensor(x)) for x in wanted]
    totals = evaluate(learner, loader)
    right, wrong = 0.23954, 2.23954  # -log softmax([0, 2, 0]) at 1 and at 0
    assert totals.images == 5 and totals.accuracy == 0.8
    assert totals.loss == pytest.approx((4 * right + wrong) / 5, abs=1e-4)
    assert totals.images_per_second > 0


@pytest.mark.parametrize("loss", ["arcface", "cosface", "adaface"])
def test_the_measured_loss_has_no_margin(loss):
    easy, hard = (tiny_learner(loss=loss, head={"margin": margin}) for margin in (0.001, 0.8))
    loader = batches(6, 5)
    assert evaluate(easy, loader).loss == evaluate(hard, loader).loss
    # In training it has.
    assert train(hard, loader).loss > train(easy, loader).loss


def test_training_learns_and_measuring_changes_nothing():
    learner = tiny_learner()
    loader = batches(6, 6)
    before = evaluate(learner, loader)
    for _ in range(30):
        train(learner, loader)
    state = copy.deepcopy(learner.model.state_dict())
    random = torch.get_rng_state()
    after = evaluate(learner, loader)
    assert after.loss < 0.5 * before.loss and after.accuracy == 1
    assert all(torch.equal(state[key], value) for key, value in learner.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert evaluate(learner, loader).loss == after.loss


def test_the_running_average_is_what_is_measured():
    learner = tiny_learner(ema=0.99)
    train(learner, batches(6, 6, 6))
    measured = evaluate(learner, batches(9))
    learner.model.head.weight.data.fill_(math.nan)
    assert evaluate(learner, batches(9)).loss == measured.loss


def test_undecodable_images_are_counted_not_used():
    mixed = drawn_batch(3)._replace(undecodable=["b.jpg: damaged"])
    totals = evaluate(tiny_learner(), [NONE, mixed])
    assert (totals.images, totals.undecodable) == (3, ["a.jpg: damaged", "b.jpg: damaged"])


def test_a_stop_ends_measuring_before_the_next_batch():
    seen = []

    def stop_at_the_third():
        seen.append(1)
        if len(seen) == 3:
            raise Stopped

    for pass_over in (evaluate, unseen_tar):
        seen.clear()
        with pytest.raises(Stopped):
            pass_over(tiny_learner(), batches(4, 4, 4, 4), stop_at_the_third)
        assert len(seen) == 3


# Unseen identities


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [([[1, 0], [2, 0.1], [0, 1], [0.1, 9]], 1), ([[1, 0], [0, 2], [3, 0], [0, 4]], 0)],
    ids=["far apart", "mixed up"],
)
def test_tar_tells_whether_unseen_identities_are_told_apart(vectors, expected):
    learner = tiny_learner()
    loader = known(learner, vectors, [7, 7, 8, 8])
    assert unseen_tar(learner, loader) == pytest.approx(expected, abs=0.01 * (1 - expected))


def test_tar_is_the_share_of_pairs_above_the_one_impostor_in_a_thousand():
    """Drawn vectors, counted plainly: the threshold lets 1 of 1000 impostor pairs through."""
    rng = np.random.default_rng(0)
    labels = [number // 5 for number in range(200)]
    centres = rng.normal(size=(40, 6))
    vectors = np.float32(centres[labels] + 0.4 * rng.normal(size=(200, 6)))
    learner = tiny_learner()
    found = unseen_tar(learner, known(learner, vectors, labels, batch_size=32))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(200) for j in range(i)]
    scores = np.array([unit[i] @ unit[j] for i, j in pairs])
    same = np.array([labels[i] == labels[j] for i, j in pairs])
    impostors = np.sort(scores[~same])[::-1]
    threshold = impostors[len(impostors) // 1000]
    expected = np.mean(scores[same] > threshold)
    assert 0.2 < expected < 0.95
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("labels", [[1, 1, 1], [1, 2, 3]], ids=["one identity", "no two images"])
def test_unseen_identities_without_pairs_of_both_kinds_are_one_line(labels):
    learner = tiny_learner()
    loader = known(learner, [[1, 0], [0, 1], [1, 1]], labels)
    with pytest.raises(DataError, match="too few usable images"):
        unseen_tar(learner, loader)
    with pytest.raises(DataError, match="too few usable images"):
        unseen_tar(learner, [NONE])


@pytest.mark.parametrize("odd", [[math.nan] * 2, [math.inf, 1]])
@pytest.mark.parametrize("count", [1, 4], ids=["one", "all"])
def test_vectors_that_are_not_finite_accept_nobody(odd, count):
    learner = tiny_learner()
    good = [[1, 0], [2, 0.1], [0, 1], [0.1, 9]]
    loader = known(learner, [odd] * count + good[count:], [7, 7, 8, 8])
    assert unseen_tar(learner, loader) == 0.0


# Training


def test_an_epochs_totals_are_the_sums_of_its_steps():
    learner, other = tiny_learner(), tiny_learner()
    loader = [*batches(6, 4, 5), NONE]
    torch.manual_seed(3)
    outcomes = [take_step(other, [batch]) for batch in loader]
    torch.manual_seed(3)
    totals = train(learner, loader)
    assert totals.images == 15 and totals.undecodable == ["a.jpg: damaged"]
    assert totals.loss_sum == sum(outcome.loss for outcome in outcomes)
    assert totals.right == sum(outcome.right for outcome in outcomes)
    assert totals.loss == totals.loss_sum / 15 and totals.accuracy == totals.right / 15
    assert totals.seconds >= totals.waited >= 0


def test_totals_of_batches_done_before_are_added_to():
    before = Totals(images=10, loss_sum=5.0, right=4, undecodable=["z.jpg: damaged"])
    totals = train(tiny_learner(), [*batches(4), NONE], before)
    assert totals is before and totals.images == 14 and totals.loss_sum > 5
    assert totals.undecodable == ["z.jpg: damaged", "a.jpg: damaged"]
    before = Totals(images=10, loss_sum=5.0, right=4)  # nothing is left of this epoch
    assert train(tiny_learner(), [], before) == Totals(images=10, loss_sum=5.0, right=4)


@pytest.mark.parametrize(("accumulate", "calls"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (8, [5])])
def test_each_step_says_how_many_batches_are_used(accumulate, calls):
    learner = tiny_learner(accumulate=accumulate)
    used = []
    assert train(learner, batches(4, 4, 4, 4, 4), after_step=used.append).images == 20
    assert used == calls and learner.steps == len(calls)


def test_a_last_batch_of_one_is_skipped_in_training_only():
    loader = batches(4, 4, 1)
    assert train(tiny_learner(), loader).images == 8
    assert evaluate(tiny_learner(), loader).images == 9


def test_what_a_step_raises_ends_the_pass():
    learner = tiny_learner()

    def stop_after_two(used):
        if used == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(learner, batches(4, 4, 4, 4), after_step=stop_after_two)
    assert {int(values["step"]) for values in learner.optimizer.state.values()} == {2}


def spoil(learner, times):
    """Make the first losses NaN."""
    calls = []

    def spoilt(module, inputs, output):
        calls.append(1)
        return (output[0] * math.nan, output[1]) if len(calls) <= times else output

    learner.model.head.register_forward_hook(spoilt)


def test_skipped_steps_are_counted_and_no_part_of_the_mean():
    learner = tiny_learner()
    spoil(learner, 2)
    totals = train(learner, batches(4, 4, 4))
    assert (totals.skipped, totals.images) == (2, 4) and math.isfinite(totals.loss)
    learner = tiny_learner()
    spoil(learner, 2)
    with pytest.raises(LossError, match="not finite in any of the 2 steps"):
        train(learner, batches(4, 4))


@pytest.mark.parametrize("run", [train, evaluate])
def test_not_one_usable_image_is_one_line(run):
    with pytest.raises(DataError, match=r"not one image could be used: a\.jpg: damaged"):
        run(tiny_learner(), [NONE])


@pytest.mark.parametrize(
    ("waited", "words"),
    [
        (0.0, "10.0 images/s, compute-bound (0% waiting for input)"),
        (0.4, "10.0 images/s, compute-bound (10% waiting for input)"),
        (0.44, "10.0 images/s, input-bound (11% waiting for input)"),
        (4.0, "10.0 images/s, input-bound (100% waiting for input)"),
    ],
)
def test_what_limits_the_speed_is_said(waited, words):
    assert speed(Totals(images=40, seconds=4.0, waited=waited)) == words
    assert speed(Totals()).startswith("0.0 images/s, compute-bound")


# BatchNorm


def test_renewed_batchnorm_is_that_of_the_images():
    """Running averages that lag far behind are replaced by what the images measure."""
    network = nn.Sequential(nn.BatchNorm2d(3))
    images = 5 + 2 * torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    renew_batchnorm(network, images.split(16), device=CPU, check_stop=lambda: None)
    assert network[0].running_mean.tolist() == pytest.approx([5] * 3, abs=0.1)
    assert network[0].running_var.tolist() == pytest.approx([4] * 3, abs=0.3)


def test_renewing_batchnorm_skips_batches_of_one_and_ends_after_some():
    network = nn.Sequential(nn.BatchNorm1d(2))
    parts = [torch.full((1, 2), 9.0), torch.zeros(2, 2), torch.ones(2, 2), torch.full((2, 2), 7.0)]
    renew_batchnorm(network, parts, device=CPU, check_stop=lambda: None, batches=3)
    assert network[0].running_mean.tolist() == [0.5, 0.5]
