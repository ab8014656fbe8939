"""The layout in which MuQ and MuQ-MuLan were published: its weight names, its config.json, and ours for both.

One table, from our names to theirs, serves both directions. A published name is either that of a weight we use or on
the list of weights that no vector depends on; anything else is an error.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from data.errors import CheckpointError
from mulan.audio_tower import AudioTowerConfig
from mulan.mel import HOP_SAMPLES, MEL_BANDS, POWER_FLOOR, SAMPLE_RATE
from mulan.mert import MertConfig
from mulan.model import MuLanConfig
from mulan.muq import MuQConfig
from mulan.text_tower import TextBackboneConfig, TextTowerConfig

_BACKBONE_NAMES = (
    (r"stem\.blocks\.(\d+)\.conv(\d)\.", r"conv.conv.\1.conv\2."),
    (r"stem\.blocks\.(\d+)\.norm(\d)\.", r"conv.conv.\1.bn\2."),
    (r"stem\.blocks\.(\d+)\.shortcut\.", r"conv.conv.\1.conv3."),
    (r"stem\.blocks\.(\d+)\.shortcut_norm\.", r"conv.conv.\1.bn3."),
    (r"stem\.project\.", r"conv.linear."),
    (r"layers\.(\d+)\.ffn(\d)\.norm\.", r"conformer.layers.\1.ffn\2_layer_norm."),
    (r"layers\.(\d+)\.ffn(\d)\.up\.", r"conformer.layers.\1.ffn\2.intermediate_dense."),
    (r"layers\.(\d+)\.ffn(\d)\.down\.", r"conformer.layers.\1.ffn\2.output_dense."),
    (r"layers\.(\d+)\.attention\.norm\.", r"conformer.layers.\1.self_attn_layer_norm."),
    (r"layers\.(\d+)\.attention\.query\.", r"conformer.layers.\1.self_attn.linear_q."),
    (r"layers\.(\d+)\.attention\.key\.", r"conformer.layers.\1.self_attn.linear_k."),
    (r"layers\.(\d+)\.attention\.value\.", r"conformer.layers.\1.self_attn.linear_v."),
    (r"layers\.(\d+)\.attention\.out\.", r"conformer.layers.\1.self_attn.linear_out."),
    (r"layers\.(\d+)\.convolution\.norm\.", r"conformer.layers.\1.conv_module.layer_norm."),
    (r"layers\.(\d+)\.convolution\.expand\.", r"conformer.layers.\1.conv_module.pointwise_conv1."),
    (r"layers\.(\d+)\.convolution\.depthwise\.", r"conformer.layers.\1.conv_module.depthwise_conv."),
    (r"layers\.(\d+)\.convolution\.batch_norm\.", r"conformer.layers.\1.conv_module.batch_norm."),
    (r"layers\.(\d+)\.convolution\.contract\.", r"conformer.layers.\1.conv_module.pointwise_conv2."),
    (r"layers\.(\d+)\.norm\.", r"conformer.layers.\1.final_layer_norm."),
    (r"norm\.", r"conformer.layer_norm."),
)
_HEAD_NAMES = (
    (r"audio\.project\.", r"mulan.audio.proj."),
    (r"text\.backbone\.", r"mulan.text.model."),
    (r"text\.project\.", r"mulan.text.proj."),
    (r"text\.layers\.(\d+)\.attention\.norm\.weight", r"mulan.text.transformer.layers.\1.0.norm.learned_gamma"),
    (r"text\.layers\.(\d+)\.attention\.query\.", r"mulan.text.transformer.layers.\1.0.to_q."),
    (r"text\.layers\.(\d+)\.attention\.key_value\.", r"mulan.text.transformer.layers.\1.0.to_kv."),
    (r"text\.layers\.(\d+)\.attention\.query_scale", r"mulan.text.transformer.layers.\1.0.q_scale"),
    (r"text\.layers\.(\d+)\.attention\.key_scale", r"mulan.text.transformer.layers.\1.0.k_scale"),
    (r"text\.layers\.(\d+)\.attention\.out\.", r"mulan.text.transformer.layers.\1.0.to_out.0."),
    (r"text\.layers\.(\d+)\.feed_forward\.norm\.weight", r"mulan.text.transformer.layers.\1.1.0.learned_gamma"),
    (r"text\.layers\.(\d+)\.feed_forward\.up\.", r"mulan.text.transformer.layers.\1.1.1."),
    (r"text\.layers\.(\d+)\.feed_forward\.down\.", r"mulan.text.transformer.layers.\1.1.4."),
    (r"audio_to_latent\.", r"mulan.audio_to_latents."),
    (r"text_to_latent\.", r"mulan.text_to_latents."),
    (r"log_scale", r"mulan.contrast.temperatures"),
)
_AUDIO_BACKBONE = "audio.backbone."
_PUBLISHED_BACKBONE = "mulan.audio.model."

# Weights that exist in published files and that no vector depends on. torch has two spellings of weight norm.
_DEAD = re.compile(
    r"(mulan\.audio\.model\.)?model\.("
    r"cls_token|linear\.(weight|bias)|rvq\..+|conformer\.embed_positions\.inv_freq"
    r"|conformer\.pos_conv_embed\.conv\.(bias|weight_[gv]|parametrizations\.weight\.original[01])"
    r"|conv\.conv\.\d+\.bn\d\.num_batches_tracked|conformer\.layers\.\d+\.conv_module\.batch_norm\.num_batches_tracked"
    r")|mulan\.audio\.aggregator\.(weight|bias)"
    r"|mulan\.text\.model\.(pooler\.dense\.(weight|bias)|embeddings\.position_ids)"
)


def backbone_name(name: str) -> str:
    """Give the published name of a weight of `MuQ`."""
    return "model." + rename_weight(name, _BACKBONE_NAMES)


def mulan_name(name: str) -> str:
    """Give the published name of a weight of `MuLan`."""
    if name.startswith(_AUDIO_BACKBONE):
        return _PUBLISHED_BACKBONE + backbone_name(name.removeprefix(_AUDIO_BACKBONE))
    return rename_weight(name, _HEAD_NAMES)


def take_weights(
    published: Mapping[str, Tensor], names: Iterable[str], *, rename: Callable[[str], str], where: str
) -> dict[str, Tensor]:
    """Pick the weights of our `names` out of published ones; what is missing is left to the caller's strict check.

    Raises:
        CheckpointError: the published weights hold one that is neither used nor known to be dead.
    """
    weights = pick_weights(published, names, rename=rename, dead=_DEAD, where=where)
    if "log_scale" in weights and weights["log_scale"].numel() == 1:
        weights["log_scale"] = weights["log_scale"].reshape(())  # published as [1, 1, 1]
    return weights


def give_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the weights of a `MuLan` into published names and shapes."""
    published = {mulan_name(name): weight.contiguous() for name, weight in weights.items()}
    published[mulan_name("log_scale")] = weights["log_scale"].reshape(1, 1, 1)
    return published


def read_muq_config(fields: Mapping[str, Any], *, where: str) -> MuQConfig:
    """Turn the config.json of a published MuQ into ours.

    Raises:
        CheckpointError: it asks for something that we do not compute, or lacks a field.
    """
    inner = _section(fields, "w2v2_config", where=where)
    refuse_others(fields, dict(label_rate=25, n_mels=MEL_BANDS, hop_length=HOP_SAMPLES), where=where)
    refuse_others(fields, dict(features=["melspec_2048"]), where=where)
    refuse_others(inner, _CONFORMER, where=f"{where}: w2v2_config")
    statistics = _section(fields, "stat", where=where)
    try:
        return MuQConfig(
            conv_dim=fields["conv_dim"],
            dim=fields["encoder_dim"],
            depth=fields["encoder_depth"],
            heads=inner["num_attention_heads"],
            ffn_dim=inner["intermediate_size"],
            conv_kernel=inner["conv_depthwise_kernel_size"],
            mel_mean=statistics["melspec_2048_mean"],
            mel_std=statistics["melspec_2048_std"],
            dropout=inner.get("hidden_dropout", 0.1),
        )
    except (KeyError, ValidationError) as error:
        raise config_error(where, error) from error


def write_muq_config(config: MuQConfig | MertConfig) -> dict[str, Any]:
    """Turn ours into the config.json of a published MuQ.

    Raises:
        CheckpointError: it is not that of a MuQ, or of one that the published layout can tell.
    """
    config = _only_muq(config)
    if config.mel_floor != POWER_FLOOR:
        raise CheckpointError(f"mel_floor = {config.mel_floor:g}: the published layout knows {POWER_FLOOR:g} alone")
    if config.levelling:
        raise CheckpointError(f"levelling = {config.levelling:g}: the published layout knows none of it")
    if config.deep_dims:
        raise CheckpointError(f"deep_dims = {list(config.deep_dims)}: the published layout knows two stem blocks alone")
    dropouts = ("activation_dropout", "attention_dropout", "conformer_conv_dropout", "hidden_dropout")
    inner = {
        **_CONFORMER,
        **dict.fromkeys(dropouts, config.dropout),
        "conv_depthwise_kernel_size": config.conv_kernel,
        "feat_extract_activation": "gelu",
        "hidden_size": config.dim,
        "intermediate_size": config.ffn_dim,
        "layerdrop": 0.0,
        "max_source_positions": 5000,
        "model_type": "wav2vec2-conformer",
        "num_attention_heads": config.heads,
        "num_conv_pos_embedding_groups": 16,
        "num_conv_pos_embeddings": 128,
        "num_hidden_layers": config.depth,
    }
    statistics = dict(melspec_2048_mean=config.mel_mean, melspec_2048_std=config.mel_std)
    return {
        **dict(label_rate=25, n_mels=MEL_BANDS, hop_length=HOP_SAMPLES, features=["melspec_2048"]),
        **dict(conv_dim=config.conv_dim, encoder_dim=config.dim, encoder_depth=config.depth),
        **dict(num_codebooks=1, codebook_dim=16, codebook_size=8192, use_rvq_target=True),
        "stat": statistics,
        "w2v2_config": inner,
    }


def named_model(fields: Mapping[str, Any], section: str, *, where: str) -> str:
    """Give the name of the backbone in a section, `audio_model` or `text_model`, of a published MuQ-MuLan.

    Raises:
        CheckpointError: there is none.
    """
    name = _section(fields, section, where=where).get("name")
    if not isinstance(name, str):
        raise CheckpointError(f"{where}: {section}: has no field 'name' with the name of a model")
    return name


def read_mulan_config(
    fields: Mapping[str, Any], *, audio: MuQConfig, text: TextBackboneConfig, where: str
) -> MuLanConfig:
    """Turn the config.json of a published MuQ-MuLan, and those of the two models it names, into ours.

    Raises:
        CheckpointError: it asks for something that we do not compute, or lacks a field.
    """
    mulan, audio_model, text_model, audio_head, text_head = (
        _section(fields, name, where=where)
        for name in ("mulan", "audio_model", "text_model", "audio_transformer", "text_transformer")
    )
    refuse_others(mulan, dict(sr=SAMPLE_RATE), where=f"{where}: mulan")
    refuse_others(audio_model, dict(use_layer_idx=-1, model_dim=audio.dim), where=f"{where}: audio_model")
    text_dim = text.hidden_size if text_model.get("model_dim") else None
    refuse_others(text_model, dict(use_layer_idx=-1, model_dim=text_dim), where=f"{where}: text_model")
    refuse_others(audio_head, dict(tf_depth=0), where=f"{where}: audio_transformer")
    try:
        return MuLanConfig(
            audio=AudioTowerConfig(backbone=audio, dim=audio_head["dim"]),
            text=TextTowerConfig(
                backbone=text,
                dim=text_head["dim"],
                depth=text_head["tf_depth"],
                heads=text_head["heads"],
                head_dim=text_head["dim_head"],
                ff_mult=text_head["ff_mult"],
            ),
            latent_dim=mulan["dim_latent"],
            clip_seconds=mulan["clip_secs"],
        )
    except (KeyError, ValidationError) as error:
        raise config_error(where, error) from error


def write_mulan_config(config: MuLanConfig, *, audio_name: str, text_name: str) -> dict[str, Any]:
    """Turn ours into the config.json of a published MuQ-MuLan that names its two models.

    Raises:
        CheckpointError: the windows are no whole number of seconds, or the audio tower is not the last layer of a
            MuQ; that layout cannot say so.
    """
    audio = _only_muq(config.audio.backbone)
    if config.audio.layer not in ("last", audio.depth):
        raise CheckpointError(f"audio.layer {config.audio.layer!r}: the published layout needs 'last'")
    if not config.clip_seconds.is_integer():
        raise CheckpointError(f"clip_seconds {config.clip_seconds}: the published layout needs whole seconds")
    text = config.text
    text_dim = text.backbone.hidden_size if text.backbone.hidden_size != text.dim else None
    dropouts = dict(attn_dropout=0, ff_dropout=0)
    return {
        "mulan": {
            **dict(sr=config.sample_rate, clip_secs=int(config.clip_seconds), dim_latent=config.latent_dim),
            **dict(decoupled_contrastive_learning=True, hierarchical_contrastive_loss=False),
            **dict(hierarchical_contrastive_loss_layers=None, sigmoid_contrastive_loss=False, rank_contrast=True),
        },
        "audio_model": dict(name=audio_name, model_dim=audio.dim, use_layer_idx=-1),
        "text_model": dict(name=text_name, model_dim=text_dim, use_layer_idx=-1),
        "audio_transformer": dict(dim=config.audio.dim, tf_depth=0, heads=8, dim_head=64, ff_mult=4, **dropouts),
        "text_transformer": {
            **dict(dim=text.dim, tf_depth=text.depth, max_seq_len=1024, dim_head=text.head_dim, heads=text.heads),
            **dict(ff_mult=text.ff_mult, **dropouts),
        },
    }


# What our conformer is; a published config may leave these out but not ask for others.
_CONFORMER = dict(
    hidden_act="swish", layer_norm_eps=1e-5, position_embeddings_type="rotary", rotary_embedding_base=10000
)


def pick_weights(
    published: Mapping[str, Tensor],
    names: Iterable[str],
    *,
    rename: Callable[[str], str],
    dead: re.Pattern[str],
    where: str,
) -> dict[str, Tensor]:
    """Give the weights of our `names`, which `rename` turns into published ones.

    Raises:
        CheckpointError: the published weights hold one that is neither used nor matches `dead`.
    """
    used = {rename(name): name for name in names}
    unknown = sorted(name for name in published if name not in used and not dead.fullmatch(name))
    if unknown:
        raise CheckpointError(f"{where}: unknown weights {', '.join(unknown)}; is it another version of the model?")
    return {used[name]: weight for name, weight in published.items() if name in used}


def rename_weight(name: str, table: Iterable[tuple[str, str]]) -> str:
    """Apply the first pattern of a table that matches the start of a weight's name."""
    for pattern, replacement in table:
        renamed, count = re.subn("^" + pattern, replacement, name)
        if count:
            return renamed
    raise KeyError(name)


def refuse_others(fields: Mapping[str, Any], allowed: Mapping[str, Any], *, where: str) -> None:
    """Check that fields, where they are given, have the one value that we compute.

    Raises:
        CheckpointError: one has another.
    """
    for name, value in allowed.items():
        if fields.get(name, value) != value:
            raise CheckpointError(f"{where}: {name} = {fields[name]!r} is not supported; allowed: {value!r}")


def config_error(where: str, error: KeyError | ValidationError) -> CheckpointError:
    """Say on one line what is wrong with a config.json."""
    if isinstance(error, KeyError):
        return CheckpointError(f"{where}: has no field {error.args[0]!r}")
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "model"
    return CheckpointError(f"{where}: {place}: {first['msg']}; found {first['input']!r:.60}")


def _only_muq(config: MuQConfig | MertConfig) -> MuQConfig:
    if not isinstance(config, MuQConfig):
        raise CheckpointError(f"audio.backbone: is a {config.kind}; the published layout needs a muq")
    return config


def _section(fields: Mapping[str, Any], name: str, *, where: str) -> Mapping[str, Any]:
    section = fields.get(name)
    if not isinstance(section, Mapping):
        raise CheckpointError(f"{where}: has no section {name!r}")
    return section
