"""Both layouts, there and back, with every weight accounted for. Run: pytest tests/mulan/test_convert.py"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.errors import CheckpointError
from mulan.checkpoint import build_model, load_checkpoint, save_checkpoint, used_weights
from mulan.convert import convert
from mulan.muq import MuQConfig
from mulan.published import write_muq_config

DEAD = (
    ".cls_token",
    ".rvq.",
    ".pos_conv_embed.",
    ".embed_positions.",
    ".num_batches_tracked",
    "model.model.linear.",
    ".aggregator.",
    ".pooler.",
)


def test_converted_to_our_layout_it_is_the_same_model(published_checkpoint, tmp_path):
    convert(str(published_checkpoint), tmp_path / "ours", to="mulan")

    ours, theirs = load_checkpoint(tmp_path / "ours"), load_checkpoint(published_checkpoint)
    assert ours.fingerprint == theirs.fingerprint
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["format"] == "mulan"


def test_converted_back_every_living_weight_is_there_under_its_published_name(
    published_checkpoint, published_weights, tmp_path
):
    convert(str(published_checkpoint), tmp_path / "ours", to="mulan")
    convert(str(tmp_path / "ours"), tmp_path / "back", to="published")

    back = load_file(tmp_path / "back" / "model.safetensors")
    living = {name: weight for name, weight in published_weights.items() if not any(part in name for part in DEAD)}
    assert back.keys() == living.keys()
    assert all(torch.equal(back[name], living[name]) for name in living)
    assert load_checkpoint(tmp_path / "back").fingerprint == load_checkpoint(published_checkpoint).fingerprint


def test_name_licence_and_fingerprint_survive_the_way_there_and_back(tiny_checkpoint, tmp_path):
    convert(str(tiny_checkpoint), tmp_path / "there", to="published")
    convert(str(tmp_path / "there"), tmp_path / "back", to="mulan")

    loaded = [load_checkpoint(folder) for folder in (tiny_checkpoint, tmp_path / "there", tmp_path / "back")]
    facts = {(checkpoint.name, checkpoint.licence, checkpoint.fingerprint) for checkpoint in loaded}
    assert facts == {("tiny", "Apache-2.0", loaded[0].fingerprint)}


def test_a_published_model_without_notes_is_named_by_its_folder(published_checkpoint):
    loaded = load_checkpoint(published_checkpoint)

    assert loaded.name == published_checkpoint.name
    assert loaded.licence.startswith("not stated")


def test_the_source_may_be_named_as_for_load_encoder(tiny_checkpoint, tmp_path):
    convert(f"local:{tiny_checkpoint}", tmp_path / "out", to="mulan")

    assert load_checkpoint(tmp_path / "out").fingerprint == load_checkpoint(tiny_checkpoint).fingerprint


def test_a_source_that_is_neither_folder_nor_model_says_what_is_allowed(tmp_path):
    with pytest.raises(CheckpointError, match=r"model 'no-such': unknown; allowed: .*local:DIR, hub:ORG/REPO"):
        convert("no-such", tmp_path / "out", to="mulan")


def test_an_unknown_layout_is_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(ValueError, match="layout 'onnx': unknown; allowed: mulan, published"):
        convert(str(tiny_checkpoint), tmp_path / "out", to="onnx")


def test_a_published_folder_may_be_moved(published_checkpoint, tmp_path):
    convert(str(published_checkpoint), tmp_path / "before", to="published")
    (tmp_path / "before").rename(tmp_path / "after")

    assert load_checkpoint(tmp_path / "after").fingerprint == load_checkpoint(published_checkpoint).fingerprint


def test_external_text_weights_are_written_into_the_published_layout(tiny_config, external_backbone, tmp_path):
    text = tiny_config.text.model_copy(update={"backbone": external_backbone})
    model, tokenizer = build_model(tiny_config.model_copy(update={"text": text}))
    save_checkpoint(tmp_path / "ours", model, tokenizer, name="mini", licence="Apache-2.0")

    convert(str(tmp_path / "ours"), tmp_path / "out", to="published")

    assert "mulan.text.model.embeddings.word_embeddings.weight" in load_file(tmp_path / "out" / "model.safetensors")
    assert load_checkpoint(tmp_path / "out").fingerprint == load_checkpoint(tmp_path / "ours").fingerprint


def test_a_published_model_may_be_safetensors(write_published, published_checkpoint, tmp_path):
    weights = write_published(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    save_file(weights, tmp_path / "model.safetensors")

    assert load_checkpoint(tmp_path).fingerprint == load_checkpoint(published_checkpoint).fingerprint


def test_both_spellings_of_the_dead_positional_convolution_are_ignored(write_published, published_checkpoint, tmp_path):
    weights = write_published(tmp_path)
    new, old = "parametrizations.weight.original", "weight_"
    renamed = {name.replace(new + "0", old + "g").replace(new + "1", old + "v"): w for name, w in weights.items()}
    assert renamed.keys() != weights.keys()
    torch.save(renamed, tmp_path / "pytorch_model.bin")

    assert load_checkpoint(tmp_path).fingerprint == load_checkpoint(published_checkpoint).fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("mulan.text_to_latents.bias"), r"missing weights: text_to_latent\.bias"),
        (lambda w: w.update({"mulan.audio.extra": torch.zeros(1)}), r"unknown weights mulan\.audio\.extra;"),
        (lambda w: w.update({"mulan.text_to_latents.bias": torch.zeros(3)}), r"text_to_latent\.bias \(\[3\], need"),
    ],
    ids=["missing", "unknown", "wrong shape"],
)
def test_published_weights_that_do_not_fit_are_named(write_published, tmp_path, change, message):
    weights = write_published(tmp_path)
    change(weights)
    torch.save(weights, tmp_path / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("file", "section", "name", "value", "message"),
    [
        ("config.json", "audio_transformer", "tf_depth", 2, "audio_transformer: tf_depth = 2 is not supported"),
        ("config.json", "audio_model", "name", 5, "audio_model: has no field 'name' with the name of a model"),
        ("config.json", "audio_model", "use_layer_idx", 5, "audio_model: use_layer_idx = 5 is not supported"),
        ("config.json", "mulan", "sr", 16000, "mulan: sr = 16000 is not supported; allowed: 24000"),
        ("config.json", "audio_model", "name", "/gone/muq2", "names the folder /gone/muq2, which does not exist"),
        ("muq/config.json", "w2v2_config", "hidden_act", "gelu", "hidden_act = 'gelu' is not supported"),
        ("muq/config.json", "w2v2_config", "position_embeddings_type", "relative", "allowed: 'rotary'"),
    ],
)
def test_an_unsupported_published_option_is_refused_by_name(
    write_published, tmp_path, file, section, name, value, message
):
    write_published(tmp_path)
    fields = json.loads((tmp_path / file).read_text())
    fields[section][name] = value
    (tmp_path / file).write_text(json.dumps(fields))

    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_a_config_without_a_field_names_it(write_published, tmp_path):
    write_published(tmp_path)
    fields = json.loads((tmp_path / "muq" / "config.json").read_text())
    del fields["conv_dim"]
    (tmp_path / "muq" / "config.json").write_text(json.dumps(fields))

    with pytest.raises(CheckpointError, match=r"muq/config\.json: has no field 'conv_dim'"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("section", ["audio_model", "text_model", "mulan"])
def test_a_section_of_a_config_that_is_no_section_is_named(write_published, tmp_path, section):
    write_published(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {section: "x"}))

    with pytest.raises(CheckpointError, match=rf"config\.json: has no section '{section}'"):
        load_checkpoint(tmp_path)


def test_windows_of_a_fraction_of_a_second_cannot_be_published(tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    fields = json.loads((folder / "config.json").read_text())
    fields["model"]["clip_seconds"] = 1.5
    (folder / "config.json").write_text(json.dumps(fields))

    with pytest.raises(CheckpointError, match=r"clip_seconds 1\.5: the published layout needs whole seconds"):
        convert(str(folder), tmp_path / "out", to="published")


def test_a_deeper_stem_cannot_be_published():
    with pytest.raises(
        CheckpointError, match=r"deep_dims = \[8, 16\]: the published layout knows two stem blocks alone"
    ):
        write_muq_config(MuQConfig(deep_dims=(8, 16)))


def test_a_front_end_that_levels_cannot_be_published():
    with pytest.raises(CheckpointError, match=r"^levelling = 0\.5: the published layout knows none of it$"):
        write_muq_config(MuQConfig(levelling=0.5))


def test_a_folder_with_something_in_it_is_never_overwritten(tiny_checkpoint, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(CheckpointError, match="exists; give the name of a new folder"):
        convert(str(tiny_checkpoint), tmp_path, to="mulan")


def test_weights_come_out_unchanged_by_the_folder_they_came_from(published_checkpoint, published_weights):
    used = used_weights(load_checkpoint(published_checkpoint).model)

    assert used["log_scale"].shape == ()
    assert used["log_scale"].item() == published_weights["mulan.contrast.temperatures"].item()
