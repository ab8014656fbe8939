"""A model folder from one layout to the other: ours, or the one in which MuQ-MuLan was published."""

from pathlib import Path

from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from data.errors import CheckpointError
from mulan.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, used_weights
from mulan.hub import CONFIG_FILE, SAFETENSORS_FILE, TOKENIZER_FILE, resolve, write_json
from mulan.published import give_weights, write_mulan_config, write_muq_config

# The official package tells the kind of a backbone from its name; for texts it knows xlm-roberta alone.
_AUDIO_FOLDER = "muq"

LAYOUTS = ("mulan", "published")


def convert(source: str, out: Path, *, to: str) -> None:
    """Read a model in either layout and write it to the folder `out` in the layout `to`.

    Vectors, fingerprint, name and licence stay the same. Weights that no vector depends on are left out. The
    published layout gets the configurations and the tokenizer it refers to in folders of its own, and all weights,
    external ones too.

    Args:
        source: a folder, or where none is called so, a name as `resolve` takes it.
        to: "mulan" or "published".

    Raises:
        ValueError: `to` is no layout.
        CheckpointError: source is no model, or `out` exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: exists; give the name of a new folder")
    if to not in LAYOUTS:
        raise ValueError(f"layout {to!r}: unknown; allowed: {', '.join(LAYOUTS)}")
    folder = Path(source)
    checkpoint = load_checkpoint(folder if folder.is_dir() else resolve(source))
    if to == "mulan":
        save_checkpoint(out, checkpoint.model, checkpoint.tokenizer, name=checkpoint.name, licence=checkpoint.licence)
    else:
        _write_published(checkpoint, out)


def _write_published(checkpoint: Checkpoint, out: Path) -> None:
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    backbone = model.config.text.backbone
    audio, text = out.resolve() / _AUDIO_FOLDER, out.resolve() / backbone.model_type
    fields = write_mulan_config(model.config, audio_name=str(audio), text_name=str(text))
    weights = give_weights(used_weights(model))
    for folder in (audio, text):
        folder.mkdir(parents=True)
    write_json(audio / CONFIG_FILE, write_muq_config(model.config.audio.backbone))
    _write_token_weights(audio, weights, prefix="mulan.audio.model.", name="model.conformer.layer_norm.weight")
    write_json(text / CONFIG_FILE, backbone.to_transformers())
    _write_token_weights(text, weights, prefix="mulan.text.model.", name="embeddings.LayerNorm.weight")
    (text / TOKENIZER_FILE).write_bytes(tokenizer.tokenizer_json.encode())
    pad_token = Tokenizer.from_str(tokenizer.tokenizer_json).id_to_token(backbone.pad_token_id)
    write_json(text / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad_token})
    # That layout's config.json has no place for the name and the licence.
    notes = {"format": "pt", "name": checkpoint.name, "licence": checkpoint.licence}
    save_file(weights, out / SAFETENSORS_FILE, metadata=notes)
    write_json(out / CONFIG_FILE, fields)


def _write_token_weights(folder: Path, weights: dict[str, Tensor], *, prefix: str, name: str) -> None:
    # The official package first loads each backbone's own weights and then overwrites them with the whole model's.
    # One tensor satisfies it; gigabytes of duplicates would serve nobody.
    save_file({name: weights[prefix + name]}, folder / SAFETENSORS_FILE, metadata={"format": "pt"})
