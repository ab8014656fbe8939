"""From a query to vectors and ids of tracks: `pytest tests/indexing/test_search.py`."""

import json
import math

import numpy as np
import pytest

from data.errors import QueryError, StoreError
from indexing import Index, sync_library
from indexing.playlist import PlaylistTrack
from indexing.playlist_files import relative_paths, write_playlist
from indexing.query import parse_query
from indexing.search import matching_tracks, read_playlist, refuse_paths, term_vectors


def direction(degrees):
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


@pytest.fixture
def opened(sync, index):
    sync()
    return Index.open(index)


def ids(opened, *names):
    return [track.id for name in names for track in opened.tracks if track.name == name]


def test_every_kind_of_term_becomes_a_vector_in_its_place(opened, toy_encoder, library, tmp_path, write_track):
    outside = write_track(tmp_path / "outside.wav", 77)
    playlist = tmp_path / "some.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXTINF:1,x\n{library / 't0.wav'}\nmusic/t1.wav\nhttp://example.com/x.mp3\ngone.wav\n"
    )
    (track,) = ids(opened, "t4.wav")

    query = parse_query(f'"at 33" + file:"{outside}" + track:{track} - playlist:"{playlist}" + "at 44"')
    vectors = term_vectors(query, toy_encoder, opened)

    assert vectors.dtype == np.float32
    expected = [direction(angle) for angle in (33, 77, 50, 15, 44)]  # t0 is at 10 degrees, t1 at 20
    assert vectors == pytest.approx(np.array(expected), abs=1e-6)


def test_all_texts_are_embedded_as_one_batch(opened, toy_encoder, monkeypatch):
    batches = []
    encode = toy_encoder.encode_text
    monkeypatch.setattr(toy_encoder, "encode_text", lambda texts: batches.append(texts) or encode(texts))
    term_vectors(parse_query('"1" + track:1 - "2" + 0.5*"3"'), toy_encoder, opened)
    assert batches == [["1", "2", "3"]]


@pytest.mark.parametrize(
    ("query", "column", "message"),
    [
        ("x + track:99", 5, "track 99 is not in this index"),
        ("x + 2*file:/nowhere.wav", 7, "nowhere.wav"),
        ("x + playlist:/nowhere.m3u", 5, "/nowhere.m3u: No such file or directory"),
        ('"x" - playlist:{folder}/empty.m3u', 7, "none of its 1 files is in this index"),
        ("x + playlist:{folder}/bad.jspf", 5, "cannot be read as M3U, M3U8 or JSPF"),
    ],
)
def test_what_cannot_be_used_is_pointed_at(opened, toy_encoder, tmp_path, query, column, message):
    (tmp_path / "empty.m3u").write_text("gone.wav\n")
    (tmp_path / "bad.jspf").write_text("[]")
    with pytest.raises(QueryError, match=message) as raised:
        term_vectors(parse_query(query.format(folder=tmp_path)), toy_encoder, opened)
    assert raised.value.column == column


@pytest.mark.parametrize(("query", "column"), [("x + file:a.wav", 5), ('"x" - 0.5*playlist:a.m3u', 11)])
def test_paths_are_refused_for_who_may_not_read_the_disk(query, column):
    with pytest.raises(QueryError, match="reads the server's disk") as raised:
        refuse_paths(parse_query(query))
    assert raised.value.column == column
    refuse_paths(parse_query("x + track:1"))


def test_playlists_of_other_programs_are_read(tmp_path):
    (tmp_path / "a.m3u8").write_bytes("\ufeff#EXTM3U\r\nsub/ä.mp3\r\n\r\nfile:///x/y.mp3\r\n../z.mp3\r\n".encode())
    assert read_playlist(tmp_path / "a.m3u8") == [
        tmp_path / "sub" / "ä.mp3",
        type(tmp_path)("/x/y.mp3"),
        tmp_path.parent / "z.mp3",
    ]
    tracks = [{"location": ["file:///x/y%20z.mp3", "http://a"]}, {"location": "b.mp3"}, {"title": "no place"}]
    (tmp_path / "a.jspf").write_text(json.dumps({"playlist": {"track": tracks}}))
    assert read_playlist(tmp_path / "a.jspf") == [type(tmp_path)("/x/y z.mp3"), tmp_path / "b.mp3"]


@pytest.mark.parametrize("suffix", [".jspf", ".m3u8"])
def test_a_playlist_with_relative_paths_is_read_as_it_was_written(tmp_path, suffix):
    there = tmp_path / "100% live" / "café #1?.mp3"
    listed = [PlaylistTrack(path=there, title="x", artist=None, album=None, seconds=1.0, bpm=None)]
    out = tmp_path / f"list{suffix}"
    write_playlist(out, listed, title="x", naming=relative_paths(tmp_path))

    assert read_playlist(out) == [there]


def test_a_relative_playlist_of_a_library_below_a_link_finds_its_tracks(toy_encoder, library, tmp_path):
    (tmp_path / "link").symlink_to(library)
    sync_library(toy_encoder, tmp_path / "link", tmp_path / "linked-index")
    index = Index.open(tmp_path / "linked-index")
    one, two = (track for track in index.tracks if track.path.name in ("t1.wav", "t3.wav"))
    listed = [PlaylistTrack(path=one.path, title="x", artist=None, album=None, seconds=1.0, bpm=None)]
    write_playlist(tmp_path / "list.m3u8", listed, title="x", naming=relative_paths(tmp_path))

    (vector,) = term_vectors(parse_query(f"playlist:{tmp_path}/list.m3u8"), toy_encoder, index)
    assert vector == pytest.approx(index.vector(one.id), abs=1e-6)

    with (tmp_path / "list.m3u8").open("a") as playlist:
        playlist.write(f"{two.path}\n")  # through the link
    (vector,) = term_vectors(parse_query(f"playlist:{tmp_path}/list.m3u8"), toy_encoder, index)
    both = index.vector(one.id) + index.vector(two.id)
    assert vector == pytest.approx(both / np.linalg.norm(both), abs=1e-6)


def test_filters_are_evaluated_by_the_catalogue(opened):
    def matching(condition):
        return matching_tracks(opened.path, parse_query(f'"x" where {condition}').where)

    assert matching('title = "T3"') == ids(opened, "t3.wav")
    assert matching("duration > 1.5") == ids(opened, "t3.wav")  # it alone has a second window
    assert matching('path ~ "t1" or path ~ "t2"') == ids(opened, "t1.wav", "t2.wav")
    assert matching("year > 1") == []


def test_a_filter_on_an_index_that_has_gone_is_one_clear_line(tmp_path):
    with pytest.raises(StoreError, match="no index here"):
        matching_tracks(tmp_path / "gone", parse_query('"x" where year > 1').where)
