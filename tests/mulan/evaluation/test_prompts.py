"""Labels as texts, and ensembles of texts as vectors. Run: pytest tests/mulan/evaluation/test_prompts.py."""

import numpy as np
import pytest

from data.errors import ConfigError
from mulan.evaluation.prompts import BARE, PromptSet, label_vectors, read_prompts

NEARLY = 1e-6


def at(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_a_bare_label_is_said_as_itself(toy_encoder):
    assert BARE["bare"].said("piano") == ("piano",)
    assert label_vectors(toy_encoder, ["30", "60"], BARE["bare"]) == pytest.approx(at(30, 60), abs=NEARLY)


def test_an_ensemble_is_the_direction_of_the_mean(toy_encoder):
    prompts = PromptSet(templates=("{}", "90 or {}"))  # the toy encoder reads the first number
    assert label_vectors(toy_encoder, ["30"], prompts) == pytest.approx(at(60), abs=NEARLY)


def test_a_label_may_have_texts_of_its_own(toy_encoder):
    prompts = PromptSet(texts={"voice": ("10", "20", "30")})
    assert label_vectors(toy_encoder, ["50", "voice"], prompts) == pytest.approx(at(50, 20), abs=NEARLY)


def test_in_the_padded_batch_each_template_is_one_batch(tones):
    seen = []
    tones._towers.embed_texts = lambda texts, *, regime: seen.append((texts, regime)) or at(*[0] * len(texts))
    label_vectors(tones, ["a", "b"], PromptSet(templates=("{}", "{} music")), regime="padded-batch")
    assert seen == [(["a", "b"], "padded-batch"), (["a music", "b music"], "padded-batch")]


def test_a_file_keeps_its_order(tmp_path):
    path = tmp_path / "prompts.toml"
    path.write_text('[prompts.song]\ntemplates = ["a {} song"]\n[prompts.bare]\n')
    assert list(read_prompts(path)) == ["song", "bare"]
    assert read_prompts(path)["song"].said("sad") == ("a sad song",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[prompts.a]\ntemplates = ["music"]\n', r"prompts\.a\.templates: found 'music'; need exactly one \{\}"),
        ('[prompts.a]\ntemplates = ["{} {}"]\n', r"need exactly one \{\}"),
        ("[prompts.a]\ntemplates = []\n", "at least 1 item"),
        ("[prompts.a]\ntexts = {rock = []}\n", r"'rock' is said as \[\]"),
        ("[prompts.a]\ntemplate = []\n", "unknown key 'prompts.a.template'; did you mean 'templates'"),
        ("", "key 'prompts' is missing"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path, text, message):
    path = tmp_path / "prompts.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_prompts(path)
