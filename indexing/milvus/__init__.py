"""Milvus as an engine: the same client for Milvus Lite, a folder beside the index, and for a cluster.

An entity is a row of the index: its number and its vector. Nothing else is there: what is music stays in the
catalogue, and scores are computed anew from the index's own float32 vectors.
"""

from indexing.milvus.collection import INDEX_TYPES, IndexType, MilvusAddress, open_collection
from indexing.milvus.engine import MilvusEngine
from indexing.milvus.move import MilvusState, MoveReport, milvus_state, move_to_milvus

__all__ = [
    "INDEX_TYPES",
    "IndexType",
    "MilvusAddress",
    "MilvusEngine",
    "MilvusState",
    "MoveReport",
    "milvus_state",
    "move_to_milvus",
    "open_collection",
]
