"""The engine file of an index: built when exact search would be slow, again when it is due, and tuned.

A file is due by `Coverage.is_due`. Whoever searches meanwhile keeps what was opened.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import StoreError
from indexing.catalogue import Catalogue, reaching
from indexing.catalogue_writer import open_writer
from indexing.engines import (
    ENGINE_FILE,
    Coverage,
    Description,
    IvfEngine,
    IvfSettings,
    ShardVectors,
    Vectors,
    build_ivf,
    choose_engine,
    store_tuned,
)
from indexing.model import ModelRecord
from indexing.shards import read_shard
from indexing.tune import TuningCurve, mixed_queries, tune

OnProgress = Callable[[int, int], None]
"""Called with what is done and how much there is to do."""

_TUNING_QUERIES = 100


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """The engine file of an index beside what the catalogue says now.

    Attributes:
        settings: how it is made and searched; None without one: then every row is scored.
        coverage: how it fits the shards; without one, all their rows are fresh.
        problem: why a file that is there cannot be used.
        is_due: whether `refresh_engine` would build it or take it away.
    """

    settings: IvfSettings | None
    coverage: Coverage
    problem: str | None
    is_due: bool


def read_vectors(folder: Path) -> tuple[ModelRecord, Vectors]:
    """The vectors of an index, memory-mapped, and the model that made them.

    Raises:
        StoreError: there is no index, a shard is damaged, or another version of mulan made it.
    """
    # Shards are opened inside: until then, no writer can forget and delete them.
    with Catalogue.open(folder) as catalogue, catalogue.snapshot():
        model = catalogue.model
        shards = [
            ShardVectors(record.key, read_shard(folder, record, dim=model.dim).vectors)
            for record in catalogue.shards().values()
        ]
    return model, Vectors(shards)


def engine_state(folder: Path) -> EngineState:
    """How the engine file of an index is, from what it says of itself and the catalogue; no vector is read.

    Raises:
        StoreError: there is no index, it is damaged, or another version of mulan made it.
    """
    with Catalogue.open(folder) as catalogue, catalogue.snapshot():
        dim, rows_of = catalogue.model.dim, {record.key: record.rows for record in catalogue.shards().values()}
    file, rows = folder / ENGINE_FILE, sum(rows_of.values())
    old, problem, coverage = None, None, Coverage(covered=0, fresh=rows, gone=0)
    try:
        if file.exists():
            old = Description.read(file)
            coverage = old.coverage(rows_of)
    except StoreError as error:
        problem = str(error)
    settings = None if old is None else old.settings
    is_wanted = _wanted(settings, rows, dim) is not None
    is_due = (old is None or coverage.is_due) if is_wanted else file.exists()
    return EngineState(settings=settings, coverage=coverage, problem=problem, is_due=is_due)


def refresh_engine(folder: Path, *, on_progress: OnProgress | None = None) -> IvfSettings | None:
    """Build the engine file of an index if it is due, and remove it where exact search serves better.

    Whether it is due, the catalogue says: shards are opened only to build it. A tuned engine is followed by one of the
    same bits and candidates that looks into the same share of its lists.

    Args:
        on_progress: called with vectors put in and vectors of the index, first before training.

    Returns:
        the settings of a file that was built; None if none was.

    Raises:
        StoreError: there is no index, it is damaged, it may not be written, or another process is writing it.
    """
    state = engine_state(folder)
    if not state.is_due:
        return None
    model, vectors = read_vectors(folder)
    wanted = _wanted(state.settings, len(vectors), model.dim)
    if wanted is None:
        with reaching(folder):
            (folder / ENGINE_FILE).unlink(missing_ok=True)
    else:
        _build(folder, model, vectors, wanted, on_progress)
    return wanted


def tune_engine(
    folder: Path,
    *,
    recall: float,
    memory_bytes: int | None = None,
    latency_ms: float = 10.0,
    on_build: OnProgress | None = None,
    on_measure: OnProgress | None = None,
) -> TuningCurve | None:
    """Measure an index's engine, and have it searched in the quickest way that reaches a recall, if one does.

    The engine is built first if there is none, if it is due, or if the memory asks for other codes.

    Args:
        recall: share of the ten best rows that is to be found; see `mixed_queries` for the queries.
        memory_bytes: that codes may take; if not given, they stay as they are.
        latency_ms: that a query may take; bounds the lists that a new engine looks into before it is tuned.
        on_build: called with vectors put in and vectors of the index.
        on_measure: called with ways measured and ways to measure.

    Returns:
        what was measured; None where exact search serves better, and nothing was done.

    Raises:
        StoreError: there is no index, it is damaged, it may not be written, or another process is writing it.
    """
    file, (model, vectors) = folder / ENGINE_FILE, read_vectors(folder)
    wanted = choose_engine(len(vectors), vectors.dim, memory_bytes=memory_bytes, latency_ms=latency_ms)
    if wanted is None:
        return None
    old = _described(file)
    if old is not None and memory_bytes is None:
        wanted = replace(wanted, bits=old.settings.bits, candidates_per_row=old.settings.candidates_per_row)
    if old is None or old.coverage(vectors.rows_of).is_due or old.settings.bits != wanted.bits:
        _build(folder, model, vectors, wanted, on_build)
    measured, engine = Description.read(file), IvfEngine.open(file, vectors)
    curve = tune(engine, mixed_queries(vectors, _TUNING_QUERIES), on_progress=on_measure)
    best = curve.cheapest(recall)
    if best is not None:
        with open_writer(folder, model=model):
            if Description.read(file).sha256 != measured.sha256:
                raise StoreError(f"{file}: built anew while it was measured; tune it again")
            with reaching(folder):
                store_tuned(file, nprobe=best.nprobe, candidates_per_row=best.candidates_per_row)
    return curve


def _described(file: Path) -> Description | None:
    """What an engine file says; None without one, and for one that is of no use."""
    try:
        return Description.read(file)
    except StoreError:
        return None


def _wanted(old: IvfSettings | None, rows: int, dim: int) -> IvfSettings | None:
    """How the next engine of so many rows is to be, after one with these settings; None if there should be none."""
    chosen = choose_engine(rows, dim)
    if chosen is None or old is None or not old.is_tuned:
        return chosen
    return replace(old, nlist=chosen.nlist, nprobe=max(1, round(old.nprobe * chosen.nlist / old.nlist)))


def _build(
    folder: Path, model: ModelRecord, vectors: Vectors, settings: IvfSettings, on_progress: OnProgress | None
) -> None:
    done, tell = 0, on_progress or (lambda done, total: None)

    def add(rows: int) -> None:
        nonlocal done
        done += rows
        tell(done, len(vectors))

    tell(0, len(vectors))
    with open_writer(folder, model=model), reaching(folder):
        build_ivf(folder / ENGINE_FILE, vectors, settings, on_rows=add)
