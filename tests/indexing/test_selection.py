"""Which files a sync takes, and what it makes of those that are away: `pytest tests/indexing/test_selection.py`."""

import os
from dataclasses import replace

import pytest

from data.errors import StoreError
from indexing import Index, Selection, sync_library
from indexing import sync as sync_module
from indexing.catalogue import Catalogue


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def names(paths):
    return [path.name for path in paths]


def test_what_is_no_longer_selected_is_dropped(sync, index):
    sync()

    assert sync(exclude=["t1*", "t2*"]).removed == ("t1.wav", "t2.wav")
    assert sync(include=["t3.wav", "t4.wav"]).tracks == 2
    assert sync().tracks == 7


def test_files_outside_the_limits_are_passed_over_with_a_reason_until_the_limits_admit_them(sync, toy_encoder):
    report = sync(min_seconds=1.5)
    assert (report.embedded, len(report.quarantined)) == (("t3.wav",), 1)
    assert report.passed_over[0] == ("t0.wav", "1.0 s long, less than 1.5")

    report = sync(max_seconds=1.5)
    assert (report.tracks, report.removed) == (6, ("t3.wav",))
    assert report.passed_over == (("t3.wav", "2.0 s long, more than 1.5"),)

    sync(min_seconds=1, max_seconds=2)
    assert names(toy_encoder.embedded) == ["t3.wav"]


def test_where_headers_are_wrong_a_track_is_not_thrown_out_by_what_was_decoded(sync, toy_encoder, monkeypatch):
    sync()
    monkeypatch.setattr("indexing.selection.measure_seconds", lambda path: 3.0)

    report = sync(min_seconds=2.5)

    assert (report.tracks, report.removed, report.embedded) == (7, (), ())


def test_limits_that_exclude_each_other_are_an_error():
    with pytest.raises(ValueError, match="min_seconds 3 is above max_seconds 2"):
        Selection(min_seconds=3, max_seconds=2)


@pytest.mark.parametrize("place", ["empty", "missing", "file"])
def test_a_library_without_music_makes_no_index(sync, tmp_path, index, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"no audio files in it|No such file|not a folder"):
        sync(tmp_path / place)

    assert not index.exists()


def test_a_second_library_without_music_is_an_error_and_not_remembered(sync, tmp_path, index, library):
    sync()
    (tmp_path / "empty").mkdir()

    with pytest.raises(StoreError, match=r"empty: no audio files in it .*looked for .*\.flac .*\.mp3 .*\.wav"):
        sync(tmp_path / "empty")

    with Catalogue.open(index) as catalogue:
        assert list(catalogue.libraries().values()) == [library]


def test_a_library_whose_files_are_all_away_keeps_its_tracks(sync, index, library, toy_encoder):
    sync()
    for path in library.iterdir():
        path.unlink()

    with pytest.raises(StoreError, match="no audio files in it, while the index has 7 tracks of it"):
        sync()
    assert len(Index.open(index).tracks) == 7

    assert len(sync_library(toy_encoder, library, index, drop_missing=True).removed) == 7


def test_tracks_on_a_disk_that_is_away_stay_and_are_found_again(
    sync, index, library, tmp_path, write_track, monkeypatch
):
    write_track(library / "usb" / "far.wav", 300)
    with monkeypatch.context() as patched:  # what a folder on a disk of its own looks like
        really_scan = sync_module.scan_library
        patched.setattr(
            sync_module, "scan_library", lambda *where, **how: replace(really_scan(*where, **how), mounts=("usb",))
        )
        sync()
    (library / "usb").rename(tmp_path / "away")

    report = sync()
    assert (report.removed, report.tracks) == ((), 8)
    assert report.unseen == (("usb", "a disk was mounted here and is not now"),)

    (tmp_path / "away").rename(library / "usb")
    report = sync()
    assert (report.removed, report.embedded, report.tracks) == ((), (), 8)
