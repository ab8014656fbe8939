"""Audio tower: a backbone, the mean over time of one layer or of a mix of all, and a projection to the head's width."""

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, PositiveInt, Tag, model_validator
from torch import Tensor, nn

from data.config import StrictModel
from mulan.mert import Mert, MertConfig
from mulan.muq import MuQ, MuQConfig

Backbone = MuQ | Mert

# Fields of a backbone's configuration that change its training and no vector.
TRAINING_ONLY = frozenset({"dropout", "layerdrop"})


def backbone_kind(config: Any) -> Any:
    """Tell the kind of a backbone from its configuration, a model or the fields for one: "muq" unless it says so."""
    return config.get("kind", "muq") if isinstance(config, dict) else getattr(config, "kind", "muq")


def _without_kind(fields: Any) -> Any:
    return {key: fields[key] for key in fields if key != "kind"} if isinstance(fields, dict) else fields


# A MuQ says its kind in no file, because models were stored before there was another; it may be written all the same.
BackboneConfig = Annotated[
    Annotated[MuQConfig, BeforeValidator(_without_kind), Tag("muq")] | Annotated[MertConfig, Tag("mert")],
    Discriminator(backbone_kind),
]


def _read_layer(value: Any) -> Any:
    if value in ("last", "mix") or (type(value) is int and value >= 0):
        return value
    raise ValueError(f"found {value!r}; allowed: 0 to the backbone's depth, 'last' and 'mix'")


# A plain validator, because a union would report one error for each of its members.
Layer = Annotated[int | Literal["last", "mix"], PlainValidator(_read_layer)]


class AudioTowerConfig(StrictModel):
    """What an audio tower is made of.

    Attributes:
        layer: which of the backbone's depth + 1 hidden states is used, 0 being what enters its first layer; or "mix",
            their mean with learned weights.
    """

    backbone: BackboneConfig = MuQConfig()
    dim: PositiveInt = 768
    # Left out of what is stored unless it says something: fingerprints of models from before it stand.
    layer: Layer = Field(default="last", exclude_if=lambda layer: layer == "last")

    @model_validator(mode="after")
    def _check(self) -> Self:
        # What is left unsaid may yet be read from a trained backbone, whose depth is another.
        if "backbone" in self.model_fields_set:
            self.check_layer()
        return self

    def check_layer(self) -> None:
        """Raise ValueError if the backbone has no such layer."""
        if isinstance(self.layer, int) and self.layer > self.backbone.depth:
            raise ValueError(f"layer {self.layer}: allowed: 0 to {self.backbone.depth} (depth), 'last' and 'mix'")


def build_backbone(config: MuQConfig | MertConfig) -> Backbone:
    """Make the backbone of a configuration, with fresh weights."""
    return Mert(config) if isinstance(config, MertConfig) else MuQ(config)


class AudioTower(nn.Module):
    """One float32 vector per waveform.

    The published order is projection, then mean; both are linear, so the mean goes first and the projection touches
    one vector instead of hundreds. For the same reason layers are mixed after the mean.
    """

    def __init__(self, config: AudioTowerConfig) -> None:
        super().__init__()
        config.check_layer()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        width = config.backbone.dim
        self.project = nn.Linear(width, config.dim) if width != config.dim else nn.Identity()
        if config.layer == "mix":
            self.mix = nn.Parameter(torch.zeros(config.backbone.depth + 1))  # before a softmax: all the same

    def forward(self, waveforms: Tensor, blanked: Tensor | None = None) -> Tensor:
        """Waveforms [b, s] at 24 kHz in, [b, dim] out.

        Args:
            blanked: bool [b, 128, frames]; where it is true, the normalised mel becomes 0, which is its mean.

        Raises:
            ValueError: `blanked` is given to a backbone without a mel.
        """
        return self.project(self._pool(self._hidden_states(waveforms, blanked)))

    def prepare_for_inference(self, dtype: torch.dtype = torch.float32) -> Self:
        """See `MuQ.prepare_for_inference`; the projection stays float32."""
        self.eval().requires_grad_(False)
        self.backbone.prepare_for_inference(dtype)
        return self

    def _hidden_states(self, waveforms: Tensor, blanked: Tensor | None) -> list[Tensor]:
        if blanked is None:
            return self.backbone.hidden_states(waveforms)
        if isinstance(self.backbone, Mert):
            raise ValueError("blanked: the backbone is a MERT, which has no mel to blank; leave SpecAugment out")
        return self.backbone.encode_mel(self.backbone.mel(waveforms).masked_fill(blanked, 0.0))

    def _pool(self, hidden: list[Tensor]) -> Tensor:
        # A bfloat16 mean over hundreds of tokens would lose what bfloat16 layers keep.
        if self.config.layer == "mix":
            means = torch.stack([states.float().mean(dim=1) for states in hidden])  # [depth + 1, b, d]
            return torch.einsum("l,lbd->bd", self.mix.softmax(dim=0), means)
        index = -1 if self.config.layer == "last" else self.config.layer
        return hidden[index].float().mean(dim=1)
