"""Scores of ranked lists."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

_DEPTH = 10  # of the ranking that mean average precision looks at


@dataclass(frozen=True, kw_only=True)
class TagScores:
    """How well one score ranks the tracks that have a tag above those known not to have it."""

    roc_auc: float
    pr_auc: float
    positives: int
    negatives: int


@dataclass(frozen=True, kw_only=True)
class RetrievalScores:
    """How early a query meets what is relevant to it, averaged over queries.

    Attributes:
        r_at_1, r_at_5, r_at_10: share of queries with at least one relevant item among the first k.
        map_at_10: mean of the average precision within the first ten, whose best value is 1 also for a query with
            more than ten relevant items.
        mrr: mean of 1 / rank of a query's first relevant item.
        median_rank: of that rank; 1 is best.
        queries: their number.
    """

    r_at_1: float
    r_at_5: float
    r_at_10: float
    map_at_10: float
    mrr: float
    median_rank: float
    queries: int


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


def retrieval_scores(
    queries: np.ndarray, items: np.ndarray, *, relevant: np.ndarray, chunk: int = 256
) -> RetrievalScores:
    """Rank all items for each query by dot product and score where the relevant ones come out.

    Ties are pessimistic: an irrelevant item with the same score stands in front of a relevant one, so that a model that
    gives everything one vector scores as the worst ranking, not as the best.

    Args:
        queries: float32 [q, d].
        items: float32 [n, d].
        relevant: bool [q, n], at least one in each row; for captions of tracks, `owner[:, None] == tracks`.
        chunk: queries ranked at once; changes memory (some chunk x n x 4 bytes), not results.

    Raises:
        ValueError: shapes do not fit, a query has no relevant item, or a vector is not finite (no rank is then true).
    """
    return summary_of(retrieval_per_query(queries, items, relevant=relevant, chunk=chunk))


def retrieval_per_query(
    queries: np.ndarray, items: np.ndarray, *, relevant: np.ndarray, chunk: int = 256
) -> dict[str, np.ndarray]:
    """What `retrieval_scores` averages: for each query, float64 [q], `r_at_1` … `mrr`, and `rank`.

    Arguments and errors as for `retrieval_scores`; `rank` is that of the first relevant item.
    """
    _check_retrieval(queries, items, relevant)
    ranks = np.concatenate(
        [
            _ranks_of_relevant(queries[start : start + chunk] @ items.T, relevant[start : start + chunk])
            for start in range(0, len(queries), chunk)
        ]
    )  # [q, 10]
    first = ranks[:, 0]
    precisions = np.where(ranks <= _DEPTH, np.arange(1, _DEPTH + 1) / ranks, 0.0)
    hits = {f"r_at_{depth}": (first <= depth).astype(np.float64) for depth in (1, 5, 10)}
    return {
        **hits,
        "map_at_10": precisions.sum(axis=1) / np.minimum(relevant.sum(axis=1), _DEPTH),
        "mrr": 1 / first,
        "rank": first,
    }


def summary_of(per_query: Mapping[str, np.ndarray]) -> RetrievalScores:
    """Means over queries, and the median rank, of what `retrieval_per_query` gives."""
    means = {name: float(values.mean()) for name, values in per_query.items() if name != "rank"}
    return RetrievalScores(**means, median_rank=float(np.median(per_query["rank"])), queries=len(per_query["rank"]))


def _check_retrieval(queries: np.ndarray, items: np.ndarray, relevant: np.ndarray) -> None:
    if queries.shape[1:] != items.shape[1:] or relevant.shape != (len(queries), len(items)) or not len(queries):
        raise ValueError(
            f"queries {queries.shape}, items {items.shape}, relevant {relevant.shape}: must be [q, d], [n, d], [q, n]"
            " with q > 0"
        )
    if lonely := int((~relevant.any(axis=1)).sum()):
        raise ValueError(f"relevant: {lonely} of {len(queries)} queries have no relevant item; leave them out")
    if not (np.isfinite(queries).all() and np.isfinite(items).all()):
        raise ValueError("queries, items: hold numbers that are not finite; the model has diverged")


def _ranks_of_relevant(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Ranks from 1, float64 [q, 10], of each query's best ten relevant items, best first; infinite if it has fewer."""
    good = np.full((len(scores), max(_DEPTH, scores.shape[1])), -np.inf, scores.dtype)
    good[:, : scores.shape[1]] = np.where(relevant, scores, -np.inf)
    best = -np.sort(-np.partition(good, -_DEPTH, axis=1)[:, -_DEPTH:], axis=1)  # [q, 10]
    bad = np.where(relevant, -np.inf, scores)
    in_front = np.stack([(bad >= best[:, [place]]).sum(axis=1) for place in range(_DEPTH)], axis=1)
    return np.where(best > -np.inf, in_front + np.arange(1.0, _DEPTH + 1), np.inf)
