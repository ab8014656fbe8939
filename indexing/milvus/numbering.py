"""Which id of a collection is which row of an index.

A shard's number is a hash of its key, so that it is the same in every run and with any other shards beside it; an id is
the shard's number followed by the row's. The last row of a shard is written by itself and after all others: where it
is, the shard is complete.
"""

import hashlib

import numpy as np

from data.errors import StoreError
from indexing.engines import Vectors
from indexing.engines.vectors import NO_ROW, Rows
from indexing.milvus.collection import IdRange, MilvusAddress, MilvusCollection

ROW_BITS = 20  # a shard of 256 tracks has as many rows where each lasts eleven hours
EVERY_ID = IdRange(0, 2**63 - 1)
_NUMBER_BITS = 63 - ROW_BITS  # 400,000 shards of 100 million tracks: two have the same number once in 100 indexes


class Numbering:
    """The ids of the rows of an index in a collection.

    Raises:
        StoreError: two shards have the same number, or one is too large.

    Attributes:
        vectors: the index's.
        blocks: the ids of each shard, in the order of `vectors.shards`.
    """

    def __init__(self, vectors: Vectors, address: MilvusAddress) -> None:
        self.vectors = vectors
        numbers = [_number(address.collection, shard.key) for shard in vectors.shards]
        if len(set(numbers)) < len(numbers):
            raise StoreError(f"{address}: two shards have the same number; choose another name: --collection")
        if any(len(shard.vectors) > 1 << ROW_BITS for shard in vectors.shards):
            raise StoreError(f"{address}: a shard has more than {1 << ROW_BITS:,} windows; leave out the longest files")
        firsts = [number << ROW_BITS for number in numbers]
        self.blocks = tuple(
            IdRange(first, first + len(shard.vectors) - 1) for first, shard in zip(firsts, vectors.shards, strict=True)
        )
        self._places: Rows = np.argsort(np.array(firsts, np.int64))
        self._firsts: Rows = np.array(firsts, np.int64)[self._places]

    def rows(self, ids: Rows) -> Rows:
        """The rows that have these ids, of any shape; -1 for ids of shards that are gone, and for -1."""
        order = np.searchsorted(self._firsts, ids, side="right") - 1
        places, inside = self._places[order], ids - self._firsts[order]
        is_row = (order >= 0) & (inside < np.diff(self.vectors.offsets)[places])
        return np.where(is_row, self.vectors.offsets[places] + inside, NO_ROW)

    def complete(self, collection: MilvusCollection) -> set[int]:
        """Positions of the shards that are in a collection with all their rows."""
        there = collection.present([block.last for block in self.blocks if block.first <= block.last])
        return {place for place, block in enumerate(self.blocks) if block.last in there or block.first > block.last}


def _number(collection: str, key: str) -> int:
    # With the collection's name: where two shards collide, they do not in one of another name.
    digest = hashlib.sha256(f"{collection}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _NUMBER_BITS)
