"""Words in their musical sense, and the shipped questions about them.

Run: pytest tests/mulan/evaluation/test_text_sense.py
"""

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data import captions
from data.config import parse_config
from data.errors import ConfigError
from data.facts import TAGS
from data.instruments import INSTRUMENTS
from mulan.evaluation.text_sense import VOCABULARY, TextSense, evaluate_text_sense, read_text_sense

QUESTIONS = Path(__file__).parents[3] / "configs" / "prompts" / "text-sense.toml"


def encoder(**angles: float) -> SimpleNamespace:
    """Puts texts on a circle, at the degrees given for them ("_" stands for a space); tags without any at 180."""

    def encode_text(texts: Sequence[str]) -> np.ndarray:
        degrees = np.deg2rad([angles.get(text.replace(" ", "_"), 180) for text in texts])
        return np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)

    return SimpleNamespace(name="toy", fingerprint="0", encode_text=encode_text)


def ask(*, ambiguous: dict | None = None, phrasings: dict | None = None) -> TextSense:
    values = {
        "ambiguous": ambiguous or {"metal": {"near": ["guitars"], "far": ["bells"], "daily": ["iron"]}},
        "phrasings": phrasings or {"plain": {"unseen": False, "texts": {"sax": ["saxophone"]}}},
    }
    return parse_config(TextSense, values, where="questions.toml")


def test_an_ambiguous_word_passes_when_its_music_is_nearer_than_other_music():
    senses = {"near": ["riffs", "guitars"], "far": ["bells", "chimes"], "daily": ["iron", "tin"]}
    asked = ask(ambiguous={"metal": senses})
    # Directions: near at 20 degrees (mean of 10 and 30), far at 60, daily at 0; the word at 5.
    placed = encoder(metal=5, riffs=10, guitars=30, bells=50, chimes=70, iron=359, tin=1)
    result = evaluate_text_sense(placed, asked)
    assert result.margins["metal"].far == pytest.approx(np.cos(np.deg2rad(15)) - np.cos(np.deg2rad(55)), abs=1e-6)
    assert result.margins["metal"].daily == pytest.approx(np.cos(np.deg2rad(15)) - np.cos(np.deg2rad(5)), abs=1e-6)
    assert (result.ambiguous.passed, result.ambiguous_daily.passed) == (1, 0)


def test_a_phrasing_hits_at_1_only_where_an_expected_word_is_the_nearest():
    texts = {"tenor": ["saxophone", "solo"], "blown": ["flute"], "lost": ["tuba"]}
    asked = ask(phrasings={"toy": {"unseen": True, "texts": texts}})
    # "lost" lies on the flute; oboe, solo and saxophone come next, and the tuba is far away.
    placed = encoder(tenor=11, solo=12, saxophone=30, blown=3, oboe=4, flute=0, lost=0, tuba=170)
    result = evaluate_text_sense(placed, asked)
    assert (result.hits["all"].at_1.passed, result.hits["all"].at_3.passed, result.hits["all"].at_1.total) == (1, 2, 3)
    assert [(miss.text, miss.nearest) for miss in result.misses] == [
        ("blown", ("oboe", "flute", "solo")),
        ("lost", ("flute", "oboe", "solo")),
    ]


def test_a_word_and_its_aliases_count_as_one():
    asked = ask(phrasings={"toy": {"unseen": True, "texts": {"thump": ["drums"]}}})
    result = evaluate_text_sense(encoder(thump=0, beats=1, beat=2, drums=100, tabla=3), asked)
    assert result.hits["all"].at_1.passed == 1
    assert "beats" not in VOCABULARY
    assert "beats" in TAGS


def test_figures_are_told_by_group_and_apart_for_what_training_never_says():
    groups = {
        "a": {"unseen": False, "texts": {"x": ["piano"], "y": ["piano"]}},
        "b": {"unseen": True, "texts": {"z": ["harp"]}},
    }
    result = evaluate_text_sense(encoder(x=0, y=0, z=0, piano=0, harp=90), ask(phrasings=groups))
    shares = {name: hits.at_1.share for name, hits in result.hits.items()}
    assert shares == {"all": pytest.approx(2 / 3), "seen": 1, "unseen": 0, "a": 1, "b": 0}
    assert result.hits["all"].at_1.ci95 == (0, 1)  # two words are drawn: both may be the harp, or both the piano


@pytest.mark.parametrize(
    ("ambiguous", "phrasings", "message"),
    [
        ({"metal": {"near": ["a"], "far": ["b", "c"], "daily": ["d"]}}, None, "1, 2 and 1 phrases; need as many"),
        (
            {"metal": {"near": ["heavy metal"], "far": ["b"], "daily": ["d"]}},
            None,
            "'heavy metal' says the word itself",
        ),
        (None, {"g": {"unseen": True, "texts": {"x": ["beat"]}}}, "'x' expects 'beat'; allowed are words of"),
        (
            None,
            {name: {"unseen": True, "texts": {"x": ["piano"]}} for name in "gh"},
            "'h': 'x' stands in another group, too",
        ),
    ],
)
def test_questions_that_would_measure_something_else_are_refused(ambiguous, phrasings, message):
    with pytest.raises(ConfigError, match=message):
        ask(ambiguous=ambiguous, phrasings=phrasings)


def test_the_shipped_questions_are_as_many_as_promised():
    questions = read_text_sense(QUESTIONS)
    assert len(questions.ambiguous) >= 60
    groups = questions.phrasings.values()
    total = sum(len(group.texts) for group in groups)
    assert total >= 300
    assert 2 * sum(len(group.texts) for group in groups if group.unseen) >= total
    expected = {word for group in groups for words in group.texts.values() for word in words}
    assert expected == set(VOCABULARY)


def test_what_the_shipped_questions_call_unseen_training_never_says():
    for group in read_text_sense(QUESTIONS).phrasings.values():
        wrong = [text for text, words in group.texts.items() if is_said(text.lower(), words) == group.unseen]
        assert not wrong


def is_said(text: str, words: Sequence[str]) -> bool:
    """Whether a text holds one of the words by a name that captions use for it."""
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) for word in words for name in names_of(word))


def names_of(word: str) -> set[str]:
    played = [entry.name for entry in INSTRUMENTS.values() if word in entry.tags]
    return {name.lower() for name in (word, *captions._SYNONYMS.get(word, ()), *played)}
