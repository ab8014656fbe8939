"""The bench of a whole library, at small size. Run: pytest tests/indexing/test_bench_library.py"""

from indexing.bench_library import FILTERS, measure_library


def test_a_made_library_is_synced_and_searched_for_real(tmp_path):
    notes = []

    found = measure_library(tmp_path, tracks=1_000, windows=3, dim=16, on_note=notes.append)

    assert (found.tracks, found.windows) == (1_000, 3_000)
    assert (tmp_path / "index" / "catalogue.sqlite").stat().st_size == found.catalogue_bytes
    # The album's tracks are there, too; 128 bytes are the header of a .npy file.
    shards = len(list((tmp_path / "index" / "shards").iterdir()))
    assert found.vector_bytes == (1_000 + 12) * 3 * (16 * 4 + 2 * 8) + shards * 2 * 128
    assert len(found.search.filtered_ms) == len(FILTERS)
    assert all(figure > 0 for figure in (*found.search.filtered_ms, found.search.search_ms, found.search.open_seconds))
    assert found.search.memory_bytes > 10e6
    assert notes[0] == "making 1,000 files and 3,000 x 16 vectors"
