"""Walking a music folder: `pytest tests/indexing/test_library.py`."""

import os

import pytest

from data.errors import StoreError
from indexing.library import scan_library


def names(scan, library):
    return [str(file.path.relative_to(library)) for file in scan.files]


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


def scan(library):
    return scan_library(library, exclude=library / "no-such-index")


def test_audio_files_are_found_by_suffix_whatever_its_case_in_the_order_of_their_paths(library, write_track):
    for name in ("b.WAV", "a.mp3", "notes.txt", "z/deep/c.flac", "a/d.ogg"):
        write_track(library / name, 0)

    assert names(scan(library), library) == ["a/d.ogg", "a.mp3", "b.WAV", "z/deep/c.flac"]


def test_hidden_files_and_folders_and_the_index_itself_are_passed_over(library, write_track):
    for name in ("a.wav", "._a.wav", ".trash/b.wav", "index/c.wav"):
        write_track(library / name, 0)

    assert names(scan_library(library, exclude=library / "index"), library) == ["a.wav"]


def test_size_and_modification_time_are_those_of_the_file(library, write_track):
    path = write_track(library / "a.wav", 0)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))

    (file,) = scan(library).files

    # 44 bytes of header and 1000 samples of 2 bytes
    assert (file.size, file.mtime_ns) == (2044, 1_700_000_000_123_456_789)


def test_links_that_lead_nowhere_and_pipes_are_reported_and_do_not_hang(library, write_track):
    write_track(library / "good.wav", 0)
    (library / "lost.wav").symlink_to(library / "gone.wav")
    os.mkfifo(library / "pipe.wav")

    found = scan(library)

    assert names(found, library) == ["good.wav"]
    assert found.skipped == (
        (library / "lost.wav", "No such file or directory"),
        (library / "pipe.wav", "not a regular file"),
    )


def test_a_circle_of_links_ends(library, write_track):
    write_track(library / "a" / "a.wav", 0)
    (library / "a" / "circle").symlink_to(library)

    assert names(scan(library), library) == ["a/a.wav"]


def test_a_folder_named_like_a_track_is_a_folder(library, write_track):
    write_track(library / "album.wav" / "song.wav", 0)

    assert names(scan(library), library) == ["album.wav/song.wav"]


@pytest.mark.parametrize(
    ("place", "message"),
    [("missing", "no such folder; give the folder"), ("file.txt", "not a folder"), ("empty", "no audio files in it")],
)
def test_a_library_without_music_is_an_error_that_says_so(tmp_path, place, message):
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()

    with pytest.raises(StoreError, match=message):
        scan(tmp_path / place)


def test_the_error_for_an_empty_library_names_the_suffixes_looked_for(library):
    with pytest.raises(StoreError, match=r"looked for .*\.flac .*\.mp3 .*\.wav"):
        scan(library)
