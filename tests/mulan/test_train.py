"""Training on tiny towers: it learns, it resumes, it refuses what is wrong. Run: pytest tests/mulan/test_train.py."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file

from data.manifest import Track, write_manifest
from mulan import ConfigError, ManifestError, load_encoder
from mulan.config import parse_config
from mulan.train import TrainConfig, _learning_rate_factor, read_train_config, train

CONFIGS = Path(__file__).parent.parent.parent / "configs"
RATE = 24_000


@pytest.fixture
def config(tiny_config, external_backbone):
    text = tiny_config.text.model_copy(update={"backbone": external_backbone})
    values = {
        "model": tiny_config.model_copy(update={"text": text}),
        "name": "tiny",
        "licence": "Apache-2.0",
        "seed": 3,
        "steps": 24,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "precision": "float32",
        "loader_workers": 0,
        "log_every": 1,
        "save_every": 8,
    }
    return parse_config(TrainConfig, values, where="test")


@pytest.fixture
def manifest(tmp_path):
    """Two kinds of music that are easy to tell apart: low tones called piano, noise called drums."""
    rng = np.random.default_rng(0)
    tracks = []
    for number in range(8):
        is_piano = number % 2 == 0
        tone = np.sin(2 * np.pi * 110 * np.arange(2 * RATE) / RATE)
        waveform = 0.3 * (tone if is_piano else rng.standard_normal(2 * RATE).clip(-3, 3) / 3)
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, waveform.astype(np.float32), RATE)
        true, false = ("piano", "drums") if is_piano else ("drums", "piano")
        tracks.append(
            Track(
                id=str(number),
                path=path,
                seconds=2.0,
                captions=(f"calm {true}",),
                tags=(true,),
                absent=(false,),
                split="train",
            )
        )
    write_manifest(tmp_path / "manifest.jsonl", tracks)
    return tmp_path / "manifest.jsonl"


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_training_reduces_the_loss_and_the_model_tells_the_music_apart(config, manifest, tmp_path):
    folder = train(config, manifest=manifest, out=tmp_path / "run", on_step=lambda record: None)
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-4:]) < np.mean(curve[:4]) - 1.0
    encoder = load_encoder(f"local:{folder}", device="cpu", precision="float32")
    audio = encoder.encode_files([manifest.parent / "0.wav", manifest.parent / "1.wav"])
    scores = audio @ encoder.encode_text(["piano", "drums"]).T
    assert scores.argmax(axis=1).tolist() == [0, 1]
    assert encoder.licence == "Apache-2.0"


def test_an_interrupted_run_resumes_and_ends_as_the_uninterrupted_one(config, manifest, tmp_path):
    class Interrupted(Exception):
        pass

    def stop_at_13(record):
        if record["step"] == 13:
            raise Interrupted

    straight = train(config, manifest=manifest, out=tmp_path / "straight", on_step=lambda record: None)
    with pytest.raises(Interrupted):
        train(config, manifest=manifest, out=tmp_path / "broken", on_step=stop_at_13)
    resumed_steps = []
    resumed = train(
        config,
        manifest=manifest,
        out=tmp_path / "broken",
        on_step=lambda record: resumed_steps.append(record["step"]),
    )
    assert resumed_steps[0] == 9  # after the checkpoint of step 8
    assert losses(tmp_path / "broken")[-10:] == losses(tmp_path / "straight")[-10:]
    weights, expected = load_file(resumed / "model.safetensors"), load_file(straight / "model.safetensors")
    assert all((weights[key] == expected[key]).all() for key in expected)


def test_a_run_is_not_resumed_with_another_configuration(config, manifest, tmp_path):
    train(config, manifest=manifest, out=tmp_path / "run", on_step=lambda record: None)
    longer = config.model_copy(update={"steps": 40})
    with pytest.raises(ConfigError, match=r"run: holds a run with another steps; restore it, or give another --out"):
        train(longer, manifest=manifest, out=tmp_path / "run", on_step=lambda record: None)


def test_the_frozen_text_backbone_is_neither_trained_nor_stored(config, manifest, tmp_path):
    folder = train(config, manifest=manifest, out=tmp_path / "run", on_step=lambda record: None)
    assert not [key for key in load_file(folder / "model.safetensors") if key.startswith("text.backbone.")]
    assert load_encoder(f"local:{folder}", device="cpu").dim == 12  # its hash is checked on loading


def test_fewer_tracks_than_a_batch_are_refused(config, manifest, tmp_path):
    large = config.model_copy(update={"batch_size": 64})
    with pytest.raises(ManifestError, match=r"8 training tracks; batch_size is 64"):
        train(large, manifest=manifest, out=tmp_path / "run", on_step=lambda record: None)


def test_the_learning_rate_warms_up_falls_to_zero_and_starts_anew_at_a_restart(config):
    config = config.model_copy(update={"steps": 24, "warmup_steps": 2, "restarts": (10,)})
    factors = [_learning_rate_factor(step, config) for step in range(24)]
    assert factors[:3] == factors[10:13] == [0.5, 1.0, 1.0]
    assert factors[6] == pytest.approx(0.5)  # half of the cosine's eight steps
    assert factors[17] == pytest.approx(0.5 * (1 + math.cos(math.pi * 5 / 12)))
    assert _learning_rate_factor(24, config) == pytest.approx(0)


def test_restarts_out_of_order_are_refused(config):
    with pytest.raises(ConfigError, match=r"^x: restarts \[10, 11\] must rise between 0 and steps \(24\)"):
        parse_config(TrainConfig, {**dict(config), "restarts": (10, 11)}, where="x")


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_training_config_is_valid(path):
    assert read_train_config(path).name == path.stem


def test_a_misspelt_key_is_refused_before_anything_is_loaded(tmp_path):
    text = (CONFIGS / "train" / "mulan-mini.toml").read_text().replace("../model", str(CONFIGS / "model"))
    (tmp_path / "x.toml").write_text(text.replace("batch_size", "batchsize"))
    with pytest.raises(ConfigError, match=r"x\.toml: unknown key 'batchsize'; did you mean 'batch_size'\?"):
        read_train_config(tmp_path / "x.toml")
