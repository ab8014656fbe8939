"""The MERT backbone against transformers' HuBERT, and its published folders. Run: pytest tests/mulan/test_mert.py"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from data.errors import CheckpointError
from mulan.backbones import backbone_folder, read_backbone_config, save_backbone
from mulan.checkpoint import load_backbone, load_checkpoint, load_mert, load_muq
from mulan.mert import Mert, MertConfig
from mulan.muq import MuQ, MuQConfig

TINY = dict(
    hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, conv_dim=[16] * 7, layerdrop=0.05
)
MODERN = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
BASE = MertConfig()
LARGE = MertConfig(dim=1024, depth=24, heads=16, ffn_dim=4096, pre_norm=True, dropout=0.0, layerdrop=0.0)


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _tiny(**fields) -> Mert:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mert(MertConfig(conv_dim=16, dim=32, depth=3, heads=4, ffn_dim=64, **fields)).eval()


def _hubert(*, pre_norm: bool = False) -> HubertModel:
    """Random weights, none of which is left at a value that hides it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HubertModel(HubertConfig(**TINY, do_stable_layer_norm=pre_norm)).eval()
        for weight in model.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    return model


def _save(model: HubertModel, folder, *, normalise: bool = True):
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=normalise).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    return _save(_hubert(), tmp_path / "mert")


def _change_json(path, change):
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def _change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def _relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).norm() / theirs.norm()).detach())


@pytest.mark.parametrize("pre_norm", [False, True], ids=["95M layout", "330M layout"])
@pytest.mark.parametrize("normalise", [False, True], ids=["as it is", "normalised"])
def test_hidden_states_equal_those_of_transformers(tmp_path, pre_norm, normalise):
    hubert, waveforms = _hubert(pre_norm=pre_norm), 0.3 * _noise(2, 24_000) + 0.1
    _save(hubert, tmp_path, normalise=normalise)
    extract = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    prepared = extract(list(waveforms.numpy()), sampling_rate=24_000, return_tensors="pt").input_values

    with torch.inference_mode():
        theirs = hubert(prepared, output_hidden_states=True)
        ours = load_mert(tmp_path).hidden_states(waveforms)

    # transformers 5 leaves out the norm behind the last layer where it lists hidden states; 4.38, which MERT
    # was published for, does not.
    official = [*theirs.hidden_states[:-1], theirs.last_hidden_state]
    assert len(ours) == len(official) == 4
    for mine, other in zip(ours, official, strict=True):
        assert _relative_error(mine, other) < 1e-5  # float32 sums in another order


def test_both_spellings_of_weight_norm_are_read(folder):
    expected = load_mert(folder)(_noise(1, 8_000))
    assert f"{MODERN}0" in load_file(folder / "model.safetensors")

    def respell(weights):
        for new, old in ((f"{MODERN}0", "weight_g"), (f"{MODERN}1", "weight_v")):
            weights[f"encoder.pos_conv_embed.conv.{old}"] = weights.pop(new)

    _change_weights(folder, respell)

    assert torch.equal(load_mert(folder)(_noise(1, 8_000)), expected)


def test_a_pickle_of_tensors_as_on_the_hub_is_read(folder):
    expected = load_mert(folder)(_noise(1, 8_000))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()

    assert torch.equal(load_mert(folder)(_noise(1, 8_000)), expected)


def test_the_mask_vector_of_its_pre_training_is_the_only_weight_not_used(folder):
    published = load_file(folder / "model.safetensors")
    assert "masked_spec_embed" in published

    assert sum(w.numel() for w in load_mert(folder).parameters()) == sum(
        w.numel() for name, w in published.items() if name != "masked_spec_embed"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("encoder.layers.1.final_layer_norm.bias"), r"missing weights: layers\.1\.ffn_norm\.bias"),
        (lambda w: w.update(lm_head=torch.zeros(1)), "unknown weights lm_head"),
        (lambda w: w.update({"encoder.layer_norm.bias": torch.zeros(2)}), r"wrong shape weights: norm\.bias"),
    ],
    ids=["missing", "unknown", "wrong shape"],
)
def test_weights_that_do_not_fit_are_named(folder, change, message):
    _change_weights(folder, change)

    with pytest.raises(CheckpointError, match=message):
        load_mert(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_extractor_cqt": True}, "feature_extractor_cqt = True is not supported; allowed: False"),
        ({"deepnorm": True}, "deepnorm = True is not supported"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm = True is not supported"),
        ({"feat_extract_norm": "layer"}, "feat_extract_norm = 'layer' is not supported; allowed: 'group'"),
        ({"conv_bias": True}, "conv_bias = True is not supported"),
        ({"conv_dim": [16] * 6 + [32]}, r"conv_dim = .* is not supported"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "conv_stride = .* is not supported"),
        ({"sample_rate": 16_000}, "sample_rate = 16000 is not supported; allowed: 24000"),
        ({"num_attention_heads": 5}, "dim 32 and heads 5"),
    ],
)
def test_a_published_model_that_we_do_not_compute_is_refused(folder, change, message):
    _change_json(folder / "config.json", lambda fields: fields.update(change))

    with pytest.raises(CheckpointError, match=message) as caught:
        load_mert(folder)

    assert "\n" not in str(caught.value)


def test_attention_relax_is_accepted_because_it_changes_no_result(folder):
    _change_json(folder / "config.json", lambda fields: fields.update(attention_relax=32.0))

    assert load_mert(folder).config == read_backbone_config(folder)


def test_the_preprocessor_says_whether_waveforms_are_normalised_and_must_be_there(folder):
    path = folder / "preprocessor_config.json"
    _change_json(path, lambda fields: fields.update(do_normalize=False))
    assert not read_backbone_config(folder).normalise

    _change_json(path, lambda fields: fields.update(sampling_rate=16_000))
    with pytest.raises(CheckpointError, match="sampling_rate = 16000 is not supported; allowed: 24000"):
        load_mert(folder)

    path.unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: cannot be read"):
        load_mert(folder)


def test_the_preprocessor_comes_from_the_commit_of_the_rest_of_a_repository(folder, monkeypatch):
    fetched = []
    monkeypatch.setattr("mulan.backbones.resolve", lambda _: folder)
    monkeypatch.setattr("mulan.backbones.download", lambda *args, **kwargs: fetched.append((args, kwargs)))

    assert backbone_folder("hub:m-a-p/MERT-v1-95M") == folder

    assert fetched == [(("m-a-p/MERT-v1-95M", ["preprocessor_config.json"]), {"revision": "mert"})]


def test_a_backbone_of_one_kind_is_not_taken_for_the_other_nor_for_a_whole_model(folder, tiny_checkpoint):
    with pytest.raises(CheckpointError, match="is a MERT; load it with load_mert"):
        load_muq(folder)
    with pytest.raises(CheckpointError, match="is an audio backbone alone; load it with load_backbone"):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match="is no audio backbone; load a whole model with load_encoder"):
        load_mert(tiny_checkpoint)


@pytest.mark.parametrize(("config", "pre_norm"), [(BASE, False), (LARGE, True)], ids=["95M", "330M"])
def test_the_real_layouts_have_the_weights_of_transformers(config, pre_norm):
    sizes = dict(hidden_size=config.dim, num_hidden_layers=config.depth, num_attention_heads=config.heads)
    with torch.device("meta"):
        hubert = HubertModel(
            HubertConfig(**sizes, intermediate_size=config.ffn_dim, do_stable_layer_norm=pre_norm, mask_time_prob=0.0)
        )
        mert = Mert(config)

    counts = [sum(weight.numel() for weight in model.parameters()) for model in (mert, hubert)]
    assert counts[0] == counts[1] == (315_427_968 if pre_norm else 94_370_944)


@pytest.mark.parametrize("fields", [{}, {"pre_norm": True, "normalise": False}], ids=["post-norm", "pre-norm"])
def test_a_backbone_of_ours_comes_back_from_its_folder(tmp_path, fields):
    backbone = _tiny(**fields)
    save_backbone(tmp_path, backbone, name="student", licence="Apache-2.0")
    loaded = load_backbone(f"local:{tmp_path}")

    assert isinstance(loaded, Mert)
    assert loaded.config == backbone.config
    assert torch.equal(loaded(_noise(1, 8_000)), backbone(_noise(1, 8_000)))
    stored = json.loads((tmp_path / "config.json").read_text())
    assert (stored["format"], stored["name"], stored["licence"]) == ("mulan-mert", "student", "Apache-2.0")


def test_a_muq_of_ours_comes_back_from_its_folder_too(tmp_path):
    with torch.random.fork_rng(devices=[]):
        backbone = MuQ(MuQConfig(conv_dim=4, dim=16, depth=1, heads=2, ffn_dim=32)).eval()
    save_backbone(tmp_path, backbone, name="student", licence="Apache-2.0")

    assert torch.equal(load_muq(tmp_path)(_noise(1, 8_000)), backbone(_noise(1, 8_000)))
    _change_json(tmp_path / "config.json", lambda fields: fields.update(version=2))
    with pytest.raises(CheckpointError, match="version 2; this program reads 1"):
        load_backbone(tmp_path)


def test_a_backbone_prepared_for_inference_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="save it before"):
        save_backbone(tmp_path / "out", _tiny().prepare_for_inference(), name="x", licence="MIT")
    assert not (tmp_path / "out").exists()


def test_there_are_75_tokens_a_second_without_the_last():
    model = _tiny()

    assert model.token_rate == 75
    assert model(_noise(2, 48_000)).shape == (2, 149, 32)
    assert model(_noise(1, 400)).shape == (1, 1, 32)
    with pytest.raises(ValueError, match="waveform: 399 samples; need at least 400"):
        model(_noise(1, 399))


def test_loudness_and_offset_do_not_matter_to_a_model_that_normalises():
    waveform = _noise(1, 24_000)
    model = _tiny()

    assert _relative_error(model(0.01 * waveform + 0.5), model(waveform)) < 1e-4  # 0.5 costs 0.01 some digits


def test_preparing_for_inference_twice_keeps_the_results():
    model = _tiny(pre_norm=True)
    expected = model(_noise(2, 24_000))

    prepared = model.prepare_for_inference().prepare_for_inference()(_noise(2, 24_000))

    assert _relative_error(prepared, expected) < 1e-5  # rounding of the folded weight
    assert not any(weight.requires_grad for weight in model.parameters())


def test_bfloat16_moves_the_mean_over_time_by_less_than_a_thousandth():
    waveforms = _noise(2, 48_000)
    exact = _tiny().prepare_for_inference()(waveforms).mean(dim=1)

    states = _tiny().prepare_for_inference(torch.bfloat16)(waveforms)

    assert states.dtype == torch.bfloat16
    assert torch.cosine_similarity(states.float().mean(dim=1), exact).min() > 0.999


def test_dropped_layers_pass_their_input_on_and_still_have_gradients():
    model = _tiny(layerdrop=1.0, dropout=0.0).train()

    hidden = model.hidden_states(_noise(1, 8_000))
    hidden[-1].square().sum().backward()

    assert all(torch.equal(states, hidden[0]) for states in hidden)
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_every_weight_is_trained_and_dropout_acts_in_training_only():
    model, waveforms = _tiny(dropout=0.5, layerdrop=0.0), _noise(1, 8_000)
    assert torch.equal(model(waveforms), model(waveforms))

    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = model(waveforms), model(waveforms)
    first.square().sum().backward()

    assert not torch.equal(first, second)
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_recomputed_activations_give_the_same_gradients():
    def gradients(*, recompute):
        model = _tiny(dropout=0.3, layerdrop=0.3).train()
        model.prepare_for_training(torch.device("cpu"), checkpoint_activations=recompute)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model(_noise(2, 8_000)).square().sum().backward()
        return [weight.grad for weight in model.parameters()]

    for kept, again in zip(gradients(recompute=False), gradients(recompute=True), strict=True):
        torch.testing.assert_close(kept, again)


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="dim 40 and heads 4: dim must be a multiple of heads and of 16"):
        MertConfig(dim=40, heads=4)
