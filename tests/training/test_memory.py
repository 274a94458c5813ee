from __future__ import annotations

import pytest
import torch
from torch import nn

from facesync.errors import FaceSyncError
from facesync.training import memory
from facesync.training.memory import activation_bytes, fitting_batch_size, is_out_of_memory

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)
GIB = 1 << 30


def full(*_: object) -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"
        ),
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


def test_activations_are_counted_by_storage_and_without_weights():
    layer = nn.Linear(100, 50)
    x = torch.rand(8, 100, requires_grad=False)

    def step():
        hidden = layer(x)  # keeps x
        powers = hidden * hidden.view(8, 50)  # keeps hidden twice
        return powers.exp().sum()  # keeps its result

    assert activation_bytes(step) == 4 * (8 * 100 + 8 * 50 + 8 * 50)


def test_weights_count_nowhere_even_as_a_view():
    first, second = nn.Linear(30, 20, bias=False), nn.Linear(20, 10, bias=False)
    x = torch.rand(8, 30)
    assert activation_bytes(lambda: second(first(x)).sum()) == 4 * (8 * 30 + 8 * 20)


def test_what_is_let_go_within_the_step_does_not_count():
    weight = nn.Parameter(torch.rand(100))
    x = torch.rand(8, 100)

    def step():
        (x * weight).exp().sum()  # its graph is gone at once
        return (x * weight).sum()

    assert activation_bytes(step) == 4 * 8 * 100


def test_a_step_without_gradients_keeps_nothing():
    with torch.no_grad():
        assert activation_bytes(lambda: nn.Linear(3, 3)(torch.rand(2, 3)).sum()) == 0


def test_gradients_are_right_while_they_are_measured():
    weight = nn.Parameter(torch.tensor([2.0, 3.0]))
    ledger = memory._Ledger()
    with ledger:
        (weight * weight).exp().sum().backward()
    assert torch.allclose(weight.grad, 2 * weight * (weight * weight).exp())
    assert ledger.peak == 8 + 8 and not ledger.storages


class Steps:
    """Keeps 8,000 bytes an image and 40,000 besides until its backward pass."""

    def __init__(self, error_above: int = 512, error: Exception | None = None) -> None:
        self.weight = nn.Parameter(torch.ones(1000))
        self.constant = torch.ones(10, 1000)
        self.tried: list[int] = []
        self.error_above = error_above
        self.error = error

    def __call__(self, images: int) -> None:
        self.tried.append(images)
        if images > self.error_above:
            raise self.error or torch.cuda.OutOfMemoryError("CUDA out of memory.")
        product = torch.ones(images, 1000) * self.weight  # keeps the ones
        loss = product.exp().sum() + (self.constant * self.weight).sum()
        loss.backward()


@pytest.fixture
def card(monkeypatch):
    """A card whose free memory is what the test says: `card(free, total)`."""

    def set_up(free, total):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free(), total))

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return set_up


def test_a_card_is_tried_until_it_is_full(card):
    card(lambda: GIB, GIB)
    steps = Steps(error_above=40)
    assert fitting_batch_size(steps, CUDA) == 32
    assert steps.tried == [2, 4, 8, 16, 32, 64]


def test_a_card_keeps_a_tenth_free(card):
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


def test_a_card_that_is_full_already_is_one_line(card):
    card(lambda: 0, GIB)
    with pytest.raises(FaceSyncError, match=r"not even 2 images a step fit .* cuda:0; .*--device"):
        fitting_batch_size(full, CUDA)


def test_other_errors_of_a_step_are_not_hidden(card):
    card(lambda: GIB, GIB)
    with pytest.raises(RuntimeError, match="shapes"):
        fitting_batch_size(Steps(error_above=4, error=RuntimeError("shapes differ")), CUDA)
    with pytest.raises(RuntimeError, match="shapes"):
        fitting_batch_size(Steps(error_above=2, error=RuntimeError("shapes differ")), CPU)


@pytest.mark.parametrize(("images", "expected"), [(2, 2), (31, 16), (32, 32), (33, 32), (9999, 64)])
def test_without_a_card_what_is_kept_has_to_fit_three_times_into_half(
    monkeypatch, images, expected
):
    needed = memory.HEADROOM * (40_000 + 8_000 * images)
    monkeypatch.setattr(memory, "available_memory", lambda: 2 * needed)
    steps = Steps()
    assert fitting_batch_size(steps, CPU, most=64) == expected
    assert steps.tried == [2, 4]


def test_too_little_for_two_images_is_one_line(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2 * memory.HEADROOM * 50_000)
    with pytest.raises(FaceSyncError, match=r"not even 2 images a step fit .* cpu"):
        fitting_batch_size(Steps(), CPU)
    with pytest.raises(FaceSyncError, match=r"not even 2 images a step fit .* cpu"):
        fitting_batch_size(Steps(error_above=1, error=MemoryError()), CPU)


def test_a_step_of_four_that_fails_leaves_two():
    assert fitting_batch_size(Steps(error_above=3, error=MemoryError()), CPU) == 2
