"""The vectors of a set of tracks, kept on disk so that a second evaluation with other prompts takes seconds."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from data.errors import StoreError
from data.manifest import Track
from mulan.encoding import EmbeddedFile, Encoder, FailedFile
from mulan.evaluation.embeddings import Embeddings, Row, gather, present

_FORMAT = 1  # of the cache; a change of how files are decoded or cut into windows needs another
_COMMIT_EVERY = 64  # files; a killed run loses at most their vectors


class VectorCache:
    """Window vectors of files that one model has embedded, in an SQLite file; a file that has changed is not found.

    One file for each model and precision, named by the model's fingerprint. Failures are not kept.

    Raises:
        StoreError: the file is no cache, or cannot be written.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{_FORMAT}-{encoder.fingerprint}-{encoder.precision}.sqlite"
        self._dim = encoder.dim
        try:
            self._database = sqlite3.connect(self.path, timeout=60)
            self._database.execute("pragma journal_mode = wal")  # several evaluations may run at once
            self._database.execute(
                "create table if not exists vectors"
                " (path blob, part text, size integer, mtime_ns integer, vectors blob, spans blob,"
                " primary key (path, part))"
            )
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: cannot be used as a cache of vectors ({error}); delete it") from error
        self._uncommitted = 0

    def find(self, track: Track) -> int | None:
        """The row, for `read`, that `keep` made for this track; None if none, or if its file has changed since."""
        status = track.path.stat()
        found = self._database.execute(
            "select rowid from vectors where path = ? and part = ? and size = ? and mtime_ns = ?",
            (*_key(track), status.st_size, status.st_mtime_ns),
        ).fetchone()
        return found and int(found[0])

    def read(self, row: int) -> EmbeddedFile:
        """The windows in a row."""
        path, vectors, spans = self._database.execute(
            "select path, vectors, spans from vectors where rowid = ?", (row,)
        ).fetchone()
        return EmbeddedFile(
            path=Path(os.fsdecode(path)),
            vectors=np.frombuffer(vectors, np.float32).reshape(-1, self._dim),
            spans=np.frombuffer(spans, np.float64).reshape(-1, 2),
        )

    def keep(self, track: Track, embedded: EmbeddedFile) -> None:
        """Remember a track's windows."""
        status = track.path.stat()
        blobs = embedded.vectors.astype(np.float32).tobytes(), embedded.spans.astype(np.float64).tobytes()
        self._database.execute(
            "insert or replace into vectors values (?, ?, ?, ?, ?, ?)",
            (*_key(track), status.st_size, status.st_mtime_ns, *blobs),
        )
        self._uncommitted += 1
        if self._uncommitted >= _COMMIT_EVERY:
            self._database.commit()
            self._uncommitted = 0

    def close(self) -> None:
        """Put on disk what is not there yet."""
        self._database.commit()
        self._database.close()


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
    return gather(there, _rows(encoder, there, cache), layers=("vectors",), missing=missing, on_track=on_track)


def _rows(encoder: Encoder, tracks: Sequence[Track], cache: Path | None) -> Iterator[Row | str]:
    """What became of each track, in order."""
    if cache is None:
        yield from map(_row, encoder.embed_tracks(tracks))
        return
    with closing(VectorCache(cache, encoder)) as vectors:
        places = [vectors.find(track) for track in tracks]
        fresh = encoder.embed_tracks([track for track, place in zip(tracks, places, strict=True) if place is None])
        for track, place in zip(tracks, places, strict=True):
            if place is not None:
                yield _row(vectors.read(place), is_new=False)
                continue
            outcome = next(fresh)
            if isinstance(outcome, EmbeddedFile):
                vectors.keep(track, outcome)
            yield _row(outcome)


def _row(outcome: EmbeddedFile | FailedFile, *, is_new: bool = True) -> Row | str:
    if isinstance(outcome, FailedFile):
        return outcome.reason
    seconds = float(outcome.spans[-1, 1])
    return Row(values=outcome.vector[None], windows=len(outcome.vectors), seconds=seconds, is_new=is_new)


def _key(track: Track) -> tuple[bytes, str]:
    """Absolute path, as bytes because not every name is text, and which part of the file."""
    part = "" if not (track.member or track.start or track.end) else f"{track.member}|{track.start!r}|{track.end!r}"
    return bytes(track.path.absolute()), part
