"""The comparison of engines, at small size. Run: pytest tests/indexing/test_bench.py"""

import importlib.util

import numpy as np
import pytest

from indexing.bench import EngineSpeed, SearchComparison, clustered_blocks, compare_search, write_clustered_vectors

HAS_USEARCH = importlib.util.find_spec("usearch") is not None


def speed(**changes):
    values = {"name": "", "rows": 1, "recall": 1.0, "mixed_recall": 1.0, "p50_ms": 1.0, "p95_ms": 1.0, "memory": 1.0}
    return EngineSpeed(**{**values, "build_seconds": None, **changes})


def test_every_engine_is_measured_in_one_run(tmp_path):
    notes = []

    found = compare_search(tmp_path, rows=6_000, dim=32, peer_rows=2_000, queries=20, on_note=notes.append)

    assert [engine.name for engine in found.engines] == [
        "mulan",
        "FAISS, same index, IndexRefineFlat",
        "FAISS, same index, no re-ranking",
        "exact",
    ]
    names = [engine.name for engine in found.peers]
    assert names[:3] == ["mulan", "FAISS HNSW, float32", "FAISS HNSW, 8 bits"]
    assert ("usearch, bfloat16" in names, found.missing) == (HAS_USEARCH, () if HAS_USEARCH else ("usearch",))
    assert {engine.rows for engine in found.engines} == {6_000}
    assert {engine.rows for engine in found.peers} == {2_000}
    assert all(engine.recall > 0.9 for engine in (*found.engines, *found.peers))
    assert all(0 < engine.p50_ms <= engine.p95_ms for engine in (*found.engines, *found.peers))
    ours, refined, raw, exact = found.engines
    assert ours.recall == refined.recall >= raw.recall
    assert ours.mixed_recall == refined.mixed_recall
    # of 128 bytes: 32 of codes and 8 of id, and 128 centroids
    assert ours.memory == pytest.approx((32 + 8) / 128 + 128 / 6_000, abs=0.02)
    assert refined.memory == pytest.approx(ours.memory + 1)
    assert exact.memory == 1
    assert exact.build_seconds is None
    assert notes[0] == "making 6,000 x 32 vectors"


def test_overhead_is_what_our_query_takes_longer_than_that_of_faiss_with_the_same_re_ranking():
    engines = (speed(p50_ms=2.2), speed(p50_ms=2.0), speed(p50_ms=1.0))

    comparison = SearchComparison(dim=1, threads=1, engines=engines, peers=(speed(),), missing=())

    assert comparison.overhead == pytest.approx(0.1)


def test_made_vectors_are_clustered_unit_vectors_with_falling_variance():
    (block,) = clustered_blocks(20_000, 64, clusters=10)

    assert block.dtype == np.float32
    assert np.linalg.norm(block, axis=1) == pytest.approx(1, abs=1e-5)
    variance = (block**2).mean(axis=0)
    assert variance[:8].mean() > 4 * variance[32:].mean()
    # a tenth of the others is of the same cluster, at a mean cosine of a half; the mean of all others is about zero
    cosines = block[:500] @ block[500:].T
    assert np.quantile(cosines, 0.98) > 0.5
    assert abs(np.median(cosines)) < 0.2


def test_made_vectors_are_the_same_in_every_run_and_queries_are_others(tmp_path):
    first = write_clustered_vectors(tmp_path / "a.npy", rows=1_000, dim=8)
    again = write_clustered_vectors(tmp_path / "b.npy", rows=1_000, dim=8)
    drawn = next(clustered_blocks(1_000, 8, clusters=2, first_block=-1))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, drawn)
