"""Configurations are checked before anything is loaded. Run: pytest tests/mulan/training/test_config.py."""

from pathlib import Path

import pytest

from data.config import parse_config, read_config, read_toml
from data.errors import ConfigError
from mulan.model import MuLanConfig
from mulan.muq import MuQConfig
from mulan.text_tower import TextBackboneConfig
from mulan.training.codec import CodecTrainConfig
from mulan.training.contrastive_config import MulanTrainConfig
from mulan.training.iterate import IterateConfig
from mulan.training.muq import MuqTrainConfig
from mulan.training.rvq import RvqTrainConfig
from mulan.training.students import StudentsConfig

CONFIGS = Path(__file__).parents[3] / "configs"
KINDS = {  # by the stage that the command in the file's head names
    "rvq": RvqTrainConfig,
    "muq": MuqTrainConfig,
    "iterate": IterateConfig,
    "mulan": MulanTrainConfig,
    "codec": CodecTrainConfig,
    "students": StudentsConfig,
}
MODELS = {"mulan": MuLanConfig, "muq": MuQConfig, "minilm": TextBackboneConfig}


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_training_config_is_valid_for_the_command_it_names_and_called_as_its_file(path):
    _, _, command = path.read_text().partition("# Command: ")
    words = command.partition(" configs/train/")[0].split()
    assert f"configs/train/{path.name}" in command.partition("\n")[0]
    config = read_config(KINDS[words[-1]], path)
    named = [config.student] if isinstance(config, IterateConfig) else [config]
    if isinstance(config, IterateConfig):
        assert path.stem == f"{named[0].name}-iter"
    elif not isinstance(config, StudentsConfig):
        assert config.name == path.stem


@pytest.mark.parametrize("path", sorted((CONFIGS / "model").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_model_config_is_valid_and_called_as_its_file(path):
    assert path.read_text().startswith(f"# {path.stem}: ")
    read_config(MODELS[path.stem.partition("-")[0]], path)


def test_the_shipped_models_are_those_they_say(tmp_path):
    muq = read_config(MuQConfig, CONFIGS / "model" / "muq-large.toml")
    assert muq == MuQConfig()  # the published shape is the default
    large = read_config(MulanTrainConfig, CONFIGS / "train" / "mulan-large.toml")
    assert (large.batch_size, large.batch_norm, large.loss) == (768, "frozen", "decoupled")
    assert (large.model.audio.dim, large.model.latent_dim, large.model.text.depth) == (768, 512, 8)


def test_a_misspelt_key_is_refused_before_anything_is_loaded(tmp_path):
    text = (CONFIGS / "train" / "mulan-mini.toml").read_text().replace('"../', f'"{CONFIGS}/')
    (tmp_path / "x.toml").write_text(text.replace("batch_size", "batchsize"))
    with pytest.raises(ConfigError, match=r"x\.toml: unknown key 'batchsize'; did you mean 'batch_size'\?"):
        read_config(MulanTrainConfig, tmp_path / "x.toml")


@pytest.mark.parametrize("restarts", [(5, 4), (4, 6), (1,), (7,), (9,)])
def test_restarts_out_of_order_or_closer_than_a_warm_up_are_refused(muq_config, restarts):
    message = rf"^x: restarts \[{', '.join(map(str, restarts))}\] must rise between 0 and steps \(7\)"
    with pytest.raises(ConfigError, match=message):
        parse_config(MuqTrainConfig, {**dict(muq_config), "restarts": restarts}, where="x")


def test_a_warm_up_that_never_ends_is_refused(muq_config):
    with pytest.raises(ConfigError, match=r"^x: warmup_steps = 7: must be less than steps = 7"):
        parse_config(MuqTrainConfig, {**dict(muq_config), "warmup_steps": 7}, where="x")


def test_each_process_gets_the_same_number_of_clips(muq_config, changed):
    config = changed(muq_config, batch_size=12)
    assert [config.share_of(world) for world in (1, 2, 4)] == [12, 6, 3]
    with pytest.raises(ConfigError, match=r"^batch_size = 12: must be a multiple of the 5 processes$"):
        config.share_of(5)


def test_cutting_what_a_batch_norm_must_see_whole_is_refused_with_the_ways_out(muq_config, changed):
    config = changed(muq_config, batch_size=8, micro_batch=2)
    message = (
        r'^micro_batch = 2: cuts the 8 clips of a process, .* set batch_norm = "frozen" \(a pretrained model\) or'
        r' "micro-batch" \(inexact\), or leave micro_batch out$'
    )
    with pytest.raises(ConfigError, match=message):
        config.share_of(1)
    assert config.share_of(4) == 2  # nothing is cut there
    assert changed(config, batch_norm="frozen").share_of(1) == 8
    assert changed(config, batch_norm="micro-batch").share_of(1) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betas": (0.9, 1.0)}, r"^x: betas\.1 = 1\.0: "),
        ({"learning_rate": 0.0}, r"^x: learning_rate = 0\.0: "),
        ({"schedule": "step"}, r"^x: schedule = 'step': .*'cosine', 'linear' or 'constant'"),
        ({"clip_seconds": 1.0}, r"clip_seconds = 1\.0: must be a whole number of masked blocks, mask_seconds = 0\.4"),
        (
            {"clip_seconds": 1.0, "mask_seconds": 0.1},
            r"mask_seconds = 0\.1: must be a whole number of tokens of 1/25 s",
        ),
        ({"noise_mixture": True}, r"clip_seconds = 0\.8: noise_mixture mixes in pieces of up to 1\.0 s"),
    ],
)
def test_a_masked_run_that_cannot_be_is_refused_by_key_and_value(muq_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(MuqTrainConfig, {**dict(muq_config), **changes}, where="x")


def test_a_quantiser_takes_its_batch_whole(rvq_config):
    with pytest.raises(ConfigError, match=r"^x: micro_batch = 2: a quantiser takes its batch whole; leave it out$"):
        parse_config(RvqTrainConfig, {**dict(rvq_config), "micro_batch": 2}, where="x")


def test_contrastive_training_never_normalises_part_of_a_batch(mulan_config):
    with pytest.raises(ConfigError, match=r'^x: batch_norm = "micro-batch": not in contrastive training'):
        parse_config(MulanTrainConfig, {**dict(mulan_config), "batch_norm": "micro-batch"}, where="x")


def test_an_included_file_is_read_beside_the_one_that_names_it():
    values = read_toml(CONFIGS / "train" / "muq-mini-iter.toml")
    assert values["student"] == "muq-mini.toml"
    config = read_config(IterateConfig, CONFIGS / "train" / "muq-mini-iter.toml")
    assert config.student == read_config(MuqTrainConfig, CONFIGS / "train" / "muq-mini.toml")
    assert config.quantizer.quantizer.dim == config.student.backbone.dim
