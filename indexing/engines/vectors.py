"""The vectors of an index as one table of rows, what an engine answers, and the one way rows are scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

NO_ROW = -1


class ShardVectors(NamedTuple):
    """Vectors float32 [w, d] of a shard, usually memory-mapped; `key` is another for every shard and every content."""

    key: str
    vectors: Floats


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The best rows for queries, best first, equal scores by row: scores float32 [q, c], rows int64 [q, c].

    Where fewer were found, rows are -1 and scores minus infinity.
    """

    scores: Floats
    rows: Rows


class Engine(Protocol):
    """Searches all rows of `vectors`. Safe to share between threads."""

    @property
    def vectors(self) -> "Vectors":
        """What it searches."""
        ...

    def search(self, queries: Floats, *, count: int) -> Neighbours:
        """The best `count` rows, or all if there are fewer, for queries float32 [q, d]."""
        ...


class Vectors:
    """Shards one after the other: row r of the index is row r - offsets[s] of shard s.

    Raises:
        ValueError: two shards have the same key.

    Attributes:
        shards: as given.
        offsets: int64 [shards + 1], the first row of each, and last the number of rows.
        dim: width of the vectors; 0 without shards.
    """

    def __init__(self, shards: Sequence[ShardVectors]) -> None:
        # plain arrays over the same memory: np.memmap takes longer for every access
        self.shards = tuple(ShardVectors(shard.key, np.asarray(shard.vectors)) for shard in shards)
        if len({shard.key for shard in self.shards}) < len(self.shards):
            raise ValueError("two shards have the same key")
        self.offsets: Rows = np.cumsum([0, *(len(shard.vectors) for shard in self.shards)], dtype=np.int64)
        self.dim = self.shards[0].vectors.shape[1] if self.shards else 0

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def rows_of(self) -> dict[str, int]:
        """How many rows each shard has, by its key."""
        return {shard.key: len(shard.vectors) for shard in self.shards}

    def take(self, rows: Rows) -> Floats:
        """Copies of rows, which are in ascending order: float32 [len(rows), d]."""
        taken = np.empty((len(rows), self.dim), np.float32)
        ends = np.searchsorted(rows, self.offsets)
        for place in np.flatnonzero(np.diff(ends)).tolist():
            here = slice(*ends[place : place + 2].tolist())
            inside = rows[here] - self.offsets[place]
            self.shards[place].vectors.take(inside, axis=0, out=taken[here], mode="clip")  # "raise" would copy twice
        return taken

    def score(self, query: Floats, rows: Rows) -> Floats:
        """Inner products float32 [len(rows)] of a query float32 [d] with rows, which are in ascending order.

        The same bits whatever else is scored with it and on however many threads; those of `faiss.knn`, which sums in
        other orders for other numbers of queries and threads, can differ.
        """
        taken, scores = self.take(rows), np.empty(len(rows), np.float32)
        query, numbers = np.ascontiguousarray(query, np.float32), np.arange(len(rows))
        pointers = [faiss.swig_ptr(array) for array in (scores, query, taken, numbers)]
        faiss.fvec_inner_products_by_idx(*pointers, self.dim, 1, len(rows))  # type: ignore[attr-defined]
        return scores

    def rank(self, queries: Floats, candidates: Rows, *, count: int) -> Neighbours:
        """The best `count` of each query's candidate rows int64 [q, c], in which -1 stands for none."""
        scores = np.full((len(queries), count), -np.inf, np.float32)
        rows = np.full((len(queries), count), NO_ROW, np.int64)
        for number, query in enumerate(queries):
            mine = np.sort(candidates[number])  # so that a stable sort leaves equal scores by row
            mine = mine[np.searchsorted(mine, 0) :]
            products = self.score(query, mine)
            best = np.argsort(-products, kind="stable")[:count]
            scores[number, : len(best)], rows[number, : len(best)] = products[best], mine[best]
        return Neighbours(scores=scores, rows=rows)

    def check(self, queries: Floats, *, count: int) -> None:
        """Refuse what no engine can answer.

        Raises:
            ValueError: the queries are not float32 [q, d], or count < 1.
        """
        if queries.ndim != 2 or queries.dtype != np.float32 or (self.shards and queries.shape[1] != self.dim):
            raise ValueError(f"queries are {queries.dtype} {queries.shape}; need float32 (queries, {self.dim})")
        if count < 1:
            raise ValueError(f"count is {count}; ask for at least 1 row")
