"""Which texts of a batch are false of which of its clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True)
class PairLabels:
    """What decides it: the tags of a clip's track, those that are absent from it, and those that its text claims."""

    track_id: str
    tags: tuple[str, ...]
    absent: tuple[str, ...]
    claims: tuple[str, ...] = ()


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


def _rows(tags: Sequence[Sequence[str]], column: dict[str, int]) -> torch.Tensor:
    """float32 [b, v]: one where a row has the tag of the column."""
    rows = np.zeros((len(tags), len(column) + 1), np.float32)  # the last column is for tags that no text claims
    columns = [column.get(tag, len(column)) for given in tags for tag in given]
    rows[np.repeat(np.arange(len(tags)), [len(given) for given in tags]), columns] = 1
    return torch.from_numpy(rows[:, :-1])
