"""Writing the catalogue of an index: one writer at a time, every change a transaction.

The journal is a rollback journal, truncated when a transaction ends, and not a write-ahead log: that one needs a
file in shared memory beside the database, so a log-mode index could not be opened on a read-only disk, and not
safely on a network disk. The price: readers wait while a writer commits (milliseconds), and it while they read.
With synchronous=FULL the truncation is synced too, so what was committed outlives a power cut.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import StoreError
from data.file_tags import Tags
from data.files import UNFINISHED, written_aside
from indexing.catalogue import (
    CATALOGUE,
    FORMAT,
    MODEL_COLUMNS,
    SCHEMA,
    SHARD_COLUMNS,
    Catalogue,
    NewTrack,
    RowBlock,
    ShardRecord,
    TrackEntry,
    connect,
    reaching,
    refuse_old_format,
    transaction,
)
from indexing.lock import LOCK, writing
from indexing.model import ModelRecord, check_model
from indexing.scan import AudioFile
from indexing.shards import remove_leftovers, sync_folder
from indexing.stored_paths import encoded


@dataclass(frozen=True, kw_only=True)
class FileUpdate:
    """A track's file as it is now: where, its stamps and its tags; its audio is what it was."""

    track: int
    path: str
    size: int
    mtime_ns: int
    tags: Tags


class Failure(NamedTuple):
    """A file of a library that cannot be used, as it was, and why."""

    library: int
    file: AudioFile
    reason: str


class CatalogueWriter(Catalogue):
    """The one writer of a catalogue; made by `open_writer`. Each method is one transaction: all of it or nothing.

    Besides damage, StoreError means that the disk is full or may not be written; ValueError that two tracks would
    have one path, or that an id is not in the catalogue. In either case the catalogue is as it was.
    """

    def add_library(self, root: Path) -> int:
        """The id of the library with this root, which is added if it is new."""
        with self._change() as connection:
            connection.execute("INSERT OR IGNORE INTO libraries (root) VALUES (?)", (encoded(str(root)),))
        return next(library for library, known in self.libraries().items() if known == root)

    def drop_library(self, library: int) -> int:
        """Forget a library with its tracks and unusable files; gives how many tracks it had."""
        with self._change() as connection:
            for table in ("mounts", "quarantine"):
                connection.execute(f"DELETE FROM {table} WHERE library = ?", (library,))
            dropped = connection.execute("DELETE FROM tracks WHERE library = ?", (library,)).rowcount
            connection.execute("DELETE FROM libraries WHERE id = ?", (library,))
        return dropped

    def set_mounts(self, library: int, mounts: Iterable[str]) -> None:
        """Note which folders of a library are on disks of their own."""
        with self._change() as connection:
            connection.execute("DELETE FROM mounts WHERE library = ?", (library,))
            connection.executemany("INSERT INTO mounts VALUES (?, ?)", ((library, encoded(path)) for path in mounts))

    def next_shard(self) -> str:
        """The name of the shard to be written next; no shard ever had it."""
        ((last,),) = self._rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'shards'")
        return f"{last + 1:06d}"

    def register(
        self,
        shard: ShardRecord,
        tracks: Sequence[NewTrack],
        *,
        replaces: Collection[int] = (),
        failures: Iterable[Failure] = (),
    ) -> None:
        """Add a shard whose rows are the windows of these tracks, one track after the other.

        Args:
            replaces: tracks to drop.
            failures: files to quarantine in the same transaction.

        Raises:
            ValueError: the tracks have more or fewer windows than the shard has rows.
        """
        if (windows := sum(track.windows for track in tracks)) != shard.rows:
            raise ValueError(f"shard {shard.name}: {shard.rows} rows, but {windows} windows in its tracks")
        with self._change() as connection:
            _drop(connection, replaces)
            _quarantine(connection, failures)
            row, shard_id = 0, _insert_shard(connection, shard)
            for track in tracks:
                _insert(connection, "tracks", _columns(track, shard=shard_id, first_row=row))
                row += track.windows
            _release_tracks(connection)

    def add_copies(self, copies: Iterable[tuple[int, NewTrack]], *, replaces: Collection[int] = ()) -> None:
        """Add tracks that have the audio of other tracks, given by their ids, and share their rows."""
        with self._change() as connection:
            _drop(connection, replaces)
            for source, track in copies:
                row = connection.execute("SELECT shard, first_row FROM tracks WHERE id = ?", (source,)).fetchone()
                if row is None:
                    raise ValueError(f"track {source}, of which {track.path} is a copy, is not in the catalogue")
                _insert(connection, "tracks", _columns(track, shard=row[0], first_row=row[1]))
            _release_tracks(connection)

    def update_files(self, updates: Sequence[FileUpdate]) -> None:
        """Note where the files of tracks are now and what their tags say; files may have changed places."""
        with self._change() as connection:
            # First out of the way: in a swap, the path of one is still that of the other.
            _each(connection, "UPDATE tracks SET path = '\\' || id WHERE id = ?", [(one.track,) for one in updates])
            _each(
                connection,
                "UPDATE tracks SET path = ?, size = ?, mtime_ns = ?, title = ?, artist = ?, album = ?, genre = ?, "
                "year = ?, bpm = ? WHERE id = ?",
                [(encoded(one.path), one.size, one.mtime_ns, *_tag_values(one.tags), one.track) for one in updates],
            )
            _release_tracks(connection)

    def drop(self, tracks: Collection[int]) -> None:
        """Forget tracks; their rows stay in the shards until these are compacted."""
        with self._change() as connection:
            _drop(connection, tracks)

    def add_quarantine(self, failures: Iterable[Failure]) -> None:
        """Note files that cannot be used, and why; a track at such a path is dropped."""
        with self._change() as connection:
            _quarantine(connection, failures)

    def release(self, library: int, paths: Iterable[str]) -> None:
        """Take files out of quarantine: they are gone, or to be tried again."""
        with self._change() as connection:
            rows = [(library, encoded(path)) for path in paths]
            connection.executemany("DELETE FROM quarantine WHERE library = ? AND path = ?", rows)

    def drop_shards(self, shards: Collection[int]) -> None:
        """Forget shards and the tracks whose windows lie in them."""
        with self._change() as connection:
            for table, column in (("tracks", "shard"), ("shards", "id")):
                connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(shard,) for shard in shards])

    def move_rows(self, shard: ShardRecord, blocks: Sequence[RowBlock]) -> None:
        """Add a shard into which the windows of tracks were copied, block after block; forget shards left empty.

        Raises:
            ValueError: the blocks have more or fewer rows than the shard.
        """
        if (rows := sum(block.windows for block in blocks)) != shard.rows:
            raise ValueError(f"shard {shard.name}: {shard.rows} rows, but {rows} in the blocks")
        with self._change() as connection:
            row, shard_id = 0, _insert_shard(connection, shard)
            for block in blocks:
                connection.execute(
                    "UPDATE tracks SET shard = ?, first_row = ? WHERE shard = ? AND first_row = ?",
                    (shard_id, row, block.shard, block.first_row),
                )
                row += block.windows
            connection.execute("DELETE FROM shards WHERE id NOT IN (SELECT shard FROM tracks)")

    def change_model(
        self,
        model: ModelRecord,
        shards: Mapping[int, ShardRecord],
        recordings: Iterable[TrackEntry],
        *,
        failures: Iterable[Failure],
        dropped: Collection[int],
    ) -> None:
        """Put the shards of another model in the place of all there are.

        Args:
            model: that made them.
            shards: by the ids that they have in another catalogue.
            recordings: tracks of that one; each gives its place, windows and seconds to all tracks with its content.
            failures: files that the model could not be given, for the quarantine.
            dropped: tracks to forget.
        """
        with self._change() as connection:
            old = [(shard,) for shard in self.shards()]
            ids = {key: _insert_shard(connection, shard) for key, shard in shards.items()}
            connection.executemany(
                "UPDATE tracks SET shard = ?, first_row = ?, windows = ?, seconds = ? WHERE content = ?",
                [(ids[one.shard], one.first_row, one.windows, one.seconds, one.content) for one in recordings],
            )
            _quarantine(connection, failures)
            _drop(connection, dropped)
            connection.executemany("DELETE FROM shards WHERE id = ?", old)
            columns = ", ".join(f"{column} = ?" for column in MODEL_COLUMNS)
            connection.execute(f"UPDATE meta SET {columns}", [getattr(model, column) for column in MODEL_COLUMNS])
        self.model = model

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with transaction(self.folder, self._connection, "BEGIN IMMEDIATE"):
            yield self._connection


def create_catalogue(folder: Path, model: ModelRecord) -> None:
    """Write the catalogue of an index without tracks; it is there as a whole or not at all.

    Raises:
        StoreError: it could not be written.
    """
    values = (FORMAT, *(getattr(model, column) for column in MODEL_COLUMNS))
    with reaching(folder), written_aside(folder / CATALOGUE) as path:
        path.unlink(missing_ok=True)  # of a killed writer
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")  # what is written aside needs none
            connection.executescript(SCHEMA)
            connection.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?, ?)", values)
        finally:
            connection.close()
    with reaching(folder):
        sync_folder(folder)


@contextmanager
def open_writer(folder: Path, *, model: ModelRecord) -> Iterator[CatalogueWriter]:
    """Open an index for writing, or create it; nobody else can until the block ends.

    Shards that a killed writer did not come to register are cleared away.

    Raises:
        BusyError: another process is writing.
        StoreError: the folder holds something else or another model's index; the catalogue is damaged; or it cannot
            be written.
    """
    with reaching(folder):
        _check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder):
        if not (folder / CATALOGUE).exists():
            create_catalogue(folder, model)
        connection = connect(folder, "rw")
        with reaching(folder):
            for pragma in ("synchronous = FULL", "journal_mode = TRUNCATE", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
        with CatalogueWriter(folder, connection) as writer:
            check_model(folder, writer.model, name=model.name, fingerprint=model.fingerprint)
            remove_leftovers(folder, {shard.name for shard in writer.shards().values()})
            yield writer


def _check_folder(folder: Path) -> None:
    """Never write among files that are not ours: `--index ~/Music` is a slip of the hand."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: a file, not a folder; choose a new folder for the index")
    if folder.is_dir() and not (folder / CATALOGUE).exists():
        refuse_old_format(folder)
        others = sorted({path.name for path in folder.iterdir()} - {LOCK, CATALOGUE + UNFINISHED})
        if others:
            raise StoreError(f"{folder}: holds {others[0]!r} and no index; choose a new folder for the index")


def _columns(track: NewTrack, **place: int) -> dict[str, Any]:
    values = {column.name: getattr(track, column.name) for column in fields(NewTrack)}
    return {**values, **place, "path": encoded(track.path)}


def _insert(connection: sqlite3.Connection, table: str, columns: dict[str, Any]) -> int:
    """Add a row and give its id."""
    marks = ", ".join("?" * len(columns))
    query = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
    row = connection.execute(query, tuple(columns.values())).lastrowid
    assert row is not None
    return row


def _insert_shard(connection: sqlite3.Connection, shard: ShardRecord) -> int:
    return _insert(connection, "shards", {name: getattr(shard, name) for name in SHARD_COLUMNS})


def _quarantine(connection: sqlite3.Connection, failures: Iterable[Failure]) -> None:
    for library, file, reason in failures:
        path = encoded(file.path)
        connection.execute("DELETE FROM tracks WHERE library = ? AND path = ?", (library, path))
        connection.execute(
            "INSERT INTO quarantine VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (library, path) DO UPDATE SET "
            "size = excluded.size, mtime_ns = excluded.mtime_ns, reason = excluded.reason, tries = tries + 1",
            (library, path, file.size, file.mtime_ns, reason),
        )


def _drop(connection: sqlite3.Connection, tracks: Iterable[int]) -> None:
    _each(connection, "DELETE FROM tracks WHERE id = ?", [(track,) for track in tracks])


def _release_tracks(connection: sqlite3.Connection) -> None:
    """A path holds a track or an unusable file, not both."""
    connection.execute(
        "DELETE FROM quarantine WHERE EXISTS (SELECT 1 FROM tracks "
        "WHERE tracks.library = quarantine.library AND tracks.path = quarantine.path)"
    )


def _each(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Run a statement that changes one track for each of the rows, the last value of which is its id."""
    for row in rows:
        if connection.execute(statement, row).rowcount != 1:
            raise ValueError(f"track {row[-1]} is not in the catalogue")


def _tag_values(tags: Tags) -> tuple[str | float | None, ...]:
    return tags.title, tags.artist, tags.album, tags.genre, tags.year, tags.bpm
