"""Contrastive training of both towers, read top to bottom, on Accelerate.

    mulan train mulan configs/train/mulan-mini.toml --manifest corpus/manifest.jsonl --out run

`out` then holds metrics.jsonl (one JSON object a logged step), state/ (the last checkpoint, from which the
same command resumes) and model/ (the trained model, loadable as local:out/model).
"""

import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from pydantic import Field, model_validator
from torch.utils.data import DataLoader

from data.errors import ConfigError, ManifestError
from data.loader import Batch, CaptionedClips, collate, true_negatives
from data.manifest import read_manifest
from mulan.checkpoint import build_model, save_checkpoint
from mulan.config import StrictModel, parse_config, read_toml
from mulan.loss import MAX_LOGIT_SCALE, decoupled_contrastive_loss
from mulan.model import MuLan, MuLanConfig
from mulan.runtime import PrecisionChoice, choose_runtime
from mulan.tokenizer import TextTokenizer

OnStep = Callable[[Mapping[str, Any]], None]


class TrainConfig(StrictModel):
    """Everything that decides a training run besides the music.

    `restarts` are the steps at which the learning rate's warm-up and cosine begin anew.
    """

    model: MuLanConfig
    name: str
    licence: str
    seed: int = Field(ge=0)
    steps: int = Field(gt=0)
    restarts: tuple[int, ...] = ()
    batch_size: int = Field(gt=1)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    precision: PrecisionChoice = "auto"
    loader_workers: int = Field(ge=0)
    log_every: int = Field(gt=0)
    save_every: int = Field(gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        borders = [0, *self.restarts, self.steps]
        if any(later - earlier <= self.warmup_steps for earlier, later in itertools.pairwise(borders)):
            raise ValueError(
                f"restarts {list(self.restarts)} must rise between 0 and steps ({self.steps}), each more than"
                f" warmup_steps ({self.warmup_steps}) from the next"
            )
        return self


def read_train_config(path: Path) -> TrainConfig:
    """Read a training configuration; its `model` is a path to a model configuration, relative to the file.

    Raises:
        ConfigError: naming file, key and the nearest valid key.
    """
    values = read_toml(path)
    if not isinstance(values.get("model"), str):
        raise ConfigError(f"{path}: model must be the path of a model configuration, such as '../model/x.toml'")
    model_path = path.parent / values["model"]
    model = parse_config(MuLanConfig, read_toml(model_path), where=str(model_path))
    return parse_config(TrainConfig, {**values, "model": model}, where=str(path))


def train(config: TrainConfig, *, manifest: Path, out: Path, on_step: OnStep) -> Path:
    """Train on the manifest's "train" tracks, resuming from `out` where an earlier run stopped.

    Returns:
        the folder of the trained model.

    Raises:
        ManifestError: fewer training tracks than one batch.
        ConfigError: more than one process was launched.
    """
    tracks = [track for track in read_manifest(manifest) if track.split == "train"]
    if len(tracks) < config.batch_size:
        raise ManifestError(f"{manifest}: {len(tracks)} training tracks; batch_size is {config.batch_size}")
    runtime = choose_runtime("auto", config.precision)
    accelerator = Accelerator(
        cpu=runtime.device.type == "cpu",
        mixed_precision="bf16" if runtime.dtype == torch.bfloat16 else "no",
    )
    if accelerator.num_processes > 1:
        raise ConfigError(f"{accelerator.num_processes} processes; contrastive training runs on one so far")
    set_seed(config.seed)
    model, tokenizer = build_model(config.model, seed=config.seed)
    # Much less copying on CPUs, the same numbers; torch's annotations do not know this form of `to`.
    model.audio.backbone.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    clips = CaptionedClips(
        tracks,
        sample_rate=config.model.sample_rate,
        clip_seconds=config.model.clip_seconds,
        seed=config.seed,
    )
    optimizer = _optimizer(model, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate_factor(step, config))
    model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)

    out.mkdir(parents=True, exist_ok=True)
    first_step = _resume(accelerator, config, out)
    model.train()
    started = time.monotonic()
    for step, batch in _batches(clips, config, first_step=first_step):
        ids, mask = tokenizer.pad(tokenizer.encode(batch.texts))
        audio, text, scale = model(
            batch.waveforms.to(accelerator.device), ids.to(accelerator.device), mask.to(accelerator.device)
        )
        negatives = true_negatives(batch.claims, batch.absent).to(accelerator.device)
        loss = decoupled_contrastive_loss(audio, text, scale, negatives)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        accelerator.unwrap_model(model).log_scale.data.clamp_(max=math.log(MAX_LOGIT_SCALE))
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            rate = (done - first_step) * config.batch_size / (time.monotonic() - started)
            _log(out, on_step, _record(done, config, loss.item(), scale.item(), schedule, rate))
        if done % config.save_every == 0:
            _save_state(accelerator, config, out, done)
    return _save_model(accelerator.unwrap_model(model), tokenizer, config, out)


def _optimizer(model: MuLan, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; biases, norms and scales are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))


def _learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to zero; and again from each of the restarts (SGDR, arXiv:1608.03983)."""
    borders = [0, *config.restarts, config.steps]
    first, last = next((a, b) for a, b in itertools.pairwise(borders) if step < b or b == config.steps)
    if step < first + config.warmup_steps:
        return (step - first + 1) / config.warmup_steps
    progress = (step - first - config.warmup_steps) / max(last - first - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _batches(clips: CaptionedClips, config: TrainConfig, *, first_step: int) -> Iterator[tuple[int, Batch]]:
    """Steps with their batches, from `first_step` on; incomplete last batches of an epoch are dropped."""
    steps_per_epoch = len(clips) // config.batch_size
    step = first_step
    while step < config.steps:
        clips.epoch, offset = divmod(step, steps_per_epoch)
        order = clips.order(clips.epoch)[offset * config.batch_size :]
        loader = DataLoader(
            clips,
            batch_size=config.batch_size,
            sampler=order,
            drop_last=True,
            collate_fn=collate,
            num_workers=config.loader_workers,
        )
        for batch in loader:
            if step == config.steps:
                return
            yield step, batch
            step += 1


def _record(step: int, config: TrainConfig, loss: float, scale: float, schedule: Any, rate: float) -> dict[str, Any]:
    remaining = (config.steps - step) * config.batch_size / rate
    return {
        "step": step,
        "steps": config.steps,
        "loss": loss,
        "learning_rate": schedule.get_last_lr()[0],
        "logit_scale": scale,
        "clips_per_second": round(rate, 2),
        "eta_minutes": round(remaining / 60, 1),
    }


def _log(out: Path, on_step: OnStep, record: Mapping[str, Any]) -> None:
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    on_step(record)


def _save_state(accelerator: Accelerator, config: TrainConfig, out: Path, step: int) -> None:
    """Write aside, then swap, so that a killed run always finds a whole checkpoint."""
    fresh, kept, old = out / "state.new", out / "state", out / "state.old"
    shutil.rmtree(fresh, ignore_errors=True)
    accelerator.save_state(str(fresh))
    progress = {"step": step, "config": config.model_dump(mode="json")}
    (fresh / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if kept.exists():
        kept.rename(old)
    fresh.rename(kept)
    shutil.rmtree(old, ignore_errors=True)


def _resume(accelerator: Accelerator, config: TrainConfig, out: Path) -> int:
    """Load the last checkpoint, if there is one, and return the step to go on with.

    Raises:
        ConfigError: the checkpoint was made with another configuration.
    """
    for folder in (out / "state", out / "state.old"):
        if (folder / "progress.json").exists():
            progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            wanted = config.model_dump(mode="json")
            changed = [key for key in wanted if progress["config"].get(key) != wanted[key]]
            if changed:
                raise ConfigError(
                    f"{out}: holds a run with another {', '.join(changed)}; restore it, or give another --out"
                )
            accelerator.load_state(str(folder))
            return int(progress["step"])
    return 0


def _save_model(model: MuLan, tokenizer: TextTokenizer, config: TrainConfig, out: Path) -> Path:
    folder = out / "model"
    save_checkpoint(folder, model.eval(), tokenizer, name=config.name, licence=config.licence, dtype=torch.float16)
    return folder
