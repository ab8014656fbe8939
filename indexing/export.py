"""An index as a table for other programs: a row for each track or window, as CSV or Parquet."""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from data.errors import MulanError
from data.files import written_aside
from indexing.catalogue import TrackEntry
from indexing.stored_paths import encoded
from indexing.tracks import Floats, Holdings, read_holdings

Level = Literal["track", "window"]
"""What has a vector: a whole track, whose vector is the direction of its windows' mean, or each window."""

_ROWS_PER_CHUNK = 4096  # 8 MB of float32 at 512 dimensions

# Column and its type in Parquet.
_TRACK_COLUMNS = {
    "id": "int64",
    "path": "string",
    "title": "string",
    "artist": "string",
    "album": "string",
    "genre": "string",
    "year": "int32",
    "bpm": "float64",
    "seconds": "float64",
    "windows": "int32",
    "content": "string",
    "size": "int64",
    "mtime_ns": "int64",
}
_WINDOW_COLUMNS = {"window": "int32", "start": "float64", "end": "float64"}

Row = tuple[Any, ...]


class _Chunk(NamedTuple):
    """Some rows, and their vectors float32 [len(rows), d] where vectors are exported."""

    rows: list[Row]
    vectors: Floats | None


def export_tracks(index: Path, out: Path, *, vectors: Level | None = None) -> int:
    """Write the tracks of an index with what is known of them to a .csv or .parquet file; gives the number of rows.

    Columns: id, path, title, artist, album, genre, year, bpm, seconds, windows (how many), content (the hash of the
    audio), size and mtime_ns (of the file when it was read). Paths are absolute; bytes in them that are not UTF-8
    stand as `\\udc80` to `\\udcff`, and a backslash therefore as two. With windows, the rows of a track have window
    (from 0), start and end (seconds), too. A vector is the column `vector` in Parquet, and v0, v1, … in CSV. Parquet
    names the model, its fingerprint and its licence in the metadata of its schema.

    Written in pieces and aside: memory does not grow with the windows, and there is a whole file or none.

    Raises:
        MulanError: another suffix, or Parquet without pyarrow.
        StoreError: no index there, or it cannot be read.
    """
    check_table(out)
    holdings = read_holdings(index)
    columns = _TRACK_COLUMNS | (_WINDOW_COLUMNS if vectors == "window" else {})
    count = 0
    with written_aside(out) as aside, _WRITERS[out.suffix.lower()](aside, columns, holdings, vectors) as write:
        for chunk in _chunks(holdings, vectors):
            write(chunk)
            count += len(chunk.rows)
    return count


def check_table(out: Path) -> None:
    """Refuse what cannot be written, before any work.

    Raises:
        MulanError: the suffix is none of .csv and .parquet, or pyarrow is missing for the latter.
    """
    if out.suffix.lower() not in _WRITERS:
        raise MulanError(f"{out}: {out.suffix or 'no suffix'}; a table is one of {', '.join(_WRITERS)}")
    if out.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            remedy = "pip install 'mulan-retrieval[parquet]', or write .csv"
            raise MulanError(f"{out}: Parquet needs pyarrow, which is missing: {remedy}") from error


def _chunks(holdings: Holdings, vectors: Level | None) -> Iterator[_Chunk]:
    if vectors == "window":
        yield from _window_chunks(holdings)
        return
    table = holdings.track_vectors() if vectors else None
    for start in range(0, len(holdings.tracks), _ROWS_PER_CHUNK):
        some = slice(start, start + _ROWS_PER_CHUNK)
        rows = [_track_row(holdings, track) for track in holdings.tracks[some]]
        yield _Chunk(rows, None if table is None else table[some])


def _window_chunks(holdings: Holdings) -> Iterator[_Chunk]:
    rows: list[Row] = []
    blocks: list[Floats] = []
    for track in holdings.tracks:
        vectors, spans = holdings.windows(track)
        common = _track_row(holdings, track)
        rows += [(*common, number, *span) for number, span in enumerate(spans.tolist())]
        blocks.append(vectors)
        if len(rows) >= _ROWS_PER_CHUNK:
            yield _Chunk(rows, np.concatenate(blocks))
            rows, blocks = [], []
    if rows:
        yield _Chunk(rows, np.concatenate(blocks))


def _track_row(holdings: Holdings, track: TrackEntry) -> Row:
    path = encoded(str(holdings.path(track)))
    return tuple(path if column == "path" else getattr(track, column) for column in _TRACK_COLUMNS)


Writer = Callable[[_Chunk], None]


@contextmanager
def _csv_writer(place: Path, columns: Mapping[str, str], holdings: Holdings, vectors: Level | None) -> Iterator[Writer]:
    with place.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        numbers = [f"v{number}" for number in range(holdings.model.dim)] if vectors else []
        table.writerow([*columns, *numbers])

        def write(chunk: _Chunk) -> None:
            if chunk.vectors is None:
                table.writerows(chunk.rows)
            else:
                # str of a float32 has the fewest digits that give it back
                table.writerows(
                    (*row, *map(str, vector)) for row, vector in zip(chunk.rows, chunk.vectors, strict=True)
                )

        yield write


@contextmanager
def _parquet_writer(
    place: Path, columns: Mapping[str, str], holdings: Holdings, vectors: Level | None
) -> Iterator[Writer]:
    import pyarrow
    import pyarrow.parquet

    fields = [pyarrow.field(name, getattr(pyarrow, kind)()) for name, kind in columns.items()]
    if vectors:
        fields.append(pyarrow.field("vector", pyarrow.list_(pyarrow.float32(), holdings.model.dim)))
    model = holdings.model
    said = {"mulan.model": model.name, "mulan.fingerprint": model.fingerprint, "mulan.licence": model.licence}
    schema = pyarrow.schema(fields, metadata=said)
    with pyarrow.parquet.ParquetWriter(place, schema) as table:

        def write(chunk: _Chunk) -> None:
            arrays = [
                pyarrow.array(values, field.type)
                for values, field in zip(zip(*chunk.rows, strict=True), fields, strict=False)
            ]
            if chunk.vectors is not None:
                flat = pyarrow.array(np.ascontiguousarray(chunk.vectors).ravel())
                arrays.append(pyarrow.FixedSizeListArray.from_arrays(flat, model.dim))
            table.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))

        yield write


_WRITERS: Mapping[str, Callable[[Path, Mapping[str, str], Holdings, Level | None], AbstractContextManager[Writer]]] = {
    ".csv": _csv_writer,
    ".parquet": _parquet_writer,
}
