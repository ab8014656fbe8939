"""How engines are shown in a terminal. Run: pytest tests/app/test_search_figures.py"""

import pytest

from app.search_figures import print_milvus, print_search_comparison, print_tuning
from indexing.bench import EngineSpeed, SearchComparison
from indexing.engines import Coverage
from indexing.milvus import MilvusState
from indexing.tune import Timing, TuningCurve, TuningPoint


def speed(name, *, rows=1_000_000, p50_ms=2.0, recall=0.98, memory=0.26):
    return EngineSpeed(
        name=name,
        rows=rows,
        recall=recall,
        mixed_recall=0.9,
        p50_ms=p50_ms,
        p95_ms=3.0,
        memory=memory,
        build_seconds=None if name == "exact" else 61.26,
    )


def comparison(**ours):
    engines = (speed("mulan", **ours), speed("refined"), speed("exact"))
    peers = (speed("x", rows=100_000),)
    return SearchComparison(dim=512, threads=2, engines=engines, peers=peers, missing=("usearch",))


def lines_of(capsys):
    """What was printed, each run of spaces as one."""
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_engines_are_shown_beside_each_other_with_what_was_promised(capsys):
    print_search_comparison(comparison())

    lines = lines_of(capsys)
    assert lines[0] == "1,000,000 x 512 recall@10 between clusters p50 ms p95 ms memory build s"
    assert lines[1] == "mulan 0.9800 0.9000 2.00 3.00 26% 61.3"
    assert lines[3] == "exact 0.9800 0.9000 2.00 3.00 26%"
    assert any(line.startswith("100,000 x 512") for line in lines)
    assert "graphs take long to build: they are compared on the first rows (--peer-rows)" in lines
    assert "usearch is not installed (the extra `bench` brings it)" in lines
    assert lines[-4:] == [
        "kept recall@10 0.9800, at least 0.95",
        "kept p50 2.00 ms, at most 10",
        "kept memory 26.0% of float32, at most 33.3%",
        "kept over FAISS with the same index and re-ranking +0.0%, at most 10%",
    ]


@pytest.mark.parametrize(
    ("ours", "place"), [({"recall": 0.94}, -4), ({"p50_ms": 11.0}, -3), ({"memory": 0.4}, -2), ({"p50_ms": 2.3}, -1)]
)
def test_a_promise_that_is_not_kept_is_said_loudly(ours, place, capsys):
    print_search_comparison(comparison(**ours))

    assert lines_of(capsys)[place].startswith("NOT KEPT")


def curve(recall):
    points = tuple(
        TuningPoint(
            nprobe=nprobe,
            candidates_per_row=2,
            timing=Timing(recall=recall + nprobe / 100, p50_ms=float(nprobe), p95_ms=9.0),
            is_current=nprobe == 2,
        )
        for nprobe in (1, 2)
    )
    exact = Timing(recall=1.0, p50_ms=200.0, p95_ms=210.0)
    return TuningCurve(rows=120_000, dim=512, queries=50, count=10, exact=exact, points=points)


def test_a_tuning_curve_is_a_row_for_each_way_and_says_what_to_choose(capsys):
    print_tuning(curve(0.93), 0.94)

    assert lines_of(capsys) == [
        "50 queries, each alone, over 120,000 x 512 vectors",
        "probes candidates recall@10 p50 ms p95 ms",
        "best 1 20 0.9400 1.00 9.00",
        "now 2 20 0.9500 2.00 9.00",
        "exact 1.0000 200.00 210.00",
        "quickest with a recall of 0.94 or more: 1 probes, 2 candidates a row, 1.00 ms",
    ]


def test_a_curve_that_nowhere_reaches_the_recall_says_so(capsys):
    print_tuning(curve(0.5), 0.95)

    assert lines_of(capsys)[-1] == "no way reaches a recall of 0.95"


def test_rows_that_milvus_has_of_a_half_copied_shard_are_not_called_gone(capsys):
    print_milvus(MilvusState(index_type="FLAT", coverage=Coverage(covered=256, fresh=300, gone=40)), "library.db")

    assert lines_of(capsys) == [
        "engine Milvus, FLAT, library.db; has 256 vectors, 300 others are scored beside it,"
        " 40 of its rows are not counted (gone, or half copied); mulan index move brings it up to date"
    ]
