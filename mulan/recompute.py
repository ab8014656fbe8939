"""Activation checkpointing: keep a module's inputs, and compute what is inside it again in the backward pass."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def call_module(module: nn.Module, *inputs: object, recompute: bool) -> Tensor:
    """Call `module`; with `recompute`, without keeping what its backward pass will need.

    Results and gradients are the same: dropout draws the same masks the second time, and the running statistics of
    BatchNorms, which torch's own checkpointing moves twice, count each batch once.
    """
    if not (recompute and torch.is_grad_enabled()):
        return module(*inputs)
    return checkpoint(
        module, *inputs, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _same_buffers(module))
    )


@contextlib.contextmanager
def _same_buffers(module: nn.Module) -> Iterator[None]:
    """Undo what a forward pass does to the buffers."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.data.copy_(value)  # by way of .data: the graph holds running statistics, but does not read them
