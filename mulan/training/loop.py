"""The loop that every training stage goes through, read top to bottom, on Accelerate.

A stage says what is trained, on which batches, by which loss, and how it is judged and stored; `fit` does the rest.
`out` then holds metrics.jsonl (one JSON object a logged step), state/ (from which the same command resumes), model/
(the last weights) and best/ (those with the best validation score, where a run validates).
"""

import contextlib
import datetime
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs
from torch import Tensor, nn

from data.errors import ConfigError
from data.loader import Batch, Clips, batches
from mulan.distributed import Share, freeze_batch_norm, gather_objects, synchronise_batch_norm
from mulan.hub import CONFIG_FILE
from mulan.runtime import Runtime, choose_runtime, keep_memory
from mulan.training.config import TrainingConfig
from mulan.training.monitor import TrainingLog
from mulan.training.optim import build_optimizer, learning_rate
from mulan.training.state import Progress, resume, save_state

OnStep = Callable[[Mapping[str, Any]], None]
Numbers = dict[str, float]

_PATIENCE = datetime.timedelta(hours=12)  # for a process whose part takes longer, as when labels are made

_BLOCKS = {"ConformerLayer", "TransformerLayer", "BertLayer", "XLMRobertaLayer"}  # what FSDP shards one by one


class Stage(Protocol):
    """One kind of training."""

    @property
    def config(self) -> TrainingConfig:
        """Of the run."""

    @property
    def origin(self) -> Mapping[str, str]:
        """What else decides over the weights: digests of the tracks, and of models that it starts or learns from."""

    @property
    def module(self) -> nn.Module:
        """What is trained, on the CPU, not yet wrapped by Accelerate."""

    @property
    def score(self) -> str:
        """Name of the validation figure by which the best weights are chosen."""

    @property
    def more_is_better(self) -> bool:
        """Whether a higher score is the better one."""

    @property
    def shardable(self) -> bool:
        """Whether FSDP or DeepSpeed may spread its weights: not where it writes them other than by the optimiser."""

    def batches(self, *, first_step: int, share: Share) -> Iterator[tuple[int, Any]]:
        """Steps with this process's part of their batches, from `first_step` on, the same however a run was cut.

        Called once the module lies on its device and, unless `first_step` is 0, holds what a checkpoint says.
        """

    def backward(self, accelerator: Accelerator, module: nn.Module, step: int, batch: Any) -> Mapping[str, Tensor]:
        """Leave the gradients of the full batch in the parameters; give "loss" and other figures of the step."""

    def after_step(self, module: Any, step: int) -> None:
        """Mend the weights after the optimiser's step, where the stage needs it."""

    def validate(self, module: nn.Module, device: torch.device) -> Numbers:
        """Judge the module, in eval mode, on the music set aside; empty where there is none.

        Only by calling it: where its weights are sharded, they are whole in `forward` alone.
        """

    @property
    def teacher(self) -> nn.Module | None:
        """What is not trained and yet hears each step's music, if there is such a thing."""

    def imagine(self, module: Any, teacher: Any, rows: int, device: torch.device) -> Tensor:
        """Give a scalar that costs what the loss of so many rows does, from made-up inputs; for `estimate_stage`."""

    def save(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write weights of `module`, which stay as they are, as a model that can be loaded again; config.json last."""


def fit(stage: Stage, out: Path, *, on_step: OnStep) -> Path:
    """Train a stage to its end, going on where an earlier run in `out` stopped; one that has ended is left alone.

    Everything random is a function of (seed, step): a killed run ends as the uninterrupted one, on CPUs bit for bit.
    The union of the processes' batches does not depend on how many they are.

    Returns:
        the folder of the trained model.

    Raises:
        ConfigError: the batch cannot be dealt out, or `out` holds a run of another configuration, of other tracks, or
            of other models that it started or learnt from.
    """
    config = stage.config
    runtime = choose_runtime("auto", config.precision)
    keep_memory()
    accelerator = Accelerator(
        cpu=runtime.device.type == "cpu",
        mixed_precision="no",  # see `_autocast`
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    share = Share(rank=accelerator.process_index, world=accelerator.num_processes)
    rows = config.share_of(share.world)
    _check_plugins(accelerator, stage, rows=rows)
    _prepare_batch_norm(stage.module, config)
    _autocast(stage.module, runtime)
    _tell_plugins(accelerator, stage.module, config, rows=rows)
    module, optimizer = accelerator.prepare(stage.module, build_optimizer(stage.module, config))

    out.mkdir(parents=True, exist_ok=True)
    progress = resume(accelerator, config, stage.origin, out)
    model = out / "model"
    if progress.step == config.steps and (model / CONFIG_FILE).exists():
        return model
    log = TrainingLog(
        out,
        config=config,
        first_step=progress.step,
        device=accelerator.device,
        dtype=runtime.dtype,
        is_main=accelerator.is_main_process,
        on_step=on_step,
    )
    module.train()
    for step, batch in stage.batches(first_step=progress.step, share=share):
        rate = learning_rate(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(seed_of(config.seed, step, share.rank))  # dropout
        with log.counting():
            numbers = stage.backward(accelerator, module, step, batch)
        norm = accelerator.clip_grad_norm_(module.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        stage.after_step(accelerator.unwrap_model(module), step)
        done = step + 1
        log.step(done, {**numbers, "gradient_norm": norm}, learning_rate=rate, skipped=batch.skipped)
        if _is_due(done, config.validate_every, last=config.steps):
            progress = _validate(stage, accelerator, module, log, out, Progress(step=done, best=progress.best))
        if _is_due(done, config.save_every, last=config.steps):
            save_state(accelerator, config, stage.origin, out, Progress(step=done, best=progress.best))
    log.close()
    return _save(stage, accelerator, module, model)


def run_batches(clips: Clips, config: TrainingConfig, *, first_step: int, share: Share) -> Iterator[tuple[int, Batch]]:
    """What `Stage.batches` gives of its training clips."""
    return batches(
        clips,
        batch_size=config.batch_size,
        first_step=first_step,
        steps=config.steps,
        rank=share.rank,
        world=share.world,
        workers=config.loader_workers,
    )


def micro_batches(accelerator: Accelerator, module: nn.Module, *, rows: int, size: int | None) -> Iterator[slice]:
    """Cut a process's rows into micro-batches; gradients cross processes in the backward pass of the last alone."""
    size = size or rows
    for start in range(0, rows, size):
        is_last = start + size >= rows
        with contextlib.nullcontext() if is_last else accelerator.no_sync(module):
            yield slice(start, start + size)


def _prepare_batch_norm(module: nn.Module, config: TrainingConfig) -> None:
    if config.batch_norm == "batch":
        synchronise_batch_norm(module)
    elif config.batch_norm == "frozen":
        freeze_batch_norm(module)


def _autocast(module: nn.Module, runtime: Runtime) -> None:
    """Run the forward pass in the runtime's precision.

    Not left to Accelerate, whose plugins for sharding would cast more than that: waveforms, outputs, the mel's window.
    """
    context = runtime.autocast()
    module.forward = context(module.forward)


def _check_plugins(accelerator: Accelerator, stage: Stage, *, rows: int) -> None:
    kind, config = accelerator.distributed_type, stage.config
    is_sharded = kind in (DistributedType.FSDP, DistributedType.DEEPSPEED)
    if is_sharded and not stage.shardable:
        raise ConfigError(f"{config.name}: writes its own weights, which {kind.value} would spread; use one GPU or DDP")
    if is_sharded and config.optimizer == "muon":
        raise ConfigError(f'optimizer = "muon": needs whole matrices, which {kind.value} spreads; use DDP or "adamw"')
    if kind == DistributedType.DEEPSPEED and (config.micro_batch or rows) < rows:
        raise ConfigError(f"micro_batch = {config.micro_batch}: DeepSpeed steps at every backward; use DDP or FSDP")


def _tell_plugins(accelerator: Accelerator, module: nn.Module, config: TrainingConfig, *, rows: int) -> None:
    """What FSDP and DeepSpeed have to know of a model and its batch; without effect where they are not used."""
    blocks = sorted(_BLOCKS & {type(part).__name__ for part in module.modules()})
    module._no_split_modules = blocks  # type: ignore[assignment]  # where transformers' models name them
    if accelerator.distributed_type == DistributedType.FSDP:
        for parameter in module.parameters():  # it refuses the channels-last ones of the stem
            parameter.data = parameter.data.contiguous()
    if plugin := accelerator.state.deepspeed_plugin:
        plugin.deepspeed_config.update(train_micro_batch_size_per_gpu=rows, gradient_clipping=config.max_grad_norm)


def _validate(
    stage: Stage, accelerator: Accelerator, module: nn.Module, log: TrainingLog, out: Path, progress: Progress
) -> Progress:
    """Judge, write down, and keep the weights if they are the best so far."""
    module.eval()
    with torch.no_grad():
        numbers = stage.validate(module, accelerator.device)
    module.train()
    if not numbers:
        return progress
    log.validation(progress.step, numbers)
    score = gather_objects([numbers[stage.score]])[0]  # processes have to agree, and GPUs round as they like
    if math.isnan(score) or not (progress.best is None or _is_better(score, progress.best, stage)):
        return progress
    _save(stage, accelerator, module, out / "best")
    return Progress(step=progress.step, best=score)


def _save(stage: Stage, accelerator: Accelerator, module: nn.Module, folder: Path) -> Path:
    weights = accelerator.get_state_dict(module)
    if accelerator.is_main_process:
        stage.save(weights, folder)
    accelerator.wait_for_everyone()
    return folder


def _is_better(score: float, best: float, stage: Stage) -> bool:
    return score > best if stage.more_is_better else score < best


def _is_due(done: int, every: int, *, last: int) -> bool:
    return every > 0 and (done % every == 0 or done == last)


def seed_of(*numbers: int) -> int:
    """Give a seed that depends on these numbers alone, such as (run's seed, step, row)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
