"""How people name music: phrases, and the words of the corpus that each of them means."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, PositiveFloat

from data.config import StrictModel

UNSAID = -2.0
"""What a word counts that an entry leaves unsaid: hardly meant, but not denied."""

Text = Annotated[str, Field(min_length=1)]


class Entry(StrictModel):
    """Some phrases of one meaning.

    Attributes:
        say: the phrases.
        near: the words that they mean, and how much: 2 nearly the same, 1 related.
        far: words that they do not mean.
    """

    say: Annotated[tuple[Text, ...], Field(min_length=1)]
    near: Annotated[dict[Text, PositiveFloat], Field(min_length=1)]
    far: tuple[Text, ...] = ()

    def score(self, word: str) -> float:
        """How much the phrases mean a word, in the units of `data.negatives.PairLabels.score`."""
        return -np.inf if word in self.far else self.near.get(word, UNSAID)


class Glossary(StrictModel):
    """All entries; `configs/prompts/glossary.toml` is one."""

    entry: Annotated[tuple[Entry, ...], Field(min_length=1)]

    def draw(
        self, words: Sequence[str], rng: np.random.Generator, *, phrases: int
    ) -> tuple[tuple[str, ...], torch.Tensor]:
        """Draw phrases that mean at least one of some words.

        Returns:
            one phrase each of up to `phrases` different entries, and float32 [p, w]: how much each means each word.
        """
        known = set(words)
        able = [entry for entry in self.entry if known & entry.near.keys()]
        drawn = [able[i] for i in rng.permutation(len(able))[:phrases]]
        said = tuple(entry.say[rng.integers(len(entry.say))] for entry in drawn)
        scores = [[entry.score(word) for word in words] for entry in drawn]
        return said, torch.tensor(scores, dtype=torch.float32).reshape(len(drawn), len(words))
