"""The batch size that fits into the memory of a CUDA device."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from dataclasses import replace

import torch

from facesync.errors import FaceSyncError
from facesync.processes import Ranks
from facesync.training.augment import DRAWS
from facesync.training.batches import Batch
from facesync.training.learner import Learner
from facesync.training.model import Classifier
from facesync.training.settings import Recipe
from facesync.training.step import take_step
from facesync.training.transforms import ToInput

FREE_SHARE = 0.1
"""Share of a card's memory that a step must leave free, for later batches and other programs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that the memory of a device or of the machine is full."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text  # the driver of CUDA, and MPS
        or ("memory" in text and "allocate" in text)  # DefaultCPUAllocator
        or "_STATUS_ALLOC_FAILED" in text  # cuBLAS, cuDNN
    )


def largest_batch(
    model: Classifier, recipe: Recipe, inputs: ToInput, ranks: Ranks, *, most: int = 512
) -> int:
    """Find the largest batch, over all processes, whose steps fit into the card's memory.

    Tried on a copy of the model, with noise for images.

    Raises:
        FaceSyncError: not even a batch of two per process fits.
    """
    size = inputs.crop.input_size
    alone = replace(recipe, compile=False, freeze_steps=0)
    copied = copy.deepcopy(model)
    copied.head.ranks = Ranks()  # the other processes may try more sizes, or fewer
    trial = Learner(copied, alone, inputs, Ranks())

    def step(count: int) -> None:
        images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
        labels = torch.zeros(count, dtype=torch.int64)
        take_step(trial, [Batch(images, labels, torch.rand(count, DRAWS), [])])

    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        own = fitting_batch_size(step, inputs.device, most=max(2, most // ranks.size))
    return min(ranks.gather(own)) * ranks.size


def fitting_batch_size(
    step: Callable[[int], None], device: torch.device, *, most: int = 512
) -> int:
    """Find the largest power of two of images whose training step fits into a card's memory.

    Each try has twice as many images as the one before, until memory is full or less than a tenth
    of it is left free.

    Args:
        step: trains with as many random images as it is told: forward, backward and optimizer,
            so that everything a step allocates is there.
        device: the card.
        most: the largest size to return, at least 2.

    Raises:
        FaceSyncError: not even 2 images fit.
    """
    found, size = 0, 2
    while size <= most and _fits(step, size, device):
        found, size = size, 2 * size
    if not found:
        raise FaceSyncError(
            f"not even 2 images per step fit into the memory of {device}; close other programs "
            "that use it, or run again with another --device"
        )
    return found


def _fits(step: Callable[[int], None], size: int, device: torch.device) -> bool:
    # torch keeps what it has freed; only with an empty cache is what is left due to this step.
    torch.cuda.empty_cache()
    fitted = _succeeds(step, size)
    free, total = torch.cuda.mem_get_info(device.index)
    # Here the error is gone, and the tensors that its traceback held on to.
    gc.collect()
    torch.cuda.empty_cache()
    return fitted and free >= FREE_SHARE * total


def _succeeds(step: Callable[[int], None], size: int) -> bool:
    try:
        step(size)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
