"""How well and how fast an IVF engine answers on the user's own vectors, by probes and candidates."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from indexing.engines import Engine, ExactEngine, IvfEngine, Neighbours, Vectors
from indexing.engines.vectors import Floats

CANDIDATES_PER_ROW = (1, 2, 4, 8)
_MIXED = 3  # vectors of which a query is the mean


class Latency(NamedTuple):
    """Milliseconds of single queries: their median, and what 95 % of them do not exceed."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How well and how fast an engine answers single queries.

    Attributes:
        recall: share of the best `count` rows that it finds; rows of equal scores stand for each other.
        p50_ms: median of a query's milliseconds.
        p95_ms: what 95 % of the queries do not exceed.
    """

    recall: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class TuningPoint:
    """One way of searching an engine; `is_current` is the way in which it is searched now."""

    nprobe: int
    candidates_per_row: int
    timing: Timing
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class TuningCurve:
    """What was measured: the exact engine, then the IVF engine by probes and candidates."""

    rows: int
    dim: int
    queries: int
    count: int
    exact: Timing
    points: tuple[TuningPoint, ...]

    def cheapest(self, recall: float) -> TuningPoint | None:
        """The quickest way that reaches a recall; None if no way does."""
        enough = [point for point in self.points if point.timing.recall >= recall]
        return min(enough, key=lambda point: point.timing.p50_ms, default=None)


def tune(
    engine: IvfEngine,
    queries: Floats,
    *,
    count: int = 10,
    nprobes: Sequence[int] | None = None,
    candidates_per_row: Sequence[int] = CANDIDATES_PER_ROW,
    on_progress: Callable[[int, int], None] | None = None,
) -> TuningCurve:
    """Measure recall against the exact engine, and latency, over a grid; the present way is always measured, too.

    Args:
        engine: over the user's vectors.
        queries: float32 [q, d]; see `mixed_queries`. Vectors of texts say more about text search.
        count: rows asked for.
        nprobes: powers of two up to a quarter of the lists, if not given.
        candidates_per_row: rows scored in float32 for each row asked for.
        on_progress: called with the ways that are measured and all of them, before the first and after each.
    """
    nlist, now = engine.settings.nlist, (engine.settings.nprobe, engine.settings.candidates_per_row)
    if nprobes is None:
        nprobes = [2**power for power in range((nlist // 4).bit_length())]
    grid = sorted({now, *((nprobe, candidates) for nprobe in nprobes for candidates in candidates_per_row)})
    exact = ExactEngine(engine.vectors)
    truth = exact.search(queries, count=count)
    points: list[TuningPoint] = []
    for nprobe, candidates in grid:
        if on_progress is not None:
            on_progress(len(points), len(grid))
        tuned = engine.tuned(nprobe=nprobe, candidates_per_row=candidates)
        timing = time_engine(tuned, queries, truth=truth)
        current = (nprobe, candidates) == now
        points.append(TuningPoint(nprobe=nprobe, candidates_per_row=candidates, timing=timing, is_current=current))
    if on_progress is not None:
        on_progress(len(points), len(grid))
    return TuningCurve(
        rows=len(engine.vectors),
        dim=engine.vectors.dim,
        queries=len(queries),
        count=count,
        exact=time_engine(exact, queries, truth=truth),
        points=tuple(points),
    )


def time_engine(engine: Engine, queries: Floats, *, truth: Neighbours) -> Timing:
    """Ask for each query alone, as many rows as the truth has."""
    count = truth.scores.shape[1]
    engine.search(queries[:1], count=count)  # maps what every query needs
    found, seconds = [], []
    for number in range(len(queries)):
        started = time.perf_counter()
        answer = engine.search(queries[number : number + 1], count=count)
        seconds.append(time.perf_counter() - started)
        found.append(answer.scores[0])
    return Timing(recall=recall(np.stack(found), truth), **latency(seconds)._asdict())


def latency(seconds: Sequence[float]) -> Latency:
    """What queries took that each took so many seconds."""
    p50, p95 = np.percentile(seconds, (50, 95)) * 1000
    return Latency(p50_ms=float(p50), p95_ms=float(p95))


def recall(scores: Floats, truth: Neighbours) -> float:
    """Share of found rows, by float32 scores [q, count], that are as good as the last of the true ones."""
    return float((scores >= truth.scores[:, -1:]).mean())


def mixed_queries(vectors: Vectors, count: int, *, seed: int = 0) -> Floats:
    """Queries float32 [count, d] of unit length, each the mean of three random vectors.

    As texts do, they lie beside the vectors, not among them: a vector itself finds its like too easily.

    Raises:
        ValueError: there are no vectors.
    """
    if not len(vectors):
        raise ValueError("there are no vectors to make queries of")
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.integers(0, len(vectors), count * _MIXED))
    means = generator.permutation(vectors.take(chosen)).reshape(count, _MIXED, -1).mean(axis=1)
    queries: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
    return queries
