"""The vectors of a set of tracks, kept on disk so that a second evaluation with other prompts takes seconds."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from data.errors import StoreError
from data.manifest import Track
from mulan.encoding import EmbeddedFile, Encoder, FailedFile
from mulan.evaluation.embeddings import Embeddings, Row, gather, present

_FORMAT = 1  # of the cache; a change of how files are decoded or cut into windows needs another


_IS_KEY = "path = ? and part = ? and size = ? and mtime_ns = ?"


@dataclass(frozen=True, kw_only=True)
class _Key:
    """A track as its file is now: absolute path (as bytes, because not every name is text), part, size and time."""

    path: bytes
    part: str
    size: int
    mtime_ns: int


class Ears(Protocol):
    """What turns the windows of a track into rows of numbers, all of one length: an encoder, or a judge.

    Each attribute is what it is of an `Encoder`.
    """

    @property
    def dim(self) -> int:
        """Length of a row."""

    @property
    def fingerprint(self) -> str:
        """Hash of weights and configuration."""

    @property
    def precision(self) -> str:
        """Of the computation."""

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        """One result for each track, in order."""


class VectorCache:
    """Window vectors of files that one model has embedded, in an SQLite file; a file that has changed is not found.

    One file for each model and precision, named by the model's fingerprint. Failures are not kept. Several processes
    may use it at once, and what was kept survives a kill.

    Raises:
        StoreError: the file is no cache, or cannot be written.
    """

    def __init__(self, folder: Path, encoder: Ears) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{_FORMAT}-{encoder.fingerprint}-{encoder.precision}.sqlite"
        self._dim = encoder.dim
        # Each row is a transaction: one that spanned several would lock other processes out while files are embedded.
        self._database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        self._run("pragma journal_mode = wal")
        self._run("pragma synchronous = normal")
        self._run(
            "create table if not exists vectors"
            " (path blob, part text, size integer, mtime_ns integer, vectors blob, spans blob,"
            " primary key (path, part))"
        )

    def has(self, key: _Key) -> bool:
        """Whether `keep` was given this key."""
        return self._run(f"select 1 from vectors where {_IS_KEY}", *astuple(key)).fetchone() is not None

    def read(self, key: _Key) -> EmbeddedFile | None:
        """What `keep` was given for this key; None if another process has replaced it since."""
        row = self._run(f"select vectors, spans from vectors where {_IS_KEY}", *astuple(key)).fetchone()
        if row is None:
            return None
        return EmbeddedFile(
            path=Path(os.fsdecode(key.path)),
            vectors=np.frombuffer(row[0], np.float32).reshape(-1, self._dim),
            spans=np.frombuffer(row[1], np.float64).reshape(-1, 2),
        )

    def keep(self, key: _Key, embedded: EmbeddedFile) -> None:
        """Remember a track's windows."""
        blobs = embedded.vectors.astype(np.float32).tobytes(), embedded.spans.astype(np.float64).tobytes()
        self._run("insert or replace into vectors values (?, ?, ?, ?, ?, ?)", *astuple(key), *blobs)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be used as a cache of vectors ({error}); delete it") from error


def embed_set(
    encoder: Encoder,
    tracks: Sequence[Track],
    *,
    cache: Path | None = None,
    allow_missing: bool = False,
    on_track: Callable[[], None] = lambda: None,
) -> Embeddings:
    """Embed the tracks of a set, by the path that `mulan embed` takes.

    Args:
        cache: the folder to keep vectors in; None keeps none.
        allow_missing: go on although more than 1 % of the files are missing.
        on_track: called after each track that has a file.

    Raises:
        ManifestError: there are no tracks, too many files are missing, or none could be embedded.
        StoreError: the cache cannot be used.
    """
    there, missing = present(tracks, allow_missing=allow_missing)
    return gather(
        there,
        (_row(outcome, is_new=is_new) for outcome, is_new in embed_kept(encoder, there, cache)),
        layers=("vectors",),
        pooling="renormalised mean of window vectors; a last window is completed with the track's beginning",
        missing=missing,
        allow_missing=allow_missing,
        on_track=on_track,
    )


def embed_kept(
    ears: Ears, tracks: Sequence[Track], cache: Path | None
) -> Iterator[tuple[EmbeddedFile | FailedFile, bool]]:
    """What became of each track, in order, and whether it was computed now, not kept from before.

    Args:
        tracks: of files that are on this disk.
        cache: the folder to keep vectors in; None keeps none.

    Raises:
        StoreError: the cache cannot be used.
    """
    if cache is None:
        yield from ((outcome, True) for outcome in ears.embed_tracks(tracks))
        return
    with closing(VectorCache(cache, ears)) as vectors:
        keys = [_key(track) for track in tracks]  # before embedding: a file that changes meanwhile is not taken for it
        known = [vectors.has(key) for key in keys]
        fresh = ears.embed_tracks([track for track, is_known in zip(tracks, known, strict=True) if not is_known])
        for track, key, is_known in zip(tracks, keys, known, strict=True):
            if is_known and (found := vectors.read(key)):
                yield found, False
                continue
            outcome = next(ears.embed_tracks([track])) if is_known else next(fresh)
            if isinstance(outcome, EmbeddedFile):
                vectors.keep(key, outcome)
            yield outcome, True


def _row(outcome: EmbeddedFile | FailedFile, *, is_new: bool) -> Row | str:
    if isinstance(outcome, FailedFile):
        return outcome.reason
    seconds = float(outcome.spans[-1, 1])
    return Row(values=outcome.vector[None], windows=len(outcome.vectors), seconds=seconds, is_new=is_new)


def _key(track: Track) -> _Key:
    is_part = bool(track.member or track.start or track.end)
    status = track.path.stat()
    return _Key(
        path=bytes(track.path.absolute()),
        part=f"{track.member}|{track.start!r}|{track.end!r}" if is_part else "",
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
