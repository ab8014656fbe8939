"""How syncing, searching, memory and disk grow with a library: real files and catalogue, made vectors and metadata.

No model runs: what is measured is what an index takes beside it.
"""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile

from indexing.bench import clustered_blocks
from indexing.catalogue import CATALOGUE, NewTrack
from indexing.catalogue_writer import open_writer
from indexing.embedding import SHARD_TRACKS, write_next_shard
from indexing.engines import ENGINE_FILE
from indexing.engines.vectors import Floats
from indexing.index import Index
from indexing.model import model_record
from indexing.query import parse_query
from indexing.search import matching_tracks
from indexing.shards import SHARDS, Shard
from indexing.sync import SyncReport, sync_library
from indexing.upkeep import refresh_engine
from mulan.encoding import EmbeddedFile

ALBUM_TRACKS = 12
FILTERS = {
    "a third of it": "year < 1982",
    "one track in 1,300": 'genre = "jazz" and year = 1984',
}
_GENRES = (
    "ambient blues classical country dance disco folk funk gospel house jazz latin metal pop punk rap reggae rock soul "
    "techno"
)
_FIRST_YEAR, _YEARS = 1960, 66
_WINDOW_SECONDS = 5.0
_APART = 0.5  # of the windows of a track
_QUERIES = 50
_HITS = 10

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SearchFigures:
    """What a process that only searches takes.

    Attributes:
        open_seconds: to open the index.
        search_ms: median of a query's milliseconds for ten tracks; `filtered_ms` with each of `FILTERS`, in order,
            looking them up included.
        memory_bytes: the most that the process held, libraries and mapped files included.
    """

    open_seconds: float
    search_ms: float
    filtered_ms: tuple[float, ...]
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class LibraryFigures:
    """What an index takes at one size.

    Attributes:
        windows: vectors, of all tracks.
        engine_seconds: to build what makes searches quick.
        unchanged_seconds: a sync that finds nothing new.
        album_seconds: a sync that finds one new album, without embedding it.
        search: see `SearchFigures`.
        catalogue_bytes, vector_bytes, engine_bytes: on disk.
    """

    tracks: int
    windows: int
    engine_seconds: float
    unchanged_seconds: float
    album_seconds: float
    search: SearchFigures
    catalogue_bytes: int
    vector_bytes: int
    engine_bytes: int


def measure_library(folder: Path, *, tracks: int, windows: int, dim: int, on_note: Note) -> LibraryFigures:
    """Make a library and its index in a folder, sync it, add an album, and search it.

    Args:
        folder: an empty one, with room for tracks * windows * dim * 5.3 bytes.
        tracks: of the library, each a file.
        windows: of each track.
        dim: of the vectors.
        on_note: told what is going on.
    """
    library, index = folder / "music", folder / "index"
    encoder = _MadeEncoder(dim, windows)
    on_note(f"making {tracks:,} files and {tracks * windows:,} x {dim} vectors")
    _make_files(library, tracks)
    _make_index(library, index, encoder, tracks=tracks, windows=windows)
    on_note("building the engine")
    started = time.perf_counter()
    refresh_engine(index)
    engine_seconds = time.perf_counter() - started
    on_note("syncing")
    unchanged, unchanged_seconds = _sync(encoder, library, index)
    _make_album(library / "new" / "album")
    album, album_seconds = _sync(encoder, library, index)
    if (len(unchanged.embedded), len(album.embedded)) != (0, ALBUM_TRACKS):
        raise AssertionError(f"embedded {len(unchanged.embedded)} and {len(album.embedded)} files")
    on_note("searching")
    # In a process of its own, so that its memory is that of searching alone.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        search = pool.submit(measure_search, index, dim=dim).result()
    return LibraryFigures(
        tracks=tracks,
        windows=tracks * windows,
        engine_seconds=engine_seconds,
        unchanged_seconds=unchanged_seconds,
        album_seconds=album_seconds,
        search=search,
        catalogue_bytes=(index / CATALOGUE).stat().st_size,
        vector_bytes=sum(file.stat().st_size for file in (index / SHARDS).rglob("*.npy")),
        engine_bytes=(index / ENGINE_FILE).stat().st_size if (index / ENGINE_FILE).exists() else 0,
    )


def measure_search(index: Path, *, dim: int) -> SearchFigures:
    """Open an index and ask it made queries, without a filter and with each; meant for a process of its own."""
    started = time.perf_counter()
    opened = Index.open(index)
    open_seconds = time.perf_counter() - started
    queries = next(clustered_blocks(_QUERIES, dim, clusters=_clusters(len(opened.tracks)), first_block=-1))
    search_ms = _median_ms(lambda query: opened.search(query, k=_HITS), queries)
    filtered_ms = []
    for text in FILTERS.values():
        condition = parse_query(f'"music" where {text}').where
        assert condition is not None

        def search(query: Floats, condition: Any = condition) -> object:
            return opened.search(query, k=_HITS, only=matching_tracks(index, condition))

        filtered_ms.append(_median_ms(search, queries))
    unit = 1 if sys.platform == "darwin" else 1024
    return SearchFigures(
        open_seconds=open_seconds,
        search_ms=search_ms,
        filtered_ms=tuple(filtered_ms),
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    )


class _MadeEncoder(SimpleNamespace):
    """As much of an encoder as a sync needs; what it hears is noise."""

    def __init__(self, dim: int, windows: int) -> None:
        super().__init__(
            name="made",
            fingerprint="0" * 64,
            dim=dim,
            clip_seconds=_WINDOW_SECONDS,
            licence="none",
            precision="float32",
        )
        self._windows = windows

    def embed_files(self, paths: Iterable[str | Path]) -> Iterator[EmbeddedFile]:
        for number, path in enumerate(paths):
            own = next(clustered_blocks(1, self.dim, clusters=1, first_block=number))
            yield EmbeddedFile(
                path=Path(path), vectors=_windows_of(own, self._windows, number), spans=_spans(self._windows)
            )


def _sync(encoder: _MadeEncoder, library: Path, index: Path) -> tuple[SyncReport, float]:
    """As the command does it."""
    made: Any = encoder
    started = time.perf_counter()
    report = sync_library(made, library, index)
    refresh_engine(index)
    return report, time.perf_counter() - started


def _place(number: int) -> Path:
    album = number // ALBUM_TRACKS
    return Path(f"Artist {album // 3:05}", f"Album {album:05}", f"{number % ALBUM_TRACKS + 1:02} Song {number}.flac")


def _make_files(library: Path, tracks: int) -> None:
    for number in range(tracks):
        path = library / _place(number)
        if number % ALBUM_TRACKS == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"made")  # never read: its stamps are those in the catalogue


def _make_album(folder: Path) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(ALBUM_TRACKS):
        soundfile.write(folder / f"{number:02}.flac", 0.1 * rng.standard_normal(24_000), 24_000)


def _make_index(library: Path, index: Path, encoder: _MadeEncoder, *, tracks: int, windows: int) -> None:
    made: Any = encoder
    own = (vector for block in clustered_blocks(tracks, encoder.dim, clusters=_clusters(tracks)) for vector in block)
    with open_writer(index, model=model_record(made)) as writer:
        key = writer.add_library(library)
        for first in range(0, tracks, SHARD_TRACKS):
            numbers = range(first, min(first + SHARD_TRACKS, tracks))
            vectors = _windows_of(np.stack([next(own) for _ in numbers]), windows, first)
            spans = np.tile(_spans(windows), (len(numbers), 1))
            shard = Shard(vectors=vectors, spans=spans)
            record = write_next_shard(writer, shard, precision=encoder.precision)
            writer.register(record, [_track(library, key, number, windows) for number in numbers])


def _track(library: Path, key: int, number: int, windows: int) -> NewTrack:
    path, rng = _place(number), np.random.default_rng(number)
    stamps = os.stat(library / path)
    return NewTrack(
        library=key,
        path=str(path),
        size=stamps.st_size,
        mtime_ns=stamps.st_mtime_ns,
        content=f"{number:064x}",
        windows=windows,
        seconds=windows * _WINDOW_SECONDS,
        title=path.stem,
        artist=path.parts[0],
        album=path.parts[1],
        genre=str(rng.choice(_GENRES.split())),
        year=_FIRST_YEAR + int(rng.integers(_YEARS)),
        bpm=None,
    )


def _windows_of(tracks: Floats, windows: int, seed: int) -> Floats:
    """float32 [tracks * windows, d]: those of a track lie around it."""
    rng = np.random.default_rng([2, seed])
    rows = np.repeat(tracks, windows, axis=0)
    noise = rng.standard_normal(rows.shape, np.float32)
    rows = rows + _APART * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _spans(windows: int) -> np.ndarray:
    starts = np.arange(windows) * _WINDOW_SECONDS
    return np.stack([starts, starts + _WINDOW_SECONDS], axis=1)


def _clusters(tracks: int) -> int:
    return max(1, tracks // 100)


def _median_ms(search: Callable[[Floats], object], queries: Floats) -> float:
    search(queries[0])  # what it reads first has to come from disk
    taken = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken)) * 1000
