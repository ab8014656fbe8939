"""The catalogue of an index: one SQLite file that says which model, libraries, shards and tracks count.

INDEX/catalogue.sqlite is the last word: what it does not name does not exist. A shard's files are written and synced
first, then one transaction registers it with its tracks: after kill -9 or a power cut all of it is there or nothing.
Tracks with the same audio share rows of a shard. Writing is in catalogue_writer.py.

Paths are text, relative to their library's root. Bytes in them that are not UTF-8 are stored as `\\udc80` to
`\\udcff`, and a backslash therefore as two.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

from data.errors import StoreError
from indexing.model import ModelRecord
from indexing.query import add_functions
from indexing.stored_paths import decoded

FORMAT = 2
CATALOGUE = "catalogue.sqlite"
_OLD_MANIFEST = "manifest.json"  # what an index of format 1 had
_FREE_SPACE = "what was committed is kept: free space or give permission, and try again"
_BUSY_SECONDS = 60  # how long a reader waits for a commit, and the writer for readers

SCHEMA = """
CREATE TABLE meta (
    format INTEGER NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL, dim INTEGER NOT NULL,
    clip_seconds REAL NOT NULL, licence TEXT NOT NULL); -- in this order; format is the first in any version
CREATE TABLE libraries (id INTEGER PRIMARY KEY, root TEXT NOT NULL UNIQUE);
CREATE TABLE mounts (
    library INTEGER NOT NULL REFERENCES libraries, path TEXT NOT NULL, PRIMARY KEY (library, path)) WITHOUT ROWID;
CREATE TABLE shards (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL, precision TEXT NOT NULL,
    fingerprint TEXT NOT NULL, window_rule TEXT NOT NULL, licence TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE tracks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, library INTEGER NOT NULL REFERENCES libraries, path TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, content TEXT NOT NULL,
    shard INTEGER NOT NULL REFERENCES shards, first_row INTEGER NOT NULL, windows INTEGER NOT NULL,
    seconds REAL NOT NULL, title TEXT NOT NULL, artist TEXT, album TEXT, genre TEXT, year INTEGER, bpm REAL,
    UNIQUE (library, path));
CREATE INDEX tracks_by_content ON tracks (content);
CREATE INDEX tracks_by_shard ON tracks (shard, first_row);
CREATE TABLE quarantine (
    library INTEGER NOT NULL REFERENCES libraries, path TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL, tries INTEGER NOT NULL, PRIMARY KEY (library, path)) WITHOUT ROWID;
"""


class KnownFile(NamedTuple):
    """What a track's file was when it was read: enough to tell whether it has changed, moved or gone."""

    id: int
    path: str
    size: int
    mtime_ns: int
    content: str


class QuarantinedFile(NamedTuple):
    """A file that could not be used, as it was then, and how often that was found."""

    path: str
    size: int
    mtime_ns: int
    reason: str
    tries: int


class RowBlock(NamedTuple):
    """The windows of one recording: consecutive rows of a shard."""

    shard: int
    first_row: int
    windows: int


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A folder of vectors: how they were made, and the SHA-256 of its files, see `shards.shard_sha256`."""

    name: str
    rows: int
    precision: str
    fingerprint: str
    window_rule: str
    licence: str
    sha256: str

    @property
    def key(self) -> str:
        """What engines know it by: another for every shard, and for the same name with other content."""
        return f"{self.name} {self.sha256}"


@dataclass(frozen=True, kw_only=True)
class NewTrack:
    """A track to be: its file, its audio, what its tags say; `path` is below the library's root."""

    library: int
    path: str
    size: int
    mtime_ns: int
    content: str
    windows: int
    seconds: float
    title: str
    artist: str | None
    album: str | None
    genre: str | None
    year: int | None
    bpm: float | None


@dataclass(frozen=True, kw_only=True)
class TrackEntry(NewTrack):
    """A track of the catalogue. `id` is never used again; its windows are rows of the shard from `first_row` on."""

    id: int
    shard: int
    first_row: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much is in an index; `windows` counts rows that copies share once for each."""

    tracks: int
    windows: int
    shards: int
    quarantined: int


MODEL_COLUMNS = ("name", "fingerprint", "dim", "clip_seconds", "licence")
SHARD_COLUMNS = [column.name for column in fields(ShardRecord)]
TRACK_COLUMNS = [column.name for column in fields(TrackEntry)]


class Catalogue:
    """The catalogue, read-only: what was committed when a method is called. For one thread at a time.

    Every method raises StoreError where the database is damaged, or busy for a minute.

    Attributes:
        folder: the index folder.
        model: the model whose vectors it holds.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder, self._connection = folder, connection
        try:
            self.model = self._read_model()
        except BaseException:
            connection.close()
            raise

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open for reading; works on a read-only disk, and while another process writes.

        Raises:
            StoreError: there is no index, it is damaged, or another version of mulan made it.
        """
        _require_catalogue(folder)
        try:
            return cls(folder, connect(folder, "ro"))
        except _UnfinishedCommitError as unfinished:
            # A writer was killed while it committed. Whoever may write takes its half of a change back.
            try:
                cls(folder, connect(folder, "rw")).close()
            except StoreError:
                raise unfinished from None
            return cls(folder, connect(folder, "ro"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read inside the block is of one moment; a writer has to wait until it ends."""
        with transaction(self.folder, self._connection, "BEGIN"):
            self.model = self._read_model()  # the index may have been migrated since it was opened
            yield

    def libraries(self) -> dict[int, Path]:
        """The roots of the libraries by id."""
        return {library: Path(decoded(root)) for library, root in self._rows("SELECT id, root FROM libraries")}

    def mounts(self, library: int) -> list[str]:
        """The folders of a library that were on disks of their own when it was last scanned."""
        rows = self._rows("SELECT path FROM mounts WHERE library = ? ORDER BY path", library)
        return [decoded(path) for (path,) in rows]

    def shards(self) -> dict[int, ShardRecord]:
        """The shards by id, in the order in which they were added."""
        rows = self._rows(f"SELECT id, {', '.join(SHARD_COLUMNS)} FROM shards ORDER BY id")
        return {shard: ShardRecord(**dict(zip(SHARD_COLUMNS, row, strict=True))) for shard, *row in rows}

    def blocks(self) -> list[RowBlock]:
        """The rows of every recording, in the order of shards and rows; tracks with the same audio share theirs."""
        rows = self._rows("SELECT DISTINCT shard, first_row, windows FROM tracks ORDER BY shard, first_row")
        return [RowBlock(*row) for row in rows]

    def tracks(self, where: str = "1", *values: object) -> Iterator[TrackEntry]:
        """The tracks for which an SQL condition over their columns holds, by id; the list is read at once.

        Args:
            where: never text that a user wrote: his conditions come from `sql_filter`, with `?` for their values.
        """
        rows = self._rows(f"SELECT {', '.join(TRACK_COLUMNS)} FROM tracks WHERE {where} ORDER BY id", *values)
        for row in rows:
            columns = dict(zip(TRACK_COLUMNS, row, strict=True))
            yield TrackEntry(**{**columns, "path": decoded(columns["path"])})

    def track_ids(self, where: str, *values: object) -> list[int]:
        """The ids of the tracks for which an SQL condition holds, ascending; `where` as for `tracks`."""
        return [track for (track,) in self._rows(f"SELECT id FROM tracks WHERE {where} ORDER BY id", *values)]

    def known_files(self, library: int) -> list[KnownFile]:
        """The files of a library's tracks, by id."""
        rows = self._rows(f"SELECT {', '.join(KnownFile._fields)} FROM tracks WHERE library = ? ORDER BY id", library)
        return [KnownFile(track, decoded(path), *rest) for track, path, *rest in rows]

    def quarantine(self, library: int) -> list[QuarantinedFile]:
        """The unusable files of a library, by path as stored."""
        columns = ", ".join(QuarantinedFile._fields)
        rows = self._rows(f"SELECT {columns} FROM quarantine WHERE library = ? ORDER BY path", library)
        return [QuarantinedFile(decoded(path), *rest) for path, *rest in rows]

    def count(self) -> Counts:
        """How much is in the index."""
        ((tracks, windows, shards, quarantined),) = self._rows(
            "SELECT (SELECT count(*) FROM tracks), (SELECT coalesce(sum(windows), 0) FROM tracks), "
            "(SELECT count(*) FROM shards), (SELECT count(*) FROM quarantine)"
        )
        return Counts(tracks=tracks, windows=windows, shards=shards, quarantined=quarantined)

    def check(self) -> None:
        """Read every page of the database; StoreError names the first that is damaged."""
        for pragma in ("integrity_check(1)", "foreign_key_check"):
            found = self._rows(f"PRAGMA {pragma}")
            if found and found[0] != ("ok",):
                raise _damaged(self.folder, " ".join(" ".join(map(str, found[0])).split()))

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        # All at once: a half-read query would keep the writer waiting.
        with reaching(self.folder):
            return self._connection.execute(query, values).fetchall()

    def _read_model(self) -> ModelRecord:
        rows = self._rows("SELECT * FROM meta")
        if len(rows) != 1:
            raise _damaged(self.folder, f"{len(rows)} rows in meta")
        found, *values = rows[0]
        if found != FORMAT:
            raise StoreError(f"{self.folder}: index format {found}; this mulan reads {FORMAT}; upgrade mulan")
        return ModelRecord(**dict(zip(MODEL_COLUMNS, values, strict=True)))


class _UnfinishedCommitError(StoreError):
    """A writer was killed while it committed, and whoever reads now may not take back what it did."""


def connect(folder: Path, mode: str) -> sqlite3.Connection:
    """The database of an index folder, opened with SQLite's mode `ro` or `rw`; StoreError if it cannot be."""
    _require_catalogue(folder)
    address = f"{(folder / CATALOGUE).absolute().as_uri()}?mode={mode}"
    with reaching(folder):
        base = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    add_functions(base)
    return base


@contextmanager
def transaction(folder: Path, connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Commit what the block does, or take it all back if it raises."""
    with reaching(folder):
        try:
            connection.execute(begin)
            yield
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


@contextmanager
def reaching(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the disk say into a StoreError of one line."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ValueError(f"{folder}: {error}") from error
    except sqlite3.ProgrammingError:
        raise  # our own mistake, such as a closed connection
    except sqlite3.DatabaseError as error:
        raise _store_error(folder, error) from error
    except OSError as error:
        raise StoreError(f"{folder}: cannot write: {error.strerror or error}; {_FREE_SPACE}") from error


def _store_error(folder: Path, error: sqlite3.DatabaseError) -> StoreError:
    code = getattr(error, "sqlite_errorname", None) or ""
    if code == "SQLITE_READONLY_ROLLBACK":
        remedy = "open it once where it may be written, then anew: mulan index info"
        return _UnfinishedCommitError(f"{folder}: a killed writer left {CATALOGUE} half changed; {remedy}")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(f"{folder}: {CATALOGUE} is locked by another program, {_BUSY_SECONDS} s long; end it")
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(f"{folder}: cannot reach {CATALOGUE}: {error}; {_FREE_SPACE}")
    return _damaged(folder, str(error))


def _damaged(folder: Path, reason: str) -> StoreError:
    return StoreError(f"{folder}: {CATALOGUE} is damaged ({reason}); restore it, or delete the folder and sync again")


def _require_catalogue(folder: Path) -> None:
    if not (folder / CATALOGUE).is_file():
        refuse_old_format(folder)
        raise StoreError(f"{folder}: no index here; make one: mulan index sync LIBRARY --index {folder}")


def refuse_old_format(folder: Path) -> None:
    """Say what to do about an index of format 1; StoreError if the folder holds one."""
    if (folder / _OLD_MANIFEST).is_file():
        remedy = f"delete the folder and make it anew: mulan index sync LIBRARY --index {folder}"
        raise StoreError(f"{folder}: index format 1, of an older mulan; this one reads {FORMAT}; {remedy}")
