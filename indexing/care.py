"""Looking after an index: what is in it, what is wrong with it, and making it whole and small again."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import StoreError
from indexing.catalogue import CATALOGUE, Catalogue, Counts, QuarantinedFile, RowBlock, ShardRecord, reaching
from indexing.catalogue_writer import CatalogueWriter, open_writer
from indexing.embedding import SHARD_TRACKS
from indexing.engines import ENGINE_FILE, check_engine
from indexing.lock import is_written, looking
from indexing.model import ModelRecord
from indexing.shards import (
    SHARDS,
    Shard,
    leftovers,
    read_shard,
    remove_leftovers,
    shard_problems,
    shard_sha256,
    write_shard,
)

logger = logging.getLogger(__name__)

MIGRATING = "migrating"  # in an index folder: the index of its recordings with another model, see migrate.py
_MIGRATED = ".migrated"  # what is left of it, among the shards


class Finding(NamedTuple):
    """Something wrong, in words, and what a repair drops to put it right.

    Attributes:
        shard: one whose tracks then have to be embedded again.
        file: one without which all answers are the same, only slower.
    """

    problem: str
    shard: int | None = None
    file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class LibraryInfo:
    """A library of an index: its tracks, and the files that could not be used, with reasons."""

    root: Path
    tracks: int
    quarantine: tuple[QuarantinedFile, ...]


@dataclass(frozen=True, kw_only=True)
class BegunMigration:
    """A migration that was begun: to which model, how many of the index's recordings it has embedded, of how many.

    Attributes:
        is_running: whether a process is at it.
    """

    model: ModelRecord
    embedded: int
    recordings: int
    is_running: bool


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
    migration: BegunMigration | None


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
        model, counts, migration = _model(folder), catalogue.count(), begun_migration(catalogue)
    return IndexInfo(
        model=model,
        counts=counts,
        libraries=libraries,
        precisions=tuple(sorted({shard.precision for shard in shards.values()})),
        rows=rows,
        dead_rows=rows - live,
        bytes=_bytes(folder),
        migration=migration,
    )


def begun_migration(catalogue: Catalogue) -> BegunMigration | None:
    """The migration that was begun of an index, and not ended; None if there is none.

    Raises:
        StoreError: its own catalogue cannot be read.
    """
    space = catalogue.folder / MIGRATING
    if not (space / CATALOGUE).exists():
        return None
    with Catalogue.open(space) as begun:
        if begun.model.fingerprint == catalogue.model.fingerprint:
            return None  # it has ended: the index is of that model
        recordings = _contents(catalogue)
        embedded = len(recordings & _contents(begun))
        return BegunMigration(
            model=begun.model, embedded=embedded, recordings=len(recordings), is_running=is_written(space)
        )


def forget_files(writer: CatalogueWriter) -> None:
    """Delete what belongs to no track: shards that were dropped, and what a migration leaves once it has ended."""
    folder, space = writer.folder, writer.folder / MIGRATING
    if (space / CATALOGUE).exists() and _model(space).fingerprint == _model(folder).fingerprint:
        with reaching(folder):
            (folder / ENGINE_FILE).unlink(missing_ok=True)  # of the old space; it finds none of its shards
            (folder / SHARDS).mkdir(exist_ok=True)
            os.replace(space, folder / SHARDS / _MIGRATED)  # in one step: half an index would be in the way
    remove_leftovers(folder, {shard.name for shard in writer.shards().values()})


def verify(folder: Path) -> list[Finding]:
    """Read all of an index and say what is wrong with it; nothing is changed.

    Shards that belong to no track are found unless another process writes the index: then they may be its next ones,
    and a line in the log says that they were passed over. A writer clears away what others left before it starts.

    Raises:
        StoreError: the catalogue itself is damaged: then only a copy of it, or a new index, can help; or a shard
            cannot be read now, by this user or on this machine, which is no damage.
    """
    with Catalogue.open(folder) as catalogue:
        catalogue.check()
        with catalogue.snapshot():
            shards, blocks = catalogue.shards(), _by_shard(catalogue.blocks())
            with looking(folder) as is_idle:
                remains = leftovers(folder, {shard.name for shard in shards.values()}) if is_idle else []
            model = _model(folder)  # that of the shards: the check took long, and the index may have been migrated
        found = [
            Finding(problem, shard)
            for shard, record in shards.items()
            for problem in shard_problems(folder, model, record, blocks.get(shard, ()))
        ]
        present = catalogue.shards().keys()  # reading takes long, and a writer may have dropped some
    if not is_idle:
        logger.warning("%s: another process is writing it; shards that it has yet to register are passed over", folder)
    strays = [Finding(f"{path}: belongs to no track; left by a killed writer") for path in remains]
    return [*(finding for finding in found if finding.shard in present), *_engine_problems(folder), *strays]


def repair(folder: Path) -> RepairReport:
    """Drop the tracks of broken shards, so that the next sync embeds them again, and remove what is of no use.

    Raises:
        StoreError: the catalogue is damaged, a shard cannot be read now (nothing is dropped then), another process is
            writing, or the folder may not be written.
    """
    findings = verify(folder)
    with _writer(folder) as writer:
        broken = {finding.shard for finding in findings if finding.shard is not None}
        # Between the two, another writer may have dropped some.
        broken &= writer.shards().keys()
        before = writer.count().tracks
        writer.drop_shards(broken)
        with reaching(folder):
            for finding in findings:
                if finding.file is not None:
                    finding.file.unlink(missing_ok=True)
        forget_files(writer)
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
        forget_files(writer)
        for wasteful in _wasteful(shards, blocks):
            moving = [block for shard in wasteful for block in blocks[shard]]
            for start in range(0, len(moving), SHARD_TRACKS):
                _rewrite(writer, shards, moving[start : start + SHARD_TRACKS])
                forget_files(writer)
        return CompactReport(
            shards_before=shards_before,
            shards=writer.count().shards,
            bytes_before=bytes_before,
            bytes=_bytes(folder),
        )


def forget_library(folder: Path, root: Path) -> int:
    """Forget a library and its tracks, and how many there were; their vectors stay on disk until it is compacted.

    Nothing is read or written below its root, which need not be there any more.

    Raises:
        StoreError: as by `library_tracks`; another process is writing, or the folder may not be written.
    """
    with _writer(folder) as writer:
        return writer.drop_library(_library(writer, root))


def library_tracks(folder: Path, root: Path) -> int:
    """How many tracks a library has.

    Raises:
        StoreError: no index there, or it cannot be read; this is none of its libraries, and the message lists them.
    """
    with Catalogue.open(folder) as catalogue:
        return len(catalogue.track_ids("library = ?", _library(catalogue, root)))


def _library(catalogue: Catalogue, root: Path) -> int:
    """The id of the library with this root, which may be relative."""
    wanted, libraries = Path(os.path.abspath(root)), catalogue.libraries()
    for library, known in libraries.items():
        if known == wanted:
            return library
    there = f"it has {', '.join(sorted(map(str, libraries.values())))}" if libraries else "it has none"
    raise StoreError(f"{catalogue.folder}: holds no library {wanted}; {there}")


def _engine_problems(folder: Path) -> Iterator[Finding]:
    """What is wrong with the engine file, if there is one; reads all of it."""
    path = folder / ENGINE_FILE
    try:
        if path.exists():
            check_engine(path)
    except StoreError as error:
        yield Finding(str(error), file=path)


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
    return open_writer(folder, model=_model(folder))


def _model(folder: Path) -> ModelRecord:
    with Catalogue.open(folder) as catalogue:
        return catalogue.model


def _contents(catalogue: Catalogue) -> set[str]:
    return {file.content for library in catalogue.libraries() for file in catalogue.known_files(library)}


def _bytes(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process may be writing
            size += path.stat().st_size if path.is_file() else 0
    return size
