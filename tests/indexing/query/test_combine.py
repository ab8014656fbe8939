"""Vectors of a query and shares of a score: `pytest tests/indexing/query/test_combine.py`."""

import numpy as np
import pytest

from data.errors import QueryError
from indexing.query import combine, explain

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def test_weights_three_and_four_at_right_angles_give_three_and_four_fifths():
    vector = combine([EAST, NORTH], [3, -4])

    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [0.6, -0.8], rtol=1e-7)  # float32


def test_one_term_is_its_own_direction_whatever_its_weight():
    np.testing.assert_array_equal(combine([NORTH], [0.25]), [0.0, 1.0])
    np.testing.assert_array_equal(combine([NORTH], [-1]), [0.0, -1.0])


@pytest.mark.parametrize("weights", [[1, -1], [1, -1.001]])
def test_terms_that_cancel_each_other_out_are_refused(weights):
    with pytest.raises(QueryError, match="the terms cancel each other out, so nothing is left to look for"):
        combine([EAST, EAST], weights)


def test_a_clear_remainder_is_a_direction():
    np.testing.assert_allclose(combine([EAST, EAST], [1, -0.9]), EAST, atol=1e-7)


@pytest.mark.parametrize(
    ("vectors", "weights"), [([], []), ([EAST], [1, 1]), (EAST, [1]), ([[np.nan, 0]], [1]), ([EAST], [np.inf])]
)
def test_shapes_and_numbers_that_make_no_sense_are_refused(vectors, weights):
    with pytest.raises(ValueError, match="vectors"):
        combine(vectors, weights)


def test_each_term_has_the_share_that_it_adds_to_the_score():
    # |3 east - 4 north| = 5; a hit at [0.8, -0.6] is 0.8 east and -0.6 north
    shares = explain([EAST, NORTH], [3, -4], [0.8, -0.6])

    np.testing.assert_allclose(shares, [3 * 0.8 / 5, -4 * -0.6 / 5], rtol=1e-12)  # 0.48 each
    assert sum(shares) == pytest.approx(0.96, rel=1e-12)


def test_what_the_music_should_not_be_costs_where_the_hit_has_it():
    liked, disliked = explain([EAST, NORTH], [1, -1], [0.6, 0.8])

    assert liked == pytest.approx(0.6 / 2**0.5)
    assert disliked == pytest.approx(-0.8 / 2**0.5)


def test_shares_sum_to_the_score_of_the_combined_vector():
    chance = np.random.default_rng(0)
    for terms in (1, 2, 7, 32):
        vectors = chance.normal(size=(terms, 512))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        weights = chance.uniform(0.1, 2, terms) * chance.choice([-1, 1], terms)
        hit = combine(chance.normal(size=(1, 512)), [1])
        total = weights @ vectors

        shares = explain(vectors, weights.tolist(), hit)

        assert sum(shares) == pytest.approx(total @ hit / np.linalg.norm(total), abs=1e-14)  # float64, 32 additions
        assert sum(shares) == pytest.approx(float(combine(vectors, weights.tolist()) @ hit), abs=1e-6)  # float32


def test_a_hit_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"hit has shape \(3,\); the terms' vectors need \(2,\)"):
        explain([EAST], [1], [1, 0, 0])
