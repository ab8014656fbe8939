"""What a training run will need, told before it starts: parameters, memory, operations and time."""

import copy
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mulan.distributed import launched_processes
from mulan.runtime import choose_runtime
from mulan.training.loop import Stage
from mulan.training.monitor import count_flops, peak_flops

# Of the peak, where no step can be measured: a guess, which the first records of a run correct.
ASSUMED_UTILISATION = 0.35
_MEASURED_BELOW = 4 * 2**30  # bytes of memory up to which a step is tried out
_ADAM_STATES = 2

Loss = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A direct child of the module, or its own parameters: how many there are, and how many are trained."""

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The needs of one process; parameters are those of the whole model.

    Attributes:
        weights: bytes of parameters and buffers.
        gradients: bytes.
        optimizer: bytes of AdamW's two averages; Muon keeps one of a matrix.
        activations: bytes at the worst moment of a micro-batch, beyond all of the above.
        flops: operations of a step's forward and backward passes.
        step_seconds: time of a step's forward and backward passes, without reading data, the optimiser's own work and
            communication.
        is_measured: whether that was measured; else it is `flops` at `ASSUMED_UTILISATION` of the measured peak.
        steps: of the run.
    """

    parts: tuple[Part, ...]
    weights: int
    gradients: int
    optimizer: int
    activations: int
    flops: int
    step_seconds: float
    is_measured: bool
    steps: int

    @property
    def memory(self) -> int:
        """Bytes; what the allocator loses between blocks and the libraries' workspaces come on top."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def hours(self) -> float:
        """Time of the whole run."""
        return self.step_seconds * self.steps / 3600


def estimate(
    module: nn.Module, loss: Loss, *, device: torch.device, dtype: torch.dtype, micro_batches: int, steps: int
) -> Estimate:
    """Estimate a run whose step is a number of micro-batches.

    Memory and operations come from a micro-batch on tensors without content, of which only shapes exist; the largest
    model costs seconds and no memory. Autocast and activation checkpointing act there as they will in the run. The time
    is that of one micro-batch that is really computed, where it fits into 4 GiB.

    Args:
        module: as it will be trained, frozen parts included; of no use for training afterwards. It may be an empty one,
            made under `accelerate.init_empty_weights`, which then is not measured.
        loss: makes up the inputs of one micro-batch, on `device`, and gives a scalar. Shapes must not depend on values
            in it: instead of picking masked tokens, take all.
        dtype: of autocast.
        micro_batches: of one process in a step.
    """
    module.train()
    activations, flops = _imagine(module, loss, device, dtype)
    tensors = [*module.parameters(), *module.buffers()]
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    needs = {
        "weights": sum(tensor.nbytes for tensor in tensors),
        "gradients": sum(parameter.nbytes for parameter in trained),
        "optimizer": _ADAM_STATES * sum(parameter.nbytes for parameter in trained),
        "activations": activations,
    }
    is_measured = sum(needs.values()) <= _MEASURED_BELOW and not any(tensor.is_meta for tensor in tensors)
    if is_measured:
        seconds = _measure(module.to(device), loss, device, dtype)
    else:
        seconds = flops / (peak_flops(device, dtype) * ASSUMED_UTILISATION)
    return Estimate(
        parts=_parts(module),
        **needs,
        flops=flops * micro_batches,
        step_seconds=seconds * micro_batches,
        is_measured=is_measured,
        steps=steps,
    )


def estimate_stage(stage: Stage) -> Estimate:
    """Estimate a run on this machine, in as many processes as were launched; its module is of no use afterwards."""
    config, runtime = stage.config, choose_runtime("auto", stage.config.precision)
    share = config.share_of(launched_processes())
    rows = min(config.micro_batch or share, share)
    teacher = nn.ModuleDict({} if stage.teacher is None else {"teacher": stage.teacher})

    def loss(both: Any) -> Tensor:
        return stage.imagine(both.trained, getattr(both, "teacher", None), rows, runtime.device)

    estimated = estimate(
        nn.ModuleDict({"trained": stage.module, **dict(teacher.items())}),
        loss,
        device=runtime.device,
        dtype=runtime.dtype,
        micro_batches=math.ceil(share / rows),
        steps=config.steps,
    )
    return replace(estimated, parts=(*_parts(stage.module), *_parts(teacher)))


def peak_bytes(run: Callable[[], object]) -> int:
    """Bytes of tensors that are made in a call and alive at its worst moment."""
    with _LiveBytes() as live:
        run()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Watches storages come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What goes in, too, so that a view or an in-place result of what was there before does not look new.
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in before:
                self._meet(leaf.untyped_storage())
        return result

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = weakref.finalize(storage, self._part, key, storage.nbytes())
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)

    def _part(self, key: int, size: int) -> None:
        del self._known[key]
        self.now -= size


def _imagine(module: nn.Module, loss: Loss, device: torch.device, dtype: torch.dtype) -> tuple[int, int]:
    """Peak bytes and operations of a micro-batch."""
    with FakeTensorMode():
        shadow = _without_content(module, device)

        def step() -> None:
            _loss(shadow, loss, device, dtype).backward()

        for parameter in shadow.parameters():
            if parameter.requires_grad:  # there already, as in all micro-batches but a step's first
                parameter.grad = torch.empty_like(parameter)
        bytes_: list[int] = []
        flops = count_flops(lambda: bytes_.append(peak_bytes(step)))
    return bytes_[0], flops


def _without_content(module: nn.Module, device: torch.device) -> nn.Module:
    """A copy whose tensors, tied ones too, are of the same shapes on `device`; called under a FakeTensorMode."""
    shapes: dict[int, Any] = {}  # deepcopy takes these for copies that it has already made
    for parameter in module.parameters():
        empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
        shapes[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in module.buffers():
        shapes[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
    return copy.deepcopy(module, shapes)


def _measure(module: nn.Module, loss: Loss, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of the second micro-batch; the first, which prepares kernels and memory, is not counted."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        value = _loss(module, loss, device, dtype)
        value.backward()
        value.item()  # waits for the device
        seconds = time.perf_counter() - started
    return seconds


def _loss(module: nn.Module, loss: Loss, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        return loss(module)


def _parts(module: nn.Module) -> tuple[Part, ...]:
    own = list(module.parameters(recurse=False))
    groups = [(name, list(child.parameters())) for name, child in module.named_children()]
    return tuple(
        Part(
            name=name,
            parameters=sum(parameter.numel() for parameter in parameters),
            trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        )
        for name, parameters in [*groups, ("other", own)]
        if parameters
    )
