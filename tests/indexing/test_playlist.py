"""Playlists: how long they are, and that they flow: `pytest tests/indexing/test_playlist.py`."""

import itertools
import shutil

import numpy as np
import pytest

from indexing import sync_library
from indexing.playlist import flowing_order, make_playlist
from indexing.tracks import read_holdings


def directions(*angles):
    return np.stack([np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))], axis=1).astype(np.float32)


def order_of(angles, *, bpms=None, artists=None):
    nothing = [None] * len(angles)
    order = flowing_order(directions(*angles), bpms=bpms or nothing, artists=artists or nothing)
    return [angles[place] for place in order]


def repeats(names):
    return sum(one == other for one, other in itertools.pairwise(names) if one is not None)


def test_neighbours_are_alike_and_the_best_comes_first():
    assert order_of([10, 60, 20, 50, 30, 40]) == [10, 20, 30, 40, 50, 60]
    assert order_of([60, 10, 20, 50, 30, 40]) == [60, 50, 40, 30, 20, 10]


def test_parts_are_reversed_where_going_to_the_nearest_leads_astray():
    # the nearest each time: 0, 10, -12, -40, 45: back and forth, and at the end a leap of 85
    assert order_of([0, 10, -12, 45, -40]) == [0, -40, -12, 10, 45]


def test_of_the_same_sound_the_nearer_tempo_comes_next_and_twice_the_tempo_is_the_same():
    order = flowing_order(directions(0, 0, 0, 0), bpms=[60, 90, 122, 70], artists=[None] * 4)
    assert order == [0, 2, 3, 1]  # 60, its double, 70, 90


def test_no_artist_follows_himself_where_others_can_part_his_tracks():
    artists = ["A", "a", "B", "B"]
    order = flowing_order(directions(0, 1, 80, 81), bpms=[None] * 4, artists=artists)
    assert [artists[place].lower() for place in order] == ["a", "b", "a", "b"]


def test_unknown_artists_may_follow_each_other():
    assert order_of([0, 80, 1, 82], artists=[None] * 4) == [0, 1, 80, 82]


@pytest.mark.parametrize(
    "artists", ["aab", "aaab", "baaa", "aabbcc", "aaaabbc", "caaaabb", "abbbbb", "aa..", "a.aaa.b"]
)
def test_no_order_has_fewer_repeats_of_an_artist(artists):
    names = [None if name == "." else name for name in artists]
    fewest = min(repeats([names[0], *rest]) for rest in itertools.permutations(names[1:]))
    for seed in range(5):
        angles = np.random.default_rng(seed).uniform(0, 90, len(names))
        order = flowing_order(directions(*angles), bpms=[None] * len(names), artists=names)
        assert sorted(order) == list(range(len(names)))
        assert order[0] == 0
        assert repeats([names[place] for place in order]) == fewest


@pytest.mark.parametrize("tracks", [0, 1, 2])
def test_very_short_lists_are_as_they_were(tracks):
    assert flowing_order(directions(*range(tracks)), bpms=[None] * tracks, artists=["a"] * tracks) == [*range(tracks)]


@pytest.fixture
def holdings(tmp_path, toy_encoder, write_track):
    """Ids 1 to 6: four tracks of 60 s at 0°, 10°, 20° and 30°, one of 300 s, and one of 60 s at 0.5°; 7 copies 1."""
    for name, angle, seconds in (
        *(("a", 0, 60), ("b", 10, 60), ("c", 20, 60), ("d", 30, 60)),
        *(("long", 40, 300), ("near", 0.5, 60)),
    ):
        write_track(tmp_path / "music" / f"{name}.wav", *[round(angle)] * (seconds - 1), int(np.ceil(angle)))
    shutil.copy(tmp_path / "music" / "a.wav", tmp_path / "music" / "the-same.wav")
    sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")
    return read_holdings(tmp_path / "index")


def names(holdings, ranked, minutes):
    ids = {track.title: track.id for track in holdings.tracks}
    return [track.path.stem for track in make_playlist(holdings, [ids[name] for name in ranked], minutes=minutes)]


def test_the_best_are_taken_until_the_list_is_as_long_as_asked_for(holdings):
    assert names(holdings, ["d", "b", "c", "a"], 3) == ["d", "c", "b"]
    assert names(holdings, ["d", "b", "c", "a"], 2.6) == ["d", "c", "b"]  # 3 min are nearer to it than 2
    assert names(holdings, ["d", "b", "c", "a"], 2.4) == ["d", "b"]
    assert names(holdings, ["d", "b"], 60) == ["d", "b"]


def test_a_track_that_is_too_long_is_passed_over_for_others(holdings):
    assert names(holdings, ["long", "d", "b"], 2) == ["d", "b"]
    assert names(holdings, ["long"], 2) == ["long"]
    assert names(holdings, ["long", "d", "b"], 5) == ["long"]


def test_copies_and_what_sounds_the_same_are_played_once(holdings):
    assert names(holdings, ["a", "the-same", "near", "b"], 2) == ["a", "b"]


def test_tracks_that_the_index_has_lost_are_passed_over(holdings):
    assert [track.title for track in make_playlist(holdings, [99, 2], minutes=1)] == ["b"]
    assert make_playlist(holdings, [], minutes=1) == []


def test_a_list_of_no_length_is_an_error(holdings):
    for minutes in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="must be above 0"):
            make_playlist(holdings, [1], minutes=minutes)
