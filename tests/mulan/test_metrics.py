"""Tag scores on lists small enough to check by hand. Run: pytest tests/mulan/test_metrics.py."""

import numpy as np
import pytest

from mulan.metrics import RetrievalScores, retrieval_scores, tag_scores

NAN = float("nan")


def test_roc_auc_and_average_precision_by_hand():
    # ranked: + - + -   → of 4 pairs, 3 in order; precisions at the positives 1/1 and 2/3
    result = tag_scores(np.array([0.9, 0.8, 0.7, 0.1]), np.array([1.0, 0, 1, 0]))
    assert result.roc_auc == 0.75
    assert result.pr_auc == pytest.approx((1 + 2 / 3) / 2)
    assert (result.positives, result.negatives) == (2, 2)


def test_unknown_truth_is_left_out():
    result = tag_scores(np.array([0.9, 0.95, 0.1]), np.array([1.0, NAN, 0]))
    assert (result.roc_auc, result.positives, result.negatives) == (1.0, 1, 1)


def test_a_tag_with_one_class_has_no_score():
    assert tag_scores(np.array([0.1, 0.2]), np.array([1.0, NAN])) is None
    assert tag_scores(np.array([0.1, 0.2]), np.array([0.0, 0.0])) is None


def one_hot_scores(scores: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Queries and items whose dot products are exactly these."""
    return np.array(scores, np.float32), np.eye(len(scores[0]), dtype=np.float32)


def brute_force(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """The definitions, one query at a time, from a full sort with irrelevant items first among equals."""
    firsts, precisions = [], []
    for row, truth in zip(scores, relevant, strict=True):
        order = sorted(range(len(row)), key=lambda item: (-row[item], truth[item]))
        hits = [bool(truth[item]) for item in order]
        firsts.append(hits.index(True) + 1)
        found = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(min(10, len(hits))) if hits[rank]]
        precisions.append(sum(found) / min(truth.sum(), 10))
    return {
        **{f"r_at_{k}": float(np.mean([first <= k for first in firsts])) for k in (1, 5, 10)},
        "map_at_10": float(np.mean(precisions)),
        "mrr": float(np.mean([1 / first for first in firsts])),
        "median_rank": float(np.median(firsts)),
    }


def test_retrieval_scores_by_hand():
    # first query: its two relevant items at ranks 1 and 3; second: its one at rank 2
    queries, items = one_hot_scores([[0.9, 0.5, 0.7, 0.1], [0.9, 0.5, 0.7, 0.1]])
    relevant = np.array([[True, True, False, False], [False, False, True, False]])
    assert retrieval_scores(queries, items, relevant=relevant) == RetrievalScores(
        r_at_1=0.5,
        r_at_5=1.0,
        r_at_10=1.0,
        map_at_10=((1 / 1 + 2 / 3) / 2 + 1 / 2) / 2,
        mrr=(1 + 1 / 2) / 2,
        median_rank=1.5,
        queries=2,
    )


@pytest.mark.parametrize("items", [3, 10, 40])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_retrieval_scores_equal_brute_force_with_ties_and_any_number_of_relevant_items(items, chunk):
    rng = np.random.default_rng(items)
    scores = rng.integers(-3, 4, (23, items)).astype(np.float32)  # small whole numbers: many ties, exact products
    relevant = rng.random((23, items)) < rng.random((23, 1))  # from one to nearly all of them
    relevant[np.arange(23), rng.integers(0, items, 23)] = True
    result = vars(retrieval_scores(*one_hot_scores(scores.tolist()), relevant=relevant, chunk=chunk))
    expected = brute_force(scores, relevant)
    assert {name: result[name] for name in expected} == pytest.approx(expected)


def test_a_model_that_embeds_everything_alike_gets_the_worst_rank():
    same = np.ones((20, 4), np.float32)
    scores = retrieval_scores(same, same, relevant=np.eye(20, dtype=bool))
    assert (scores.median_rank, scores.r_at_10, scores.map_at_10) == (20, 0, 0)


@pytest.mark.parametrize(
    ("queries", "relevant", "message"),
    [
        (np.ones((2, 4)), np.array([[True] * 3, [False] * 3]), "1 of 2 queries have no relevant item"),
        (np.full((2, 4), NAN), np.ones((2, 3), bool), "not finite; the model has diverged"),
        (np.ones((2, 5)), np.ones((2, 3), bool), r"queries \(2, 5\), items \(3, 4\)"),
        (np.ones((2, 4)), np.ones((3, 2), bool), r"relevant \(3, 2\)"),
    ],
)
def test_what_cannot_be_ranked_is_refused(queries, relevant, message):
    with pytest.raises(ValueError, match=message):
        retrieval_scores(queries.astype(np.float32), np.ones((3, 4), np.float32), relevant=relevant)
