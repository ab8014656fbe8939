"""How sure a figure is: the percentile bootstrap over tracks, for figures that are costly to compute 1,000 times.

A resample is not an array of tracks drawn with replacement but how often each was drawn: its weights. Scores are sorted
once, and every resample is a weighted sum along that order.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1000
CONFIDENCE = 0.95
_CHUNK = 128  # resamples at once; changes memory (some chunk x n x 16 bytes), not results


def resample_weights(groups: Sequence[object], *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each of n tracks is drawn in each resample, float32 [resamples, n].

    Groups are drawn, as many as there are, and with a group all its tracks: clips of one recording are no independent
    witnesses. Equal groups and seed give equal weights, so that two models judged on them can be compared in pairs.

    Args:
        groups: what each track belongs to; tracks with equal values are drawn together.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    drawn = np.random.default_rng(seed).integers(0, len(numbers), (resamples, len(numbers)))
    counts = np.stack([np.bincount(row, minlength=len(numbers)) for row in drawn]).astype(np.float32)
    return counts[:, [numbers[group] for group in groups]]


def weighted_figures(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC-AUC and average precision of one tag in each resample, float64 [r] each; NaN where a class is not drawn.

    Equal to scikit-learn's `roc_auc_score` and `average_precision_score` with `sample_weight`.

    Args:
        scores: float [n]; in the area, equal scores count half.
        labels: bool [n], of both classes.
        weights: float32 [r, n], as from `resample_weights`: whole numbers, so that float32 sums are exact.
    """
    order = np.argsort(-scores, kind="stable")
    is_last = np.append(np.diff(scores[order]) != 0, True)  # of every group of equal scores
    group = np.cumsum(np.append(0, is_last[:-1]))
    ends = np.append(-1, np.flatnonzero(is_last))
    positive = np.flatnonzero(labels[order])
    with_hits, member = np.unique(group[positive], return_inverse=True)  # only there do the figures change

    drawn = np.ascontiguousarray(weights.T)[order]  # [n, r]: every step below runs along whole rows
    reached = np.concatenate([np.zeros((1, len(weights)), np.float32), np.cumsum(drawn, axis=0)])
    hits = np.zeros((len(with_hits), len(weights)))
    np.add.at(hits, member, drawn[positive])
    hits_reached = np.cumsum(hits, axis=0)
    found = reached[ends[with_hits + 1] + 1].astype(np.float64)
    before = reached[ends[with_hits] + 1] - (hits_reached - hits)  # negatives with a higher score
    same = found - hits_reached - before  # negatives with the same score

    positives = hits_reached[-1]
    negatives = reached[-1] - positives
    both = (positives > 0) & (negatives > 0)
    below = negatives - before - same / 2
    pairs = np.where(both, positives * negatives, np.nan)
    precision = np.divide(hits_reached, found, out=np.zeros_like(found), where=found > 0)
    return (hits * below).sum(axis=0) / pairs, (hits * precision).sum(axis=0) / np.where(both, positives, np.nan)


def per_tag(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC-AUC and average precision of every tag in every resample, float64 [r, tags] each.

    Args:
        scores: float [n, tags].
        truth: float [n, tags]: 1 has the tag, 0 has it not, NaN unknown (left out).
        weights: float [r, n].
    """
    areas = np.full((len(weights), truth.shape[1]), np.nan)
    precisions = areas.copy()
    for tag in range(truth.shape[1]):
        known = ~np.isnan(truth[:, tag])
        labels, values = truth[known, tag] == 1, scores[known, tag]
        if not labels.any() or labels.all():
            continue
        for start in range(0, len(weights), _CHUNK):
            rows = slice(start, start + _CHUNK)
            areas[rows, tag], precisions[rows, tag] = weighted_figures(values, labels, weights[rows][:, known])
    return areas, precisions


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of a figure's resamples [r]; draws in which it has no value (NaN) are left out.

    Raises:
        ValueError: it has a value in none.
    """
    valued = draws[~np.isnan(draws)]
    if not valued.size:
        raise ValueError("draws: has no number in it")
    low, high = np.quantile(valued, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def macro(draws: np.ndarray) -> np.ndarray:
    """Mean over tags [r] of per-tag draws [r, tags], over those tags that have a value in a draw."""
    counts = (~np.isnan(draws)).sum(axis=1)
    return np.divide(np.nansum(draws, axis=1), counts, out=np.full(len(draws), np.nan), where=counts > 0)
