"""A residual quantiser as a folder: ours written and read, published ones read."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.errors import CheckpointError
from mulan.checkpoint import read_weights
from mulan.hub import CONFIG_FILE, SAFETENSORS_FILE, first_line, read_json, write_json
from mulan.mel import MSD_MEAN, MSD_STD
from mulan.published import config_error
from mulan.rvq import ResidualQuantizer, ResidualQuantizerConfig

FORMAT = "mulan-rvq"
VERSION = 1
_PREFIX = "rvq."
_QUANTIZERS = re.compile(r"((?:.+\.)?rvq\.|)quantizers\.\d+\.")


def save_quantizer(folder: Path, quantizer: ResidualQuantizer) -> None:
    """Write config.json and model.safetensors, with the published names of a MuQ's `rvq`."""
    folder.mkdir(parents=True, exist_ok=True)
    # Deleted first and written last: an interrupted save is no quantiser rather than half of one.
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    weights = {_PREFIX + name: weight.cpu().contiguous() for name, weight in quantizer.state_dict().items()}
    save_file(weights, folder / SAFETENSORS_FILE)
    fields = {"format": FORMAT, "version": VERSION, "config": quantizer.config.model_dump(mode="json")}
    write_json(folder / CONFIG_FILE, fields)


def load_quantizer(path: Path) -> ResidualQuantizer:
    """Load a quantiser in eval mode: a folder of ours, a published MuQ or MuQ-MuLan, or a file of weights.

    Of published weights the dimensions are read off; the mel statistics are those in the config.json beside them, or
    the published ones. Pickles are read as plain tensors, which cannot run code; a released `RVQ_4000.pth` may have
    them under "state_dict".

    Raises:
        CheckpointError: there is no quantiser, or weights are missing, unknown or of another shape.
    """
    fields = read_json(path / CONFIG_FILE) if path.is_dir() and (path / CONFIG_FILE).is_file() else {}
    weights = _quantizer_weights(_read(path), where=str(path))
    config = _own_config(fields, path) if fields.get("format") == FORMAT else _inferred_config(weights, fields, path)
    quantizer = ResidualQuantizer(config)
    try:
        quantizer.load_state_dict(weights)
    except RuntimeError as error:  # torch lists what is missing, unknown or of another shape, one a line
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from error
    return quantizer.eval()


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return dict(read_weights(path))
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise CheckpointError(f"{path}: cannot be read as weights: {first_line(error)}") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds {type(content).__name__}; need tensors by name")
    return content


def _quantizer_weights(content: dict[str, Any], *, where: str) -> dict[str, Tensor]:
    """The weights under `rvq.`, wherever in a larger model that is, or all of them if they are a quantiser's alone."""
    prefixes = {match[1] for name in content if (match := _QUANTIZERS.match(str(name)))}
    if len(prefixes) != 1:
        found = ", ".join(map(repr, sorted(prefixes))) or "none"
        raise CheckpointError(f"{where}: need one quantiser, weights named rvq.quantizers.*; found prefixes: {found}")
    (prefix,) = prefixes
    weights = {str(name).removeprefix(prefix): w for name, w in content.items() if str(name).startswith(prefix)}
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            raise CheckpointError(f"{where}: {name!r} is {type(weight).__name__}; need tensors")
    return weights


def _own_config(fields: dict[str, Any], folder: Path) -> ResidualQuantizerConfig:
    where = str(folder / CONFIG_FILE)
    if fields.get("version") != VERSION:
        raise CheckpointError(f"{where}: version {fields.get('version')}; this program reads {VERSION}")
    try:
        return ResidualQuantizerConfig.model_validate(fields["config"])
    except (KeyError, ValidationError) as error:
        raise config_error(where, error) from error


def _inferred_config(weights: dict[str, Tensor], fields: dict[str, Any], path: Path) -> ResidualQuantizerConfig:
    statistics = fields.get("stat", {})
    try:
        codebook_size, code_dim = weights["quantizers.0.codebook.weight"].shape
        return ResidualQuantizerConfig(
            dim=len(weights["quantizers.0.out_proj.bias"]),
            stages=len({name.split(".")[1] for name in weights if name.startswith("quantizers.")}),
            codebook_size=codebook_size,
            code_dim=code_dim,
            mel_mean=statistics.get("melspec_2048_mean", MSD_MEAN),
            mel_std=statistics.get("melspec_2048_std", MSD_STD),
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: missing weights: {error.args[0]}") from error
