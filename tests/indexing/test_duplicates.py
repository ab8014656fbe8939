"""Duplicates: the same audio, and what sounds and lasts the same: `pytest tests/indexing/test_duplicates.py`."""

import math
import shutil

import numpy as np
import pytest

from data.errors import StoreError
from indexing import duplicates, sync_library
from indexing.duplicates import find_duplicates, label_near
from indexing.same_recording import is_same_recording

THRESHOLD = math.cos(math.radians(5.5))


@pytest.fixture
def find(tmp_path, toy_encoder, write_track):
    """find({"a": [0, 0]}): the groups, as titles, of toy tracks of these angles, in their order."""

    def run(tracks, *, threshold=THRESHOLD):
        for number, (name, angles) in enumerate(tracks.items()):
            write_track(tmp_path / "music" / f"{number}" / f"{name}.wav", *angles)
        sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")
        groups = find_duplicates(tmp_path / "index", threshold=threshold)
        return [[one.track.title for one in group] for group in groups]

    return run


def test_tracks_of_one_direction_and_length_are_a_group_and_others_are_left_out(find):
    # means of the windows: 0°, 5°, 90°, and 2.5° of a length that is none of theirs
    tracks = {"a": [0, 0], "b": [10, 0], "c": [90, 90], "d": [0, 5, 0, 5, 0]}
    assert find(tracks) == [["a", "b"]]


def test_the_length_decides_where_the_music_is_the_same(find):
    assert find({"two": [0] * 2, "four": [0] * 4, "nine": [0] * 9}) == [["two", "four"]]


def test_a_group_is_what_hangs_together_and_says_how_near_each_track_is_to_the_nearest_other(
    tmp_path, toy_encoder, write_track
):
    for name, angle in (("a", 0), ("b", 5), ("c", 9), ("far", 60)):
        write_track(tmp_path / "music" / f"{name}.wav", angle)
    sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")

    (group,) = find_duplicates(tmp_path / "index", threshold=THRESHOLD)

    assert [one.track.title for one in group] == ["a", "b", "c"]
    expected = [math.cos(math.radians(angle)) for angle in (5, 4, 4)]  # c is 9° from a, more than the threshold
    assert [one.cosine for one in group] == pytest.approx(expected, abs=1e-6)  # float32 products of two terms
    assert all(one.cosine >= THRESHOLD and not one.is_same_audio for one in group)


def test_the_same_audio_is_found_whatever_the_threshold(tmp_path, toy_encoder, write_track):
    original = write_track(tmp_path / "music" / "a.wav", 0, 90)
    shutil.copy(original, tmp_path / "music" / "copy.wav")
    write_track(tmp_path / "music" / "near.wav", 1, 90)
    sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")

    (group,) = find_duplicates(tmp_path / "index", threshold=2.0)
    assert [(one.path.name, one.is_same_audio) for one in group] == [("a.wav", True), ("copy.wav", True)]
    assert [one.cosine for one in group] == [1.0, 1.0]

    (group,) = find_duplicates(tmp_path / "index", threshold=THRESHOLD)
    # copies are taken in last, and so have the highest ids
    assert [(one.track.title, one.is_same_audio) for one in group] == [("a", True), ("near", False), ("copy", True)]


def test_an_index_without_duplicates_or_without_tracks_has_no_groups(find, tmp_path):
    assert find({"a": [0], "b": [40]}) == []
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(StoreError, match="no index here"):
        find_duplicates(tmp_path / "index", threshold=0.9)


def test_blocks_of_any_size_find_what_comparing_every_pair_finds(monkeypatch):
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seconds = generator.uniform(100, 160, 300)
    expected, best = np.arange(300), np.full(300, -np.inf)
    for left in range(300):
        for right in range(left):
            if is_same_recording(vectors[left] @ vectors[right], seconds[left], seconds[right], threshold=0.7):
                expected[expected == expected[left]] = expected[right]
                best[[left, right]] = np.maximum(best[[left, right]], vectors[left] @ vectors[right])
    groups = {frozenset(np.flatnonzero(expected == label)) for label in expected}
    assert 100 < len(groups) < 290  # there is something to find, and something to leave

    for rows, columns in ((1024, 8192), (7, 5), (1, 300)):
        monkeypatch.setattr(duplicates, "_ROWS", rows)
        monkeypatch.setattr(duplicates, "_COLUMNS", columns)
        labels, nearest = label_near(vectors, seconds, threshold=0.7)
        assert {frozenset(np.flatnonzero(labels == label)) for label in labels} == groups
        assert nearest == pytest.approx(best, abs=1e-6)  # float32 products of 8 terms, in another order
