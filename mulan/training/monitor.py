"""What can be seen of a run: its log, its speed, and how much of the machine that is.

`out/metrics.jsonl` has one JSON object a logged step, and one a validation. Resuming drops what was written after the
checkpoint, so the log of a run that was killed is that of one that was not, but for `TIMING_FIELDS`.
"""

import contextlib
import functools
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from data.errors import ConfigError
from data.loader import Skipped
from mulan.distributed import current_share, gather_objects, sum_over_processes
from mulan.training.config import TrainingConfig

METRICS_FILE = "metrics.jsonl"
SKIPPED_FILE = "skipped.jsonl"
TIMING_FIELDS = frozenset({"samples_per_second", "mfu", "eta_minutes"})  # the rest is the same in every run

_PEAK_SECONDS = 0.3
_PEAK_WIDTH = {"cpu": 1024, "cuda": 8192, "mps": 4096}  # of the matrices; wide enough that memory does not limit

Record = Mapping[str, Any]
Numbers = Mapping[str, Tensor | float | None]


@functools.cache
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the fastest matrix product seen here in a third of a second.

    It is what this machine reaches now, with the threads torch has, not a figure from a data sheet.
    """
    width = _PEAK_WIDTH[device.type]
    generator = torch.Generator(device).manual_seed(0)  # zeros would draw less power, and so clock higher
    left, right = (torch.randn(width, width, device=device, generator=generator).to(dtype) for _ in range(2))
    torch.mm(left, right)
    fastest, end = float("inf"), time.perf_counter() + _PEAK_SECONDS
    while fastest == float("inf") or time.perf_counter() < end:
        started = time.perf_counter()
        torch.mm(left, right)
        _wait_for(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * width**3 / fastest


def count_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products, convolutions and attentions in a call, backward included.

    Elementwise work, norms and the Fourier transform of the mel (0.03 % of a MuQ-large) are not counted, nor is what
    runs inside `torch.inference_mode`. What activation checkpointing computes a second time is counted a second time.
    """
    with _FlopCounter() as counter:
        run()
    return counter.total


class TrainingLog:
    """Writes the log of a run and tells how fast it is.

    Files are written by the main process only, but every process makes one and calls `step`: figures are averaged over
    processes there.

    Args:
        out: the run's folder, which exists.
        first_step: steps already done; what the log says of later ones is dropped.
        dtype: of the matrix products, to whose peak the speed is compared.
        on_step: is shown each record.

    Raises:
        ConfigError: TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        out: Path,
        *,
        config: TrainingConfig,
        first_step: int,
        device: torch.device,
        dtype: torch.dtype,
        is_main: bool,
        on_step: Callable[[Record], None],
    ) -> None:
        self._out, self._config, self._is_main, self._on_step = out, config, is_main, on_step
        self._device = device
        self._board: Any = None
        self._pending: list[Skipped] = []
        self._skipped: set[str] = set()
        self._flops: int | None = None
        check_tensorboard(config)
        if is_main:
            truncate_after(out / METRICS_FILE, first_step)
            self._skipped = {record["path"] for record in truncate_after(out / SKIPPED_FILE, first_step)}
            self._board = _open_board(out, first_step) if config.tensorboard else None
            self._peak = peak_flops(device, dtype)
        self._first_step = self._mark_step = first_step
        self._mark_time = time.monotonic()

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count the operations of a step inside, once; results stay the same to the bit."""
        if not self._is_main or self._flops is not None:
            yield
            return
        with _FlopCounter() as counter:
            yield
        self._flops = counter.total

    def step(
        self,
        done: int,
        numbers: Mapping[str, Tensor | float | None],
        *,
        learning_rate: float,
        skipped: Sequence[Skipped],
    ) -> None:
        """Note a step, and write it down if it is due.

        Args:
            done: steps done, this one included.
            numbers: scalars, among them "loss"; written are their means over processes. None is left out.
            skipped: files that could not be read for this step.
        """
        self._pending += skipped
        if done % self._config.log_every == 0 or done == self._config.steps:
            means = _means_over_processes(numbers, self._device)  # waits for the device: before the clock
            self._list_skipped(done)
            facts = {"learning_rate": learning_rate, **means, "skipped": len(self._skipped), **self._speed(done)}
            self._write(done, {"loss": facts.pop("loss"), **facts})
            self._restart_clock(done)
            return
        if done % self._config.save_every == 0:  # what the checkpoint remembers as met has to be in the list
            self._list_skipped(done)
        if done == self._first_step + 1:
            self._restart_clock(done)  # memory is allocated and kernels are chosen in the first step

    def validation(self, done: int, numbers: Mapping[str, float]) -> None:
        """Write down what a validation gave; its time does not count as training's."""
        self._write(done, numbers)
        self._restart_clock(done)

    def close(self) -> None:
        """Finish writing."""
        if self._board is not None:
            self._board.close()

    def _restart_clock(self, done: int) -> None:
        self._mark_step, self._mark_time = done, time.monotonic()

    def _speed(self, done: int) -> dict[str, float]:
        """Rates since the last record, so that neither the start nor a pause long ago dilutes them."""
        if not self._is_main:
            return {}
        seconds = max(time.monotonic() - self._mark_time, 1e-9) / (done - self._mark_step)
        return {
            "samples_per_second": round(self._config.batch_size / seconds, 2),
            **({} if self._flops is None else {"mfu": round(self._flops / seconds / self._peak, 4)}),
            "eta_minutes": round(seconds * (self._config.steps - done) / 60, 1),
        }

    def _write(self, done: int, numbers: Mapping[str, float]) -> None:
        if not self._is_main:
            return
        record = {"step": done, "steps": self._config.steps, **numbers}
        _append(self._out / METRICS_FILE, record)
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, done)
        self._on_step(record)

    def _list_skipped(self, done: int) -> None:
        """Each file once, whichever process met it and however often."""
        met = gather_objects(self._pending)
        self._pending = []
        for file in met:
            if file.path not in self._skipped:
                self._skipped.add(file.path)
                if self._is_main:
                    _append(self._out / SKIPPED_FILE, {"step": done, "path": file.path, "reason": file.reason})


def check_tensorboard(config: TrainingConfig) -> None:
    """Refuse a configuration that asks for TensorBoard where it is not installed.

    Raises:
        ConfigError: with the remedy.
    """
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard = true: the package is missing; pip install 'mulan-retrieval[tensorboard]', or set it to false"
        )


def truncate_after(path: Path, step: int) -> list[dict[str, Any]]:
    """Keep of a log the whole lines up to a step, and give their records; a missing file is an empty one."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the run was killed while it wrote
            continue
        if record["step"] <= step:
            records.append(record)
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    fresh.replace(path)
    return records


def _append(path: Path, record: Record) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _open_board(out: Path, first_step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(out / "tensorboard", purge_step=first_step + 1)


def _means_over_processes(numbers: Numbers, device: torch.device) -> dict[str, float]:
    values = {name: _plain(value) for name, value in numbers.items() if value is not None}
    total = sum_over_processes(torch.tensor(list(values.values()), dtype=torch.float32, device=device))
    return dict(zip(values, (total / current_share().world).tolist(), strict=True))


def _plain(value: Tensor | float) -> float:
    """A number, also of a tensor that FSDP has spread over processes."""
    return float(value.full_tensor() if hasattr(value, "full_tensor") else value)


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


class _FlopCounter(TorchDispatchMode):
    """Adds up torch's own formulas, but for the operations that torch leaves out or gets wrong.

    Torch's FlopCounterMode also takes some operations apart, which changes the last bits of gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation in _OWN_FORMULAS:
            self.total += _OWN_FORMULAS[operation](*args)
        elif operation in flop_registry:
            self.total += flop_registry[operation](*args, **(kwargs or {}), out_val=result)
        return result


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward_flops(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


def _convolution_backward_flops(gradient: Tensor, _inputs: Tensor, weight: Tensor, *rest: Any) -> int:
    """As many for each gradient wanted as forward: every output takes one product per weight of its filter.

    Torch's formula has the weight gradient of a depthwise convolution as that of a full one.
    """
    wanted = sum(rest[-1][:2])  # of the gradients of the inputs, the weights and the bias
    return 2 * wanted * gradient.numel() * weight[0].numel()


_OWN_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.convolution_backward: _convolution_backward_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
