"""Reserved music as a set with three genres. Run: pytest tests/data/datasets/test_reserved_music.py."""

from pathlib import Path

import pytest

from data.datasets.dataset import recording_of
from data.datasets.reserved_music import reserved_music
from data.errors import ManifestError
from data.manifest import Track


def track(package: str, name: str, *, seconds: float | None = 100.0, split: str = "heldout", **facts: str) -> Track:
    facts["package"] = package
    return Track(id=f"{package}/{name}", path=Path(name), seconds=seconds, split=split, facts=facts)


TRACKS = [
    track("wesnoth-1.16-music", "a.ogg"),
    track("fretsonfire-songs-muldjord", "guitar.ogg", part="guitar"),
    track("fretsonfire-songs-muldjord", "mix.flac", part="mix"),
    track("marsshooter-data", "b.ogg", seconds=20.0),
    track("krank", "c.ogg"),
    track("ufoai-music", "d.ogg"),
    track("supertux-data", "e.ogg", split="train"),
]


def test_packages_of_one_genre_are_judged_by_it_and_mixes_of_listed_stems_left_out():
    dataset = reserved_music(TRACKS)
    assert {track.id: track.tags for track in dataset.tracks} == {
        "wesnoth-1.16-music/a.ogg": ("classical",),
        "fretsonfire-songs-muldjord/guitar.ogg": ("metal",),
        "marsshooter-data/b.ogg": ("metal",),
        "krank/c.ogg": (),
    }
    assert dataset.tracks[0].absent == ("metal", "electronic")
    assert dataset.tracks[-1].absent == ("classical", "metal", "electronic")


def test_with_all_packages_the_others_are_none_of_the_three():
    dataset = reserved_music(TRACKS, all_packages=True)
    assert [track.id for track in dataset.tracks][-1] == "ufoai-music/d.ogg"
    assert dataset.tracks[-1].absent == ("classical", "metal", "electronic")


def test_the_middle_29_seconds_are_judged_or_all_of_a_shorter_track():
    first, *_ = reserved_music(TRACKS).tracks
    assert (first.start, first.end) == (35.5, 64.5)
    short = reserved_music(TRACKS).tracks[2]
    assert (short.start, short.end) == (0.0, 20.0)


def test_the_stems_of_a_song_are_one_recording_and_other_tracks_are_their_own():
    package = "fretsonfire-songs-muldjord"
    stems = [track(package, f"songs/{name}", part=part) for name, part in (
        ("Reality/guitar.ogg", "guitar"), ("Reality/song.ogg", "backing"), ("Tears/guitar.ogg", "guitar"),
    )]  # fmt: skip
    found = [recording_of(track) for track in reserved_music([*stems, TRACKS[0]]).tracks]
    assert found == [f"{package}/songs/Reality"] * 2 + [f"{package}/songs/Tears", "wesnoth-1.16-music/a.ogg"]


def test_music_that_is_not_there_or_has_no_length_is_refused():
    with pytest.raises(ManifestError, match="mulan data music FOLDER --reserved"):
        reserved_music(TRACKS[-2:])
    with pytest.raises(ManifestError, match="its length is not known"):
        reserved_music([track("krank", "c.ogg", seconds=None)])
