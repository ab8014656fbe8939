"""The exact engine: every row is scored."""

from collections.abc import Collection

import faiss
import numpy as np

from indexing.engines.vectors import Floats, Neighbours, Rows, Vectors


class ExactEngine:
    """Exact inner products over memory-mapped shards; no copy of them is made."""

    def __init__(self, vectors: Vectors, *, only: Collection[int] | None = None) -> None:
        """With `only`, of the shards at these positions; rows keep their numbers."""
        self.vectors = vectors
        self._places = tuple(range(len(vectors.shards))) if only is None else tuple(sorted(only))

    def search(self, queries: Floats, *, count: int) -> Neighbours:
        """The best `count` rows, or all if there are fewer, for queries float32 [q, d].

        Raises:
            ValueError: the queries are not float32 [q, d], or count < 1.
        """
        self.vectors.check(queries, count=count)
        rows = self.candidates(queries, count=count)
        return self.vectors.rank(queries, rows, count=rows.shape[1])

    def candidates(self, queries: Floats, *, count: int) -> Rows:
        """The best rows without their scores, in no order: int64 [q, at most count].

        Of rows whose scores are equal, or differ by less than BLAS's rounding where there are many queries, any may be
        the last that is among them.
        """
        queries = np.ascontiguousarray(queries)
        scores, rows = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        for place in self._places:
            shard, offset = self.vectors.shards[place].vectors, self.vectors.offsets[place]
            if not len(shard):
                continue
            found = faiss.knn(queries, shard, min(count, len(shard)), metric=faiss.METRIC_INNER_PRODUCT)
            scores, rows = np.hstack([scores, found[0]]), np.hstack([rows, found[1] + offset])
            best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
            scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        return rows
