"""Whether a text tower tells texts apart at all: one that maps every text to nearly the same vector ranks by chance."""

import warnings
from dataclasses import dataclass

import numpy as np

from mulan.encoding import Encoder

TEXTS = (
    "solo piano, slow and quiet",
    "heavy metal with screaming guitars",
    "a string quartet",
    "techno with a hard kick drum",
    "a children's choir",
    "reggae",
    "bagpipes",
    "an acoustic folk song with a female voice",
    "bebop on tenor saxophone",
    "ambient drone without any beat",
    "salsa for dancing",
    "a rapper over a boom bap beat",
    "opera aria",
    "country fiddle",
    "sitar and tabla",
    "a military brass band",
    "drum and bass",
    "a lullaby",
    "blues on slide guitar",
    "music from an old video game",
    "organ music in a church",
    "flamenco",
    "disco",
    "a tense horror film score",
)
"""Texts that mean unlike things in music."""

ALLOWED = 0.95
"""The mean cosine between unlike texts up to which a text tower counts as healthy.

Two unit vectors at this cosine still differ by 0.32 in length, so a ranking has something to go by; at 0.999, which
was reported of laion/larger_clap_music for any two texts, they differ by 0.04. Text towers that work lie far below:
mulan-mini at 0.22, all-MiniLM-L6-v2 at 0.23. Untrained ones may lie above it, and rightly so.
"""


class TextCollapseWarning(UserWarning):
    """All texts have nearly the same vector, so scores against them say little."""


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """How alike the vectors of unlike texts are, and how alike they may be."""

    mean_cosine: float
    allowed: float
    texts: int

    @property
    def is_collapsed(self) -> bool:
        """True where texts are too alike, or their vectors are not numbers."""
        return not self.mean_cosine <= self.allowed


def text_collapse(encoder: Encoder) -> Collapse:
    """Measure the mean cosine over all pairs of `TEXTS`."""
    vectors = encoder.encode_text(TEXTS).astype(np.float64)
    above = np.triu_indices(len(TEXTS), k=1)
    return Collapse(mean_cosine=float((vectors @ vectors.T)[above].mean()), allowed=ALLOWED, texts=len(TEXTS))


def warn_if_collapsed(encoder: Encoder) -> Collapse:
    """Measure as `text_collapse` does.

    Warns:
        TextCollapseWarning: the texts are more alike than is allowed.
    """
    found = text_collapse(encoder)
    if found.is_collapsed:
        warnings.warn(
            f"{encoder.name}: the mean cosine between {found.texts} unlike texts is {found.mean_cosine:.3f}, above"
            f" {found.allowed}; its text tower has collapsed, so scores against texts say little; try other weights",
            TextCollapseWarning,
            stacklevel=2,
        )
    return found
