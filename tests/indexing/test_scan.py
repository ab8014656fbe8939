"""Walking a music folder, what is left out and what could not be seen: `pytest tests/indexing/test_scan.py`."""

import os
from pathlib import Path

import pytest

from data.errors import StoreError
from indexing.scan import NOT_MOUNTED, AudioFile, Remark, lies_in, scan_library


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


@pytest.fixture
def music(library):
    """music("a.mp3", "b/c.flac") makes these files in the library, of no content: a scan opens none."""

    def make(*names):
        for name in names:
            path = library / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def scan(library, **options):
    return scan_library(library, index=library / "no-such-index", **options)


def names(library, **options):
    return [file.path for file in scan(library, **options).files]


@pytest.fixture
def unlistable(monkeypatch):
    """unlistable(path): listing this folder fails; permissions would not do where tests run as root."""
    real = os.scandir

    def refuse(path):
        def scandir(folder):
            if Path(folder) == path:
                raise PermissionError(13, "Permission denied", str(folder))
            return real(folder)

        monkeypatch.setattr(os, "scandir", scandir)

    return refuse


def test_audio_files_are_found_by_suffix_whatever_its_case_in_the_order_of_their_paths(library, music):
    music("b.WAV", "a.mp3", "notes.txt", "z/deep/c.flac", "a/d.ogg")

    assert names(library) == ["a.mp3", "a/d.ogg", "b.WAV", "z/deep/c.flac"]


def test_size_and_modification_time_are_those_of_the_file(library):
    (library / "a.wav").write_bytes(b"12345")
    os.utime(library / "a.wav", ns=(1, 1_700_000_000_123_456_789))

    assert scan(library).files == (AudioFile("a.wav", 5, 1_700_000_000_123_456_789),)


def test_hidden_files_and_folders_and_the_index_itself_are_passed_over(library, music):
    music("a.wav", "._a.wav", ".trash/b.wav", "index/c.wav")

    found = scan_library(library, index=library / "index")

    assert [file.path for file in found.files] == ["a.wav"]


def test_the_index_is_known_under_another_name(library, music, tmp_path):
    music("a.wav", "index/c.wav")
    (tmp_path / "link").symlink_to(library / "index")

    assert [file.path for file in scan_library(library, index=tmp_path / "link").files] == ["a.wav"]


def test_links_to_files_are_followed_and_links_to_folders_are_unseen_unless_they_are_left_out(library, music, tmp_path):
    music("a/a.wav")
    (tmp_path / "b.wav").write_bytes(b"123")
    (library / "b.wav").symlink_to(tmp_path / "b.wav")
    (library / "a" / "circle").symlink_to(library)
    (library / "away").symlink_to(tmp_path / "nowhere")

    found = scan(library)

    assert [(file.path, file.size) for file in found.files] == [("a/a.wav", 0), ("b.wav", 3)]
    assert found.unseen == (
        Remark("a/circle", "a link to a folder, which is not followed"),
        Remark("away", "a link to what is not there"),
    )
    assert found.links == ("a/circle", "away")
    assert scan(library, exclude=["circle/", "away/"]).unseen == ()


def test_pipes_are_reported_and_do_not_hang(library, music):
    music("good.wav")
    os.mkfifo(library / "pipe.wav")

    found = scan(library)

    assert [file.path for file in found.files] == ["good.wav"]
    assert found.passed_over == (Remark("pipe.wav", "not a regular file"),)


def test_a_folder_named_like_a_track_is_a_folder(library, music):
    music("album.wav/song.wav")

    assert names(library) == ["album.wav/song.wav"]


def test_a_name_that_is_not_utf8_is_found_and_leads_to_the_file(library):
    (library / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"123")

    (file,) = scan(library).files

    assert os.fsencode(file.path) == b"caf\xe9.wav"
    assert (library / file.path).stat().st_size == 3


def test_excluded_patterns_are_those_of_gitignore(library, music):
    music("a.wav", "x/b.wav", "x/keep.mp3", "live/c.mp3", "x/live/d.mp3", "demos/e.mp3")

    assert names(library, exclude=["*.wav", "/live/", "demos"]) == ["x/keep.mp3", "x/live/d.mp3"]


def test_a_pattern_can_take_back_what_an_earlier_one_left_out(library, music):
    music("a.mp3", "b.mp3")

    assert names(library, exclude=["*.mp3", "!b.mp3"]) == ["b.mp3"]


def test_with_include_only_files_that_match_or_lie_in_a_folder_that_does_are_taken(library, music):
    music("jazz/a.mp3", "jazz/deep/b.wav", "rock/c.mp3", "rock/d.flac")

    assert names(library, include=["/jazz/", "*.flac"]) == ["jazz/a.mp3", "jazz/deep/b.wav", "rock/d.flac"]


def test_exclude_wins_over_include(library, music):
    music("jazz/a.mp3", "jazz/b.wav")

    assert names(library, include=["jazz/"], exclude=["*.wav"]) == ["jazz/a.mp3"]


def test_an_ignore_file_speaks_of_its_own_folder_and_those_below(library, music):
    music("a.wav", "x/a.wav", "x/b.mp3", "x/y/a.wav", "x/y/b.mp3", "y/b.mp3")
    (library / "x" / ".mulanignore").write_text("# rips\n*.wav\n/y/b.mp3\n")

    assert names(library) == ["a.wav", "x/b.mp3", "y/b.mp3"]


def test_a_deeper_ignore_file_has_the_last_word(library, music):
    music("a.wav", "x/a.wav", "x/b.wav")
    (library / ".mulanignore").write_text("*.wav\n")
    (library / "x" / ".mulanignore").write_text("!b.wav\n")

    assert names(library) == ["x/b.wav"]


def test_what_lies_in_an_ignored_folder_or_is_excluded_cannot_be_taken_back(library, music):
    music("a.mp3", "podcasts/b.mp3", "x/c.wav")
    (library / ".mulanignore").write_text("podcasts/\n!*.wav\n")
    (library / "podcasts" / ".mulanignore").write_text("!b.mp3\n")

    assert names(library, exclude=["*.wav"]) == ["a.mp3"]


def test_an_ignore_file_that_cannot_be_read_hides_its_folder_rather_than_its_rules(library, music):
    music("a.mp3", "x/b.mp3")
    (library / "x" / ".mulanignore").symlink_to(library / "nowhere")

    found = scan(library)

    assert [file.path for file in found.files] == ["a.mp3"]
    assert found.unseen == (Remark("x", "No such file or directory"),)


@pytest.mark.parametrize("place", ["option", "file"])
def test_a_malformed_pattern_is_named_with_its_place(library, music, place):
    music("a.mp3")
    options = {"exclude": ["!"]} if place == "option" else {}
    if place == "file":
        (library / ".mulanignore").write_text("!\n")

    with pytest.raises(StoreError, match=r"(--exclude|/\.mulanignore): Invalid git pattern: '!'.*\.gitignore"):
        scan(library, **options)


def test_a_folder_that_cannot_be_listed_is_unseen_and_the_rest_is_found(library, music, unlistable):
    music("a.mp3", "locked/b.mp3", "z/c.mp3")
    unlistable(library / "locked")

    found = scan(library)

    assert [file.path for file in found.files] == ["a.mp3", "z/c.mp3"]
    assert found.unseen == (Remark("locked", "Permission denied"),)


def test_a_link_that_leads_nowhere_is_unseen_for_its_disk_may_be_away(library, music):
    music("good.wav")
    (library / "lost.wav").symlink_to("/mnt/away/lost.wav")

    assert scan(library).unseen == (Remark("lost.wav", "No such file or directory"),)


def test_a_library_that_cannot_be_listed_is_an_error_and_not_an_empty_one(library, music, unlistable):
    music("a.mp3")
    unlistable(library)

    with pytest.raises(StoreError, match=r"library: cannot be listed \(Permission denied\); check .* mounted"):
        scan(library)


@pytest.mark.parametrize(("place", "message"), [("missing", "No such file"), ("file.txt", "a file, not a folder")])
def test_a_library_that_is_no_folder_is_an_error_that_says_so(tmp_path, place, message):
    (tmp_path / "file.txt").touch()

    with pytest.raises(StoreError, match=message):
        scan(tmp_path / place)


def test_an_empty_library_is_a_scan_without_files(library):
    assert scan(library).files == ()


def test_a_disk_that_was_mounted_in_the_library_and_is_not_now_is_unseen(library, music):
    music("a.mp3", "usb/left on the mount point.mp3")

    found = scan(library, mounts=["usb", "gone/for/good"])

    assert [file.path for file in found.files] == ["a.mp3", "usb/left on the mount point.mp3"]
    assert found.unseen == (Remark("gone/for/good", NOT_MOUNTED), Remark("usb", NOT_MOUNTED))
    assert found.mounts == ("gone/for/good", "usb")


def test_a_mounted_disk_is_noted_and_seen():
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no disk is mounted at /dev/shm")

    found = scan(Path("/dev"), mounts=["shm"], exclude=["/*", "!/shm", "/shm/*"])

    assert "shm" in found.mounts
    assert "shm" not in {path for path, _ in found.unseen}


def test_a_disk_that_is_excluded_now_is_forgotten(library, music):
    music("a.mp3", "usb/b.mp3")

    found = scan(library, mounts=["usb", "usb/inner"], exclude=["usb/"])

    assert (found.unseen, found.mounts) == ((), ())


@pytest.mark.parametrize(
    ("path", "is_inside"),
    [("usb", True), ("usb/a.mp3", True), ("usb/x/a.mp3", True), ("usb2/a.mp3", False), ("x/usb/a.mp3", False)],
)
def test_a_path_lies_in_a_folder_if_the_folder_is_above_it(path, is_inside):
    assert lies_in(path, {"usb"}) is is_inside
