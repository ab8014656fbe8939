"""Playlists as files: formats, paths and odd names: `pytest tests/indexing/test_playlist_files.py`."""

import csv
import json
import os
from pathlib import Path

import pytest

from data.errors import MulanError
from indexing.playlist import PlaylistTrack
from indexing.playlist_files import absolute_paths, mapped_paths, name_in, relative_paths, write_playlist


def track(path, *, artist="Björk", bpm=61.04):
    return PlaylistTrack(path=Path(path), title="Jóga", artist=artist, album="Homogenic", seconds=245.6, bpm=bpm)


TRACKS = [track("/music/a b.mp3"), track("/music/é.flac", artist=None, bpm=None)]


@pytest.fixture
def written(tmp_path):
    """written(".m3u8"): the text of the playlist."""

    def write(suffix, tracks=TRACKS, **options):
        out = tmp_path / f"list{suffix}"
        write_playlist(out, tracks, title="slow\npiano", **options)
        assert list(tmp_path.iterdir()) == [out]
        return out.read_bytes().decode("utf-8")

    return write


def test_an_m3u8_has_a_length_a_name_and_a_path_for_each_track(written):
    assert written(".m3u8") == (
        "#EXTM3U\n#PLAYLIST:slow piano\n#EXTINF:246,Björk - Jóga\n/music/a b.mp3\n#EXTINF:246,Jóga\n/music/é.flac\n"
    )


def test_a_jspf_has_addresses_and_milliseconds(written):
    playlist = json.loads(written(".jspf"))["playlist"]
    assert playlist["title"] == "slow\npiano"
    assert playlist["track"][0] == {
        "location": ["file:///music/a%20b.mp3"],
        "title": "Jóga",
        "creator": "Björk",
        "album": "Homogenic",
        "duration": 245600,
    }
    assert playlist["track"][1]["location"] == ["file:///music/%C3%A9.flac"]
    assert "creator" not in playlist["track"][1]


def test_a_csv_has_a_row_for_each_track(written, tmp_path):
    rows = list(csv.DictReader(written(".csv").splitlines()))
    assert rows[0] == {
        "path": "/music/a b.mp3",
        "title": "Jóga",
        "artist": "Björk",
        "album": "Homogenic",
        "seconds": "245.6",
        "bpm": "61.0",
    }
    assert (rows[1]["artist"], rows[1]["bpm"]) == ("", "")


def test_relative_paths_lead_from_the_playlist_to_the_music(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lists")
    for folder in ("lists", "link"):
        naming = relative_paths(tmp_path / folder)
        assert naming(tmp_path / "music" / "a.mp3") == "../music/a.mp3"
    assert relative_paths(tmp_path)(tmp_path / "music" / "a.mp3") == "music/a.mp3"


@pytest.mark.parametrize(
    ("prefixes", "path", "name"),
    [
        ({"/mnt/music": "Z:\\Music"}, "/mnt/music/A/b.mp3", "Z:\\Music\\A\\b.mp3"),
        ({"/mnt/music/": "Z:"}, "/mnt/music/b.mp3", "Z:\\b.mp3"),
        ({"/mnt/music": "\\\\nas\\music\\"}, "/mnt/music/A/b.mp3", "\\\\nas\\music\\A\\b.mp3"),
        ({"/mnt/music": "/Volumes/Music"}, "/mnt/music/A/b.mp3", "/Volumes/Music/A/b.mp3"),
        ({"/mnt/music": "/"}, "/mnt/music/A/b.mp3", "/A/b.mp3"),
        ({"/mnt": "/x", "/mnt/music": "/y"}, "/mnt/music/b.mp3", "/y/b.mp3"),
        ({"/mnt": "/x", "/mnt/music": "/y"}, "/mnt/music2/b.mp3", "/x/music2/b.mp3"),
    ],
)
def test_mapped_paths_are_those_of_another_machine(prefixes, path, name):
    assert mapped_paths(prefixes)(Path(path)) == name


@pytest.mark.parametrize(
    ("path", "message"),
    [("/elsewhere/b.mp3", "not below /mnt/music; map its folder"), ("/mnt/music/a\\b.mp3", "it has a backslash")],
)
def test_a_path_without_a_place_on_the_other_machine_is_refused(path, message):
    with pytest.raises(MulanError, match=message):
        mapped_paths({"/mnt/music": "Z:\\Music"})(Path(path))


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/mnt/music/a#b?.mp3", "file:///Z:/Music/a%23b%3F.mp3"),
        ("/mnt/share/é.mp3", "file://nas/share/%C3%A9.mp3"),
    ],
)
def test_addresses_of_another_machine_are_percent_encoded(path, address):
    naming = mapped_paths({"/mnt/music": "Z:\\Music", "/mnt/share": "\\\\nas\\share"})
    assert name_in(Path("x.jspf"), Path(path), naming) == address


@pytest.mark.parametrize(
    ("name", "written_name"), [("#1.mp3", "./#1.mp3"), (" a.mp3", "./ a.mp3"), ("Live: b.mp3", "./Live: b.mp3")]
)
def test_names_that_players_would_misread_are_led_in_by_a_dot(tmp_path, name, written_name):
    assert name_in(tmp_path / "x.m3u8", tmp_path / name, relative_paths(tmp_path)) == written_name


def test_a_line_break_in_a_name_is_refused_where_it_would_end_the_path_and_encoded_elsewhere(written, tmp_path):
    odd = track("/music/a\nb.mp3")
    with pytest.raises(MulanError, match=r"'/music/a\\nb.mp3': cannot be in this playlist: it has a line break"):
        write_playlist(tmp_path / "list.m3u8", [odd], title="")
    assert list(tmp_path.iterdir()) == []
    assert "file:///music/a%0Ab.mp3" in written(".jspf", [odd])
    (tmp_path / "list.jspf").unlink()
    assert next(csv.DictReader(written(".csv", [odd]).splitlines(keepends=True)))["path"] == "/music/a\nb.mp3"


def test_bytes_that_are_not_utf8_are_refused_as_text_and_kept_in_addresses(written, tmp_path):
    odd = track(os.fsdecode(b"/music/\xe9.mp3"))
    for suffix in (".m3u8", ".csv"):
        with pytest.raises(MulanError, match=r"it is not UTF-8, and .* is; rename it, or write .jspf"):
            write_playlist(tmp_path / f"list{suffix}", [odd], title="")
    assert list(tmp_path.iterdir()) == []
    assert "file:///music/%E9.mp3" in written(".jspf", [odd])


def test_a_list_that_cannot_be_written_leaves_the_old_one(tmp_path):
    out = tmp_path / "list.m3u8"
    write_playlist(out, TRACKS, title="old")
    with pytest.raises(MulanError):
        write_playlist(out, [track("/a\n.mp3")], title="new")
    assert "#PLAYLIST:old" in out.read_text()


def test_another_format_is_refused():
    with pytest.raises(MulanError, match=r"x\.pls: \.pls; a playlist is one of \.m3u8, \.jspf, \.csv"):
        write_playlist(Path("x.pls"), TRACKS, title="")


def test_paths_are_absolute_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_paths(Path("a.mp3")) == f"{tmp_path}/a.mp3"
