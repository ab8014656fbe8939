"""Weighted resampling against scikit-learn and against hand-made numbers.

Run: pytest tests/mulan/evaluation/test_bootstrap.py.
"""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mulan.evaluation.bootstrap import interval, macro, per_tag, resample_weights, weighted_figures

EXACT = 1e-12  # the same sums in another order


@pytest.mark.parametrize("levels", [3, 1000])  # many ties, and next to none
def test_weighted_figures_are_those_of_scikit_learn(levels):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, levels, 200) / levels
    labels = rng.random(200) < 0.2
    weights = resample_weights(range(200), resamples=25, seed=1)
    areas, precisions = weighted_figures(scores, labels, weights)
    assert areas == pytest.approx([roc_auc_score(labels, scores, sample_weight=row) for row in weights], abs=EXACT)
    expected = [average_precision_score(labels, scores, sample_weight=row) for row in weights]
    assert precisions == pytest.approx(expected, abs=EXACT)


def test_weights_stand_for_tracks_drawn_again():
    scores, labels = np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False])
    weights = np.array([[2, 1, 1, 0]], np.float32)
    repeated = [0, 0, 1, 2]
    area, precision = weighted_figures(scores, labels, weights)
    assert area[0] == roc_auc_score(labels[repeated], scores[repeated]) == 2 / 3
    assert precision[0] == pytest.approx(average_precision_score(labels[repeated], scores[repeated]))


def test_every_resample_draws_as_many_groups_as_there_are():
    weights = resample_weights(["a", "b", "a", "c"], resamples=50, seed=3)
    assert weights.shape == (50, 4)
    assert (weights[:, 0] == weights[:, 2]).all()  # drawn together
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (resample_weights(["x", "y", "x", "z"], resamples=50, seed=3) == weights).all()


def test_a_resample_without_positives_has_no_figure():
    scores, labels = np.array([0.9, 0.1]), np.array([True, False])
    weights = np.array([[1, 1], [0, 2], [2, 0]], np.float32)
    for drawn in weighted_figures(scores, labels, weights):
        assert drawn[0] == 1
        assert np.isnan(drawn[1:]).all()


def test_unknown_truth_and_tags_of_one_class_are_left_out():
    scores = np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.5]])
    truth = np.array([[1, 0], [np.nan, 0], [0, 0]])
    areas, precisions = per_tag(scores, truth, np.ones((2, 3), np.float32))
    assert areas[:, 0].tolist() == precisions[:, 0].tolist() == [1, 1]
    assert np.isnan(areas[:, 1]).all()
    assert macro(areas).tolist() == [1, 1]


def test_the_interval_holds_the_middle_95_of_100_draws():
    assert interval(np.append(np.arange(101.0), np.nan)) == pytest.approx((2.5, 97.5))
    with pytest.raises(ValueError, match="no number"):
        interval(np.full(3, np.nan))


def test_the_interval_of_a_mean_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(4)
    covered = 0
    for number in range(200):  # of a fair coin tossed 60 times; the binomial's 3 sigma is 4.6 points
        values = rng.random(60) < 0.5
        weights = resample_weights(range(60), resamples=400, seed=number)
        low, high = interval((weights @ values) / 60)
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 200 <= 0.99
