"""BatchNorm over the images of all processes that train together."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def with_synchronised_batchnorm(network: nn.Module) -> nn.Module:
    """Let every BatchNorm of a network normalise with all processes' images of a step.

    With few images in each process their own means and variances are too noisy (Peng et al.,
    arXiv:1711.07240). On CUDA this is torch's SyncBatchNorm, which knows no CPU; elsewhere
    `GlobalBatchNorm`. Move the network to its device before. In training every process has to
    make the same number of forward and backward passes, or the others wait for it.

    Args:
        network: changed in place; weights, buffers and keys of the state dict stay.

    Returns:
        The network, or what takes its place where it is a BatchNorm itself.
    """
    if any(parameter.is_cuda for parameter in network.parameters()):
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    if isinstance(network, _BatchNorm):
        return _global(network)
    for name, child in network.named_children():
        setattr(network, name, with_synchronised_batchnorm(child))
    return network


class GlobalBatchNorm(_BatchNorm):
    """BatchNorm of inputs (N, C) or (N, C, …) over the batch of all processes together.

    Processes may hold different numbers of images, or none. Running averages are those of
    BatchNorm over the whole batch and so the same in all processes. Gradients of its weights are
    of a process's own images, to be summed over the processes as other gradients are. In
    evaluation, without processes or with one it is BatchNorm.

    Raises:
        ValueError: inputs of one dimension, or one value a channel in all processes together.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the input normalised, of its shape and type."""
        if not self.training or _processes() == 1:
            output: torch.Tensor = super().forward(input)
            return output
        self._check_input_dim(input)
        # Sums of half precision would lose what they are for.
        precise = input.to(torch.promote_types(input.dtype, torch.float32))
        normalised, mean, variance, count = _Normalise.apply(precise, self.eps)
        if self.track_running_stats:
            self._follow(mean, variance, count)
        if self.affine:
            shape = _per_channel(input)
            normalised = torch.addcmul(self.bias.view(shape), normalised, self.weight.view(shape))
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        """Move the running averages; the variance is kept unbiased, as in BatchNorm."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        unbiased = variance * (count / (count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) of (N, C, …), with mean and variance of all processes.

    Forward sums over the processes twice, since the variance from a sum of squares loses its digits
    where the mean is large; backward once. Only the result is kept for the gradient, and with it
    what multiplying by the weights keeps.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        own_count = x.new_tensor([x.numel() // x.shape[1]])
        sums = torch.cat([_sum(x), own_count])
        dist.all_reduce(sums)
        count = sums[-1]
        if count < 2:
            raise ValueError("expected more than 1 value per channel in all processes together")
        mean = sums[:-1] / count
        centred = x - mean.view(_per_channel(x))
        variance = _sum(centred.square())
        dist.all_reduce(variance)
        variance /= count
        scale = (variance + eps).rsqrt()
        normalised = centred.mul_(scale.view(_per_channel(x)))
        ctx.save_for_backward(normalised, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, None]:
        normalised, scale, count = ctx.saved_tensors
        sums = torch.stack([_sum(gradient), _sum(gradient * normalised)])
        dist.all_reduce(sums)
        of_mean, of_variance = (sums / count).view(2, *_per_channel(gradient))
        shape = _per_channel(gradient)
        return (gradient - of_mean - normalised * of_variance) * scale.view(shape), None


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _per_channel(x: torch.Tensor) -> list[int]:
    """Return the shape that lays a value a channel along (N, C, …)."""
    return [1, -1] + [1] * (x.dim() - 2)


def _sum(x: torch.Tensor) -> torch.Tensor:
    return x.sum([dimension for dimension in range(x.dim()) if dimension != 1])


def _global(layer: _BatchNorm) -> GlobalBatchNorm:
    """Return a GlobalBatchNorm that shares a BatchNorm's weights and buffers."""
    made = GlobalBatchNorm(
        layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
    )
    for name, parameter in layer.named_parameters(recurse=False):
        made.register_parameter(name, parameter)
    for name, buffer in layer.named_buffers(recurse=False):
        made.register_buffer(name, buffer)
    return made.train(layer.training)
