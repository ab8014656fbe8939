"""A collection of a Milvus Lite folder or a cluster that holds the vectors of one index, and what is asked of it."""

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import extract_tb
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from data.errors import ConfigError, StoreError
from indexing.engines.vectors import Floats, Rows
from indexing.model import ModelRecord

IndexType = Literal["FLAT", "IVF_SQ8", "HNSW", "DISKANN"]
INDEX_TYPES: tuple[IndexType, ...] = get_args(IndexType)
"""FLAT scores every vector and is exact. The others find most; Milvus Lite has no DISKANN."""

Consistency = Literal["Strong", "Bounded"]
"""Whether an answer waits for all that was written before, or may lack the last seconds of it."""

MOST_FOUND = 16_384
"""Entities that Milvus gives for one query at most."""

_LITE = ".db"
_SERVERS = ("http://", "https://", "tcp://", "unix:")
_FINGERPRINT, _MODEL = "mulan.fingerprint", "mulan.model"  # properties of a collection
_METRIC = "IP"
_OTHER_NAME = "choose another name: --collection"
_LITE_FAILED, _ANEW = "Open local milvus failed", "move to a new path"
_QUERIES_PER_CALL = 64  # x 16,384 answers stay far below the 64 MB that a message may have
_IDS_PER_CALL = 1_000
_SERVER_LOG, _NOT_THERE = "grpc._server", "AllocTimestamp"
_SAID_TWICE = ("pymilvus", "milvus_lite")  # loggers that print tracebacks of what they also raise

# How an index is built, and how it is searched for so many entities. Source: Milvus's documentation of each type.
_BUILT: Mapping[IndexType, Mapping[str, int]] = {
    "FLAT": {},
    "IVF_SQ8": {"nlist": 1024},
    "HNSW": {"M": 32, "efConstruction": 200},
    "DISKANN": {},
}
_SEARCHED: Mapping[IndexType, Callable[[int], Mapping[str, int]]] = {
    "FLAT": lambda limit: {},
    "IVF_SQ8": lambda limit: {"nprobe": 64},
    "HNSW": lambda limit: {"ef": max(128, 2 * limit)},
    "DISKANN": lambda limit: {"search_list": max(128, limit)},
}


@dataclass(frozen=True, kw_only=True)
class MilvusAddress:
    """Where vectors are.

    Attributes:
        uri: `….db`, a folder that Milvus Lite keeps, or `http://host:19530`, a cluster.
        collection: its name; an index has one of its own.
        token: `user:password` or an API key of a cluster.
    """

    uri: str
    collection: str = "mulan"
    token: str = field(default="", repr=False)

    @property
    def is_lite(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.uri.endswith(_LITE)

    def __str__(self) -> str:
        return f"{self.uri} ({self.collection})"


class IdRange(NamedTuple):
    """The ids from the first to the last, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"id >= {self.first} and id <= {self.last}"


class MilvusCollection:
    """An open collection, made by `open_collection`: ids int64 and vectors, nothing else. Safe to share by threads.

    Every method raises StoreError where Milvus does not answer or refuses.

    Attributes:
        address: where it is.
        index_type: how it is searched.
    """

    def __init__(self, address: MilvusAddress, client: Any, index_type: IndexType) -> None:
        self.address, self.index_type, self._client = address, index_type, client

    def check_model(self, model: ModelRecord) -> None:
        """Refuse an index whose model is not that of the vectors here, as they are now: StoreError."""
        with _reaching(self.address):
            properties = self._client.describe_collection(self.address.collection)["properties"]
        _check_model(self.address, model, properties)

    def count(self, ids: IdRange | None = None) -> int:
        """How many entities there are, of all or of a range."""
        with _reaching(self.address):
            found = self._client.query(
                self.address.collection,
                filter="" if ids is None else str(ids),
                output_fields=["count(*)"],
                consistency_level="Strong",
            )
        return int(found[0]["count(*)"])

    def present(self, ids: Sequence[int]) -> set[int]:
        """Which of these ids there are."""
        found: set[int] = set()
        with _reaching(self.address):
            for start in range(0, len(ids), _IDS_PER_CALL):
                entities = self._client.get(
                    self.address.collection,
                    ids=list(ids[start : start + _IDS_PER_CALL]),
                    output_fields=["id"],
                    consistency_level="Strong",
                )
                found.update(int(entity["id"]) for entity in entities)
        return found

    def insert(self, first: int, vectors: Floats) -> None:
        """Add vectors float32 [n, d] with the ids first, first + 1, …; Milvus does not look whether they are there."""
        entities = [{"id": first + number, "vector": vector} for number, vector in enumerate(vectors)]
        with _reaching(self.address):
            self._client.insert(self.address.collection, entities)

    def delete(self, ids: IdRange) -> None:
        """Remove the entities of a range."""
        with _reaching(self.address):
            self._client.delete(self.address.collection, filter=str(ids))

    def flush(self) -> None:
        """Have all that was written kept on disk and indexed."""
        with _reaching(self.address):
            self._client.flush(self.address.collection)

    def search(self, queries: Floats, *, limit: int, consistency: Consistency) -> Rows:
        """Ids of the best entities for queries float32 [q, d], -1 for none: int64 [q, limit]."""
        ids = np.full((len(queries), limit), -1, np.int64)
        parameters = {"metric_type": _METRIC, "params": dict(_SEARCHED[self.index_type](limit))}
        with _reaching(self.address):
            for start in range(0, len(queries), _QUERIES_PER_CALL):
                answers = self._client.search(
                    self.address.collection,
                    data=list(queries[start : start + _QUERIES_PER_CALL]),
                    limit=limit,
                    output_fields=["id"],  # Milvus Lite takes none for all, vectors included
                    search_params=parameters,
                    consistency_level=consistency,
                )
                for number, hits in enumerate(answers, start):
                    ids[number, : len(hits)] = [hit["id"] for hit in hits]
        return ids


@contextmanager
def open_collection(
    address: MilvusAddress, model: ModelRecord, *, create: IndexType | None = None
) -> Iterator[MilvusCollection]:
    """The collection of an index at an address, until the block ends; a Milvus Lite is closed with it.

    Args:
        model: whose vectors it holds, or is to hold.
        create: make it, searched in this way, if it is not there; if it is, it has to be searched so.

    Raises:
        ConfigError: pymilvus, or Milvus Lite where it is needed, is not installed.
        StoreError: Milvus does not answer or refuses; there is no such collection; or it holds another model's vectors.
    """
    with _client(address) as client, _reaching(address):
        if not client.has_collection(address.collection):
            if create is None:
                raise StoreError(f"{address}: no such collection; mulan index move --to milvus --uri {address.uri}")
            _create(client, address, model)
        _check_model(address, model, client.describe_collection(address.collection)["properties"])
        # Looked for also in an old collection: a run can have been killed before it came to this.
        if not client.list_indexes(address.collection):
            _create_index(client, address, create or "FLAT")
        found = client.describe_index(address.collection, "vector")["index_type"]
        if create not in (None, found):
            raise StoreError(f"{address}: has an index {found}, not {create}; {_OTHER_NAME}")
        client.load_collection(address.collection)
        yield MilvusCollection(address, client, found)


def _check_model(address: MilvusAddress, model: ModelRecord, properties: Mapping[str, str]) -> None:
    if _FINGERPRINT not in properties:
        raise StoreError(f"{address}: a collection that mulan did not make; {_OTHER_NAME}")
    if (found := properties[_FINGERPRINT]) != model.fingerprint:
        raise StoreError(
            f"{address}: holds vectors of {properties[_MODEL]} (fingerprint {found[:12]}), the index those of "
            f"{model.name} (fingerprint {model.fingerprint[:12]}); {_OTHER_NAME}"
        )


def _create(client: Any, address: MilvusAddress, model: ModelRecord) -> None:
    from pymilvus import DataType

    schema = client.create_schema(enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=model.dim)
    properties = {_FINGERPRINT: model.fingerprint, _MODEL: model.name}
    client.create_collection(address.collection, schema=schema, properties=properties)


def _create_index(client: Any, address: MilvusAddress, index_type: IndexType) -> None:
    index = client.prepare_index_params()
    index.add_index("vector", index_type=index_type, metric_type=_METRIC, params=dict(_BUILT[index_type]))
    client.create_index(address.collection, index)


@contextmanager
def _client(address: MilvusAddress) -> Iterator[Any]:
    _require_packages(address)
    import pymilvus

    for name in _SAID_TWICE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.getLogger(_SERVER_LOG).addFilter(_is_news)
    with _reaching(address):
        client = pymilvus.MilvusClient(uri=address.uri, token=address.token)
    try:
        yield client
    finally:
        client.close()
        if address.is_lite:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(address.uri)  # else only the end of the process would


def _is_news(record: logging.LogRecord) -> bool:
    """Whether grpc's server has more to say than that Milvus Lite lacks `AllocTimestamp`.

    pymilvus calls that whenever an index is made, and does without the answer; the server, which Milvus Lite runs in
    this process, logs a traceback each time.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, NotImplementedError) and extract_tb(error.__traceback__)[-1].name == _NOT_THERE)


def _require_packages(address: MilvusAddress) -> None:
    if not address.is_lite and not address.uri.startswith(_SERVERS):
        raise StoreError(f"{address.uri}: no address of Milvus; need a path that ends in {_LITE}, or http://host:19530")
    for package in ("pymilvus", *(["milvus_lite"] if address.is_lite else [])):
        if importlib.util.find_spec(package) is None:
            remedy = "pip install 'mulan-retrieval[milvus]'"
            if package == "milvus_lite":  # which the extra leaves out where its faiss-cpu would overwrite faiss-gpu
                remedy += ", then pip install --no-deps milvus-lite"
            raise ConfigError(f"{address.uri}: Milvus needs {package}, which is missing: {remedy}")


@contextmanager
def _reaching(address: MilvusAddress) -> Iterator[None]:
    """Turn what Milvus says into a StoreError of one line."""
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except MilvusException as error:
        reason = " ".join(str(error.message).split())
        # Of all that can keep it from opening, Milvus Lite says only that it did not.
        hint = f"; another process may have it open: end that, or {_ANEW}" if reason == _LITE_FAILED else ""
        raise StoreError(f"{address}: Milvus says: {reason}{hint}") from error
    except RpcError as error:
        raise StoreError(f"{address}: Milvus does not answer ({error})") from error
