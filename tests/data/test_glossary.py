"""data/glossary.py, and what configs/prompts/glossary.toml says. Alone: pytest tests/data/test_glossary.py"""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from data.config import read_config, read_toml
from data.errors import ConfigError
from data.facts import ALIASES, TAGS
from data.glossary import UNSAID, Glossary
from data.pseudo_tags import WORDS
from mulan.musicnn import MSD_TAGS

PROMPTS = Path(__file__).parents[2] / "configs/prompts"
OPPOSITES = ({"drums", "no drums"}, {"slow", "fast"}, {"quiet", "loud"}, {"happy", "sad"}, {"choir", "no vocals"})

RHODES = {"say": ["rhodes", "suitcase piano"], "near": {"electric piano": 2, "soul": 1}, "far": ["violin"]}
IVORIES = {"say": ["ivories"], "near": {"piano": 2}}


@pytest.fixture
def glossary() -> Glossary:
    return Glossary.model_validate({"entry": [RHODES, IVORIES]})


@pytest.fixture(scope="module")
def shipped() -> Glossary:
    return read_config(Glossary, PROMPTS / "glossary.toml")


def test_a_phrase_scores_what_it_means_what_it_denies_and_what_it_leaves_unsaid(glossary):
    words = ("electric piano", "soul", "tuba", "violin")

    said, scores = glossary.draw(words, np.random.default_rng(0), phrases=1)

    assert said[0] in RHODES["say"]
    assert scores.tolist() == [[2.0, 1.0, UNSAID, -math.inf]]


def test_only_phrases_that_mean_one_of_the_words_are_drawn(glossary):
    assert glossary.draw(("piano",), np.random.default_rng(0), phrases=8)[0] == ("ivories",)

    said, scores = glossary.draw(("tuba", "violin"), np.random.default_rng(0), phrases=8)  # denied is not meant
    assert said == ()
    assert scores.shape == (0, 2)


def test_an_entry_is_drawn_once_and_the_seed_decides_which_of_its_phrases(glossary):
    draws = [glossary.draw(("piano", "soul"), np.random.default_rng(seed), phrases=8)[0] for seed in (*range(20), 0)]

    assert all(len(said) == 2 for said in draws)
    assert draws[0] == draws[-1]
    assert {phrase for said in draws for phrase in said} == {"rhodes", "suitcase piano", "ivories"}


def test_an_entry_without_a_meaning_is_refused(tmp_path):
    path = tmp_path / "glossary.toml"
    path.write_text('[[entry]]\nsay = ["ivories"]\nnear = {}\n')

    with pytest.raises(ConfigError, match=r"glossary\.toml: entry\.0\.near = \{\}"):
        read_config(Glossary, path)


def test_the_shipped_glossary_means_words_that_are_trained(shipped):
    vocabulary = (set(TAGS) - set(ALIASES)) | {WORDS.get(tag, tag) for tag in MSD_TAGS}
    for entry in shipped.entry:
        assert {*entry.near, *entry.far} <= vocabulary, entry.say
        assert not set(entry.near) & set(entry.far), entry.say
        assert not any(pair <= set(entry.near) for pair in OPPOSITES), entry.say
        assert set(entry.near.values()) <= {1, 2}, entry.say


def test_no_phrase_of_the_shipped_glossary_stands_twice_or_in_the_exam(shipped):
    phrases = [phrase.casefold() for entry in shipped.entry for phrase in entry.say]
    assert len(phrases) > 3_400
    assert len(phrases) == len(set(phrases))

    exam = read_toml(PROMPTS / "text-sense.toml")
    asked = [text for word in exam["ambiguous"].values() for side in ("near", "far", "daily") for text in word[side]]
    asked += [text for kind in exam["phrasings"].values() if kind["unseen"] for text in kind["texts"]]
    assert len(asked) > 500
    assert not set(map(_plain, asked)) & set(map(_plain, phrases))


def _plain(phrase: str) -> str:
    return " ".join(re.findall(r"\w+", phrase.casefold()))
