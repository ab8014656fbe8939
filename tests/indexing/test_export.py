"""An index as a table, read back by others: `pytest tests/indexing/test_export.py`."""

import csv
import os
import sys

import numpy as np
import pytest

from data.errors import MulanError, StoreError
from indexing import export
from indexing.catalogue import decoded
from indexing.export import export_tracks
from indexing.tracks import read_holdings

TRACKS = 7  # of the library; t3 has two windows


@pytest.fixture
def table(tmp_path, index, sync):
    """table(".csv", vectors="track"): the rows as dictionaries, of CSV or Parquet."""
    sync()

    def write(suffix, **options):
        out = tmp_path / f"table{suffix}"
        rows = export_tracks(index, out, **options)
        assert not out.with_name(out.name + ".unfinished").exists()
        if suffix == ".csv":
            with out.open(encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file))
        else:
            found = pytest.importorskip("pyarrow.parquet").read_table(out).to_pylist()
        assert len(found) == rows
        return found

    return write


def test_a_csv_has_a_row_for_each_track_with_what_is_known_of_it(table, library):
    rows = table(".csv")
    assert len(rows) == TRACKS
    status = (library / "t3.wav").stat()
    content = rows[3].pop("content")
    assert rows[3] == {
        **{"id": "4", "path": str(library / "t3.wav"), "title": "t3", "seconds": "2.0", "windows": "2"},
        **dict.fromkeys(("artist", "album", "genre", "year", "bpm"), ""),
        **{"size": str(status.st_size), "mtime_ns": str(status.st_mtime_ns)},
    }
    assert len(content) == 32


def test_vectors_in_a_csv_are_read_back_bit_for_bit(table, index):
    rows = table(".csv", vectors="track")
    vectors = np.array([[row["v0"], row["v1"]] for row in rows], np.float32)
    np.testing.assert_array_equal(vectors, read_holdings(index).track_vectors())


def test_windows_have_rows_of_their_own_with_start_and_end(table):
    rows = table(".csv", vectors="window")
    assert [(row["title"], row["window"], row["start"], row["end"]) for row in rows[2:6]] == [
        ("t2", "0", "0.0", "1.0"),
        ("t3", "0", "0.0", "1.0"),
        ("t3", "1", "1.0", "2.0"),
        ("t4", "0", "0.0", "1.0"),
    ]
    angles = np.rad2deg(np.arctan2(*np.array([[row["v1"], row["v0"]] for row in rows], float).T))
    np.testing.assert_allclose(angles, [10, 20, 30, 40, 130, 50, 60, 70], atol=1e-4)  # float32


@pytest.mark.parametrize("vectors", [None, "track", "window"])
@pytest.mark.parametrize("rows", [1, 2, 4096])
def test_parquet_and_csv_say_the_same_however_they_are_cut(table, monkeypatch, vectors, rows):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(export, "_ROWS_PER_CHUNK", rows)
    for one, other in zip(table(".parquet", vectors=vectors), table(".csv", vectors=vectors), strict=True):
        numbers = one.pop("vector", [])
        shown = {key: "" if value is None else str(value) for key, value in one.items()}
        shown |= {f"v{place}": str(np.float32(number)) for place, number in enumerate(numbers)}
        assert shown == other


def test_parquet_names_the_model_and_its_licence(table, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table(".parquet")
    said = parquet.read_schema(tmp_path / "table.parquet").metadata
    assert (said[b"mulan.model"], said[b"mulan.fingerprint"], said[b"mulan.licence"]) == (
        *(b"toy", b"toy-1", b"Apache-2.0"),
    )


def test_paths_that_are_not_utf8_can_be_got_back(table, library, sync, write_track):
    name = os.fsdecode(b"caf\xe9\\x.wav")
    write_track(library / name, 80)
    sync()
    (row,) = (row for row in table(".csv") if row["seconds"] == "1.0" and "caf" in row["path"])
    assert row["path"] == f"{library}/caf\\udce9\\\\x.wav"
    assert decoded(row["path"]) == str(library / name)


def test_an_index_without_tracks_is_a_table_without_rows(tmp_path, index, sync):
    sync(min_seconds=99)
    assert export_tracks(index, tmp_path / "x.csv", vectors="window") == 0
    assert (tmp_path / "x.csv").read_text().startswith("id,path,title,")


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, index, sync, monkeypatch):
    with pytest.raises(StoreError, match="no index here"):
        export_tracks(index, tmp_path / "x.csv")
    with pytest.raises(MulanError, match=r"x\.json: \.json; a table is one of \.csv, \.parquet"):
        export_tracks(index, tmp_path / "x.json")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MulanError, match=r"needs pyarrow, which is missing: pip install 'mulan-retrieval\[parquet\]'"):
        export_tracks(index, tmp_path / "x.parquet")
    assert not list(tmp_path.glob("x.*"))
