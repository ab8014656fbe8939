"""Whole tracks as vectors: what pooling each track alone gives: `pytest tests/indexing/test_tracks.py`."""

import shutil

import numpy as np
import pytest

from data.clips import pool_windows
from indexing import sync_library, tracks
from indexing.tracks import read_holdings


def test_a_tracks_vector_is_the_direction_of_the_mean_of_its_windows(library, index, sync):
    sync()
    holdings = read_holdings(index)
    angles = [10, 20, 30, (40 + 130) / 2, 50, 60, 70]  # t3 has two windows
    expected = np.stack([np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))], axis=1)
    np.testing.assert_allclose(holdings.track_vectors(), expected, atol=1e-6)  # float32


@pytest.mark.parametrize("rows", [1, 2, 3, 16_384])
def test_blocks_of_any_size_give_what_pooling_one_track_gives(library, index, sync, write_track, monkeypatch, rows):
    sync()
    (library / "t1.wav").unlink()  # leaves a gap between the others' rows
    write_track(library / "long.wav", *range(0, 90, 10))  # another shard
    shutil.copy(library / "t3.wav", library / "copy.wav")  # shares rows
    sync()
    monkeypatch.setattr(tracks, "_ROWS_PER_BLOCK", rows)

    holdings = read_holdings(index)

    assert [track.title for track in holdings.tracks] == ["t0", "t2", "t3", "t4", "t5", "t6", "long", "copy"]
    alone = np.stack([pool_windows(holdings.windows(track).vectors) for track in holdings.tracks])
    np.testing.assert_allclose(holdings.track_vectors(), alone, atol=1e-7)  # sums may be added in another order


def test_windows_that_cancel_have_no_direction_and_give_zeros(tmp_path, toy_encoder, write_track):
    write_track(tmp_path / "music" / "a.wav", 0, 180)
    sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")
    np.testing.assert_array_equal(read_holdings(tmp_path / "index").track_vectors(), np.zeros((1, 2)))


def test_an_index_without_tracks_has_no_vectors(library, index, sync):
    sync(min_seconds=99)
    assert read_holdings(index).track_vectors().shape == (0, 2)


def test_files_and_windows_are_where_the_tracks_say(library, index, sync):
    sync()
    holdings = read_holdings(index)
    (track,) = (track for track in holdings.tracks if track.title == "t3")
    assert holdings.path(track) == library / "t3.wav"
    np.testing.assert_array_equal(holdings.windows(track).spans, [[0, 1], [1, 2]])
