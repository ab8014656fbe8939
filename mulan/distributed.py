"""Several processes that compute as one: gathered rows, sums, and BatchNorm over the global batch.

Convention of every training stage: process r of w has the loss L_r of its share of the batch, and the loss of the whole
batch is the mean of all L_r. What crosses processes here sends gradients back as a sum, and DDP averages the gradients
of the parameters; so each parameter gets the gradient of the whole batch's loss. Works on gloo and on NCCL. With one
process, torch.distributed need not be initialised and nothing is communicated.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.distributed.nn import functional as differentiable
from torch.nn import functional

Item = TypeVar("Item")
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of the work is this process's: number `rank` of `world`."""

    rank: int = 0
    world: int = 1


def current_share() -> Share:
    """This process's share, by torch.distributed; all of it where that is not initialised."""
    if not (dist.is_available() and dist.is_initialized()):
        return Share()
    return Share(rank=dist.get_rank(), world=dist.get_world_size())


def launched_processes() -> int:
    """How many processes torchrun or `accelerate launch` started, also before torch.distributed knows."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def gather_rows(rows: Tensor) -> Tensor:
    """Turn each process's [b, ...] into everyone's [world * b, ...], in the order of the ranks; b is the same for all.

    The gradient of a row is the sum of the gradients that all processes have for it.
    """
    if current_share().world == 1:
        return rows
    return torch.cat(differentiable.all_gather(rows.contiguous()))


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of what each process holds, elementwise; no gradient flows through it."""
    total = values.detach().clone()
    if current_share().world > 1:
        dist.all_reduce(total)
    return total


def gather_objects(items: list[Item]) -> list[Item]:
    """Join the lists of all processes, in the order of the ranks. They are pickled: for reports, not for tensors."""
    world = current_share().world
    if world == 1:
        return list(items)
    lists: list[list[Item]] = [[] for _ in range(world)]
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def synchronise_batch_norm(module: Module) -> Module:
    """Make every BatchNorm of `module` use, in training mode, the statistics of the batch over all processes.

    Parameters, buffers and names stay, and so does what `isinstance` says. Results, gradients and running statistics
    are those of one process with the whole batch, but for rounding. In eval mode, and with one process, it is torch's
    own BatchNorm.
    """
    return _become(module, {nn.BatchNorm1d: SynchronisedBatchNorm1d, nn.BatchNorm2d: SynchronisedBatchNorm2d})


def freeze_batch_norm(module: Module) -> Module:
    """Keep the running statistics of every BatchNorm of `module` for good, whatever `train` says.

    Each is then a scale and a shift, with weight and bias still trained: an item's result no longer depends on the
    items beside it, and so not on how a batch is split over processes or chunks.
    """
    _become(module, {nn.BatchNorm1d: FrozenBatchNorm1d, nn.BatchNorm2d: FrozenBatchNorm2d})
    return module.train(module.training)


def _become(module: Module, classes: Mapping[Any, type[nn.Module]]) -> Module:
    """Change classes in place: optimisers, hooks and references keep pointing at the same layers and parameters."""
    for layer in module.modules():
        layer.__class__ = classes.get(type(layer), type(layer))
    return module


class _Synchronised(nn.modules.batchnorm._BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training or current_share().world == 1:
            return super().forward(x)
        self._check_input_dim(x)
        count, mean, variance = _global_statistics(x.detach())
        self._track(mean, variance * count / (count - 1))
        return _Normalise.apply(x, self.weight, self.bias, mean, variance, count, self.eps)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), momentum)


class SynchronisedBatchNorm1d(_Synchronised, nn.BatchNorm1d):
    """See `synchronise_batch_norm`."""


class SynchronisedBatchNorm2d(_Synchronised, nn.BatchNorm2d):
    """See `synchronise_batch_norm`."""


class _Frozen(nn.modules.batchnorm._BatchNorm):
    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class FrozenBatchNorm1d(_Frozen, nn.BatchNorm1d):
    """See `freeze_batch_norm`."""


class FrozenBatchNorm2d(_Frozen, nn.BatchNorm2d):
    """See `freeze_batch_norm`."""


@torch.no_grad()
def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count (scalar), means [c] and biased variances [c] of the channels of [b, c, ...] over all processes.

    Means and variances are combined, not sums of squares, which would cancel (Chan, Golub and LeVeque 1979).
    """
    dims, shape = _reduction(x)
    mean = x.mean(dims, dtype=torch.promote_types(x.dtype, torch.float32))
    variance = (x - mean.view(shape)).square_().mean(dims)
    count = mean.new_tensor([x.numel() // x.shape[1]])
    parts = gather_rows(torch.cat([count, mean, variance]).unsqueeze(0))  # [world, 1 + 2c]
    counts, means, variances = parts.split([1, x.shape[1], x.shape[1]], dim=1)
    total = counts.sum()
    weights = counts / total
    mean = (weights * means).sum(dim=0)
    variance = (weights * (variances + (means - mean).square())).sum(dim=0)
    return total, mean, variance


class _Normalise(torch.autograd.Function):
    """BatchNorm with statistics given; its gradient knows that they come from the inputs of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )  # as if the statistics were constants; the rest is what flows through them
        shift, slope = sum_over_processes(torch.stack([grad_bias, grad_weight])) / count
        inverse_std = (variance + ctx.eps).rsqrt()
        factor = -weight * slope * inverse_std.square()
        offset = -weight * shift * inverse_std - factor * mean
        shape = _reduction(x)[1]
        grad_x += x * factor.view(shape) + offset.view(shape)
        return grad_x, grad_weight, grad_bias, None, None, None, None


def _reduction(x: Tensor) -> tuple[list[int], list[int]]:
    """Every dimension of [b, c, ...] but the channels, and the shape in which [c] broadcasts against it."""
    return [dim for dim in range(x.ndim) if dim != 1], [-1, *[1] * (x.ndim - 2)]
