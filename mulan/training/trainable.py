"""Which weights of a MuLan are trained: all of a backbone, its last layers, low-rank additions (LoRA), or none.

    [trainable]
    audio = "last-4"
    text = "frozen"

The heads, that is all but the two backbones, are always trained. With one tower frozen and the other not, this is LiT
(arXiv:2111.07991).
"""

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import torch
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator
from torch import nn

from data.config import StrictModel
from data.errors import ConfigError
from mulan.audio_tower import AudioTower, AudioTowerConfig
from mulan.mert import MertConfig
from mulan.model import MuLan, MuLanConfig
from mulan.text_tower import TextTower

_FULL, _FROZEN, _LORA = "full", "frozen", "lora"
_LAST = re.compile(r"last-([1-9]\d*)")


def _known(extent: str) -> str:
    if extent not in (_FULL, _FROZEN, _LORA) and not _LAST.fullmatch(extent):
        raise ValueError(f"found {extent!r}; allowed are 'full', 'frozen', 'lora' and 'last-N', such as 'last-4'")
    return extent


Extent = Annotated[str, AfterValidator(_known)]


class Lora(StrictModel):
    """Low-rank additions to the linear layers of a frozen backbone; needs peft, the extra "lora".

    Attributes:
        rank: of each addition.
        alpha: additions are multiplied by alpha / rank.
        dropout: of what enters an addition.
        targets: last parts of the names of the layers that get one; all our backbones have a `query`, a `key` and a
            `value`.

    Source: LoRA, arXiv:2106.09685, whose choice of queries and values is the default.
    """

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("query", "value")


class TrainableConfig(StrictModel):
    """How much of each backbone is trained: "full", "frozen", "last-N" (its last N layers) or "lora".

    A text backbone that is trained in any way no longer is the one it was taken from, so models then carry it.
    """

    audio: Extent = _FULL
    text: Extent = _FROZEN
    lora: Lora | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lora and not self.uses_lora:
            raise ValueError("lora: is set, but neither audio nor text is 'lora'; set one, or leave the section out")
        return self

    @property
    def uses_lora(self) -> bool:
        """Whether a backbone gets low-rank additions."""
        return _LORA in (self.audio, self.text)

    def check(self, model: MuLanConfig) -> None:
        """Refuse what cannot be done to a model, before anything of it is loaded.

        Raises:
            ConfigError: a backbone has fewer layers than are to be trained, or peft is not installed.
        """
        depths = {"audio": _depth_in_use(model.audio), "text": model.text.backbone.num_hidden_layers}
        for key, depth in depths.items():
            extent = getattr(self, key)
            if _last_layers(extent) > depth:
                raise ConfigError(f"trainable.{key} = {extent!r}: {depth} layers of the backbone are in use")
        if self.uses_lora and importlib.util.find_spec("peft") is None:
            raise ConfigError("trainable: 'lora' needs peft, which is missing: pip install 'mulan-retrieval[lora]'")


@dataclass(frozen=True, kw_only=True)
class _Backbone:
    """A backbone as training sees it: the layers in use, the norm behind them, and what nothing depends on."""

    module: nn.Module
    layers: Sequence[nn.Module]
    ending: Sequence[nn.Module] = ()
    unused: Sequence[nn.Module] = ()


def set_trainable(model: MuLan, config: TrainableConfig, *, seed: int = 0) -> None:
    """Say, by `requires_grad`, which weights of a model are trained.

    Parts in which nothing is trained stay in eval mode, so that neither their BatchNorms nor their dropout act; see
    `MuLan.train`. With LoRA the model has layers of peft's until `merge_lora`. Weights that nothing depends on, such as
    the layers above the one that the audio tower reads, are not trained.

    Args:
        seed: of LoRA's first weights; the global random state is left alone.

    Raises:
        ConfigError: as `TrainableConfig.check`; or LoRA's targets are not in a backbone.
    """
    config.check(model.config)
    if config.text != _FROZEN:
        model.own_text_backbone()
    model.requires_grad_(True)
    lora = config.lora or Lora()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _train(_audio_backbone(model.audio), config.audio, lora, key="audio")
        _train(_text_backbone(model.text), config.text, lora, key="text")
    model.train(model.training)


def merge_lora(model: MuLan) -> None:
    """Add LoRA's products to the weights they belong to, and make the model a plain one again.

    It then computes the same within rounding, and can be saved. A model without LoRA stays as it is.
    """
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())


def _train(backbone: _Backbone, extent: str, lora: Lora, *, key: str) -> None:
    backbone.module.requires_grad_(extent == _FULL)
    if last := _last_layers(extent):
        for part in (*backbone.layers[-last:], *backbone.ending):
            part.requires_grad_(True)
    for part in backbone.unused:
        part.requires_grad_(False)
    if extent == _LORA:
        _add_lora(backbone.layers, lora, key=key)


def _add_lora(layers: Sequence[nn.Module], config: Lora, *, key: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    peft_config = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # declared int, used as a factor
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
    )
    try:
        # A list of their own: the layers change in place, and peft's notes stay on the list.
        inject_adapter_in_model(peft_config, nn.ModuleList(layers))
    except ValueError as error:
        linear = {name for layer in layers for name, part in layer.named_modules() if isinstance(part, nn.Linear)}
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise ConfigError(
            f"trainable.lora.targets = {list(config.targets)}: not in the {key} backbone; its linear layers end in"
            f" {', '.join(known)}"
        ) from error


def _last_layers(extent: str) -> int:
    """The N of "last-N", else 0."""
    match = _LAST.fullmatch(extent)
    return int(match[1]) if match else 0


def _depth_in_use(tower: AudioTowerConfig) -> int:
    return tower.layer if isinstance(tower.layer, int) else tower.backbone.depth


def _audio_backbone(tower: AudioTower) -> _Backbone:
    backbone, depth = tower.backbone, _depth_in_use(tower.config)
    layers: list[nn.Module] = list(backbone.layers)
    ends_in_norm = not isinstance(backbone.config, MertConfig) or backbone.config.pre_norm
    ending = [backbone.norm] if ends_in_norm else []
    if depth == len(layers):
        return _Backbone(module=backbone, layers=layers, ending=ending)
    return _Backbone(module=backbone, layers=layers[:depth], unused=[*layers[depth:], *ending])


def _text_backbone(tower: TextTower) -> _Backbone:
    return _Backbone(module=tower.backbone, layers=list(tower.backbone.encoder.layer))
