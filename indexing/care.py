"""Looking after an index: what is in it, what is wrong with it, and making it whole and small again."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import StoreError
from indexing.catalogue import Catalogue, Counts, QuarantinedFile, RowBlock, ShardRecord
from indexing.catalogue_writer import CatalogueWriter, open_writer
from indexing.embedding import SHARD_TRACKS
from indexing.model import ModelRecord
from indexing.shards import Shard, leftovers, read_shard, remove_leftovers, shard_sha256, write_shard


class Finding(NamedTuple):
    """Something wrong, in words, and the shard whose tracks have to be embedded again to put it right, if any."""

    problem: str
    shard: int | None


@dataclass(frozen=True, kw_only=True)
class LibraryInfo:
    """A library of an index: its tracks, and the files that could not be used, with reasons."""

    root: Path
    tracks: int
    quarantine: tuple[QuarantinedFile, ...]


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What is in an index. `dead_rows` are those of dropped tracks, which `compact` removes; `bytes` are on disk."""

    model: ModelRecord
    counts: Counts
    libraries: tuple[LibraryInfo, ...]
    precisions: tuple[str, ...]
    rows: int
    dead_rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """What a repair found and dropped: broken shards and their tracks."""

    findings: tuple[Finding, ...]
    tracks: int


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """Shards and bytes on disk before and after."""

    shards_before: int
    shards: int
    bytes_before: int
    bytes: int


def index_info(folder: Path) -> IndexInfo:
    """What is in an index; StoreError if it cannot be read."""
    with Catalogue.open(folder) as catalogue, catalogue.snapshot():
        shards = catalogue.shards()
        live = sum(block.windows for block in catalogue.blocks())
        rows = sum(shard.rows for shard in shards.values())
        libraries = tuple(
            LibraryInfo(
                root=root,
                tracks=len(catalogue.track_ids("library = ?", library)),
                quarantine=tuple(catalogue.quarantine(library)),
            )
            for library, root in catalogue.libraries().items()
        )
        model, counts = catalogue.model, catalogue.count()
    return IndexInfo(
        model=model,
        counts=counts,
        libraries=libraries,
        precisions=tuple(sorted({shard.precision for shard in shards.values()})),
        rows=rows,
        dead_rows=rows - live,
        bytes=_bytes(folder),
    )


def verify(folder: Path) -> list[Finding]:
    """Read all of an index and say what is wrong with it; nothing is changed.

    Raises:
        StoreError: the catalogue itself is damaged: then only a copy of it, or a new index, can help.
    """
    with Catalogue.open(folder) as catalogue:
        catalogue.check()
        with catalogue.snapshot():
            shards, blocks = catalogue.shards(), _by_shard(catalogue.blocks())
            remains = leftovers(folder, {shard.name for shard in shards.values()})
        found = [
            Finding(problem, shard)
            for shard, record in shards.items()
            for problem in _problems(folder, catalogue.model, record, blocks.get(shard, ()))
        ]
        present = catalogue.shards().keys()  # reading takes long, and a writer may have dropped some
    strays = [
        Finding(f"{path}: belongs to no track; left by a killed writer, or being written", None) for path in remains
    ]
    return [*(finding for finding in found if finding.shard in present), *strays]


def repair(folder: Path) -> RepairReport:
    """Drop the tracks of broken shards, so that the next sync embeds them again, and remove what is left over.

    Raises:
        StoreError: the catalogue is damaged, another process is writing, or the folder may not be written.
    """
    findings = verify(folder)
    with _writer(folder) as writer:
        broken = {finding.shard for finding in findings if finding.shard is not None}
        # Between the two, another writer may have dropped some.
        broken &= writer.shards().keys()
        before = writer.count().tracks
        writer.drop_shards(broken)
        _forget_files(writer)
        dropped = before - writer.count().tracks
    return RepairReport(findings=tuple(findings), tracks=dropped)


def compact(folder: Path) -> CompactReport:
    """Rewrite shards that hold rows of dropped tracks or fewer tracks than they could; the vectors stay as they are.

    Each new shard is written, and then registered in one transaction that takes its rows from the old ones: wherever
    this is interrupted, every track has its vectors.

    Raises:
        StoreError: a shard is damaged, another process is writing, or the folder may not be written.
    """
    with _writer(folder) as writer:
        shards_before, bytes_before = writer.count().shards, _bytes(folder)
        shards, blocks = writer.shards(), _by_shard(writer.blocks())
        writer.drop_shards(shards.keys() - blocks.keys())
        _forget_files(writer)
        for wasteful in _wasteful(shards, blocks):
            moving = [block for shard in wasteful for block in blocks[shard]]
            for start in range(0, len(moving), SHARD_TRACKS):
                _rewrite(writer, shards, moving[start : start + SHARD_TRACKS])
                _forget_files(writer)
        return CompactReport(
            shards_before=shards_before,
            shards=writer.count().shards,
            bytes_before=bytes_before,
            bytes=_bytes(folder),
        )


def _problems(folder: Path, model: ModelRecord, record: ShardRecord, blocks: Sequence[RowBlock]) -> Iterator[str]:
    """What is wrong with a shard; reads all of it, and stops at the first thing that makes the rest meaningless."""
    try:
        shard = read_shard(folder, record, dim=model.dim)
        if shard_sha256(folder, record) != record.sha256:
            yield f"{folder}: shard {record.name} is not what was written (SHA-256 differs): the disk may be failing"
    except StoreError as error:
        yield str(error)
        return
    if record.fingerprint != model.fingerprint:
        yield f"{folder}: shard {record.name} was made with another model ({record.fingerprint[:12]})"
    if any(block.first_row < 0 or block.first_row + block.windows > len(shard.vectors) for block in blocks):
        yield f"{folder}: shard {record.name} has {len(shard.vectors)} rows, and tracks that lie beyond them"


def _by_shard(blocks: Sequence[RowBlock]) -> dict[int, list[RowBlock]]:
    shards: dict[int, list[RowBlock]] = defaultdict(list)
    for block in blocks:
        shards[block.shard].append(block)
    return dict(shards)


def _wasteful(shards: Mapping[int, ShardRecord], blocks: Mapping[int, Sequence[RowBlock]]) -> Iterator[list[int]]:
    """Shards worth rewriting, together with those that may share a new one: made in the same way."""
    alike: dict[ShardRecord, list[int]] = defaultdict(list)
    for shard in blocks:
        alike[replace(shards[shard], name="", rows=0, sha256="")].append(shard)
    for group in alike.values():
        small = [shard for shard in group if len(blocks[shard]) < SHARD_TRACKS]
        holed = {shard for shard in group if sum(block.windows for block in blocks[shard]) < shards[shard].rows}
        chosen = holed.union(small if len(small) > 1 or holed else ())
        if chosen:
            yield sorted(chosen)


def _rewrite(writer: CatalogueWriter, shards: Mapping[int, ShardRecord], blocks: Sequence[RowBlock]) -> None:
    """Copy blocks of rows into a shard of their own, and let their tracks point there."""
    records = {block.shard: shards[block.shard] for block in blocks}
    old = {shard: read_shard(writer.folder, record, dim=writer.model.dim) for shard, record in records.items()}
    for record in records.values():
        if shard_sha256(writer.folder, record) != record.sha256:
            remedy = f"mulan index repair --index {writer.folder}"
            raise StoreError(f"{writer.folder}: shard {record.name} is damaged (SHA-256 differs); {remedy}")
    parts = [(old[block.shard], slice(block.first_row, block.first_row + block.windows)) for block in blocks]
    new = Shard(
        vectors=np.concatenate([shard.vectors[rows] for shard, rows in parts]),
        spans=np.concatenate([shard.spans[rows] for shard, rows in parts]),
    )
    name = writer.next_shard()
    sha256 = write_shard(writer.folder, name, new)
    like = next(iter(records.values()))
    writer.move_rows(replace(like, name=name, rows=len(new.vectors), sha256=sha256), blocks)


def _writer(folder: Path) -> AbstractContextManager[CatalogueWriter]:
    with Catalogue.open(folder) as catalogue:
        model = catalogue.model
    return open_writer(folder, model=model)


def _forget_files(writer: CatalogueWriter) -> None:
    remove_leftovers(writer.folder, {shard.name for shard in writer.shards().values()})


def _bytes(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process may be writing
            size += path.stat().st_size if path.is_file() else 0
    return size
