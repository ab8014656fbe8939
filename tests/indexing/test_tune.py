"""Tuning: recall and latency over a grid, on made vectors. Run: pytest tests/indexing/test_tune.py"""

import numpy as np
import pytest

from indexing.engines import ExactEngine, IvfEngine, IvfSettings, Neighbours, ShardVectors, Vectors, build_ivf
from indexing.tune import Timing, TuningCurve, TuningPoint, mixed_queries, recall, tune


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((20_000, 64)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    vectors = Vectors([ShardVectors("a", matrix[:5_000]), ShardVectors("b", matrix[5_000:])])
    path = tmp_path_factory.mktemp("index") / "engine.ivf"
    build_ivf(path, vectors, IvfSettings(nlist=64, nprobe=3))
    return IvfEngine.open(path, vectors)


def test_every_way_is_measured_and_more_probes_find_more(engine):
    seen = []
    curve = tune(
        engine,
        mixed_queries(engine.vectors, 40),
        nprobes=[1, 8, 64],
        candidates_per_row=[2],
        on_progress=lambda *far: seen.append(far),
    )

    assert [(point.nprobe, point.candidates_per_row) for point in curve.points] == [(1, 2), (3, 2), (8, 2), (64, 2)]
    assert [point.is_current for point in curve.points] == [False, True, False, False]
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    recalls = [point.timing.recall for point in curve.points]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.5  # vectors without clusters are spread over all lists
    assert recalls[-1] == pytest.approx(1, abs=0.01)  # all lists; at most 4 of 400 are lost to the 8 bits
    assert curve.exact.recall == 1
    assert all(
        0 < timing.p50_ms <= timing.p95_ms for timing in (curve.exact, *(point.timing for point in curve.points))
    )
    assert (curve.rows, curve.dim, curve.queries, curve.count) == (20_000, 64, 40, 10)


def test_without_a_grid_probes_double_up_to_a_quarter_of_the_lists(engine):
    curve = tune(engine, mixed_queries(engine.vectors, 2))

    assert sorted({point.nprobe for point in curve.points}) == [1, 2, 3, 4, 8, 16]
    assert len(curve.points) == 5 * 4 + 1  # and the present way, 3 probes and 2 candidates


def test_rows_of_equal_scores_stand_for_each_other():
    truth = Neighbours(scores=np.array([[0.9, 0.5], [0.8, 0.7]], np.float32), rows=np.array([[0, 1], [2, 3]], np.int64))

    assert recall(np.array([[0.9, 0.5], [0.8, 0.6]], np.float32), truth) == 0.75
    assert recall(np.array([[0.5, -np.inf], [-np.inf, -np.inf]], np.float32), truth) == 0.25


def test_the_cheapest_way_is_the_quickest_that_reaches_the_recall():
    def point(nprobe, recall, p50_ms):
        timing = Timing(recall=recall, p50_ms=p50_ms, p95_ms=9.0)
        return TuningPoint(nprobe=nprobe, candidates_per_row=2, timing=timing, is_current=False)

    points = (point(1, 0.9, 1.0), point(2, 0.95, 2.0), point(4, 0.99, 1.5), point(8, 1.0, 3.0))
    exact = Timing(recall=1.0, p50_ms=9.0, p95_ms=9.0)
    curve = TuningCurve(rows=1, dim=2, queries=1, count=10, exact=exact, points=points)

    assert [curve.cheapest(bar).nprobe for bar in (0.5, 0.95, 0.995)] == [1, 4, 8]
    assert curve.cheapest(1.01) is None


def test_mixed_queries_are_unit_vectors_that_the_seed_decides(engine):
    queries = mixed_queries(engine.vectors, 50)

    assert queries.shape == (50, 64)
    assert queries.dtype == np.float32
    assert np.linalg.norm(queries, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(queries, mixed_queries(engine.vectors, 50))
    assert not np.array_equal(queries, mixed_queries(engine.vectors, 50, seed=1))
    # of three random directions, the mean lies at a cosine of 1 / sqrt(3) to each
    best = ExactEngine(engine.vectors).search(queries, count=1).scores[:, 0]
    assert best.mean() == pytest.approx(1 / np.sqrt(3), abs=0.1)


def test_an_index_without_vectors_has_no_queries():
    with pytest.raises(ValueError, match="there are no vectors"):
        mixed_queries(Vectors([]), 3)
