"""Training on the device that `FACESYNC_TEST_DEVICE` names, the CPU by default."""

from __future__ import annotations

import copy

import pytest
import torch

from facesync.faces.crops import ALIGNED_112
from facesync.faces.torch_model import new_network
from facesync.processes import Ranks
from facesync.training.learner import Learner
from facesync.training.memory import is_out_of_memory, largest_batch
from facesync.training.model import new_classifier
from facesync.training.settings import Recipe
from facesync.training.step import take_step
from facesync.training.transforms import ToInput
from tests.training.stand_ins import DEVICE, drawn_batch, everything, same, tiny_learner

on_cuda = pytest.mark.skipif(DEVICE != "cuda", reason="needs FACESYNC_TEST_DEVICE=cuda")
PRECISIONS = ["fp32", "bf16", pytest.param("fp16", marks=on_cuda)]


def train(learner, steps, first=0, images=12):
    """Take steps on batches that are known by their numbers; return the losses."""
    numbers = range(first, first + steps)
    return [take_step(learner, [drawn_batch(images, seed=number)]).loss for number in numbers]


def resume(learner, make):
    """Make a learner that is where this one is."""
    state = copy.deepcopy([learner.model.state_dict(), learner.optimizer.state_dict()])
    rest = copy.deepcopy(learner.state_dict())  # the random states among it
    fresh = make()
    fresh.model.load_state_dict(state[0])
    fresh.optimizer.load_state_dict(state[1])
    fresh.load_state_dict(rest, "here")
    return fresh


def real_learner(**recipe):
    """Make a learner of the real network that always starts from the same random weights."""
    torch.manual_seed(0)
    inputs = ToInput(ALIGNED_112, "none", torch.device(DEVICE))
    return Learner(new_classifier(3, {}, "random weights"), Recipe(**recipe), inputs, Ranks())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_steps_learn(precision):
    learner = tiny_learner(device=DEVICE, precision=precision, ema=0.9, clip_norm=1.0)
    losses = train(learner, 40)
    assert losses[-1] < 0.3 * losses[0]
    assert {each.device.type for each in everything(learner) if each.dim()} == {DEVICE}


@pytest.mark.parametrize("loss", ["softmax", "cosface", "adaface"])
def test_the_first_steps_are_those_of_the_cpu(loss):
    made = [tiny_learner(device=device, loss=loss, dropout=0.0) for device in (DEVICE, "cpu")]
    for learner in made:
        learner.model.backbone.dropout.p = 0.0
    here, there = (train(learner, 5) for learner in made)
    assert here == pytest.approx(there, rel=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("augment", ["none", "strong"])
def test_a_resumed_learner_goes_on_bit_for_bit(precision, augment):
    recipe = {"device": DEVICE, "precision": precision, "augment": augment, "ema": 0.9}
    whole, again, first = (tiny_learner(**recipe) for _ in range(3))
    for learner, steps in ((whole, 6), (again, 6), (first, 3)):
        torch.manual_seed(0)  # dropout draws from it
        train(learner, steps)
    assert same(everything(whole), everything(again)), "the same steps differ from run to run"
    resumed = resume(first, lambda: tiny_learner(**recipe))
    train(resumed, 3, first=3)
    assert same(everything(whole), everything(resumed))


@pytest.mark.slow
def test_the_real_network_goes_on_bit_for_bit():
    """Its convolutions, of which a card may add the gradients in another order each time."""
    whole, again, first = (real_learner(precision="fp32") for _ in range(3))
    for learner, steps in ((whole, 2), (again, 2), (first, 1)):
        torch.manual_seed(0)
        train(learner, steps, images=4)
    assert same(everything(whole), everything(again)), "the same steps differ from run to run"
    resumed = resume(first, lambda: real_learner(precision="fp32"))
    train(resumed, 1, first=1, images=4)
    assert same(everything(whole), everything(resumed))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_network_embeds_alike_in_both_layouts(layout):
    torch.manual_seed(0)
    network = new_network().eval()
    images = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        expected = network(images)
        there = network.to(DEVICE, memory_format=layout)
        found = there(images.to(DEVICE, memory_format=layout)).cpu()
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within torch
def test_a_compiled_network_learns_the_same():
    made = [tiny_learner(device=DEVICE, compile=each, dropout=0.0) for each in (False, True)]
    for learner in made:
        learner.model.backbone.dropout.p = 0.0  # its random numbers are others
    plain, compiled = (train(learner, 4) for learner in made)
    assert compiled == pytest.approx(plain, rel=1e-3)


@on_cuda
def test_the_largest_batch_is_found_and_leaves_the_memory_free():
    learner = tiny_learner(device=DEVICE)
    before = torch.cuda.memory_allocated()
    inputs, recipe, ranks = learner.inputs, learner.recipe, learner.ranks
    assert largest_batch(learner.model, recipe, inputs, ranks, most=64) == 64
    assert torch.cuda.memory_allocated() <= 1.1 * before + 2**20


@on_cuda
def test_a_full_card_is_known_as_one():
    free, _ = torch.cuda.mem_get_info()
    with pytest.raises(RuntimeError) as caught:
        kept = [torch.empty(free // 4, dtype=torch.uint8, device=DEVICE) for _ in range(8)]
        del kept
    assert is_out_of_memory(caught.value)


@on_cuda
def test_recomputing_takes_less_memory():
    peaks = []
    for recompute in (False, True):
        learner = real_learner(checkpoint_activations=recompute)
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            take_step(learner, [drawn_batch(32)])
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.8 * peaks[0]
