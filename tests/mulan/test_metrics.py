"""Tag scores on lists small enough to check by hand. Run: pytest tests/mulan/test_metrics.py."""

import numpy as np
import pytest

from mulan.metrics import macro_roc_auc_interval, tag_scores

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


def test_the_interval_holds_the_estimate_and_narrows_with_more_tracks():
    rng = np.random.default_rng(0)

    def interval(tracks: int) -> tuple[float, float]:
        truth = (rng.random((tracks, 3)) < 0.5).astype(float)
        scores = truth + rng.normal(0, 1, truth.shape)
        return macro_roc_auc_interval(scores, truth, resamples=100, rng=rng)

    few, many = interval(40), interval(1000)
    # two unit normals one apart: P(positive above negative) = Phi(1/sqrt 2) = 0.760
    assert many[0] < 0.760 < many[1]
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])
