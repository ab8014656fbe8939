"""A little music and the smallest run of every stage, for the tests of this folder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file
from torch import Tensor

from data.augment import AudioAugmentation, Mixing, Noise, SpecAugment
from data.manifest import Track
from data.texts import TextAugmentation
from mulan.audio_tower import AudioTowerConfig
from mulan.muq import MuQConfig
from mulan.rvq import ResidualQuantizerConfig
from mulan.targets import RandomProjectionTargetsConfig
from mulan.training.contrastive import MulanStage
from mulan.training.contrastive_config import MulanTrainConfig
from mulan.training.loop import Stage, fit
from mulan.training.monitor import TIMING_FIELDS
from mulan.training.muq import MuqStage, MuqTrainConfig
from mulan.training.rvq import RvqStage, RvqTrainConfig, StackedMel
from mulan.training.trainable import Lora, TrainableConfig

RATE = 24_000
TINY_MUQ = MuQConfig(conv_dim=4, dim=16, depth=1, heads=2, ffn_dim=32, dropout=0.1)
COMMON: Mapping[str, Any] = {
    "name": "tiny",
    "licence": "Apache-2.0",
    "seed": 3,
    "steps": 7,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "warmup_steps": 2,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "precision": "float32",
    "loader_workers": 0,
    "log_every": 1,
    "save_every": 3,
}


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> list[Track]:
    """Eight tracks to train on and four for validation, 2 s long: low tones called piano, noise called drums."""
    folder, rng, tracks = tmp_path_factory.mktemp("music"), np.random.default_rng(0), []
    for number in range(12):
        is_piano = number % 2 == 0
        tone = np.sin(2 * np.pi * (110 + 5 * number) * np.arange(2 * RATE) / RATE)
        waveform = 0.3 * (tone if is_piano else rng.standard_normal(2 * RATE).clip(-3, 3) / 3)
        path = folder / f"{number}.wav"
        soundfile.write(path, waveform.astype(np.float32), RATE)
        true, false = ("piano", "drums") if is_piano else ("drums", "piano")
        tracks.append(
            Track(
                id=str(number),
                path=path,
                seconds=2.0,
                captions=(f"calm {true}", f"slow solo {true}"),
                tags=(true,),
                absent=(false,),
                split="train" if number < 8 else "valid",
            )
        )
    return tracks


@pytest.fixture(scope="session")
def rvq_config() -> RvqTrainConfig:
    """Two stages of eight codes, replaced after two steps without use."""
    quantizer = ResidualQuantizerConfig(stages=2, codebook_size=8, code_dim=4, dead_after=2)
    return RvqTrainConfig(**COMMON, quantizer=quantizer, clip_seconds=0.8)


@pytest.fixture(scope="session")
def muq_config() -> MuqTrainConfig:
    """A MuQ of one layer with dropout, on clips of two blocks."""
    targets = RandomProjectionTargetsConfig(codebooks=2, codebook_size=16, code_dim=4)
    return MuqTrainConfig(**COMMON, backbone=TINY_MUQ, targets=targets, clip_seconds=0.8)


@pytest.fixture
def mulan_config(tiny_config, external_backbone) -> MulanTrainConfig:
    """Two towers without augmentation."""
    text = tiny_config.text.model_copy(update={"backbone": external_backbone})
    audio = AudioTowerConfig(backbone=TINY_MUQ, dim=16)
    model = tiny_config.model_copy(update={"text": text, "audio": audio, "clip_seconds": 0.8})
    return MulanTrainConfig(**COMMON, model=model)


@pytest.fixture
def quiet(mulan_config) -> MulanTrainConfig:
    """Without dropout, so that two ways to compute the same can be compared."""
    backbone = mulan_config.model.audio.backbone.model_copy(update={"dropout": 0.0})
    audio = mulan_config.model.audio.model_copy(update={"backbone": backbone})
    return changed(mulan_config, model=mulan_config.model.model_copy(update={"audio": audio}))


@pytest.fixture
def started(quiet, music, train, tmp_path) -> MulanTrainConfig:
    """Goes on from a model of seven steps."""
    folder = train(MulanStage(quiet, music), tmp_path / "first")
    return changed(quiet, model=None, start_from=f"local:{folder}", tag_weight=1.0, batch_norm="frozen")


@pytest.fixture
def augmented(mulan_config) -> MulanTrainConfig:
    """The same with every kind of augmentation."""
    text = TextAugmentation(tag_dropout=0.2, sentence_dropout=0.2, template_share=0.5)
    blanks = SpecAugment(max_frames=20, max_bands=32)
    audio = AudioAugmentation(gain_db=6.0, noise=Noise(), mixing=Mixing(), spec_augment=blanks)
    return changed(mulan_config, text=text, audio=audio)


@pytest.fixture
def make_stage(request: pytest.FixtureRequest, music) -> Callable[..., Stage]:
    """`make_stage("rvq", steps=9)`: a fresh stage, its tiny configuration changed in these keys."""

    def make(name: str, tracks: list[Track] = music, **changes: Any) -> Stage:
        match name:
            case "rvq":
                config = changed(request.getfixturevalue("rvq_config"), **changes)
                return RvqStage(config, tracks, StackedMel(config.quantizer))
            case "muq":
                return MuqStage(changed(request.getfixturevalue("muq_config"), **changes), tracks)
            case "lora":
                changes["trainable"] = TrainableConfig(audio="lora", text="lora", lora=Lora(rank=2, dropout=0.1))
        return MulanStage(changed(request.getfixturevalue("augmented"), **changes), tracks)

    return make


def changed(config: Any, **changes: Any) -> Any:
    """A configuration with other values, validated anew."""
    return type(config).model_validate({**dict(config), **changes})


@pytest.fixture(scope="session", name="changed")
def _changed() -> Callable[..., Any]:
    return changed


@pytest.fixture(scope="session")
def train() -> Callable[[Stage, Path], Path]:
    """`train(stage, out)`: fit it, showing nobody."""
    return lambda stage, out: fit(stage, out, on_step=lambda record: None)


@pytest.fixture(scope="session")
def stop_at() -> Callable[[Stage, Path, int], None]:
    """`stop_at(stage, out, step)`: fit it until the record of that step, as if the run had been ended then."""

    class Stopped(Exception):
        pass

    def run(stage: Stage, out: Path, step: int) -> None:
        def stop(record: Mapping[str, Any]) -> None:
            if record["step"] == step:
                raise Stopped

        with pytest.raises(Stopped):
            fit(stage, out, on_step=stop)

    return run


@pytest.fixture(scope="session")
def curve() -> Callable[[Path], list[dict[str, Any]]]:
    """`curve(out)`: the log of a run but for what depends on the machine's speed."""

    def read(out: Path) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [{key: record[key] for key in record.keys() - TIMING_FIELDS} for record in records]

    return read


@pytest.fixture(scope="session")
def assert_same_run(curve) -> Callable[[Path, Path], None]:
    """Two runs have the same log, checkpoint and models, bit for bit."""

    def check(found: Path, expected: Path) -> None:
        assert curve(found) == curve(expected)
        for kind in ("state", "model", "best"):
            assert (found / kind).exists() == (expected / kind).exists()
            if (expected / kind).exists():
                weights, wanted = (load_file(out / kind / "model.safetensors") for out in (found, expected))
                assert differing(weights, wanted) == []

    return check


def differing(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights that are not equal to the bit."""
    assert weights.keys() == wanted.keys()
    return [name for name in wanted if not weights[name].equal(wanted[name])]
