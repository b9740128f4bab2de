"""Batch norms that behave the same with one process and with several.

Both keep the parameter and buffer names of torch.nn.BatchNorm2d, so any published state dict fits, and take
inputs of any number of dimensions with the channels second (`b c ...`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenBatchNorm(_BatchNorm):
    """A batch norm that is only a scale and a shift per channel, in training too: its statistics stay."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps)
        self.requires_grad_(False)

    def forward(self, input: Float[Tensor, "b c *size"]) -> Float[Tensor, "b c *size"]:
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class _AllReduced(_BatchNorm):
    """Batch norm whose statistics, in training, are those of the batches of all processes together.

    torch.nn.SyncBatchNorm does this on GPUs only; this one goes over any backend of torch.distributed, gloo
    on a CPU included, and with one process is torch's own batch norm. Processes may hold batches of different
    sizes.
    """

    def forward(self, input: Float[Tensor, "b c *size"]) -> Float[Tensor, "b c *size"]:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        x = input.float()  # sums of bfloat16 lose too much
        count = torch.tensor(float(x.numel() // x.shape[1]), device=x.device)
        dist.all_reduce(count)
        # Two passes: the difference of two large sums would lose digits that one process has.
        mean = all_reduce_sum(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = all_reduce_sum(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    def _remember(self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"]) -> None:
        """Moves the running statistics; a momentum of None averages over all batches, as in torch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class AllReducedBatchNorm1d(_AllReduced, nn.BatchNorm1d):
    """For inputs `b c` and `b c l`."""


class AllReducedBatchNorm2d(_AllReduced, nn.BatchNorm2d):
    """For inputs `b c h w`."""


class AllReducedBatchNorm3d(_AllReduced, nn.BatchNorm3d):
    """For inputs `b c d h w`."""


def all_reduced(module: nn.Module) -> nn.Module:
    """The module with every batch norm of torch's turned into an all-reduced one with the same tensors.

    A batch norm that is in eval mode, as frozen parts are, goes on as it was.
    """
    kinds = {
        nn.BatchNorm1d: AllReducedBatchNorm1d,
        nn.BatchNorm2d: AllReducedBatchNorm2d,
        nn.BatchNorm3d: AllReducedBatchNorm3d,
    }
    for part in module.modules():
        # Another class on the same object: tensors, names and hooks stay, and it still is an nn.BatchNorm.
        part.__class__ = kinds.get(type(part), type(part))
    return module


def all_reduce_sum(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sum of a tensor over all processes. Its gradient is the sum of the gradients over all processes."""
    return _Sum.apply(value)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total
