"""What a label is said as: prompts decide a zero-shot score as much as some models do, so they are data, in a file."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from data.config import StrictModel, read_config
from mulan.encoding import Encoder, TextRegime


class PromptSet(StrictModel):
    """How labels become texts. With several texts, a label's vector is the direction of the mean of their vectors.

    Attributes:
        templates: each with one `{}`, in whose place the label stands.
        texts: whole texts for single labels, instead of the templates.
    """

    templates: tuple[str, ...] = Field(default=("{}",), min_length=1)
    texts: Mapping[str, tuple[str, ...]] = {}

    @field_validator("templates")
    @classmethod
    def _have_one_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1 or template.replace("{}", "").count("{"):
                raise ValueError(f"found {template!r}; need exactly one {{}}, where the label stands")
        return templates

    @field_validator("texts")
    @classmethod
    def _are_not_blank(cls, texts: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        for label, said in texts.items():
            if not said or not all(text.strip() for text in said):
                raise ValueError(f"{label!r} is said as {list(said)}; need at least one text, none of them blank")
        return texts

    def said(self, label: str) -> tuple[str, ...]:
        """The texts of a label."""
        return self.texts.get(label) or tuple(template.replace("{}", label) for template in self.templates)

    def warn_of_unknown(self, labels: Sequence[str], *, name: str) -> None:
        """Warn of texts for what is no label of a set: one that is misspelt would silently be said by the templates."""
        unknown = sorted(self.texts.keys() - set(labels))
        if unknown:
            listed = ", ".join(map(repr, unknown))
            warnings.warn(f"prompts {name!r}: {listed}: no label of this set, so its texts are not used", stacklevel=3)


class PromptFile(StrictModel):
    """A TOML file of named prompt sets, `[prompts.NAME]`; the first is the one that is reported."""

    prompts: Mapping[str, PromptSet] = Field(min_length=1)


BARE: Mapping[str, PromptSet] = {"bare": PromptSet()}
"""The label itself and nothing else: the convention behind published zero-shot figures."""


def read_prompts(path: Path) -> Mapping[str, PromptSet]:
    """The prompt sets of a file, in its order.

    Raises:
        ConfigError: the file is missing, no TOML, or holds a wrong key or template.
    """
    return read_config(PromptFile, path).prompts


def label_vectors(
    encoder: Encoder, labels: Sequence[str], prompts: PromptSet, *, regime: TextRegime = "alone"
) -> np.ndarray:
    """One vector of unit length for each label, float32 [n, dim].

    In the regime "padded-batch", a batch is what one template makes of all labels.
    """
    sums = np.zeros((len(labels), encoder.dim), np.float64)
    for texts in zip_longest(*(prompts.said(label) for label in labels)):
        rows = [row for row, text in enumerate(texts) if text is not None]
        sums[rows] += encoder.encode_text([texts[row] for row in rows], regime=regime)
    vectors: np.ndarray = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return vectors
