"""The layout in which MERT was published: HuBERT's weight names and config.json of transformers, and ours for both.

As in `published.py`, a published name is either that of a weight we use or on the list of dead ones, and a config may
leave out what it takes for granted but not ask for what we do not compute.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from mulan.mel import SAMPLE_RATE
from mulan.mert import POSITION_GROUPS, POSITION_KERNEL, STEM_KERNELS, STEM_STRIDES, MertConfig
from mulan.published import config_error, pick_weights, refuse_others, rename_weight

PREPROCESSOR_FILE = "preprocessor_config.json"

# "music_hubert" stands in the authors' repository, "mert_model" on the hub; either's weights load as "hubert".
_MODEL_TYPES = ("mert_model", "music_hubert", "hubert")

_NAMES = (
    (r"stem\.blocks\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"stem\.blocks\.(\d+)\.norm\.", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"stem\.norm\.", r"feature_projection.layer_norm."),
    (r"stem\.project\.", r"feature_projection.projection."),
    (r"position\.conv\.", r"encoder.pos_conv_embed.conv."),
    (r"layers\.(\d+)\.attention\.query\.", r"encoder.layers.\1.attention.q_proj."),
    (r"layers\.(\d+)\.attention\.key\.", r"encoder.layers.\1.attention.k_proj."),
    (r"layers\.(\d+)\.attention\.value\.", r"encoder.layers.\1.attention.v_proj."),
    (r"layers\.(\d+)\.attention\.out\.", r"encoder.layers.\1.attention.out_proj."),
    (r"layers\.(\d+)\.attention_norm\.", r"encoder.layers.\1.layer_norm."),
    (r"layers\.(\d+)\.ffn\.up\.", r"encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"layers\.(\d+)\.ffn\.down\.", r"encoder.layers.\1.feed_forward.output_dense."),
    (r"layers\.(\d+)\.ffn_norm\.", r"encoder.layers.\1.final_layer_norm."),
    (r"norm\.", r"encoder.layer_norm."),
)
_DEAD = re.compile(r"masked_spec_embed")
# torch has two spellings of weight norm; the published files have the old one, ours the new one.
_WEIGHT_NORM = {
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
}

# What our network is beyond the fields of its configuration.
_NETWORK = dict(
    sample_rate=SAMPLE_RATE,
    conv_kernel=list(STEM_KERNELS),
    conv_stride=list(STEM_STRIDES),
    conv_bias=False,
    conv_pos_batch_norm=False,
    num_conv_pos_embeddings=POSITION_KERNEL,
    num_conv_pos_embedding_groups=POSITION_GROUPS,
    feat_extract_norm="group",
    feat_extract_activation="gelu",
    feat_proj_layer_norm=True,
    feature_extractor_cqt=False,
    deepnorm=False,
    hidden_act="gelu",
    layer_norm_eps=1e-5,
)


def is_mert(fields: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a published MERT."""
    return fields.get("model_type") in _MODEL_TYPES


def mert_name(name: str) -> str:
    """Give the published name of a weight of `Mert`."""
    return rename_weight(name, _NAMES)


def take_mert_weights(published: Mapping[str, Tensor], names: Iterable[str], *, where: str) -> dict[str, Tensor]:
    """Pick the weights of our `names` out of published ones; what is missing is left to the caller's strict check.

    Raises:
        CheckpointError: the published weights hold one that is neither used nor known to be dead.
    """
    respelt = {_respell(name): weight for name, weight in published.items()}
    return pick_weights(respelt, names, rename=mert_name, dead=_DEAD, where=where)


def read_mert_config(fields: Mapping[str, Any], preprocessor: Mapping[str, Any], *, where: str) -> MertConfig:
    """Turn the config.json and the preprocessor_config.json of a published MERT into ours.

    Raises:
        CheckpointError: they ask for something that we do not compute, or lack a field.
    """
    refuse_others(fields, _NETWORK, where=where)
    refuse_others(preprocessor, dict(sampling_rate=SAMPLE_RATE, feature_size=1), where=f"{where}: {PREPROCESSOR_FILE}")
    widths = fields.get("conv_dim") or [None]
    refuse_others(fields, dict(conv_dim=[widths[0]] * len(STEM_KERNELS)), where=where)
    try:
        return MertConfig(
            conv_dim=fields["conv_dim"][0],
            dim=fields["hidden_size"],
            depth=fields["num_hidden_layers"],
            heads=fields["num_attention_heads"],
            ffn_dim=fields["intermediate_size"],
            pre_norm=fields["do_stable_layer_norm"],
            normalise=preprocessor["do_normalize"],
            dropout=fields["hidden_dropout"],
            layerdrop=fields["layerdrop"],
        )
    except (KeyError, ValidationError) as error:
        raise config_error(where, error) from error


def _respell(name: str) -> str:
    for old, new in _WEIGHT_NORM.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
