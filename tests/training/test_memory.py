from __future__ import annotations

import pytest
import torch

from facesync.errors import FaceSyncError
from facesync.faces.crops import ALIGNED_112
from facesync.processes import Ranks
from facesync.training import memory
from facesync.training.memory import fitting_batch_size, is_out_of_memory, largest_batch
from facesync.training.settings import Recipe
from facesync.training.transforms import ToInput
from tests.training.stand_ins import PLAIN, everything, same, tiny_learner

CUDA = torch.device("cuda", 0)
GIB = 1 << 30


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.87 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_errors_of_full_memory(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def test_what_the_allocator_really_raises_is_full_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


class Steps:
    """Notes the batch sizes that were tried, and fails above one."""

    def __init__(self, error_above: int = 512, error: Exception | None = None) -> None:
        self.tried: list[int] = []
        self.error_above = error_above
        self.error = error or torch.cuda.OutOfMemoryError("CUDA out of memory.")

    def __call__(self, images: int) -> None:
        self.tried.append(images)
        if images > self.error_above:
            raise self.error


@pytest.fixture
def card(monkeypatch):
    """A card whose free memory is what the test says: `card(free, total)`."""

    def set_up(free, total):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free(), total))

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(memory.gc, "collect", lambda: None)
    return set_up


def test_a_card_is_tried_until_it_is_full(card):
    card(lambda: GIB, GIB)
    steps = Steps(error_above=40)
    assert fitting_batch_size(steps, CUDA) == 32
    assert steps.tried == [2, 4, 8, 16, 32, 64]


def test_a_tenth_of_a_card_stays_free(card):
    steps = Steps()
    card(lambda: GIB * (100 - steps.tried[-1]) // 100, GIB)
    assert fitting_batch_size(steps, CUDA) == 64
    card(lambda: GIB * (200 - 3 * steps.tried[-1]) // 200, GIB)
    assert fitting_batch_size(steps, CUDA) == 32


def test_no_more_is_tried_than_asked_for(card):
    card(lambda: GIB, GIB)
    steps = Steps()
    assert fitting_batch_size(steps, CUDA, most=24) == 16
    assert steps.tried == [2, 4, 8, 16]
    assert fitting_batch_size(steps, CUDA) == 512


def test_a_card_that_is_already_full_is_one_line(card):
    card(lambda: 0, GIB)
    with pytest.raises(FaceSyncError, match=r"not even 2 images per step .* cuda:0; .*--device"):
        fitting_batch_size(Steps(error_above=0), CUDA)


def test_other_errors_of_a_step_are_not_hidden(card):
    card(lambda: GIB, GIB)
    with pytest.raises(RuntimeError, match="shapes"):
        fitting_batch_size(Steps(error_above=4, error=RuntimeError("shapes differ")), CUDA)


@pytest.fixture
def eight_fit(monkeypatch):
    """Pretend that 8 images fit, after a step with them."""

    def try_out(step, device, *, most):
        step(min(8, most))
        return min(8, most)

    monkeypatch.setattr(memory, "fitting_batch_size", try_out)


def test_trying_batch_sizes_leaves_no_trace(eight_fit):
    learner = tiny_learner(loss="adaface")
    before, random = everything(learner), torch.get_rng_state()
    inputs = ToInput(ALIGNED_112, "none", torch.device("cpu"))
    assert largest_batch(learner.model, Recipe(**PLAIN), inputs, Ranks()) == 8
    assert same(everything(learner), before) and torch.equal(torch.get_rng_state(), random)


def test_trying_batch_sizes_waits_for_no_other_process(eight_fit):
    """Processes may try different numbers of batches; a sum over all would wait for ever."""

    class Others(Ranks):
        def sum(self, values):
            raise AssertionError("waited for the others")

        def gather(self, value):
            return [value, value // 2]

    learner = tiny_learner(loss="adaface", head={"ranks": Others(0, 2)})
    inputs = ToInput(ALIGNED_112, "none", torch.device("cpu"))
    found = largest_batch(learner.model, Recipe(**PLAIN), inputs, Others(0, 2), most=16)
    assert found == 8  # the smaller of 8 and 4, for both
