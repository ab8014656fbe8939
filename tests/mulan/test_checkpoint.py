"""Model folders: round trips, strictness, fingerprints, external weights. Run: pytest tests/mulan/test_checkpoint.py"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.errors import CheckpointError
from mulan.checkpoint import build_model, load_checkpoint, load_muq, save_checkpoint, used_weights, weights_fingerprint
from mulan.hub import find_external


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def _change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def _change_config(folder, change):
    fields = json.loads((folder / "config.json").read_text())
    change(fields)
    (folder / "config.json").write_text(json.dumps(fields))


def test_saved_and_loaded_again_it_is_the_same_model(tiny_checkpoint, tmp_path):
    first = load_checkpoint(tiny_checkpoint)

    save_checkpoint(tmp_path, first.model, first.tokenizer, name="again", licence="MIT")
    second = load_checkpoint(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (second.name, second.licence) == ("again", "MIT")
    assert second.fingerprint == first.fingerprint
    assert second.model.config == first.model.config
    ours, theirs = used_weights(first.model), used_weights(second.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def test_weights_stored_in_float16_are_loaded_as_float32(tiny_checkpoint, tmp_path):
    exact = load_checkpoint(tiny_checkpoint)

    save_checkpoint(tmp_path, exact.model, exact.tokenizer, name="half", licence="MIT", dtype=torch.float16)
    loaded = load_checkpoint(tmp_path)

    assert {weight.dtype for weight in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    assert {weight.dtype for weight in used_weights(loaded.model).values()} == {torch.float32}
    for name, weight in used_weights(loaded.model).items():
        assert torch.equal(weight, used_weights(exact.model)[name].half().float())
    assert loaded.fingerprint != exact.fingerprint


def test_a_loaded_model_can_be_trained(tiny_checkpoint):
    model = load_checkpoint(tiny_checkpoint).model.train()
    waveforms = torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[2, 8, 3], [2, 9, 3]])

    audio, text, scale = model(waveforms, ids, torch.ones_like(ids, dtype=torch.bool))
    (scale * audio @ text.T).logsumexp(dim=1).sum().backward()

    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("audio_to_latent.bias"), r"missing weights: audio_to_latent\.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "unknown weights: extra"),
        (lambda w: w.update({"log_scale": torch.zeros(2)}), r"wrong shape weights: log_scale \(\[2\], need \[\]\)"),
    ],
    ids=["missing", "unknown", "wrong shape"],
)
def test_weights_that_do_not_fit_are_named(folder, change, message):
    _change_weights(folder, change)

    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(version=2), "version 2; this program reads 1"),
        (lambda f: f["model"].update(latent_dim=0), "latent_dim: Input should be greater than 0"),
        (lambda f: f["model"].update(colour=1), "colour: Extra inputs are not permitted"),
        (lambda f: f.pop("licence"), "has no field 'licence'"),
        (lambda f: f.update(format="other"), "of no model known here"),
    ],
)
def test_a_configuration_that_does_not_fit_says_where(folder, change, message):
    _change_config(folder, change)

    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", [None, b"\xff\x00 not what it says", b'{"model": '], ids=["missing", "other", "cut"])
def test_a_missing_or_damaged_file_is_named(folder, file, damage):
    (folder / file).unlink()
    if damage is not None:
        (folder / file).write_bytes(damage)

    with pytest.raises(CheckpointError, match=r"model") as caught:
        load_checkpoint(folder)

    assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_refused(folder, tmp_path):
    class Malice:
        def __reduce__(self):
            return (print, ("owned",))

    (folder / "model.safetensors").unlink()
    torch.save({"weight": Malice()}, folder / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: cannot be read as weights"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds list; need tensors by name"),
        ({"step": 3}, "'step' is int; need nothing but tensors by name"),
        ({"state_dict": {"weight": torch.zeros(1)}}, "'state_dict' is dict; need"),
    ],
)
def test_a_pickle_of_something_else_than_tensors_by_name_is_refused(folder, content, message):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match=rf"pytorch_model\.bin: {message}"):
        load_checkpoint(folder)


def test_a_tokenizer_that_is_none_is_named(folder):
    (folder / "tokenizer.json").write_text('{"colour": 1}')

    with pytest.raises(CheckpointError, match=r"tokenizer\.json: is no tokenizer: ") as caught:
        load_checkpoint(folder)

    assert "\n" not in str(caught.value)


def test_an_error_without_words_is_told_by_its_kind(folder, monkeypatch):
    def fail(_):
        raise RuntimeError

    monkeypatch.setattr("mulan.checkpoint.load_file", fail)

    with pytest.raises(CheckpointError, match="cannot be read as weights: RuntimeError"):
        load_checkpoint(folder)


def test_a_save_that_is_interrupted_leaves_no_model_behind(folder, monkeypatch):
    checkpoint = load_checkpoint(folder)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mulan.checkpoint.save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, checkpoint.model, checkpoint.tokenizer, name="new", licence="MIT")

    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def test_a_model_prepared_for_inference_cannot_be_saved(tiny_checkpoint, tmp_path):
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.prepare_for_inference()

    with pytest.raises(ValueError, match="save it before"):
        save_checkpoint(tmp_path / "out", checkpoint.model, checkpoint.tokenizer, name="x", licence="MIT")


def test_the_fingerprint_changes_with_what_changes_a_vector_and_with_nothing_else(tiny_checkpoint):
    checkpoint = load_checkpoint(tiny_checkpoint)
    config, weights = checkpoint.model.config, used_weights(checkpoint.model)
    text = checkpoint.tokenizer.tokenizer_json

    def nudged(name):
        return weights | {name: weights[name] + 1e-6}

    def with_backbone(**update):
        backbone = config.audio.backbone.model_copy(update=update)
        return config.model_copy(update={"audio": config.audio.model_copy(update={"backbone": backbone})})

    same = checkpoint.fingerprint
    assert len(same) == 64
    assert weights_fingerprint(config, dict(reversed(weights.items())), text) == same
    assert weights_fingerprint(with_backbone(dropout=0.3), weights, text) == same
    assert weights_fingerprint(with_backbone(mel_mean=6.0), weights, text) != same
    assert weights_fingerprint(config.model_copy(update={"clip_seconds": 2.0}), weights, text) != same
    assert weights_fingerprint(config, nudged("audio_to_latent.bias"), text) != same
    assert weights_fingerprint(config, weights, text + " ") != same


def test_a_new_model_carries_the_external_backbone_and_its_checkpoint_does_not(
    tiny_config, external_backbone, tmp_path
):
    config = _external(tiny_config, external_backbone)
    model, tokenizer = build_model(config, seed=1)

    save_checkpoint(tmp_path / "out", model, tokenizer, name="mini", licence="Apache-2.0")
    loaded = load_checkpoint(tmp_path / "out")

    assert not any(name.startswith("text.backbone.") for name in load_file(tmp_path / "out" / "model.safetensors"))
    package = load_file(tmp_path / "packages" / "tiny_text_package" / "model" / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(loaded.model.text.backbone.state_dict()[name], package[name])
    assert loaded.fingerprint == weights_fingerprint(config, used_weights(model), tokenizer.tokenizer_json)


def test_a_new_model_reads_the_external_weights_once(tiny_config, external_backbone, monkeypatch):
    asked = []
    monkeypatch.setattr("mulan.checkpoint.find_external", lambda e: asked.append(e) or find_external(e))

    build_model(_external(tiny_config, external_backbone))

    assert asked == [external_backbone.external]


def test_a_loaded_checkpoint_takes_nothing_but_weights_from_its_external_backbone(
    tiny_config, external_backbone, tmp_path
):
    model, tokenizer = build_model(_external(tiny_config, external_backbone))
    save_checkpoint(tmp_path / "out", model, tokenizer, name="mini", licence="Apache-2.0")
    before = load_checkpoint(tmp_path / "out").fingerprint

    for file in ("config.json", "tokenizer.json"):
        (find_external(external_backbone.external) / file).unlink()

    assert load_checkpoint(tmp_path / "out").fingerprint == before


def test_the_same_seed_gives_the_same_model_and_leaves_the_global_state_alone(tiny_config, external_backbone):
    config = _external(tiny_config, external_backbone)
    state = torch.get_rng_state()

    first, second, other = (build_model(config, seed=seed)[0].audio_to_latent.weight for seed in (1, 1, 2))

    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_external_weights_of_another_hash_are_refused(tiny_config, external_backbone):
    changed = external_backbone.external.model_copy(update={"sha256": "0" * 64})

    with pytest.raises(CheckpointError, match=r"sha256 is \w+, need 0000"):
        build_model(_external(tiny_config, external_backbone.model_copy(update={"external": changed})))


def test_a_configuration_other_than_the_external_backbone_is_refused(tiny_config, external_backbone):
    with pytest.raises(CheckpointError, match="differs from"):
        build_model(_external(tiny_config, external_backbone.model_copy(update={"layer_norm_eps": 1e-5})))


def test_a_new_model_without_a_trained_text_backbone_is_refused(tiny_config):
    with pytest.raises(CheckpointError, match="no section 'external'"):
        build_model(tiny_config)


def test_a_whole_model_is_no_backbone(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="load_encoder"):
        load_muq(tiny_checkpoint)


def _external(config, backbone):
    return config.model_copy(update={"text": config.text.model_copy(update={"backbone": backbone})})
