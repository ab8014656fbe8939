"""Whether words mean in a model what they mean in music, by its text tower alone: no audio is involved.

Two lists in one TOML file, configs/prompts/text-sense.toml. `[ambiguous]` holds words that mean something else in daily
English: "metal", "house", "country". `[phrasings]` holds what people type, and which words of the model's vocabulary it
should land next to: "lookin for a sax solo" next to "saxophone" or "solo". The vocabulary is the composer's,
`data.facts.TAGS`: of these words it is known that training says them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from data.config import StrictModel, read_config
from data.facts import ALIASES, TAGS
from mulan.encoding import Encoder
from mulan.evaluation.bootstrap import interval, resample_weights

VOCABULARY = tuple(tag for tag in TAGS if tag not in ALIASES)
"""The words that phrasings are told apart by; a word and its aliases count as one, by whichever is nearer."""

_SHOWN = 3
Texts = Annotated[tuple[str, ...], Field(min_length=1)]


class Senses(StrictModel):
    """What is said of an ambiguous word without saying it; equally many phrases each, so that no side has it easier.

    Attributes:
        near: music that the word means.
        far: other music, which the daily sense of the word would prefer: steel drums and bells for "metal".
        daily: the daily sense itself, no music at all.
    """

    near: Texts
    far: Texts
    daily: Texts

    @model_validator(mode="after")
    def _are_equally_many(self) -> Self:
        counts = len(self.near), len(self.far), len(self.daily)
        if len(set(counts)) > 1:
            raise ValueError(f"near, far and daily have {counts[0]}, {counts[1]} and {counts[2]} phrases; need as many")
        return self


class Phrasings(StrictModel):
    """A group of phrasings with the words that each may land next to.

    `unseen`: the phrasing holds none of these words by a name that our captions use, so only sense can help. (Slips
    of the finger drawn in training may chance upon one of the misspelled ones.)
    """

    unseen: bool
    texts: Annotated[Mapping[str, Texts], Field(min_length=1)]

    @field_validator("texts")
    @classmethod
    def _expect_known_words(cls, texts: Mapping[str, Texts]) -> Mapping[str, Texts]:
        for text, expected in texts.items():
            if unknown := [word for word in expected if word not in VOCABULARY]:
                raise ValueError(f"{text!r} expects {unknown[0]!r}; allowed are words of data.facts.TAGS, no aliases")
        return texts


class TextSense(StrictModel):
    """The questions: ambiguous words by name, and phrasings by group."""

    ambiguous: Annotated[Mapping[str, Senses], Field(min_length=1)]
    phrasings: Annotated[Mapping[str, Phrasings], Field(min_length=1)]

    @field_validator("ambiguous")
    @classmethod
    def _do_not_say_the_word(cls, ambiguous: Mapping[str, Senses]) -> Mapping[str, Senses]:
        for word, senses in ambiguous.items():
            for phrase in chain(senses.near, senses.far, senses.daily):
                if re.search(rf"\b{re.escape(word)}\b", phrase):
                    raise ValueError(f"{word!r}: {phrase!r} says the word itself, so spelling would decide; reword it")
        return ambiguous

    @field_validator("phrasings")
    @classmethod
    def _are_asked_once(cls, phrasings: Mapping[str, Phrasings]) -> Mapping[str, Phrasings]:
        asked: set[str] = set()
        for name, group in phrasings.items():
            if repeated := asked & group.texts.keys():
                raise ValueError(f"{name!r}: {min(repeated)!r} stands in another group, too; keep one of them")
            asked |= group.texts.keys()
        return phrasings


def read_text_sense(path: Path) -> TextSense:
    """The questions of a file, in its order.

    Raises:
        ConfigError: the file is missing, no TOML, or holds a wrong key or value.
    """
    return read_config(TextSense, path)


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of `total` passed, as a share, with its 95 % bootstrap interval."""

    passed: int
    total: int
    share: float
    ci95: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class WordMargins:
    """By how much a word's cosine to its music is above that to the other side; it passes above 0."""

    far: float
    daily: float


@dataclass(frozen=True, kw_only=True)
class Hits:
    """How often an expected word was the nearest of the vocabulary, and among the nearest three."""

    at_1: Share
    at_3: Share


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A phrasing whose nearest word is none of the expected, and the three nearest."""

    text: str
    group: str
    expected: tuple[str, ...]
    nearest: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TextSenseResult:
    """What the text tower made of the questions.

    Attributes:
        ambiguous: words nearer to their music than to the music that their daily sense prefers. This is the figure.
        ambiguous_daily: words nearer to their music than to their daily sense.
        margins: of each ambiguous word.
        hits: of all phrasings, of the seen, of the unseen and of each group.
        misses: phrasings without a hit at 1.
        vocabulary: how many words a phrasing is told apart by.
    """

    model: str
    fingerprint: str
    ambiguous: Share
    ambiguous_daily: Share
    margins: Mapping[str, WordMargins]
    hits: Mapping[str, Hits]
    misses: tuple[Miss, ...]
    vocabulary: int = len(VOCABULARY)


def evaluate_text_sense(encoder: Encoder, questions: TextSense) -> TextSenseResult:
    """Ask a text tower all questions; each text is embedded alone.

    An ambiguous word passes when its cosine to the direction of the mean of `near` is above that to the direction of
    the mean of `far`. The far side is music, for that is where a wrong sense does harm: there lies no audio beside
    "iron and steel", but a search for "metal" that finds steel drums has failed. A text tower that knows only music
    need not know where daily phrases belong; how it fares against those is told beside it. Both sides are made alike,
    so guessing passes half. A phrasing passes when an expected word is the nearest of `VOCABULARY`.

    Intervals are drawn over words: phrasings that expect the same word first are no independent witnesses.
    """
    margins = _margins(encoder, questions.ambiguous)
    words = list(margins)
    asked = [
        (name, text, expected) for name, group in questions.phrasings.items() for text, expected in group.texts.items()
    ]
    ranked = _ranked(encoder, [text for _, text, _ in asked])
    places = np.array(
        [min(nearest.index(word) for word in expected) for nearest, (*_, expected) in zip(ranked, asked, strict=True)]
    )
    heads = [expected[0] for *_, expected in asked]
    return TextSenseResult(
        model=encoder.name,
        fingerprint=encoder.fingerprint,
        ambiguous=_share([margin.far > 0 for margin in margins.values()], words),
        ambiguous_daily=_share([margin.daily > 0 for margin in margins.values()], words),
        margins=margins,
        hits={name: _hits(places, heads, rows) for name, rows in _parts(questions, [name for name, *_ in asked])},
        misses=tuple(
            Miss(text=text, group=name, expected=expected, nearest=tuple(nearest[:_SHOWN]))
            for (name, text, expected), nearest, place in zip(asked, ranked, places, strict=True)
            if place
        ),
    )


def _margins(encoder: Encoder, ambiguous: Mapping[str, Senses]) -> dict[str, WordMargins]:
    margins = {}
    for word, senses in ambiguous.items():
        own = encoder.encode_text([word])[0]
        near, far, daily = (
            float(own @ _direction(encoder.encode_text(list(phrases))))
            for phrases in (senses.near, senses.far, senses.daily)
        )
        margins[word] = WordMargins(far=near - far, daily=near - daily)
    return margins


def _direction(vectors: np.ndarray) -> np.ndarray:
    """Of the mean of [n, dim]."""
    mean = vectors.mean(axis=0)
    direction: np.ndarray = mean / np.linalg.norm(mean)
    return direction


def _ranked(encoder: Encoder, texts: Sequence[str]) -> list[list[str]]:
    """The words of the vocabulary from the nearest to the farthest, for each text."""
    scores = encoder.encode_text(texts) @ encoder.encode_text(TAGS).T  # [texts, tags]
    names = [ALIASES.get(tag, tag) for tag in TAGS]
    orders = np.argsort(-scores, axis=1, kind="stable")
    return [list(dict.fromkeys(names[column] for column in order)) for order in orders]


def _parts(questions: TextSense, names: Sequence[str]) -> Iterable[tuple[str, np.ndarray]]:
    """Names of parts and the rows of their phrasings; a part without any is left out."""
    unseen = np.array([questions.phrasings[name].unseen for name in names])
    masks = {"all": np.full(len(names), True), "seen": ~unseen, "unseen": unseen}
    masks |= {name: np.array(names) == name for name in questions.phrasings}
    return ((name, np.flatnonzero(mask)) for name, mask in masks.items() if mask.any())


def _hits(places: np.ndarray, heads: Sequence[str], rows: np.ndarray) -> Hits:
    groups = [heads[row] for row in rows]
    return Hits(at_1=_share(places[rows] == 0, groups), at_3=_share(places[rows] < _SHOWN, groups))


def _share(passed: Sequence[bool] | np.ndarray, groups: Sequence[str]) -> Share:
    values = np.asarray(passed, np.float64)
    weights = resample_weights(groups)
    draws = weights @ values / weights.sum(axis=1)
    return Share(passed=int(values.sum()), total=len(values), share=float(values.mean()), ci95=interval(draws))
