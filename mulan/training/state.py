"""The checkpoint a run goes on from: written aside, then swapped, so that a killed run always finds a whole one."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from pydantic import ValidationError
from torch import nn

from data.errors import ConfigError
from mulan.training.config import TrainingConfig

_PROGRESS_FILE = "progress.json"
# They decide how a run is watched or laid out, not what comes out of it.
_FREE_TO_CHANGE = {"loader_workers", "log_every", "save_every", "tensorboard"}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: steps done, and the best validation score so far."""

    step: int = 0
    best: float | None = None


def save_state(
    accelerator: Accelerator, config: TrainingConfig, origin: Mapping[str, str], out: Path, progress: Progress
) -> None:
    """Write weights, optimiser and random states of every process to out/state.

    Args:
        origin: see `mulan.training.loop.Stage`.
    """
    fresh, kept, old = out / "state.new", out / "state", out / "state.old"
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        facts = {"step": progress.step, "best": progress.best, "config": _deciding(config), "origin": dict(origin)}
        (fresh / _PROGRESS_FILE).write_text(json.dumps(facts), encoding="utf-8")
        if kept.exists():  # else the old one is the only one there is
            shutil.rmtree(old, ignore_errors=True)
            kept.rename(old)
        fresh.rename(kept)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def resume(accelerator: Accelerator, config: TrainingConfig, origin: Mapping[str, str], out: Path) -> Progress:
    """Load the last checkpoint in `out`, if there is one.

    Raises:
        ConfigError: it was made with a configuration, or of music and models, that would have given other weights.
    """
    for folder in (out / "state", out / "state.old"):
        if (folder / _PROGRESS_FILE).exists():
            facts = json.loads((folder / _PROGRESS_FILE).read_text(encoding="utf-8"))
            facts["config"] = _with_defaults(facts["config"], config)
            wanted = _deciding(config)
            changed = sorted(key for key in wanted | facts["config"] if facts["config"].get(key) != wanted.get(key))
            if changed:
                there = {key: facts["config"].get(key) for key in changed}
                listed = ", ".join(f"{key} = {wanted.get(key)!r} (there {value!r})" for key, value in there.items())
                raise ConfigError(
                    f"{out}: holds a run of other settings: {listed}; set them as they are there, or give another --out"
                )
            begun = facts.get("origin", {})
            other = sorted(key for key, value in origin.items() if begun.get(key, value) != value)
            if other:
                listed = ", ".join(f"{key} {origin[key]} (there {begun[key]})" for key in other)
                raise ConfigError(f"{out}: holds a run of other {listed}; go on with those, or give another --out")
            accelerator.load_state(str(folder))
            return Progress(step=facts["step"], best=facts["best"])
    return Progress()


def _with_defaults(stored: dict[str, Any], config: TrainingConfig) -> dict[str, Any]:
    """What a state says of settings that are younger than it: their defaults, as it was made."""
    habits = config.model_dump(mode="json", include=_FREE_TO_CHANGE)
    try:
        return _deciding(type(config).model_validate({**habits, **stored}))
    except ValidationError:
        return stored


def _deciding(config: TrainingConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json", exclude=_FREE_TO_CHANGE)
    if values.get("targets", {}).get("kind") == "labels":
        values["targets"]["folder"] = ""  # where labels lie is no matter: whose they are, the origin says
    return values


def weights_digest(module: nn.Module) -> str:
    """Twelve digits that tell trained models apart."""
    digest = hashlib.sha256()
    for name, weight in sorted(module.state_dict().items()):
        digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
