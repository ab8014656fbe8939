"""An engine whose candidates come from Milvus; the scores are the index's own."""

import numpy as np

from indexing.engines import ExactEngine, Neighbours, Vectors
from indexing.engines.vectors import NO_ROW, Floats, Rows
from indexing.milvus.collection import MOST_FOUND, Consistency, MilvusCollection
from indexing.milvus.numbering import Numbering

_CANDIDATES_PER_ROW = 2  # Milvus's rounding may order scores that hardly differ in another way
_WIDENING = 4


class MilvusEngine:
    """Asks Milvus for candidates and scores them in float32 from the index's shards, bit for bit as the exact engine.

    Over a FLAT index, it finds what the exact engine finds. Shards that were not copied yet are searched exactly here,
    rows of shards that are gone are never answers.

    Attributes:
        vectors: what is searched.
        fresh: shards that are not in Milvus.
    """

    def __init__(self, collection: MilvusCollection, vectors: Vectors, *, consistency: Consistency = "Bounded") -> None:
        self.vectors = vectors
        self._collection, self._consistency = collection, consistency
        self._numbering = Numbering(vectors, collection.address)
        complete = self._numbering.complete(collection)
        fresh = set(range(len(vectors.shards))) - complete
        self.fresh = len(fresh)
        self._covered = sum(len(vectors.shards[place].vectors) for place in complete)
        self._exact = ExactEngine(vectors)
        self._beside = ExactEngine(vectors, only=fresh) if fresh else None

    def search(self, queries: Floats, *, count: int) -> Neighbours:
        """The best `count` rows found, or all if there are fewer, for queries float32 [q, d].

        More than 8,192 rows are searched exactly, without Milvus, which gives 16,384 candidates at most.

        Raises:
            StoreError: Milvus does not answer.
            ValueError: the queries are not float32 [q, d], or count < 1.
        """
        self.vectors.check(queries, count=count)
        rows = self._candidates(queries, count)
        if rows is None:
            return self._exact.search(queries, count=count)
        if self._beside is not None:
            rows = np.hstack([rows, self._beside.candidates(queries, count=count)])
        return self.vectors.rank(queries, rows, count=min(count, len(self.vectors)))

    def _candidates(self, queries: Floats, count: int) -> Rows | None:
        """Rows that Milvus finds best, -1 for none; None where it cannot give enough."""
        if not self._covered:
            return np.full((len(queries), 0), NO_ROW, np.int64)
        needed, limit = min(count, self._covered), _CANDIDATES_PER_ROW * count
        while limit <= MOST_FOUND:
            ids = self._collection.search(queries, limit=limit, consistency=self._consistency)
            rows = self._numbering.rows(ids)
            if ((rows != NO_ROW).sum(axis=1) >= needed).all():
                return rows
            limit *= _WIDENING  # rows of shards that are gone had taken the places
        return None
