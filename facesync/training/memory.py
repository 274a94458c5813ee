"""What a training step needs of memory, and how many images fit in what there is."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable

import torch
from torch.autograd.graph import saved_tensors_hooks

from facesync.errors import FaceSyncError
from facesync.training.available_memory import available_memory

FREE_SHARE = 0.1
"""Share of a card's memory that a step has to leave free: later batches and other programs."""

HEADROOM = 3
"""How many times what autograd keeps a step is taken to need at its peak on the CPU.

Measured on InceptionResnetV1, as growth of the process for an image more: 1.6 times, and 2.2 with
activations computed again; what the allocator cannot use again comes on top.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory is full, of a device or of the machine."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text  # the driver of CUDA, and MPS
        or ("memory" in text and "allocate" in text)  # DefaultCPUAllocator
        or "_STATUS_ALLOC_FAILED" in text  # cuBLAS, cuDNN
    )


class _Saved:
    """A tensor that autograd keeps."""

    def __init__(self, tensor: torch.Tensor) -> None:
        # What an operation returned knows the operation, and would keep the graph in a circle.
        self.tensor = tensor.detach()


class _Ledger(saved_tensors_hooks):
    """Counts what autograd keeps for the backward pass while it is entered.

    Attributes:
        storages: bytes of each storage that is kept now, by its address.
        peak: the largest sum of them that there has been.
    """

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}
        self.peak = 0
        self._users: Counter[int] = Counter()
        self._now = 0
        super().__init__(self._pack, _unpack)

    def _pack(self, tensor: torch.Tensor) -> _Saved:
        saved = _Saved(tensor)
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address not in self.storages:
            self.storages[address] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
        self._users[address] += 1
        weakref.finalize(saved, self._release, address).atexit = False
        return saved

    def _release(self, address: int) -> None:
        self._users[address] -= 1
        if not self._users[address]:
            self._now -= self.storages.pop(address)


def _unpack(saved: _Saved) -> torch.Tensor:
    return saved.tensor


def activation_bytes(step: Callable[[], torch.Tensor]) -> int:
    """Measure what autograd keeps between a forward pass and its backward pass.

    Each storage counts once, whole, whatever views of it are kept; parameters and other leaves
    that gradients are accumulated in do not count.

    Args:
        step: the forward pass; returns the loss.

    Returns:
        Bytes.
    """
    ledger = _Ledger()
    with ledger:
        loss = step()
    leaves = _leaf_storages(loss)
    return sum(size for address, size in ledger.storages.items() if address not in leaves)


def _leaf_storages(loss: torch.Tensor) -> set[int]:
    """Return the addresses of what `loss.backward()` would accumulate gradients for."""
    found: set[int] = set()
    seen = {loss.grad_fn}
    ahead = [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            found.add(node.variable.untyped_storage().data_ptr())
        following = {function for function, _ in node.next_functions} - seen
        seen |= following
        ahead += following
    return found


def fitting_batch_size(
    step: Callable[[int], None], device: torch.device, *, most: int = 512
) -> int:
    """Find the largest power of two of images whose training step fits in memory.

    On a CUDA device steps are tried, each of twice as many images, until memory is full or less
    than a tenth of the card is left free. Elsewhere nothing fails before the machine swaps: steps
    of 2 and 4 images are measured, and three times what autograd keeps for an image has to fit
    into half of what is available then.

    Args:
        step: trains with as many random images as it is told: forward, backward and optimizer,
            so that all that a step allocates is there. It changes weights, buffers and the
            optimizer's state; whoever calls puts them back.
        device: where `step` computes.
        most: the largest size to return, at least 2.

    Raises:
        FaceSyncError: not even 2 images fit.
    """
    if device.type == "cuda":
        found = _largest(lambda size: _fits_card(step, size, device), most)
    else:
        found = _largest_by_measure(step, most)
    if not found:
        raise FaceSyncError(
            f"not even 2 images a step fit into the memory of {device}; close other programs "
            "that use it, or run again with another --device"
        )
    return found


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the last power of two up to `most` before the first that does not fit; 0 if none."""
    found, size = 0, 2
    while size <= most and fits(size):
        found, size = size, 2 * size
    return found


def _fits(step: Callable[[int], None], size: int) -> bool:
    try:
        step(size)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _fits_card(step: Callable[[int], None], size: int, device: torch.device) -> bool:
    # torch keeps what it has freed: only from an empty cache does what is left tell of this step.
    torch.cuda.empty_cache()
    fitted = _fits(step, size)
    free, total = torch.cuda.mem_get_info(device.index)
    # Out of `_fits`, the error and the tensors its traceback held on to are gone.
    gc.collect()
    torch.cuda.empty_cache()
    return fitted and free >= FREE_SHARE * total


def _largest_by_measure(step: Callable[[int], None], most: int) -> int:
    peaks = []
    for size in (2, 4):
        ledger = _Ledger()
        with ledger:
            if not _fits(step, size):
                return 0 if size == 2 else 2
        peaks.append(ledger.peak)
    each = (peaks[1] - peaks[0]) // 2
    fixed = peaks[0] - 2 * each
    # Gradients and the optimizer's moments are there by now and no longer available.
    room = available_memory() // 2
    return _largest(lambda size: HEADROOM * (fixed + size * each) <= room, most)
