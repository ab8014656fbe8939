"""What is true and false of the clips of a batch: of the texts beside them, and of single words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

STATED = 2.0
"""What a stated tag counts where pseudo-labels give a score, and the most that those count: facts outrank opinions."""


@dataclass(frozen=True, kw_only=True)
class PairLabels:
    """What decides it: the tags of a clip's track, those that are absent from it, and those that its text claims.

    Attributes:
        scores: pseudo-labels of the track, see `data.manifest.Track`.
    """

    track_id: str
    tags: tuple[str, ...]
    absent: tuple[str, ...]
    claims: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    def score(self, word: str) -> float:
        """How true a word is, in standard deviations: -inf if it is false, NaN if that is not known."""
        if word in self.scores:
            return min(self.scores[word], STATED)
        if word in self.tags:
            return STATED
        if self.absent:
            return -math.inf if word in self.absent else math.nan
        return -math.inf if self.tags else math.nan


def true_negatives(labels: Sequence[PairLabels]) -> torch.Tensor:
    """bool [b, b]: true where text j is a negative of clip i, because it claims something that is false of it.

    Without this, "piano" beside three other piano pieces would be pushed away from all three. What is false of a
    track follows `data.manifest.Track.has`. Where nothing can be checked, because the text claims nothing or no tag of
    the clip is known, texts of other tracks are taken for negatives, as contrastive learning without tags does. Rows of
    the same track never are negatives of each other.
    """
    column: dict[str, int] = {}
    for label in labels:
        for tag in label.claims:
            column.setdefault(tag, len(column))
    claims = _rows([label.claims for label in labels], column)
    tags = _rows([label.tags for label in labels], column)
    absent = _rows([label.absent for label in labels], column)
    lists_absent = torch.tensor([bool(label.absent) for label in labels], dtype=torch.bool)
    is_known = lists_absent | torch.tensor([bool(label.tags) for label in labels], dtype=torch.bool)
    # [b, v]: what is false of each clip
    false = torch.where(lists_absent[:, None], absent, 1 - tags)
    contradicted = (false @ claims.T) > 0
    can_be_checked = is_known[:, None] & (claims.sum(dim=1) > 0)[None, :]
    numbers = {label.track_id: number for number, label in enumerate(labels)}
    track = torch.tensor([numbers[label.track_id] for label in labels])
    return (contradicted | ~can_be_checked) & (track[:, None] != track[None, :])


def word_scores(labels: Sequence[PairLabels]) -> tuple[tuple[str, ...], torch.Tensor]:
    """The words that are tags of any of the clips, in alphabetical order, and how true each is of each clip.

    Returns:
        w words, and float32 [b, w] of `PairLabels.score`.
    """
    words = tuple(sorted({word for label in labels for word in label.tags}))
    rows = [[label.score(word) for word in words] for label in labels]
    return words, torch.tensor(rows, dtype=torch.float32).reshape(len(labels), len(words))


def _rows(tags: Sequence[Sequence[str]], column: dict[str, int]) -> torch.Tensor:
    """float32 [b, v]: one where a row has the tag of the column."""
    rows = np.zeros((len(tags), len(column) + 1), np.float32)  # the last column is for tags that no text claims
    columns = [column.get(tag, len(column)) for given in tags for tag in given]
    rows[np.repeat(np.arange(len(tags)), [len(given) for given in tags]), columns] = 1
    return torch.from_numpy(rows[:, :-1])
