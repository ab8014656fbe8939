"""Copying the vectors of an index into Milvus: with resume, without what is gone, and verified."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import StoreError
from indexing.engines import Coverage, ExactEngine, Vectors
from indexing.engines.vectors import Floats
from indexing.milvus.collection import IdRange, IndexType, MilvusAddress, MilvusCollection, open_collection
from indexing.milvus.engine import MilvusEngine
from indexing.milvus.numbering import EVERY_ID, Numbering
from indexing.tune import mixed_queries, recall
from indexing.upkeep import read_vectors

_BYTES_PER_INSERT = 16 << 20  # a cluster takes 64 MB
_ANSWERS = 10

OnRows = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class MoveReport:
    """What a move did, and what is in Milvus now: the rows of the index and no others.

    Attributes:
        shards: of the index.
        rows: windows, all of them in Milvus, counted there.
        copied_shards: of these, copied by this run.
        copied_rows: likewise.
        removed_rows: of shards that are gone, and of one that a killed run had begun.
        queries: whose ten best rows were compared with those of the exact engine.
        recall: share of these that Milvus finds; 1 over a FLAT index.
        elapsed: seconds.
    """

    shards: int
    rows: int
    copied_shards: int
    copied_rows: int
    removed_rows: int
    queries: int
    recall: float
    elapsed: float


@dataclass(frozen=True, kw_only=True)
class MilvusState:
    """How a collection is searched, and how it fits the index; its other rows are `gone`, those it lacks `fresh`."""

    index_type: IndexType
    coverage: Coverage


def milvus_state(folder: Path, address: MilvusAddress) -> MilvusState:
    """What a collection holds of an index as it is now; nothing is copied.

    Raises:
        ConfigError: pymilvus, or Milvus Lite where it is needed, is not installed.
        StoreError: there is no index, or it is damaged; Milvus does not answer, nothing was copied there, or it holds
            another model's vectors.
    """
    model, vectors = read_vectors(folder)
    with open_collection(address, model) as collection:
        complete = Numbering(vectors, address).complete(collection)
        covered = sum(len(vectors.shards[place].vectors) for place in complete)
        coverage = Coverage(covered=covered, fresh=len(vectors) - covered, gone=collection.count() - covered)
        return MilvusState(index_type=collection.index_type, coverage=coverage)


def move_to_milvus(
    folder: Path,
    address: MilvusAddress,
    *,
    index_type: IndexType = "FLAT",
    queries: int = 20,
    on_progress: OnRows | None = None,
) -> MoveReport:
    """Make a collection hold the vectors of an index as it is now; the index stays, and is what scores come from.

    Shards that are there stay; so a killed run is taken up where it was, and a run after a sync copies what is new.
    One run at a time may write to a collection; Milvus Lite sees to it, a cluster does not.

    Args:
        index_type: of a new collection; an old one has to have it.
        queries: how many are asked at the end, here and there; each reads all vectors of the index.
        on_progress: called with the rows that are there and those of the index, first with what earlier runs copied.

    Raises:
        ConfigError: pymilvus, or Milvus Lite where it is needed, is not installed.
        StoreError: there is no index, or it is damaged; Milvus does not answer or refuses; the collection has another
            model's vectors or another index type; counts or answers differ afterwards.
    """
    started = time.monotonic()
    model, vectors = read_vectors(folder)
    with open_collection(address, model, create=index_type) as collection:
        numbering = Numbering(vectors, address)
        complete = numbering.complete(collection)
        removed = _remove_others(collection, sorted(numbering.blocks[place] for place in complete), EVERY_ID)
        if removed:
            complete = numbering.complete(collection)
        missing = sorted(set(range(len(vectors.shards))) - complete)
        copied = _copy(collection, numbering, missing, on_progress)
        return MoveReport(
            shards=len(vectors.shards),
            rows=_count(collection, vectors),
            copied_shards=len(missing),
            copied_rows=copied,
            removed_rows=removed,
            queries=queries,
            recall=_compare(collection, vectors, queries),
            elapsed=time.monotonic() - started,
        )


def _remove_others(collection: MilvusCollection, complete: Sequence[IdRange], within: IdRange) -> int:
    """Delete what a range of ids holds besides the complete shards in it, and those of them that lack rows.

    Only counts are asked for, of ever smaller ranges where there are too many or too few: a thousand shards and one
    that is gone take some thirty.
    """
    if within.first > within.last:
        return 0
    count = collection.count(within)
    if count == sum(last - first + 1 for first, last in complete):
        return 0
    if not complete or complete[0] == within:
        collection.delete(within)
        return count
    half = len(complete) // 2
    block = complete[half]
    return (
        _remove_others(collection, complete[:half], IdRange(within.first, block.first - 1))
        + _remove_others(collection, [block], block)
        + _remove_others(collection, complete[half + 1 :], IdRange(block.last + 1, within.last))
    )


def _copy(
    collection: MilvusCollection, numbering: Numbering, missing: Sequence[int], on_progress: OnRows | None
) -> int:
    """Copy shards one after the other; gives how many rows they have."""
    shards = numbering.vectors.shards
    copied, total = 0, len(numbering.vectors)
    there = total - sum(len(shards[place].vectors) for place in missing)
    if on_progress is not None:
        on_progress(there, total)
    for place in missing:
        for first, block in _inserts(shards[place].vectors):
            collection.insert(numbering.blocks[place].first + first, block)
            copied += len(block)
            if on_progress is not None:
                on_progress(there + copied, total)
    if missing:
        collection.flush()
    return copied


def _inserts(vectors: Floats) -> Iterator[tuple[int, Floats]]:
    """What is inserted at once, with its first row; the last row, which says that all are there, by itself."""
    last = len(vectors) - 1
    step = max(1, _BYTES_PER_INSERT // (vectors.shape[1] * vectors.itemsize))
    for first in range(0, last, step):
        yield first, vectors[first : min(first + step, last)]
    yield last, vectors[last:]


def _count(collection: MilvusCollection, vectors: Vectors) -> int:
    count = collection.count()
    if count != len(vectors):
        remedy = "move again"
        raise StoreError(f"{collection.address}: holds {count:,} vectors of an index of {len(vectors):,}; {remedy}")
    return count


def _compare(collection: MilvusCollection, vectors: Vectors, queries: int) -> float:
    """The share of the exact engine's answers that Milvus finds."""
    if not len(vectors):
        return 1.0
    asked = mixed_queries(vectors, queries)
    engine = MilvusEngine(collection, vectors, consistency="Strong")
    truth = ExactEngine(vectors).search(asked, count=min(_ANSWERS, len(vectors)))
    found = recall(engine.search(asked, count=_ANSWERS).scores, truth)
    if collection.index_type == "FLAT" and found < 1:
        remedy = "drop the collection and move again"
        raise StoreError(f"{collection.address}: finds {found:.1%} of the best rows, with an exact index; {remedy}")
    return found
