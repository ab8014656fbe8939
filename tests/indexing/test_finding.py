"""What damage in a shard shows when it is searched: `pytest tests/indexing/test_finding.py`."""

import math

import numpy as np
import pytest

from data.errors import StoreError
from indexing import Index
from indexing.care import repair, verify
from indexing.engines import ExactEngine


class Other:
    """The exact engine by another name, so that it is asked as one that is not exact."""

    def __init__(self, vectors, model):
        self.vectors, self._exact = vectors, ExactEngine(vectors)

    def search(self, queries, *, count):
        return self._exact.search(queries, count=count)


@pytest.fixture
def damaged(sync, index):
    """damaged(value): an index in which a number of the second track, t1, was overwritten."""
    sync()

    def overwrite(value):
        (path,) = index.glob("shards/*/vectors.npy")
        vectors = np.load(path)
        vectors[1, 0] = value
        np.save(path, vectors)
        return index

    return overwrite


@pytest.mark.parametrize("engine", [None, Other])
@pytest.mark.parametrize("scoring", ["max", "mean", "top3"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1.3e35, -1.3e35, 1.5])
def test_a_score_that_no_unit_vectors_have_is_refused_with_the_remedy(damaged, engine, scoring, value):
    opened = Index.open(damaged(value), engine=engine)

    for only in (None, [1, 2, 3]):
        with pytest.raises(
            StoreError,
            match=r"a shard is damaged \(a score is .*must be within 1\); mulan index verify --index .*repair",
        ) as caught:
            opened.search([1, 0], k=1, scoring=scoring, only=only)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.3e35, 1.5])
def test_a_damaged_track_is_no_query_of_its_own(damaged, value):
    with pytest.raises(StoreError, match=r"a shard is damaged \(a number in a vector is "):
        Index.open(damaged(value)).vector(2)


def test_what_is_said_to_help_does(damaged, sync):
    index = damaged(math.nan)
    assert len(verify(index)) == 1

    repair(index)
    sync()

    assert Index.open(index).search([1, 0], k=1)[0].title == "t0"


def test_vectors_as_bfloat16_rounds_them_are_sound(damaged):
    # 20° has the cosine 0.94; up to 1 in 256 is lost or gained where 8 bits are kept
    opened = Index.open(damaged(math.cos(math.radians(20)) * (1 + 1 / 256)))

    score = opened.search([math.cos(math.radians(20)), math.sin(math.radians(20))], k=1)[0].score

    assert 1.003 < score < 1.004
