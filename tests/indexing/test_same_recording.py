"""What is taken for one recording, wherever that is asked: `pytest tests/indexing/test_same_recording.py`."""

import numpy as np
import pytest

from indexing import Index, sync_library
from indexing.duplicates import find_duplicates, label_near
from indexing.playlist import make_playlist
from indexing.same_recording import SAME_RECORDING, is_same_recording, longest_alike
from indexing.tracks import read_holdings


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [(10, 12, True), (10, 12.1, False), (594, 600, True), (593.9, 600, False), (600, 594, True)],
)
def test_lengths_are_alike_within_two_seconds_or_a_hundredth_of_the_longer(one, other, alike):
    assert is_same_recording(1.0, one, other) == alike
    assert (longest_alike(min(one, other)) >= max(one, other)) == alike
    near = label_near(np.ones((2, 1), np.float32), np.array([one, other], np.float64), threshold=0.9).labels
    assert (near[0] == near[1]) == alike


def test_the_cosine_decides_where_lengths_are_alike():
    found = is_same_recording([0.9949, 0.995, 1.0, 1.0], [60, 60, 60, 60], [60, 61, 62, 63])
    assert found.tolist() == [False, True, True, False]
    assert not is_same_recording(1.0, 60, 60, threshold=1.1)


# the mean of 5° and 6° is 5.5°, with a cosine of 0.9954; that of 6° is 0.9945
@pytest.mark.parametrize(("angles", "same"), [((5, 6), True), ((6, 6), False)])
def test_search_duplicates_and_playlists_agree(tmp_path, toy_encoder, write_track, angles, same):
    write_track(tmp_path / "music" / "a.wav", 0, 0)
    write_track(tmp_path / "music" / "b.wav", *angles)
    index = tmp_path / "index"
    sync_library(toy_encoder, tmp_path / "music", index)
    holdings = read_holdings(index)
    vectors = holdings.track_vectors()
    assert (vectors[0] @ vectors[1] >= SAME_RECORDING) == same

    hits = Index.open(index).search(vectors[0], k=2, unique=True)
    playlist = make_playlist(holdings, [1, 2], minutes=1)

    assert (len(hits) == 1) == (len(playlist) == 1) == (len(find_duplicates(index)) == 1) == same
