"""Contrastive batches larger than memory: the exact gradient of a batch, computed chunk by chunk.

A contrastive loss needs the latents of the whole batch at once, but not what the towers keep for their gradients. So
the chunks go forward without gradients; the loss of all latents gives the gradient of each; and each chunk goes forward
again, and backward from there. The price is that second forward.

Source: GradCache, arXiv:2101.06983.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from data.errors import ConfigError

Outputs = tuple[Tensor, ...]
RandomState = tuple[Tensor, Tensor | None]


def cached_backward(
    accelerator: Accelerator, module: nn.Module, chunks: Sequence[Sequence[Any]], loss_of: Callable[..., Tensor]
) -> Tensor:
    """Add the gradients of `loss_of(*module(whole batch))` to the parameters of `module`, and give the loss.

    With one chunk this is the plain step. With more, gradients equal those of the plain step but for rounding: every
    chunk draws the same dropout in both of its passes, and parameters are averaged over processes in the last chunk
    only. `loss_of` runs once, outside of autocast, on all latents of this process; by the convention of
    `mulan.distributed` it gathers the others' by itself and its mean over processes is the loss of the whole batch.

    Args:
        module: prepared by `accelerator`; its outputs are latents [n, d], each of its own number of rows, and
            scalars, [] or [1], that depend on parameters alone, such as the logit scale.
        chunks: for each the arguments of `module`; as many for every process.
        loss_of: takes the outputs of `module`, latents of all chunks joined; a mean over its rows.

    Returns:
        the loss of this process, detached.

    Raises:
        ConfigError: more than one chunk with BatchNorm on batch statistics, see `check_batch_norm`, or with DeepSpeed.
    """
    if len(chunks) == 1:
        loss = loss_of(*module(*chunks[0]))
        accelerator.backward(loss)
        return loss.detach()
    check_batch_norm(module, chunks=len(chunks))
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise ConfigError(f"DeepSpeed with {len(chunks)} chunks a step: it steps at every backward; use DDP or FSDP")
    outputs, states = _forward_without_gradients(accelerator, module, chunks)
    loss, gradients = _gradients_of_outputs(outputs, loss_of)
    last = len(chunks) - 1
    for chunk, state, wanted in zip(chunks[:last], states[:last], gradients[:last], strict=True):
        with accelerator.no_sync(module):
            _backward(accelerator, module, chunk, state=state, gradients=wanted)
    _backward(accelerator, module, chunks[last], state=states[last], gradients=gradients[last])
    return loss


def check_batch_norm(module: nn.Module, *, chunks: int) -> None:
    """Refuse to split a batch whose statistics the model computes.

    Raises:
        ConfigError: a BatchNorm in training mode would see the statistics of a chunk, not of the batch.
    """
    if chunks == 1:
        return
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:
            raise ConfigError(
                f"{name}: uses the statistics of its batch, which {chunks} chunks a step would change;"
                " freeze the statistics of BatchNorm, or make a step of one chunk"
            )


def _forward_without_gradients(
    accelerator: Accelerator, module: nn.Module, chunks: Sequence[Sequence[Any]]
) -> tuple[list[Outputs], list[RandomState]]:
    outputs, states = [], []
    for chunk in chunks:
        states.append(_random_state(accelerator.device))
        with torch.no_grad():
            outputs.append(tuple(module(*chunk)))
    return outputs, states


def _gradients_of_outputs(outputs: Sequence[Outputs], loss_of: Callable[..., Tensor]) -> tuple[Tensor, list[Outputs]]:
    """The loss, and its gradient for every output of every chunk.

    Scalars are the same in all chunks; the first chunk gets their whole gradient and the others 0.
    """
    leaves = [torch.cat(column) if column[0].ndim > 1 else column[0].detach() for column in zip(*outputs, strict=True)]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = loss_of(*leaves)
    gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    columns = []
    for gradient, column in zip(gradients, zip(*outputs, strict=True), strict=True):
        scalar = [gradient] + [torch.zeros_like(gradient)] * (len(outputs) - 1)
        columns.append(gradient.split([len(part) for part in column]) if gradient.ndim > 1 else scalar)
    return loss.detach(), list(zip(*columns, strict=True))


def _backward(
    accelerator: Accelerator, module: nn.Module, chunk: Sequence[Any], *, state: RandomState, gradients: Outputs
) -> None:
    """Go forward as the first time, then backward from the given gradients of the outputs."""
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        _restore(state, accelerator.device)
        outputs = module(*chunk)
    # A sum whose gradient is the one wanted, because `Accelerator.backward` starts from a scalar.
    products = [(output * gradient).sum() for output, gradient in zip(outputs, gradients, strict=True)]
    accelerator.backward(torch.stack(products).sum())


def _random_state(device: torch.device) -> RandomState:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _restore(state: RandomState, device: torch.device) -> None:
    on_cpu, on_device = state
    torch.set_rng_state(on_cpu)
    if on_device is not None:
        torch.cuda.set_rng_state(on_device, device)
