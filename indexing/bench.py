"""How well and how fast we search, beside raw FAISS with the same index, HNSW and usearch, on made vectors."""

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.engines import ExactEngine, IvfEngine, ShardVectors, Vectors, build_ivf, ivf_settings
from indexing.engines.vectors import NO_ROW, Floats, Neighbours, Rows
from indexing.tune import latency, mixed_queries, recall, time_engine

COUNT = 10
ROWS_PER_CLUSTER = 500
_SPREAD = 1.0  # of a cluster, against that of the centres
_SHARDS = 8
_ROWS_PER_BLOCK = 50_000
_EXACT_QUERIES = 20
# usearch's defaults, for HNSW, too
_NEIGHBOURS, _BUILD_WIDTH, _SEARCH_WIDTH = 16, 128, 64

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class EngineSpeed:
    """What an engine reached over the best ten rows.

    Attributes:
        rows: vectors that it searched.
        recall: for queries drawn as the vectors were.
        mixed_recall: for means of three vectors, which lie between clusters as texts do.
        p50_ms: median of a single query's milliseconds.
        p95_ms: what 95 % of the queries do not exceed.
        memory: what a quick search keeps in memory, as a share of the vectors in float32.
        build_seconds: from vectors to an engine that can be searched; None if there is nothing to build.
    """

    name: str
    rows: int
    recall: float
    mixed_recall: float
    p50_ms: float
    p95_ms: float
    memory: float
    build_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class SearchComparison:
    """Engines over all rows, and ours beside engines that take long to build over the first of them.

    `missing` are peers that are not installed.
    """

    dim: int
    threads: int
    engines: tuple[EngineSpeed, ...]
    peers: tuple[EngineSpeed, ...]
    missing: tuple[str, ...]

    @property
    def ours(self) -> EngineSpeed:
        """Our engine over all rows."""
        return self.engines[0]

    @property
    def overhead(self) -> float:
        """What our median query takes longer than FAISS's with the same index and the same re-ranking, as a share."""
        return self.ours.p50_ms / self.engines[1].p50_ms - 1


@dataclass(frozen=True, kw_only=True)
class _Contender:
    """`find` gives for one query float32 [1, d] the rows int64 [10]."""

    name: str
    find: Callable[[Floats], Rows]
    bytes: int
    build_seconds: float | None


def compare_search(
    folder: Path, *, rows: int, dim: int, peer_rows: int, queries: int = 200, on_note: Note
) -> SearchComparison:
    """Make vectors, build every engine, and ask each the same queries by turns, one at a time.

    Holds all vectors in memory once, for FAISS's re-ranking, and one kind of engine.

    Args:
        folder: for vectors and engines; 2.6 kB a row at 512 dimensions.
        rows: vectors to make.
        dim: their width.
        peer_rows: how many of the first are given to HNSW and usearch.
        queries: of each of the two kinds.
        on_note: told what is going on.
    """
    on_note(f"making {rows:,} x {dim} vectors")
    matrix = write_clustered_vectors(folder / "vectors.npy", rows=rows, dim=dim)
    drawn = next(clustered_blocks(queries, dim, clusters=_clusters(rows), first_block=-1))
    engines = _race(folder, matrix, drawn, peers=False, on_note=on_note)
    peers = _race(folder, matrix[:peer_rows], drawn, peers=True, on_note=on_note)
    missing = () if _has_usearch() else ("usearch",)
    return SearchComparison(dim=dim, threads=faiss.omp_get_max_threads(), engines=engines, peers=peers, missing=missing)


def clustered_blocks(rows: int, dim: int, *, clusters: int, first_block: int = 0) -> Iterator[Floats]:
    """Unit vectors float32 [up to 50,000, d] in clusters, with variance that falls as 1 / dimension, block by block.

    A vector's cosine to others of its cluster is about a half. Embeddings of music are easier: those of mulan-mini vary
    in 3 dimensions (participation ratio), these in 28 of 512.

    Args:
        rows: of all blocks.
        dim: width.
        clusters: centres, the same for any number of rows.
        first_block: number from which the blocks count; a block is decided by its number.
    """
    deviations = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    centres = np.random.default_rng(0).standard_normal((clusters, dim), np.float32) * deviations
    for number, start in enumerate(range(0, rows, _ROWS_PER_BLOCK), first_block + 2):
        generator = np.random.default_rng([1, number])
        size = min(_ROWS_PER_BLOCK, rows - start)
        block = generator.standard_normal((size, dim), np.float32)
        block *= _SPREAD * deviations
        block += centres[generator.integers(0, clusters, size)]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        yield block


def write_clustered_vectors(path: Path, *, rows: int, dim: int) -> Floats:
    """Write the vectors to a .npy file and give them memory-mapped: float32 [rows, dim]."""
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dim))
    start = 0
    for block in clustered_blocks(rows, dim, clusters=_clusters(rows)):
        matrix[start : start + len(block)] = block
        start += len(block)
    matrix.flush()
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def _clusters(rows: int) -> int:
    return max(1, rows // ROWS_PER_CLUSTER)


def _shards(matrix: Floats) -> Vectors:
    parts = np.array_split(matrix, _SHARDS)
    return Vectors([ShardVectors(str(number), part) for number, part in enumerate(parts)])


def _race(folder: Path, matrix: Floats, drawn: Floats, *, peers: bool, on_note: Note) -> tuple[EngineSpeed, ...]:
    """Ours and, over the same vectors, FAISS with the same index, or the peers; then the exact engine."""
    vectors = _shards(matrix)
    queries = np.concatenate([drawn, mixed_queries(vectors, len(drawn))])
    on_note(f"searching {len(vectors):,} vectors exactly")
    exact = ExactEngine(vectors)
    truth = exact.search(queries, count=COUNT)
    engine, ours = _ours(folder / "engine.ivf", vectors, on_note)
    others = _peers(matrix, on_note) if peers else _raw_faiss(folder / "engine.ivf", matrix, engine, ours)
    contenders = [ours, *others]
    on_note(f"asking {len(queries)} queries, each of {', '.join(contender.name for contender in contenders)}")
    seconds, found = _ask(contenders, queries)
    speeds = [
        _speed(contender, vectors, queries, truth=truth, seconds=seconds[place], found=found[place])
        for place, contender in enumerate(contenders)
    ]
    few = Neighbours(scores=truth.scores[:_EXACT_QUERIES], rows=truth.rows[:_EXACT_QUERIES])
    timing = time_engine(exact, queries[:_EXACT_QUERIES], truth=few)
    every = EngineSpeed(
        name="exact",
        rows=len(vectors),
        recall=1.0,
        mixed_recall=1.0,
        p50_ms=timing.p50_ms,
        p95_ms=timing.p95_ms,
        memory=1.0,
        build_seconds=None,
    )
    return (*speeds, every)


def _ask(contenders: Sequence[_Contender], queries: Floats) -> tuple[list[list[float]], list[list[Rows]]]:
    """Seconds and rows of each contender for each query; they take turns, so that a busy machine is so for all."""
    for contender in contenders:
        contender.find(queries[:1])
    seconds: list[list[float]] = [[] for _ in contenders]
    found: list[list[Rows]] = [[] for _ in contenders]
    for number in range(len(queries)):
        for turn in range(len(contenders)):
            place = (number + turn) % len(contenders)  # the first to look into a list has to fetch it from memory
            started = time.perf_counter()
            rows = contenders[place].find(queries[number : number + 1])
            seconds[place].append(time.perf_counter() - started)
            found[place].append(rows)
    return seconds, found


def _speed(
    contender: _Contender,
    vectors: Vectors,
    queries: Floats,
    *,
    truth: Neighbours,
    seconds: Sequence[float],
    found: Sequence[Rows],
) -> EngineSpeed:
    scores = np.full(truth.scores.shape, -np.inf, np.float32)
    for number, rows in enumerate(found):
        real = np.unique(rows[rows != NO_ROW]).astype(np.int64)
        scores[number, : len(real)] = vectors.score(queries[number], real)
    drawn, mixed = (
        recall(scores[half], Neighbours(scores=truth.scores[half], rows=truth.rows[half]))
        for half in (slice(len(queries) // 2), slice(len(queries) // 2, None))
    )
    return EngineSpeed(
        name=contender.name,
        rows=len(vectors),
        recall=drawn,
        mixed_recall=mixed,
        **latency(seconds)._asdict(),
        memory=contender.bytes / (len(vectors) * vectors.dim * 4),
        build_seconds=contender.build_seconds,
    )


def _ours(path: Path, vectors: Vectors, on_note: Note) -> tuple[IvfEngine, _Contender]:
    settings = ivf_settings(len(vectors), vectors.dim)
    on_note(f"building mulan: {settings.nlist} lists, {settings.nprobe} probes, {settings.bits} bits")
    started = time.perf_counter()
    build_ivf(path, vectors, settings)
    engine = IvfEngine.open(path, vectors)
    taken = time.perf_counter() - started
    contender = _Contender(
        name="mulan",
        find=lambda query: engine.search(query, count=COUNT).rows[0],
        bytes=path.stat().st_size,  # mapped, and counted as if all of it were in memory
        build_seconds=taken,
    )
    return engine, contender


def _raw_faiss(path: Path, matrix: Floats, engine: IvfEngine, ours: _Contender) -> list[_Contender]:
    """FAISS with our index as it is on disk: re-ranked in float32 by its own means, and not re-ranked."""
    index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    index.nprobe, index.parallel_mode = engine.settings.nprobe, 1
    started = time.perf_counter()
    refined = faiss.IndexRefineFlat(index, faiss.swig_ptr(np.asarray(matrix)))  # copies them into memory
    refined.k_factor = engine.settings.candidates_per_row
    copied = time.perf_counter() - started
    built = ours.build_seconds or 0.0
    return [
        _Contender(
            name="FAISS, same index, IndexRefineFlat",
            find=lambda query: refined.search(query, COUNT)[1][0],
            bytes=ours.bytes + matrix.nbytes,
            build_seconds=built + copied,
        ),
        _Contender(
            name="FAISS, same index, no re-ranking",
            find=lambda query: index.search(query, COUNT)[1][0],
            bytes=ours.bytes,
            build_seconds=built,
        ),
    ]


def _peers(matrix: Floats, on_note: Note) -> list[_Contender]:
    dim, metric, bits = matrix.shape[1], faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_8bit
    makers: dict[str, Callable[[Floats], tuple[Callable[[Floats], Rows], int]]] = {
        "FAISS HNSW, float32": lambda matrix: _hnsw(matrix, faiss.IndexHNSWFlat(dim, _NEIGHBOURS, metric)),
        "FAISS HNSW, 8 bits": lambda matrix: _hnsw(
            matrix,
            faiss.IndexHNSWSQ(dim, bits, _NEIGHBOURS, metric),  # type: ignore[arg-type]  # FAISS's stubs are wrong
        ),
    }
    if _has_usearch():
        makers["usearch, bfloat16"] = _usearch
    contenders = []
    for name, make in makers.items():
        on_note(f"building {name}")
        started = time.perf_counter()
        find, size = make(matrix)
        taken = time.perf_counter() - started
        contenders.append(_Contender(name=name, find=find, bytes=size, build_seconds=taken))
    return contenders


def _hnsw(matrix: Floats, index: Any) -> tuple[Callable[[Floats], Rows], int]:
    index.hnsw.efConstruction, index.hnsw.efSearch = _BUILD_WIDTH, _SEARCH_WIDTH
    index.train(matrix)
    index.add(matrix)
    return lambda query: index.search(query, COUNT)[1][0], faiss.serialize_index(index).nbytes


def _usearch(matrix: Floats) -> tuple[Callable[[Floats], Rows], int]:
    index = importlib.import_module("usearch.index").Index(
        ndim=matrix.shape[1],
        metric="ip",
        dtype="bf16",
        connectivity=_NEIGHBOURS,
        expansion_add=_BUILD_WIDTH,
        expansion_search=_SEARCH_WIDTH,
    )
    index.add(np.arange(len(matrix)), matrix, threads=faiss.omp_get_max_threads())
    return lambda query: index.search(query[0], COUNT).keys.astype(np.int64), index.serialized_length


def _has_usearch() -> bool:
    return importlib.util.find_spec("usearch") is not None
