"""What of a MuLan is trained, told by its gradients. Run: pytest tests/mulan/training/test_trainable.py."""

import copy
import importlib.util

import pytest
import torch
from torch import nn

from data.config import parse_config
from data.errors import ConfigError
from mulan import load_encoder
from mulan.audio_tower import AudioTowerConfig
from mulan.checkpoint import build_model, load_checkpoint, save_checkpoint
from mulan.mert import MertConfig
from mulan.model import MuLan
from mulan.muq import MuQConfig
from mulan.training.trainable import Lora, TrainableConfig, merge_lora, set_trainable
from mulan.weights import used_weights

TOKENS = torch.tensor([[2, 8, 3], [2, 4, 3], [2, 9, 3]])
MASK = torch.ones_like(TOKENS, dtype=torch.bool)
DEPTH = 3
AUDIO_LAYERS, TEXT_LAYERS = "audio.backbone.layers.", "text.backbone.encoder.layer."
MUQ = MuQConfig(conv_dim=4, dim=16, depth=DEPTH, heads=2, ffn_dim=32, dropout=0.1)
MERT = MertConfig(conv_dim=8, dim=16, depth=DEPTH, heads=2, ffn_dim=32)


@pytest.fixture
def waveforms():
    return torch.randn(3, 4800, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make(tiny_config, external_backbone):
    """make(**audio): a model with backbones of three layers, the text backbone with weights of its own."""

    def make(*, backbone=MUQ, **audio) -> MuLan:
        text = tiny_config.text.backbone.model_copy(update={"num_hidden_layers": DEPTH})
        config = tiny_config.model_copy(
            update={
                "audio": AudioTowerConfig(backbone=backbone, dim=12, **audio),
                "text": tiny_config.text.model_copy(update={"backbone": text}),
            }
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return MuLan(config)

    return make


@pytest.fixture
def external(tiny_config, external_backbone):
    """A model whose text backbone has external weights, and its tokenizer."""
    text = tiny_config.text.model_copy(update={"backbone": external_backbone})
    return build_model(tiny_config.model_copy(update={"text": text}))


def names(model, *prefixes):
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


def heads(model):
    return names(model, "") - names(model, "audio.backbone.", "text.backbone.")


def backward(model, waveforms):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)  # dropout
        audio, text, scale = model(waveforms, TOKENS, MASK)
    nn.functional.cross_entropy(scale * audio @ text.T, torch.arange(3)).backward()
    return {name for name, weight in model.named_parameters() if weight.grad is not None}


def step(model, waveforms):
    """Names of the state that one optimiser step in training mode changed."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    backward(model, waveforms)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    optimizer.step()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def differing(one, other):
    """Names of the stored weights that are not the same in both."""
    stored, expected = used_weights(one), used_weights(other)
    assert stored.keys() == expected.keys()
    return {name for name, weight in stored.items() if not torch.equal(weight, expected[name])}


def set_up(model, **values):
    set_trainable(model, parse_config(TrainableConfig, values, where="x"), seed=3)
    model.train()
    return model


def test_full_trains_every_weight(make, waveforms):
    model = set_up(make(), audio="full", text="full")
    assert backward(model, waveforms) == names(model, "")
    assert all(part.training for part in model.modules())


def test_frozen_trains_the_heads_alone_and_leaves_all_else_bitwise_as_it_was(make, waveforms):
    model = set_up(make(), audio="frozen", text="frozen")
    assert step(model, waveforms) == heads(model)
    assert {name.split(".")[0] for name in heads(model)} == {
        *("audio", "text", "audio_to_latent", "text_to_latent", "log_scale")
    }


def test_the_default_trains_the_audio_tower_against_a_frozen_text_backbone(make, waveforms):
    model = set_up(make())
    assert backward(model, waveforms) == heads(model) | names(model, "audio.")


def test_a_frozen_audio_tower_is_lit(make, waveforms):
    model = set_up(make(), audio="frozen", text="full")
    assert backward(model, waveforms) == heads(model) | names(model, "text.")


def test_the_last_layers_train_with_the_norm_behind_them(make, waveforms):
    model = set_up(make(), audio="last-2", text="last-1")
    last = (f"{AUDIO_LAYERS}1.", f"{AUDIO_LAYERS}2.", "audio.backbone.norm.", f"{TEXT_LAYERS}2.")
    assert backward(model, waveforms) == heads(model) | names(model, *last)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_norm_of_a_mert_is_last_only_where_it_lies_behind_the_layers(make, waveforms, pre_norm):
    backbone = MERT.model_copy(update={"pre_norm": pre_norm})
    model = set_up(make(backbone=backbone), audio="last-1")
    last = (f"{AUDIO_LAYERS}2.", *(("audio.backbone.norm.",) if pre_norm else ()))
    assert backward(model, waveforms) == heads(model) | names(model, *last)


def test_layers_above_the_one_that_is_read_are_not_trained_so_no_process_waits_for_their_gradients(make, waveforms):
    unused = (f"{AUDIO_LAYERS}2.", "audio.backbone.norm.")
    model = set_up(make(layer=2), audio="full")
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == heads(model) | names(model, "audio.") - names(model, *unused)
    assert backward(model, waveforms) == trained
    model = set_up(make(layer=2), audio="last-1")
    assert backward(model, waveforms) == heads(model) | names(model, f"{AUDIO_LAYERS}1.")


def test_a_mix_of_layers_is_a_head(make, waveforms):
    model = set_up(make(layer="mix"), audio="frozen")
    assert "audio.mix" in backward(model, waveforms) == heads(model)


def test_batch_norms_of_frozen_parts_keep_their_statistics_and_those_of_trained_parts_do_not(make, waveforms):
    model = set_up(make(), audio="last-1", text="frozen")
    model.eval()
    model.train()
    moved = {name for name in step(model, waveforms) if "running_" in name}
    batch_norm = f"{AUDIO_LAYERS}2.convolution.batch_norm."
    assert moved == {f"{batch_norm}running_mean", f"{batch_norm}running_var"}


def test_dropout_of_frozen_parts_is_off_while_training(make, waveforms):
    model = set_up(make(), audio="frozen", text="frozen")
    with torch.no_grad():
        training = model.audio_latents(waveforms), model.text_latents(TOKENS, MASK)
        model.eval()
        assert torch.equal(training[0], model.audio_latents(waveforms))
        assert torch.equal(training[1], model.text_latents(TOKENS, MASK))


@pytest.mark.parametrize(
    "backbone",
    [
        MuQConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32, dropout=0.5),
        MertConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32, dropout=0.0, layerdrop=0.9),
    ],
    ids=["muq", "mert"],
)
def test_what_enters_the_one_layer_that_is_trained_is_what_enters_it_in_inference(make, waveforms, backbone):
    model = set_up(make(backbone=backbone), audio="last-1", text="frozen")
    entering = []
    model.audio.backbone.layers[1].register_forward_pre_hook(lambda layer, inputs: entering.append(inputs[0]))
    with torch.no_grad():
        for _ in range(4):
            model.audio_latents(waveforms)
        model.eval()
        model.audio_latents(waveforms)
    assert all(torch.equal(states, entering[-1]) for states in entering)


def test_lora_trains_its_additions_and_the_heads(make, waveforms):
    model = make()
    plain_heads = heads(model)
    set_up(model, audio="lora", text="lora", lora={"rank": 2})
    added = {
        f"{layers}{layer}.{part}.lora_{side}.default.weight"
        for layers, attention in ((AUDIO_LAYERS, "attention"), (TEXT_LAYERS, "attention.self"))
        for layer in range(DEPTH)
        for part in (f"{attention}.query", f"{attention}.value")
        for side in "AB"
    }
    changed = step(model, waveforms)
    assert backward(model, waveforms) == plain_heads | added
    # At first the B are zero, so that the A have no gradient yet; AdamW's decay moves them all the same.
    assert changed == plain_heads | added


def test_lora_changes_nothing_before_its_first_step_and_its_first_weights_depend_on_the_seed_alone(make, waveforms):
    plain = make().eval()
    model = set_up(make(), audio="lora").eval()
    with torch.no_grad():
        assert torch.equal(model.audio_latents(waveforms), plain.audio_latents(waveforms))
    again, other = make(), make()
    state = torch.get_rng_state()
    set_trainable(again, TrainableConfig(audio="lora"), seed=3)
    set_trainable(other, TrainableConfig(audio="lora"), seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    name = f"{AUDIO_LAYERS}0.attention.query.lora_A.default.weight"
    first = model.state_dict()[name]
    assert torch.equal(first, again.state_dict()[name])
    assert not torch.equal(first, other.state_dict()[name])


@pytest.mark.parametrize("backbone", [MUQ, MERT], ids=["muq", "mert"])
def test_a_merged_model_computes_the_same_and_is_a_plain_one(make, waveforms, backbone):
    model = make(backbone=backbone)
    plain = set(model.state_dict())
    set_up(model, audio="lora", text="lora", lora={"rank": 2, "alpha": 8, "dropout": 0.1})
    before = make(backbone=backbone).eval()
    step(model, waveforms)
    model.eval()
    with torch.no_grad():
        expected = model.audio_latents(waveforms), model.text_latents(TOKENS, MASK)
        merge_lora(model)
        found = model.audio_latents(waveforms), model.text_latents(TOKENS, MASK)
        untrained = before.audio_latents(waveforms)
    assert set(model.state_dict()) == plain
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)  # float32, added in another order
    assert (found[0] - untrained).abs().max() > 0.01


def test_a_merged_model_comes_back_from_disk_with_its_trained_text_backbone(external, waveforms, tmp_path):
    model, tokenizer = external
    set_up(model, audio="lora", text="lora", lora={"rank": 2})
    step(model, waveforms)
    merge_lora(model.eval())
    save_checkpoint(tmp_path / "model", model, tokenizer, name="tiny", licence="Apache-2.0")
    loaded = load_checkpoint(tmp_path / "model").model
    assert differing(loaded, model) == set()
    with torch.no_grad():
        expected = model.text_latents(*tokenizer.pad(tokenizer.encode(["calm piano"]))).numpy()
    encoder = load_encoder(f"local:{tmp_path / 'model'}", device="cpu", precision="float32")
    assert abs(encoder.encode_text(["calm piano"]) - expected).max() < 1e-5


def test_a_copy_in_the_midst_of_training_can_be_merged_and_leaves_the_original_as_it_is(make, waveforms):
    model = set_up(make(), audio="lora")
    step(model, waveforms)
    merged = copy.deepcopy(model)
    merge_lora(merged)
    assert set(merged.state_dict()) == set(make().state_dict())
    assert backward(model, waveforms) >= {f"{AUDIO_LAYERS}0.attention.query.lora_A.default.weight"}


def test_merging_a_model_without_lora_does_nothing(make):
    model = make()
    merge_lora(model)
    assert differing(model, make()) == set()


def test_an_external_text_backbone_becomes_the_models_own_only_if_it_is_trained(external, waveforms, tmp_path):
    model, tokenizer = external
    set_up(model, text="frozen")
    assert model.config.text.backbone.external
    set_up(model, text="full")
    assert model.config.text.backbone.external is None
    assert step(model, waveforms) >= names(model, "text.backbone.")
    save_checkpoint(tmp_path / "model", model.eval(), tokenizer, name="tiny", licence="Apache-2.0")
    loaded = load_checkpoint(tmp_path / "model").model
    assert differing(loaded, model) == set()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"audio": "last-0"}, "audio: found 'last-0'; allowed are 'full', 'frozen', 'lora' and 'last-N', such as"),
        ({"text": "none"}, "text: found 'none'; allowed are"),
        ({"lora": {"rank": 4}}, "lora: is set, but neither audio nor text is 'lora'; set one, or leave the section"),
        ({"audio": "lora", "lora": {"rang": 4}}, r"unknown key 'lora\.rang'; did you mean 'rank'\?"),
    ],
)
def test_a_wrong_configuration_is_refused(values, message):
    with pytest.raises(ConfigError, match=f"^x: {message}"):
        parse_config(TrainableConfig, values, where="x")


def test_more_layers_than_there_are_in_use_are_refused_before_anything_is_built(make):
    config = make(layer=2).config
    with pytest.raises(ConfigError, match=r"^trainable\.audio = 'last-3': 2 layers of the backbone are in use$"):
        TrainableConfig(audio="last-3").check(config)
    with pytest.raises(ConfigError, match=r"^trainable\.text = 'last-4': 3 layers of the backbone are in use$"):
        TrainableConfig(text="last-4").check(config)
    TrainableConfig(audio="last-2", text="last-3").check(config)


def test_lora_without_peft_is_refused_with_what_to_install(make, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs peft, which is missing: pip install 'mulan-retrieval\[lora\]'"):
        TrainableConfig(audio="lora").check(make().config)
    TrainableConfig().check(make().config)


def test_lora_targets_that_are_nowhere_are_refused_with_those_there_are(make):
    config = TrainableConfig(audio="lora", lora=Lora(targets=("q_proj",)))
    message = r"targets = \['q_proj'\]: not in the audio backbone; its linear layers end in down, key, out"
    with pytest.raises(ConfigError, match=message):
        set_trainable(make(), config)
