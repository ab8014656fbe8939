"""Small models for the tests of this folder: one in our layout, one in the published layout, one text backbone."""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel

from mulan.audio_tower import AudioTowerConfig
from mulan.checkpoint import save_checkpoint
from mulan.model import MuLan, MuLanConfig
from mulan.muq import MuQConfig
from mulan.text_tower import ExternalWeights, TextBackboneConfig, TextTowerConfig
from mulan.tokenizer import TextTokenizer

GOLDEN = Path(__file__).parent.parent / "golden"
WORDS = ["calm", "fast", "slow", "solo", "piano", "guitar", "drums", "violin", "opera", "techno", "sad", "happy"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models this small are slower on many threads, and rounding no longer depends on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> ModuleType:
    """make_golden.py: the rule that makes the weights, the waveforms and the texts of the official answers."""
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def answers() -> dict[str, np.ndarray]:
    """What the official package answered."""
    with np.load(GOLDEN / "muq_mulan.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def published_weights(golden: ModuleType, answers: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Every weight of the official package's state dict, the dead ones too, by its published name."""
    shapes = json.loads(str(answers["shapes"]))
    return {name: torch.from_numpy(np.array(golden.weight(name, tuple(shape)))) for name, shape in shapes.items()}


@pytest.fixture
def write_published(
    golden: ModuleType, published_weights: dict[str, torch.Tensor]
) -> Callable[[Path], dict[str, torch.Tensor]]:
    """A function that writes a model in the published layout and gives its weights."""

    def write(folder: Path) -> dict[str, torch.Tensor]:
        _write_published(folder, golden, published_weights)
        return dict(published_weights)

    return write


@pytest.fixture(scope="session")
def published_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, golden: ModuleType, published_weights: dict[str, torch.Tensor]
) -> Path:
    """A folder in the published layout, with windows of 10 s and 16-wide vectors; its answers are in `answers`."""
    return _write_published(tmp_path_factory.mktemp("published"), golden, published_weights)


@pytest.fixture(scope="session")
def tiny_config() -> MuLanConfig:
    """Two towers of width 16 over windows of 1 s."""
    return MuLanConfig(
        audio=AudioTowerConfig(
            backbone=MuQConfig(conv_dim=4, dim=16, depth=1, heads=2, ffn_dim=32, dropout=0.0), dim=16
        ),
        text=TextTowerConfig(backbone=_tiny_bert(), dim=16, depth=1, heads=2, head_dim=8),
        latent_dim=12,
        clip_seconds=1.0,
    )


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_config: MuLanConfig) -> Path:
    """A folder in our layout with random weights: windows of 1 s, 12-wide vectors, a vocabulary of a few words."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = TextTokenizer(_tiny_tokenizer(), max_tokens=tiny_config.text.backbone.max_tokens, pad_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MuLan(tiny_config)
    save_checkpoint(folder, model, tokenizer, name="tiny", licence="Apache-2.0")
    return folder


@pytest.fixture
def external_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextBackboneConfig:
    """A text backbone whose weights lie in an importable package, as MiniLM's do."""
    folder = tmp_path / "packages" / "tiny_text_package" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent.parent)
    config = _tiny_bert()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        backbone = AutoModel.from_config(AutoConfig.for_model(**config.to_transformers()))
    save_file(backbone.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_transformers()))
    (folder / "tokenizer.json").write_text(_tiny_tokenizer())
    external = ExternalWeights(
        package="tiny_text_package/model",
        hub="nobody/nothing",
        revision="main",
        sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )
    return config.model_copy(update={"external": external})


def _tiny_bert() -> TextBackboneConfig:
    return TextBackboneConfig(
        model_type="bert",
        vocab_size=32,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        type_vocab_size=2,
        pad_token_id=0,
    )


def _tiny_tokenizer() -> str:
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=8)  # as in MiniLM's tokenizer.json; ours must not obey it
    tokenizer.enable_truncation(6)
    return tokenizer.to_str()


def _write_published(folder: Path, golden: ModuleType, weights: dict[str, torch.Tensor]) -> Path:
    for name, config in (("muq", golden.MUQ), ("xlm-roberta", golden.XLM_ROBERTA)):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "xlm-roberta" / "tokenizer.json").write_bytes((GOLDEN / "tokenizer.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(golden.mulan_config("muq", "xlm-roberta")))
    torch.save(weights, folder / "pytorch_model.bin")
    return folder
