"""Which index a command searches, and by which engine: the options, and the one way to open it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.options import DEFAULT_MODEL, Precision, load_model

if TYPE_CHECKING:
    from app.service import SearchService
    from indexing import Index
    from indexing.engines import Engine, Vectors
    from indexing.index import EngineMaker
    from indexing.milvus import MilvusAddress
    from indexing.model import ModelRecord

TOKEN_VARIABLE = "MILVUS_TOKEN"


class EngineName(StrEnum):
    """What finds the nearest windows."""

    FAISS = "faiss"
    MILVUS = "milvus"


OptionalIndex = Annotated[Path | None, typer.Option("--index", help="Index folder; without it, the demo library.")]
EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="The index's own vectors, or what `index move` copied to Milvus.")
]
URI = typer.Option("--uri", help=f"Milvus: library.db, or http://host:19530 and in ${TOKEN_VARIABLE} who may ask it.")
UriOption = Annotated[str | None, URI]
CollectionOption = Annotated[str, typer.Option("--collection", help="The index's collection in Milvus.")]
COLLECTION = "mulan"


def milvus_address(engine: EngineName, uri: str | None, collection: str) -> "MilvusAddress | None":
    """Where Milvus is, if it is to be asked.

    Raises:
        BadParameter: Milvus without an address, or an address without Milvus.
    """
    if engine is not EngineName.MILVUS:
        if uri is not None:
            raise typer.BadParameter("--uri is for --engine milvus")
        return None
    if uri is None:
        raise typer.BadParameter("--engine milvus needs --uri: library.db, or http://host:19530")
    return address_at(uri, collection)


def address_at(uri: str, collection: str) -> "MilvusAddress":
    """A collection, with the token of the environment."""
    from indexing.milvus import MilvusAddress

    return MilvusAddress(uri=uri, collection=collection, token=os.environ.get(TOKEN_VARIABLE, ""))


@contextmanager
def open_index(index: Path | None, milvus: "MilvusAddress | None" = None) -> "Iterator[Index]":
    """An index, or the demo library's for the default model; Milvus is let go of when the block ends.

    Raises:
        BadParameter: Milvus without an index, which the scores come from.
        StoreError: the index or Milvus cannot be used.
    """
    from indexing import Index

    if index is None:
        with open_service(None, milvus, model=None, device="auto", precision=Precision.AUTO) as service:
            yield service.index
    elif milvus is None:
        yield Index.open(index)
    else:
        with _milvus(milvus, index) as engine:
            yield Index.open(index, engine=engine)


@contextmanager
def open_service(
    index: Path | None, milvus: "MilvusAddress | None" = None, *, model: str | None, device: str, precision: Precision
) -> "Iterator[SearchService]":
    """A search service over an index and its model, or over the demo library; raises as `open_index` does."""
    from app.demo import open_demo
    from app.service import SearchService

    if index is not None:
        with open_index(index, milvus) as opened:
            load = partial(load_model, device=device, precision=precision)
            service = SearchService(load(model or opened.model.name), opened, load=load)
            del opened  # the service goes on to another, and then this one's files are to go
            yield service
        return
    if milvus is not None:
        raise typer.BadParameter("--engine milvus needs --index, whose vectors it has")
    encoder = load_model(model or DEFAULT_MODEL, device, precision)
    yield SearchService(encoder, open_demo(encoder))


@contextmanager
def _milvus(address: "MilvusAddress", index: Path) -> "Iterator[EngineMaker]":
    """What makes engines over one connection: a server opens its index anew after each sync, or another model's."""
    from indexing.catalogue import Catalogue
    from indexing.milvus import MilvusEngine, open_collection

    def make(vectors: "Vectors", model: "ModelRecord") -> "Engine":
        collection.check_model(model)
        return MilvusEngine(collection, vectors)

    with Catalogue.open(index) as catalogue:
        model = catalogue.model
    with open_collection(address, model) as collection:
        yield make
