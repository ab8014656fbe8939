"""Tokens and the text tower: padding, truncation, frozen backbones. Run: pytest tests/mulan/test_text_tower.py"""

from pathlib import Path

import pytest
import torch

from mulan.checkpoint import load_checkpoint
from mulan.encoder import load_encoder
from mulan.layers import masked_mean
from mulan.model import MuLan
from mulan.text_tower import TextBackboneConfig, TextTowerConfig
from mulan.tokenizer import TruncatedTextWarning


@pytest.fixture(scope="module")
def published(published_checkpoint):
    return load_checkpoint(published_checkpoint)


def test_ids_follow_tokenizer_json_and_padding_is_masked(tiny_checkpoint):
    tokenizer = load_checkpoint(tiny_checkpoint).tokenizer

    rows = tokenizer.encode(["Piano", "calm solo piano"])
    ids, mask = tokenizer.pad(rows)

    assert rows == [[2, 8, 3], [2, 4, 7, 8, 3]]
    assert ids.tolist() == [[2, 8, 3, 0, 0], [2, 4, 7, 8, 3]]
    assert mask.tolist() == [[True, True, True, False, False], [True] * 5]


def test_chinese_is_text(published, golden):
    (row,) = published.tokenizer.encode([golden.TEXTS[3]])

    assert row[0] == 0
    assert row[-1] == 2
    assert 3 not in row  # no unknown token
    assert len(row) > 8


def test_a_text_over_the_limit_is_cut_with_a_warning_and_keeps_its_closing_token(tiny_checkpoint):
    tokenizer = load_checkpoint(tiny_checkpoint).tokenizer

    with pytest.warns(TruncatedTextWarning, match="text 1: 22 tokens; the model reads 16"):
        rows = tokenizer.encode(["piano", "piano " * 20])

    assert rows[1] == [2, *[8] * 14, 3]


def test_the_warning_points_at_the_line_that_gave_the_encoder_its_texts(tiny_checkpoint):
    encoder = load_encoder(f"local:{tiny_checkpoint}", device="cpu")

    with pytest.warns(TruncatedTextWarning) as caught:
        encoder.encode_text(["piano " * 20])

    assert [Path(warning.filename).name for warning in caught] == ["test_text_tower.py"]


@pytest.mark.parametrize("blank", ["", "  ", "\n\t"])
def test_a_blank_text_is_refused_with_its_position(tiny_checkpoint, blank):
    with pytest.raises(ValueError, match="text 1: blank"):
        load_checkpoint(tiny_checkpoint).tokenizer.encode(["piano", blank])


@pytest.mark.parametrize("texts", ["piano", ["piano", None]])
def test_what_is_no_list_of_texts_is_refused(tiny_checkpoint, texts):
    with pytest.raises(TypeError, match="found"):
        load_checkpoint(tiny_checkpoint).tokenizer.encode(texts)


def test_masked_mean_by_hand():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])

    assert masked_mean(states, mask).tolist() == [[2.0, 3.0]]


def test_a_text_vector_does_not_depend_on_its_batch(published, golden):
    tokenizer, model = published.tokenizer, published.model

    with torch.inference_mode():
        together = model.text_latents(*tokenizer.pad(tokenizer.encode(golden.TEXTS)))
        alone = torch.cat([model.text_latents(*tokenizer.pad(tokenizer.encode([text]))) for text in golden.TEXTS])

    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)  # float32 sums of another width


@pytest.mark.parametrize(
    ("model_type", "pad", "limit"), [("bert", 0, 512), ("xlm-roberta", 1, 510)], ids=["bert", "xlm-roberta"]
)
def test_the_limit_is_that_of_the_position_table(tiny_config, model_type, pad, limit):
    config = tiny_config.text.backbone.model_copy(
        update={"model_type": model_type, "pad_token_id": pad, "max_position_embeddings": 512}
    )

    assert config.max_tokens == limit


def test_an_unknown_text_model_is_refused(tiny_config):
    fields = tiny_config.text.backbone.to_transformers() | {"model_type": "gpt2"}

    with pytest.raises(ValueError, match="'bert' or 'xlm-roberta'"):
        TextBackboneConfig.from_transformers(fields)


def test_an_external_backbone_never_trains(tiny_config, external_backbone):
    text = TextTowerConfig(backbone=external_backbone, dim=16, depth=1, heads=2, head_dim=8)
    with torch.random.fork_rng(devices=[]):
        tower = MuLan(tiny_config.model_copy(update={"text": text})).train().text
    ids = torch.tensor([[2, 8, 3]])

    tower(ids, torch.ones_like(ids, dtype=torch.bool)).sum().backward()

    assert tower.layers.training
    assert not any(module.training for module in tower.backbone.modules())
    learning = {name.split(".")[0] for name, weight in tower.named_parameters() if weight.grad is not None}
    assert learning == {"project", "layers"}
