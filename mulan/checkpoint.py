"""A model as a folder: our own layout written and read, the published one read, the weights' fingerprint.

Our layout: config.json, model.safetensors (float32 or float16), tokenizer.json. The weights of an external text
backbone are not in it.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.errors import CheckpointError
from mulan.audio_tower import build_backbone
from mulan.backbones import (
    Backbone,
    backbone_folder,
    backbone_weights,
    complete_config,
    is_backbone,
    read_backbone_config,
)
from mulan.hub import (
    CONFIG_FILE,
    PICKLE_FILE,
    SAFETENSORS_FILE,
    TOKENIZER_FILE,
    find_beside,
    find_external,
    first_line,
    folder_name,
    read_json,
    read_text,
    write_json,
)
from mulan.mert import Mert
from mulan.model import MuLan, MuLanConfig
from mulan.muq import MuQ
from mulan.published import config_error, mulan_name, named_model, read_mulan_config, read_muq_config, take_weights
from mulan.text_tower import ExternalWeights, TextBackboneConfig
from mulan.tokenizer import TextTokenizer
from mulan.weights import fill_weights, only_tensors, savable_weights, used_weights, weights_fingerprint

FORMAT = "mulan"
VERSION = 1

_AUDIO_BACKBONE = "audio.backbone."
_TEXT_BACKBONE = "text.backbone."
_UNUSED_BY_TEXT = ("pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids")
_PUBLISHED_LICENCE = "not stated; OpenMuQ's published weights are CC-BY-NC-4.0"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded model in float32, its tokenizer, and what is known of it.

    `fingerprint` is explained at `weights_fingerprint`.
    """

    model: MuLan
    tokenizer: TextTokenizer
    name: str
    licence: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """A folder as read, before it is checked: weights have our names."""

    config: MuLanConfig
    weights: dict[str, Tensor]
    tokenizer: TextTokenizer
    name: str
    licence: str


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a model folder, ours or published.

    Every weight of the file is used, or is known to be dead. Weights stored in float16 become float32.

    Raises:
        CheckpointError: the folder is no model, or weights are missing, unknown or of another shape.
    """
    parts = _read_parts(folder)
    model = _empty(parts.config)
    fill_weights(model, parts.weights, where=str(folder))
    return Checkpoint(
        model=model.eval(),
        tokenizer=parts.tokenizer,
        name=parts.name,
        licence=parts.licence,
        fingerprint=weights_fingerprint(parts.config, used_weights(model), parts.tokenizer.tokenizer_json),
    )


def save_checkpoint(
    folder: Path,
    model: MuLan,
    tokenizer: TextTokenizer,
    *,
    name: str,
    licence: str,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model in our layout; the weights of an external text backbone are left out.

    Raises:
        ValueError: the model was prepared for inference, so its weights are no longer those it was built with.
    """
    weights = savable_weights(model, _empty(model.config))
    if model.config.text.backbone.external:
        weights = {key: weight for key, weight in weights.items() if not key.startswith(_TEXT_BACKBONE)}
    folder.mkdir(parents=True, exist_ok=True)
    # Deleted first and written last, because a folder without it is no model: an interrupted save is never mistaken
    # for one, nor for the model that was there before.
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    stored = {key: weight.detach().to("cpu", dtype).contiguous() for key, weight in weights.items()}
    save_file(stored, folder / SAFETENSORS_FILE)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer.tokenizer_json.encode())
    fields = dict(format=FORMAT, version=VERSION, name=name, licence=licence)
    write_json(folder / CONFIG_FILE, {**fields, "model": model.config.model_dump(mode="json")})


def build_model(
    config: MuLanConfig, *, seed: int = 0, audio_from: str | Path | None = None
) -> tuple[MuLan, TextTokenizer]:
    """Make a model to be trained: fresh weights, the same for the same seed, on an external text backbone.

    The global random state is left alone.

    Args:
        audio_from: a trained audio backbone to start from, as `load_backbone` takes it; see `complete_config` for what
            the configuration then has to say.

    Raises:
        CheckpointError: a backbone is not to be found or other than the configuration says, or that of the texts is
            not external.
    """
    external = config.text.backbone.external
    if external is None:
        raise CheckpointError("text.backbone: has no section 'external'; a new model needs a trained text backbone")
    folder = find_external(external)
    if _read_text_config(folder, external) != config.text.backbone:
        raise CheckpointError(f"text.backbone: differs from {folder / CONFIG_FILE}, which the weights belong to")
    trained: dict[str, Tensor] = {}
    if audio_from is not None:
        config = complete_config(config, audio_from)
        trained = {_AUDIO_BACKBONE + key: weight for key, weight in used_weights(load_backbone(audio_from)).items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MuLan(config)
    own = {name: weight for name, weight in used_weights(model).items() if not name.startswith(_TEXT_BACKBONE)}
    fill_weights(model, own | trained | _read_backbone_weights(folder), where=str(folder))
    return model, _read_tokenizer(folder, config)


def load_backbone(source: str | Path) -> Backbone:
    """Load an audio backbone: a folder, or a name as `resolve` takes it, published or written by `save_backbone`.

    Raises:
        CheckpointError: the folder is no backbone, or weights are missing, unknown or of another shape.
    """
    folder = backbone_folder(source)
    with init_empty_weights():
        model = build_backbone(read_backbone_config(folder))
    fill_weights(model, backbone_weights(folder, read_weights(folder), used_weights(model)), where=str(folder))
    return model.eval()


def load_muq(source: str | Path) -> MuQ:
    """Load a MuQ backbone for its hidden states; arguments and errors as for `load_backbone`."""
    model = load_backbone(source)
    if not isinstance(model, MuQ):
        raise CheckpointError(f"{source}: is a MERT; load it with load_mert")
    return model


def load_mert(source: str | Path) -> Mert:
    """Load a MERT backbone for its hidden states; arguments and errors as for `load_backbone`."""
    model = load_backbone(source)
    if not isinstance(model, Mert):
        raise CheckpointError(f"{source}: is a MuQ; load it with load_muq")
    return model


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the one weights file of a folder; pickles only as plain tensors, which cannot run code.

    Raises:
        CheckpointError: there is none, or it is damaged, or a pickle holds more than tensors.
    """
    safe, pickled = folder / SAFETENSORS_FILE, folder / PICKLE_FILE
    try:
        if safe.is_file():
            return load_file(safe)
        if pickled.is_file():
            return only_tensors(torch.load(pickled, map_location="cpu", weights_only=True, mmap=True), pickled)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        path = safe if safe.is_file() else pickled
        raise CheckpointError(f"{path}: cannot be read as weights: {first_line(error)}") from error
    raise CheckpointError(f"{folder}: has neither {SAFETENSORS_FILE} nor {PICKLE_FILE}")


def _read_parts(folder: Path) -> _Parts:
    fields = read_json(folder / CONFIG_FILE)
    if fields.get("format") == FORMAT:
        return _read_ours(folder, fields)
    if "audio_transformer" in fields:
        return _read_published(folder, fields)
    if is_backbone(fields):
        raise CheckpointError(f"{folder}: is an audio backbone alone; load it with load_backbone")
    raise CheckpointError(f"{folder / CONFIG_FILE}: is the configuration of no model known here")


def _read_ours(folder: Path, fields: Mapping[str, Any]) -> _Parts:
    where = str(folder / CONFIG_FILE)
    if fields.get("version") != VERSION:
        raise CheckpointError(f"{where}: version {fields.get('version')}; this program reads {VERSION}")
    try:
        config = MuLanConfig.model_validate(fields["model"])
        name, licence = fields["name"], fields["licence"]
    except (KeyError, ValidationError) as error:
        raise config_error(where, error) from error
    weights = read_weights(folder)
    if config.text.backbone.external:
        weights |= _read_backbone_weights(find_external(config.text.backbone.external))
    tokenizer = _read_tokenizer(folder, config)
    return _Parts(config=config, weights=weights, tokenizer=tokenizer, name=name, licence=licence)


def _read_published(folder: Path, fields: Mapping[str, Any]) -> _Parts:
    where = str(folder / CONFIG_FILE)
    audio_name, text_name = (named_model(fields, name, where=where) for name in ("audio_model", "text_model"))
    audio_folder = find_beside(audio_name, folder, files=[CONFIG_FILE])
    text_folder = find_beside(text_name, folder, files=[CONFIG_FILE, TOKENIZER_FILE])
    audio_file = audio_folder / CONFIG_FILE
    config = read_mulan_config(
        fields,
        audio=read_muq_config(read_json(audio_file), where=str(audio_file)),
        text=_read_text_config(text_folder),
        where=where,
    )
    names = used_weights(_empty(config))
    weights = take_weights(read_weights(folder), names, rename=mulan_name, where=str(folder))
    notes = _read_notes(folder)
    return _Parts(
        config=config,
        weights=weights,
        tokenizer=_read_tokenizer(text_folder, config),
        name=notes.get("name", folder_name(folder)),
        licence=notes.get("licence", _PUBLISHED_LICENCE),
    )


def _read_notes(folder: Path) -> dict[str, str]:
    # The published config.json has no place for name and licence; `convert` notes them beside the weights.
    path = folder / SAFETENSORS_FILE
    if not path.is_file():
        return {}
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _read_text_config(folder: Path, external: ExternalWeights | None = None) -> TextBackboneConfig:
    path = folder / CONFIG_FILE
    fields = read_json(path)
    if fields.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"{path}: position_embedding_type is not supported; allowed: 'absolute'")
    try:
        return TextBackboneConfig.from_transformers(fields, external=external)
    except ValidationError as error:
        raise config_error(str(path), error) from error


def _read_backbone_weights(folder: Path) -> dict[str, Tensor]:
    weights = read_weights(folder)
    return {_TEXT_BACKBONE + name: w for name, w in weights.items() if name not in _UNUSED_BY_TEXT}


def _read_tokenizer(folder: Path, config: MuLanConfig) -> TextTokenizer:
    path, backbone = folder / TOKENIZER_FILE, config.text.backbone
    tokenizer_json = read_text(path)
    try:
        return TextTokenizer(tokenizer_json, max_tokens=backbone.max_tokens, pad_token_id=backbone.pad_token_id)
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(f"{path}: is no tokenizer: {first_line(error)}") from error


def _empty(config: MuLanConfig) -> MuLan:
    # Parameters without storage: nothing is drawn at random only to be overwritten.
    with init_empty_weights():
        return MuLan(config)
