"""The weights of a module: by our names, checked and filled in, and their fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from data.config import StrictModel
from data.errors import CheckpointError
from mulan.audio_tower import TRAINING_ONLY

# Raise it when data/clips.py cuts or pools windows differently: vectors of before and after cannot be compared.
WINDOW_RULE = 1

# Kept by torch beside the statistics of a BatchNorm; nothing reads it.
_COUNTER = "num_batches_tracked"


def used_weights(model: nn.Module) -> dict[str, Tensor]:
    """Give the weights that a checkpoint of this model holds, by our names."""
    return {name: weight for name, weight in model.state_dict().items() if not name.endswith(_COUNTER)}


def savable_weights(model: nn.Module, fresh: nn.Module) -> dict[str, Tensor]:
    """Give the weights that a checkpoint of this model holds, as a `fresh` one of its configuration has them.

    Raises:
        ValueError: the model was prepared for inference, so its weights are no longer those it was built with.
    """
    weights = used_weights(model)
    if weights.keys() != used_weights(fresh).keys():
        raise ValueError("model: prepared for inference; save it before prepare_for_inference")
    return weights


def fill_weights(model: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Replace the weights of a module, which may be on the meta device, by these in float32.

    Raises:
        CheckpointError: weights are missing, unknown or of another shape.
    """
    wanted = {name: weight.shape for name, weight in used_weights(model).items()}
    faults = {
        "missing": sorted(wanted.keys() - weights.keys()),
        "unknown": sorted(weights.keys() - wanted.keys()),
        "wrong shape": [
            f"{name} ({list(weights[name].shape)}, need {list(shape)})"
            for name, shape in wanted.items()
            if name in weights and weights[name].shape != shape
        ],
    }
    if any(faults.values()):
        found = "; ".join(f"{kind} weights: {', '.join(names)}" for kind, names in faults.items() if names)
        raise CheckpointError(f"{where}: {found}")
    model.load_state_dict({name: w.float() for name, w in weights.items()}, strict=False, assign=True)


def only_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Check what was read from a pickle.

    Raises:
        CheckpointError: it holds anything but tensors by name.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds {type(content).__name__}; need tensors by name")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise CheckpointError(f"{path}: {name!r} is {type(value).__name__}; need nothing but tensors by name")
    return dict(content)


def weights_fingerprint(config: StrictModel, weights: Mapping[str, Tensor], tokenizer_json: str = "") -> str:
    """Hash everything that a vector depends on; sha256 in hex.

    Of a MuLan, or of an audio backbone alone. That is: each weight in use by name, shape and float32 value (those of
    an external text backbone included), the configuration without names and places, tokenizer.json, and
    `WINDOW_RULE`. The layout and the storage type do not count, nor do precision and device, which move a vector by
    rounding only and are recorded beside it.
    """
    only_trained = dict.fromkeys(TRAINING_ONLY, True)
    not_counted: Any = {"audio": {"backbone": only_trained}, "text": {"backbone": {"external"}}, **only_trained}
    facts = {"model": config.model_dump(mode="json", exclude=not_counted), "window_rule": WINDOW_RULE}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(tokenizer_json.encode())
    for name in sorted(weights):
        weight = weights[name].detach().float().contiguous()
        digest.update(f"{name} {list(weight.shape)}\n".encode())
        digest.update(weight.cpu().numpy().data)
    return digest.hexdigest()
