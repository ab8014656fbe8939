"""The audio tower: its backbones, layers, blanked mels, trained starts. Run: pytest tests/mulan/test_audio_tower.py"""

import json

import numpy as np
import pytest
import torch

from data.config import parse_config
from data.errors import CheckpointError, ConfigError
from mulan import load_encoder
from mulan.audio_tower import AudioTower, AudioTowerConfig
from mulan.backbones import complete_config, save_backbone
from mulan.checkpoint import build_model, load_checkpoint, save_checkpoint, used_weights, weights_fingerprint
from mulan.convert import convert
from mulan.mert import Mert, MertConfig
from mulan.model import MuLan, MuLanConfig
from mulan.muq import MuQ, MuQConfig

MERT = MertConfig(conv_dim=16, dim=32, depth=2, heads=4, ffn_dim=64, dropout=0.0, layerdrop=0.0)
MUQ = MuQConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32, dropout=0.0)
BACKBONES = pytest.mark.parametrize("backbone", [MUQ, MERT], ids=["muq", "mert"])
MULAN_MINI_FINGERPRINT = "e0e519a5bdc0342420c4fd205c24caab8d1b266c3a8607ca40fd79e49c01d961"


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _seeded(make, config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(config).eval()


def _tower(backbone, **fields) -> AudioTower:
    """Without a projection, so that a result is the pooled state itself."""
    return _seeded(AudioTower, AudioTowerConfig(backbone=backbone, dim=backbone.dim, **fields))


@pytest.fixture
def student(tmp_path):
    """A folder with a MERT as our pre-training leaves it."""
    save_backbone(tmp_path / "student", _seeded(Mert, MERT), name="student", licence="Apache-2.0")
    return tmp_path / "student"


@pytest.fixture
def bare(tiny_config, external_backbone) -> MuLanConfig:
    """A configuration that leaves its audio backbone unsaid, on a text backbone that can be found."""
    text = tiny_config.text.model_copy(update={"backbone": external_backbone})
    return tiny_config.model_copy(update={"text": text, "audio": AudioTowerConfig(dim=16)})


def test_the_shipped_model_keeps_its_fingerprint():
    assert load_encoder("mulan-mini").fingerprint == MULAN_MINI_FINGERPRINT


def test_a_muq_tower_is_stored_as_it_was_before_there_was_a_choice():
    assert AudioTowerConfig(backbone=MUQ).model_dump().keys() == {"backbone", "dim"}
    unsaid = {"kind", "deep_dims", "mel_floor", "levelling"}
    assert AudioTowerConfig().model_dump()["backbone"].keys() == MuQConfig.model_fields.keys() - unsaid
    assert AudioTowerConfig.model_validate({"backbone": {"dim": 16, "heads": 2}}).backbone == MuQConfig(dim=16, heads=2)


def test_the_kind_chooses_the_backbone():
    chosen = [AudioTowerConfig.model_validate({"backbone": {"kind": kind}}).backbone for kind in ("muq", "mert")]

    assert chosen == [MuQConfig(), MertConfig()]
    stored = AudioTowerConfig(backbone=MERT, layer="mix").model_dump(mode="json")
    assert AudioTowerConfig.model_validate(stored) == AudioTowerConfig(backbone=MERT, layer="mix")


@pytest.mark.parametrize("layer", ["lst", -1, 1.0, True])
def test_a_layer_that_is_none_says_on_one_line_what_is_allowed(layer):
    with pytest.raises(ConfigError, match=rf"^x\.toml: layer: found {layer!r}; allowed: 0 to .*, 'last' and 'mix'$"):
        parse_config(AudioTowerConfig, {"layer": layer}, where="x.toml")


def test_an_unknown_kind_says_what_is_allowed():
    with pytest.raises(ConfigError, match=r"'mertt'.*'muq', 'mert'"):
        parse_config(AudioTowerConfig, {"backbone": {"kind": "mertt"}}, where="x.toml")


@BACKBONES
def test_the_last_layer_is_the_default_and_has_a_number_too(backbone):
    waveforms = _noise(2, 12_000)
    tower = _tower(backbone)

    result = tower(waveforms)

    assert torch.equal(result, tower.backbone(waveforms).mean(dim=1))
    assert torch.equal(result, _tower(backbone, layer=2)(waveforms))
    assert not [name for name, _ in tower.named_parameters() if "mix" in name]


@BACKBONES
def test_a_layer_is_the_mean_of_that_hidden_state(backbone):
    waveforms = _noise(2, 12_000)

    for layer in range(3):
        tower = _tower(backbone, layer=layer)
        assert torch.equal(tower(waveforms), tower.backbone.hidden_states(waveforms)[layer].mean(dim=1))


def test_a_layer_that_the_backbone_has_not_is_refused():
    with pytest.raises(ValueError, match="layer 3: allowed: 0 to 2"):
        AudioTowerConfig(backbone=MERT, layer=3)
    with pytest.raises(ValueError, match="layer 13: allowed: 0 to 12"), torch.device("meta"):
        AudioTower(AudioTowerConfig(layer=13))


@BACKBONES
def test_a_mix_starts_with_all_layers_alike_and_is_learned(backbone):
    waveforms = _noise(2, 12_000)
    tower = _tower(backbone, layer="mix")
    means = torch.stack([states.mean(dim=1) for states in tower.backbone.hidden_states(waveforms)])

    result = tower(waveforms)
    (result * _noise(2, backbone.dim)).sum().backward()

    torch.testing.assert_close(result, means.mean(dim=0), atol=1e-6, rtol=1e-5)  # order of sums
    assert tower.mix.shape == (3,)
    assert tower.mix.grad.abs().min() > 0
    with torch.no_grad():
        tower.mix.copy_(torch.tensor([0.0, 50.0, 0.0]))
    torch.testing.assert_close(tower(waveforms), means[1], atol=1e-6, rtol=1e-5)


def test_nothing_blanked_is_the_plain_result_and_all_blanked_forgets_the_waveform():
    tower, waveforms = _tower(MUQ), _noise(2, 12_000)
    nowhere = torch.zeros(2, 128, 50, dtype=torch.bool)

    assert torch.equal(tower(waveforms, nowhere), tower(waveforms))
    silenced = tower(waveforms, ~nowhere)
    assert torch.equal(silenced, tower(_noise(2, 24_000)[:, 12_000:], ~nowhere))
    assert torch.equal(silenced, tower.backbone.encode_mel(torch.zeros(2, 128, 50))[-1].mean(dim=1))


def test_a_mert_has_nothing_to_blank():
    with pytest.raises(ValueError, match="blanked: the backbone is a MERT, which has no mel"):
        _tower(MERT)(_noise(1, 12_000), torch.zeros(1, 128, 50, dtype=torch.bool))


@pytest.mark.parametrize("layer", ["last", 1, "mix"])
def test_a_mert_mulan_is_saved_and_loaded_and_gives_unit_vectors(tiny_config, tiny_checkpoint, tmp_path, layer):
    config = tiny_config.model_copy(update={"audio": AudioTowerConfig(backbone=MERT, dim=16, layer=layer)})
    model = _seeded(MuLan, config)
    tokenizer = load_checkpoint(tiny_checkpoint).tokenizer
    save_checkpoint(tmp_path, model, tokenizer, name="mert-mulan", licence="Apache-2.0")

    encoder = load_encoder(f"local:{tmp_path}", device="cpu", precision="float32")
    waveform = _noise(30_000).numpy()
    vectors = np.concatenate([encoder.encode_audio([waveform], 24_000), encoder.encode_text(["calm piano"])])

    assert encoder.fingerprint == weights_fingerprint(config, used_weights(model), tokenizer.tokenizer_json)
    assert vectors.shape == (2, 12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_the_fingerprint_counts_the_layer_and_not_what_only_training_sees(tiny_config, tiny_checkpoint):
    text = load_checkpoint(tiny_checkpoint).tokenizer.tokenizer_json

    def fingerprint(layer="last", **changes):
        backbone = MERT.model_copy(update=changes)
        audio = AudioTowerConfig(backbone=backbone, layer=layer)
        return weights_fingerprint(tiny_config.model_copy(update={"audio": audio}), {}, text)

    assert fingerprint(dropout=0.3, layerdrop=0.2) == fingerprint()
    assert len({fingerprint(), fingerprint(layer=1), fingerprint(layer="mix"), fingerprint(normalise=False)}) == 4


def test_a_new_model_takes_an_unsaid_backbone_from_the_trained_one(bare, student):
    model, _ = build_model(bare, seed=1, audio_from=f"local:{student}")

    trained = _seeded(Mert, MERT)
    assert model.config.audio == AudioTowerConfig(backbone=MERT, dim=16)
    assert all(torch.equal(w, used_weights(trained)[key]) for key, w in used_weights(model.audio.backbone).items())
    assert all(weight.requires_grad for weight in model.audio.parameters())


def test_what_is_saved_stands_alone(bare, student, tmp_path):
    model, tokenizer = build_model(bare, seed=1, audio_from=f"local:{student}")
    save_checkpoint(tmp_path / "out", model, tokenizer, name="mert-mulan", licence="Apache-2.0")
    for file in student.iterdir():
        file.unlink()

    loaded = load_checkpoint(tmp_path / "out")

    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()
    assert loaded.model.config == model.config
    assert loaded.fingerprint == weights_fingerprint(model.config, used_weights(model), tokenizer.tokenizer_json)


def test_a_trained_start_changes_no_other_weight_drawn_for_the_same_seed(bare, student):
    said = bare.model_copy(update={"audio": AudioTowerConfig(backbone=MERT, dim=16)})
    plain, started = (build_model(said, seed=1, audio_from=source)[0] for source in (None, student))

    changed = {
        name.split(".")[1]
        for name, weight in used_weights(started).items()
        if not torch.equal(weight, used_weights(plain)[name])
    }
    assert changed == {"backbone"}


def test_dropout_may_be_said_and_the_rest_has_to_agree(bare, student):
    def completed(**fields):
        backbone = MertConfig.model_validate(fields)
        return complete_config(bare.model_copy(update={"audio": AudioTowerConfig(backbone=backbone)}), student)

    assert completed(layerdrop=0.2).audio.backbone == MERT.model_copy(update={"layerdrop": 0.2})
    message = r"^audio\.backbone: differs from .*: dim = 64 \(there 32\), depth = 3 \(there 2\); leave out"
    with pytest.raises(CheckpointError, match=message) as caught:
        completed(dim=64, depth=3, heads=4)
    assert "\n" not in str(caught.value)


def test_what_a_backbone_left_unsaid_because_it_has_its_default_is_compared_too(bare, tmp_path):
    save_backbone(tmp_path / "muq", _seeded(MuQ, MUQ), name="muq", licence="Apache-2.0")
    config = bare.model_copy(update={"audio": AudioTowerConfig(backbone=MUQ.model_copy(update={"levelling": 0.5}))})

    with pytest.raises(CheckpointError, match=r"levelling = 0\.5 \(there 0\.0\)"):
        complete_config(config, tmp_path / "muq")


def test_a_backbone_of_the_other_kind_is_refused(bare, student):
    config = bare.model_copy(update={"audio": AudioTowerConfig(backbone=MUQ)})

    with pytest.raises(CheckpointError, match=r"kind = 'muq' \(there 'mert'\)"):
        complete_config(config, student)


def test_a_layer_is_checked_against_the_trained_backbone(bare, student, tmp_path):
    def completed(layer, source):
        return complete_config(bare.model_copy(update={"audio": AudioTowerConfig(layer=layer)}), source)

    assert completed(2, student).audio.layer == 2
    with pytest.raises(CheckpointError, match="layer 3: allowed: 0 to 2"):
        completed(3, student)
    deep = MERT.model_copy(update={"depth": 14})
    save_backbone(tmp_path / "deep", _seeded(Mert, deep), name="deep", licence="MIT")
    assert completed(14, tmp_path / "deep").audio.layer == 14  # more than the default backbone has


def test_a_muq_is_a_trained_start_as_well(bare, tmp_path):
    backbone = _seeded(MuQ, MUQ)
    save_backbone(tmp_path / "muq", backbone, name="student", licence="MIT")

    model, _ = build_model(bare, audio_from=tmp_path / "muq")

    assert model.config.audio.backbone == MUQ
    assert torch.equal(model.audio.backbone.stem.project.weight, backbone.stem.project.weight)
    assert json.loads((tmp_path / "muq" / "config.json").read_text())["format"] == "mulan-muq"


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (AudioTowerConfig(backbone=MERT), "is a mert; the published layout needs a muq"),
        (AudioTowerConfig(backbone=MUQ, layer=1), r"audio\.layer 1: the published layout needs 'last'"),
    ],
)
def test_what_the_published_layout_cannot_say_is_not_converted_to_it(
    tiny_config, tiny_checkpoint, tmp_path, audio, message
):
    model = _seeded(MuLan, tiny_config.model_copy(update={"audio": audio}))
    tokenizer = load_checkpoint(tiny_checkpoint).tokenizer
    save_checkpoint(tmp_path / "model", model, tokenizer, name="x", licence="MIT")

    with pytest.raises(CheckpointError, match=message):
        convert(str(tmp_path / "model"), tmp_path / "out", to="published")
    assert not (tmp_path / "out").exists()
