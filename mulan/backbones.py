"""Folders that hold an audio backbone alone: MuQ or MERT as published, or either as our pre-training leaves it.

Our layout: config.json and model.safetensors, with our names.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from data.errors import CheckpointError
from mulan.audio_tower import TRAINING_ONLY, AudioTowerConfig, Backbone, backbone_kind, build_backbone
from mulan.hub import CONFIG_FILE, SAFETENSORS_FILE, download, read_json, resolve, write_json
from mulan.mert import MertConfig
from mulan.model import MuLanConfig
from mulan.muq import MuQConfig
from mulan.published import backbone_name, config_error, read_muq_config, take_weights
from mulan.published_mert import PREPROCESSOR_FILE, is_mert, read_mert_config, take_mert_weights
from mulan.weights import savable_weights

VERSION = 1
_FORMATS: Mapping[str, type[MuQConfig] | type[MertConfig]] = {"mulan-muq": MuQConfig, "mulan-mert": MertConfig}


def is_backbone(fields: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of an audio backbone alone."""
    return fields.get("format") in _FORMATS or "encoder_dim" in fields or is_mert(fields)


def backbone_folder(source: str | Path) -> Path:
    """Give the folder of a backbone: itself, or of a name as `resolve` takes it.

    Raises:
        CheckpointError: there is none.
    """
    if isinstance(source, Path):
        return source
    folder = resolve(source)
    if source.startswith("hub:") and is_mert(read_json(folder / CONFIG_FILE)):
        download(source.removeprefix("hub:"), [PREPROCESSOR_FILE], revision=folder.name)
    return folder


def read_backbone_config(folder: Path) -> MuQConfig | MertConfig:
    """Read what a backbone is made of.

    Raises:
        CheckpointError: the folder is no backbone, or one that asks for something that we do not compute.
    """
    fields, where = read_json(folder / CONFIG_FILE), str(folder / CONFIG_FILE)
    if fields.get("format") in _FORMATS:
        if fields.get("version") != VERSION:
            raise CheckpointError(f"{where}: version {fields.get('version')}; this program reads {VERSION}")
        try:
            return _FORMATS[fields["format"]].model_validate(fields["model"])
        except (KeyError, ValidationError) as error:
            raise config_error(where, error) from error
    if "encoder_dim" in fields:
        return read_muq_config(fields, where=where)
    if is_mert(fields):
        return read_mert_config(fields, read_json(folder / PREPROCESSOR_FILE), where=where)
    raise CheckpointError(f"{folder}: is no audio backbone; load a whole model with load_encoder")


def save_backbone(folder: Path, backbone: Backbone, *, name: str, licence: str) -> None:
    """Write an audio backbone alone in our layout, in float32; an interrupted save leaves no model behind.

    Raises:
        ValueError: the backbone was prepared for inference, so its weights are no longer those it was built with.
    """
    config = backbone.config
    with init_empty_weights():
        fresh = build_backbone(config)
    stored = {
        key: weight.detach().to("cpu", torch.float32).contiguous()
        for key, weight in savable_weights(backbone, fresh).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    save_file(stored, folder / SAFETENSORS_FILE)
    fields = dict(format=f"mulan-{backbone_kind(config)}", version=VERSION, name=name, licence=licence)
    write_json(folder / CONFIG_FILE, {**fields, "model": config.model_dump(mode="json")})


def backbone_weights(folder: Path, stored: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Give the weights stored in a backbone's folder by our names; what is missing is left to the caller.

    Raises:
        CheckpointError: one of a published backbone is neither used nor known to be dead.
    """
    fields = read_json(folder / CONFIG_FILE)
    if fields.get("format") in _FORMATS:
        return dict(stored)
    if is_mert(fields):
        return take_mert_weights(stored, names, where=str(folder))
    return take_weights(stored, names, rename=backbone_name, where=str(folder))


def complete_config(config: MuLanConfig, audio_from: str | Path) -> MuLanConfig:
    """Say of the audio backbone what `config` leaves unsaid, as it is in the trained one that `audio_from` names.

    What it does say has to agree, except for dropout and layerdrop, which stay as they are said. The result carries
    no trace of where it came from.

    Raises:
        CheckpointError: there is no backbone there, or another than the configuration says.
    """
    folder = backbone_folder(audio_from)
    trained, wanted = read_backbone_config(folder), config.audio.backbone
    # Not dumped, because a dump leaves out some of what has its default.
    fields = wanted.model_fields_set if "backbone" in config.audio.model_fields_set else set()
    said = {name: getattr(wanted, name) for name in type(wanted).model_fields if name in fields}
    if said and type(wanted) is not type(trained):
        said = {"kind": backbone_kind(wanted)}
    found = {"kind": backbone_kind(trained), **{name: getattr(trained, name) for name in type(trained).model_fields}}
    differing = [key for key in said if key not in TRAINING_ONLY and said[key] != found[key]]
    if differing:
        listed = ", ".join(f"{key} = {said[key]!r} (there {found[key]!r})" for key in differing)
        raise CheckpointError(f"audio.backbone: differs from {folder}: {listed}; leave out what is to be as there")
    changed = {key: said[key] for key in said if key in TRAINING_ONLY}
    audio = {name: getattr(config.audio, name) for name in config.audio.model_fields_set}
    try:
        tower = AudioTowerConfig(**{**audio, "backbone": trained.model_copy(update=changed)})
    except ValidationError as error:
        raise config_error("audio", error) from error
    return config.model_copy(update={"audio": tower})
