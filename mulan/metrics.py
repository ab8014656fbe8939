"""Scores of ranked lists with their uncertainty."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


@dataclass(frozen=True, kw_only=True)
class TagScores:
    """How well one score ranks the tracks that have a tag above those known not to have it."""

    roc_auc: float
    pr_auc: float
    positives: int
    negatives: int


def tag_scores(scores: np.ndarray, truth: np.ndarray) -> TagScores | None:
    """ROC-AUC and average precision of one tag; None when either class is empty.

    Args:
        scores: float [n].
        truth: float [n]: 1 has the tag, 0 has it not, NaN unknown (left out).
    """
    known = ~np.isnan(truth)
    labels, values = truth[known] == 1, scores[known]
    positives = int(labels.sum())
    if positives in (0, labels.size):
        return None
    return TagScores(
        roc_auc=float(roc_auc_score(labels, values)),
        pr_auc=float(average_precision_score(labels, values)),
        positives=positives,
        negatives=int(labels.size - positives),
    )


def macro_roc_auc_interval(
    scores: np.ndarray, truth: np.ndarray, *, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile bootstrap interval, over tracks, of the macro ROC-AUC.

    Args:
        scores, truth: float [n, tags], as for `tag_scores`; at least one tag has both classes.
    """
    macros: list[float] = []
    while len(macros) < resamples:
        rows = rng.integers(0, len(scores), len(scores))
        per_tag = (tag_scores(scores[rows, tag], truth[rows, tag]) for tag in range(scores.shape[1]))
        if known := [score.roc_auc for score in per_tag if score is not None]:  # a draw may miss a class of every tag
            macros.append(float(np.mean(known)))
    low, high = np.percentile(macros, [2.5, 97.5])
    return float(low), float(high)
