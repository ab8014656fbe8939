"""The catalogue, written and read, all or nothing: `pytest tests/indexing/test_catalogue.py`.

The catalogue under test has two tracks, a.mp3 of two windows and b.mp3 of one, in one shard.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from data.errors import StoreError
from data.file_tags import Tags
from indexing.catalogue import Catalogue, Counts, NewTrack, QuarantinedFile, RowBlock, ShardRecord
from indexing.catalogue_writer import Failure, FileUpdate, create_catalogue, open_writer
from indexing.model import ModelRecord
from indexing.query import parse_filter, sql_filter
from indexing.scan import AudioFile
from indexing.stored_paths import decoded, encoded

MODEL = ModelRecord(name="toy", fingerprint="f" * 64, dim=2, clip_seconds=1.0, licence="Apache-2.0")
SHARD = ShardRecord(
    name="000000",
    rows=3,
    precision="float32",
    fingerprint="f" * 64,
    window_rule="1 s every 1 s",
    licence="Apache-2.0",
    sha256="0" * 64,
)
BARE = {"artist": None, "album": None, "genre": None, "year": None, "bpm": None}
ODD = os.fsdecode(b"caf\xe9/\\udce9 \\ \xff.mp3")  # not UTF-8, and looks like what stands for such bytes


def new(path, *, windows=1, content="A", library=1, **facts):
    given = {"size": 100, "mtime_ns": 1, "seconds": float(windows), "title": path[0], **BARE, **facts}
    return NewTrack(library=library, path=path, content=content, windows=windows, **given)


def update(track, path, title="t"):
    return FileUpdate(track=track, path=path, size=200, mtime_ns=2, tags=Tags(title=title, year=1999))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "index"
    with open_writer(place, model=MODEL) as writer:
        library = writer.add_library(Path("/music"))
        writer.register(SHARD, [new("a.mp3", windows=2), new("b.mp3", content="B", library=library)])
    return place


@pytest.fixture
def writer(folder):
    with open_writer(folder, model=MODEL) as opened:
        yield opened


def paths(catalogue):
    return {track.id: track.path for track in catalogue.tracks()}


def test_a_track_is_read_back_as_it_was_registered(folder):
    track = new("jazz/c.mp3", content="C", artist="Eva", album="One", genre="jazz", year=1969, bpm=119.5)
    with open_writer(folder, model=MODEL) as writer:
        writer.register(replace(SHARD, name="000001", rows=1), [track])

    with Catalogue.open(folder) as catalogue:
        (read,) = catalogue.tracks("genre = ? AND year < ?", "jazz", 1970)

    assert asdict(read) == {**asdict(track), "id": 3, "shard": 2, "first_row": 0}


def test_model_libraries_shards_and_counts_are_read_back(folder):
    with Catalogue.open(folder) as catalogue:
        assert catalogue.model == MODEL
        assert catalogue.libraries() == {1: Path("/music")}
        assert catalogue.shards() == {1: SHARD}
        assert catalogue.count() == Counts(tracks=2, windows=3, shards=1, quarantined=0)


def test_rows_of_a_shard_follow_its_tracks(folder):
    with Catalogue.open(folder) as catalogue:
        assert [(track.path, track.first_row) for track in catalogue.tracks()] == [("a.mp3", 0), ("b.mp3", 2)]


def test_ids_are_found_by_a_condition_in_their_order(folder):
    with Catalogue.open(folder) as catalogue:
        assert catalogue.track_ids("seconds >= ?", 1) == [1, 2]
        assert catalogue.track_ids("path = ?", "b.mp3") == [2]


def test_tracks_are_found_by_the_filter_of_a_query(writer):
    writer.register(replace(SHARD, name="000001", rows=1), [new("c.mp3", content="C", artist="BJÖRK")])
    where = sql_filter(parse_filter('artist = "björk" and duration < 1000'))

    assert writer.track_ids(where.sql, *where.parameters) == [3]
    assert [track.artist for track in writer.tracks(where.sql, *where.parameters)] == ["BJÖRK"]


def test_a_shard_of_another_name_or_content_has_another_key():
    keys = {SHARD.key, replace(SHARD, name="000009").key, replace(SHARD, sha256="other").key}
    assert len(keys) == 3
    assert replace(SHARD, rows=99).key == SHARD.key


def test_a_library_is_dropped_with_all_that_is_known_of_it(writer):
    other = writer.add_library(Path("/other"))
    writer.register(replace(SHARD, name="000001", rows=1), [new("a.mp3", library=other, content="C")])
    writer.set_mounts(1, ["usb"])
    writer.add_quarantine([Failure(1, AudioFile("bad.mp3", 1, 1), "no audio")])

    assert writer.drop_library(1) == 2

    assert writer.libraries() == {other: Path("/other")}
    assert paths(writer) == {3: "a.mp3"}
    assert (writer.mounts(1), writer.quarantine(1)) == ([], [])
    writer.check()


def test_known_files_are_those_of_one_library(writer):
    other = writer.add_library(Path("/other"))
    writer.register(replace(SHARD, name="000001", rows=1), [new("a.mp3", library=other, content="C")])

    assert writer.known_files(1) == [(1, "a.mp3", 100, 1, "A"), (2, "b.mp3", 100, 1, "B")]
    assert writer.known_files(other) == [(3, "a.mp3", 100, 1, "C")]


def test_a_library_is_added_once(writer):
    assert [writer.add_library(Path(root)) for root in ("/music", "/other", "/music")] == [1, 2, 1]


def test_mounts_are_those_of_the_last_scan(writer):
    writer.set_mounts(1, ["usb", ODD])
    assert writer.mounts(1) == [ODD, "usb"]

    writer.set_mounts(1, ["usb"])
    assert writer.mounts(1) == ["usb"]


@pytest.mark.parametrize("path", [ODD, "plain.mp3", "\\", "\\\\udcff", os.fsdecode(b"\xed\xb3\xa9"), "曲/ü.mp3"])
def test_any_path_survives_and_is_valid_text_in_the_database(path):
    assert decoded(encoded(path)) == path
    encoded(path).encode()


def test_paths_that_are_not_utf8_survive_every_table(writer):
    root = Path("/") / ODD
    library = writer.add_library(root)
    writer.register(replace(SHARD, name="000001", rows=1), [new(ODD, library=library)])
    writer.add_quarantine([Failure(library, AudioFile(f"bad {ODD}", 1, 1), "broken")])

    assert writer.libraries()[library] == root
    assert writer.known_files(library)[0].path == ODD
    assert writer.quarantine(library)[0].path == f"bad {ODD}"
    writer.release(library, [f"bad {ODD}"])
    assert writer.quarantine(library) == []


def test_a_track_that_replaces_another_takes_its_path_and_a_new_id(writer):
    writer.register(replace(SHARD, name="000001", rows=1), [new("a.mp3", content="C")], replaces=[1])

    assert paths(writer) == {2: "b.mp3", 3: "a.mp3"}


def test_ids_of_dropped_tracks_are_never_used_again(writer):
    writer.drop([1, 2])
    writer.register(replace(SHARD, name="000001", rows=1), [new("c.mp3")])

    assert paths(writer) == {3: "c.mp3"}


def test_copies_share_the_rows_of_their_source_and_outlive_it(writer):
    writer.add_copies([(1, new("copy.mp3", windows=2))], replaces=[2])
    writer.drop([1])

    (copy,) = writer.tracks()

    assert (copy.path, copy.shard, copy.first_row, copy.windows) == ("copy.mp3", 1, 0, 2)


def test_files_can_be_moved_and_retagged_also_by_changing_places(writer):
    writer.update_files([update(1, "b.mp3", "now b"), update(2, "a.mp3", "now a")])

    assert [(track.id, track.path, track.size, track.title, track.year) for track in writer.tracks()] == [
        (1, "b.mp3", 200, "now b", 1999),
        (2, "a.mp3", 200, "now a", 1999),
    ]


def test_quarantine_counts_tries_and_drops_the_track_that_was_there(writer):
    writer.add_quarantine(
        [Failure(1, AudioFile("a.mp3", 5, 6), "silent"), Failure(1, AudioFile("c.mp3", 1, 1), "empty")]
    )
    writer.add_quarantine([Failure(1, AudioFile("a.mp3", 7, 8), "cut short")])

    assert writer.quarantine(1) == [
        QuarantinedFile("a.mp3", 7, 8, "cut short", 2),
        QuarantinedFile("c.mp3", 1, 1, "empty", 1),
    ]
    assert paths(writer) == {2: "b.mp3"}


def test_a_path_that_becomes_a_track_leaves_quarantine(writer):
    names = ("c.mp3", "d.mp3", "e.mp3", "f.mp3")
    writer.add_quarantine([Failure(1, AudioFile(name, 1, 1), "empty") for name in names])

    writer.register(replace(SHARD, name="000001", rows=1), [new("c.mp3")])
    writer.add_copies([(1, new("d.mp3", windows=2))])
    writer.update_files([update(1, "e.mp3")])

    assert [file.path for file in writer.quarantine(1)] == ["f.mp3"]


FORBIDDEN = {
    "a path twice": lambda writer: writer.register(replace(SHARD, name="000001", rows=2), [new("c.mp3"), new("b.mp3")]),
    "rows without tracks": lambda writer: writer.register(replace(SHARD, name="000001", rows=9), [new("c.mp3")]),
    "a library that is not there": lambda writer: writer.register(
        replace(SHARD, name="000001", rows=1), [new("c.mp3", library=9)]
    ),
    "a copy of nothing": lambda writer: writer.add_copies([(1, new("c.mp3")), (9, new("d.mp3"))]),
    "a drop of nothing": lambda writer: writer.drop([1, 9]),
    "a move of nothing": lambda writer: writer.update_files([update(1, "c.mp3"), update(9, "d.mp3")]),
    "a move onto a track": lambda writer: writer.update_files([update(1, "b.mp3")]),
}


@pytest.mark.parametrize("change", FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_change_that_makes_no_sense_is_refused_and_changes_nothing(writer, change):
    before = list(writer.tracks()), writer.shards()

    with pytest.raises(ValueError, match=r"rows, but|not in the catalogue|constraint failed"):
        change(writer)

    assert (list(writer.tracks()), writer.shards()) == before


def test_a_second_writer_is_refused_with_the_process_that_writes(folder, writer):
    with (
        pytest.raises(StoreError, match=f"process {os.getpid()} is writing this index"),
        open_writer(folder, model=MODEL),
    ):
        pass


def test_a_reader_sees_what_was_committed_before_and_after_a_change(folder, writer):
    with Catalogue.open(folder) as reader:
        writer.drop([1])
        assert reader.count().tracks == 1
        writer.drop([2])
        assert reader.count().tracks == 0


def test_a_reader_during_an_uncommitted_change_sees_the_state_before_it(folder, writer):
    with Catalogue.open(folder) as reader, writer._change() as connection:
        connection.execute("DELETE FROM tracks")

        assert reader.count().tracks == 2
        with Catalogue.open(folder) as another:
            assert another.count().tracks == 2


def test_what_is_read_in_a_snapshot_is_of_one_moment(folder, writer):
    writer._connection.execute("PRAGMA busy_timeout = 10")
    with Catalogue.open(folder) as reader:
        with reader.snapshot():
            assert reader.count().tracks == 2
            with pytest.raises(StoreError, match="locked by another program"):
                writer.drop([1])
            assert len(list(reader.tracks())) == 2

        writer.drop([1])

        assert reader.count().tracks == 1


def test_a_reader_cannot_write(folder):
    with Catalogue.open(folder) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM tracks")


def test_another_model_may_not_write(folder):
    other = replace(MODEL, fingerprint="e" * 64)

    with pytest.raises(StoreError, match="made with toy"), open_writer(folder, model=other):
        pass


@pytest.mark.parametrize("change", ["a newer format", "not a database", "empty", "a page of zeros", "no rows"])
def test_an_index_that_cannot_be_read_is_an_error_of_one_line(folder, change):
    path = folder / "catalogue.sqlite"
    content = path.read_bytes()
    if change in ("a newer format", "no rows"):
        connection = sqlite3.connect(path)
        connection.execute("UPDATE meta SET format = 3" if change == "a newer format" else "DELETE FROM meta")
        connection.commit()
        connection.close()
    else:
        path.write_bytes(
            {"not a database": b"x" * 9000, "empty": b"", "a page of zeros": bytes(4096) + content[4096:]}[change]
        )

    expected = r"index format 3; this mulan reads 2; upgrade" if change == "a newer format" else r"is damaged \(.*\);"
    for attempt in (lambda: Catalogue.open(folder), lambda: open_writer(folder, model=MODEL).__enter__()):
        with pytest.raises(StoreError, match=f"^{folder}: .*{expected}.*$"):
            attempt()


def test_a_missing_index_and_one_of_an_older_mulan_say_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="no index here; make one: mulan index sync"):
        Catalogue.open(tmp_path)
    (tmp_path / "manifest.json").touch()
    for attempt in (lambda: Catalogue.open(tmp_path), lambda: open_writer(tmp_path, model=MODEL).__enter__()):
        with pytest.raises(StoreError, match=r"index format 1, of an older mulan; .* make it anew: mulan index sync"):
            attempt()


def test_damage_inside_is_found_by_a_check(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.check()
    path = folder / "catalogue.sqlite"
    content = path.read_bytes()
    # every page but the first two: the schema and meta
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))

    with Catalogue.open(folder) as catalogue, pytest.raises(StoreError, match=r"catalogue\.sqlite is damaged"):
        catalogue.check()


@pytest.mark.parametrize("place", ["file", "folder of others"])
def test_nothing_is_written_among_files_that_are_not_ours(tmp_path, place):
    index = tmp_path / "index"
    if place == "file":
        index.touch()
    else:
        index.mkdir()
        (index / "song.mp3").touch()

    with pytest.raises(StoreError, match="choose a new folder"), open_writer(index, model=MODEL):
        pass


def test_shards_are_numbered_without_ever_using_a_number_again(writer):
    assert writer.next_shard() == "000002"
    writer.drop_shards([1])
    assert (list(writer.tracks()), writer.shards(), writer.next_shard()) == ([], {}, "000002")


def test_a_shard_is_registered_together_with_the_files_that_could_not_be_used(writer):
    failures = [Failure(1, AudioFile("a.mp3", 5, 6), "silent")]

    writer.register(replace(SHARD, name="000002", rows=1), [new("c.mp3")], failures=failures)

    assert paths(writer) == {2: "b.mp3", 3: "c.mp3"}
    assert [file.path for file in writer.quarantine(1)] == ["a.mp3"]


def test_moved_rows_take_all_tracks_that_share_them_and_empty_shards_are_forgotten(writer):
    writer.add_copies([(1, new("copy.mp3", windows=2))])
    blocks = [RowBlock(1, 2, 1), RowBlock(1, 0, 2)]
    assert writer.blocks() == blocks[::-1]

    writer.move_rows(replace(SHARD, name="000002"), blocks)

    assert [(track.path, track.shard, track.first_row) for track in writer.tracks()] == [
        ("a.mp3", 2, 1),
        ("b.mp3", 2, 0),
        ("copy.mp3", 2, 1),
    ]
    assert list(writer.shards()) == [2]
    with pytest.raises(ValueError, match="3 rows, but 1 in the blocks"):
        writer.move_rows(replace(SHARD, name="000003"), [RowBlock(2, 0, 1)])


def test_shards_that_no_writer_came_to_register_are_cleared_away(folder):
    for name in ("000000", "000001", ".partial"):
        (folder / "shards" / name).mkdir(parents=True)

    with open_writer(folder, model=MODEL):
        assert [path.name for path in (folder / "shards").iterdir()] == ["000000"]


def test_what_a_killed_creation_left_is_overwritten(tmp_path):
    index = tmp_path / "index"
    index.mkdir()
    (index / "catalogue.sqlite.unfinished").write_bytes(b"half a database")

    with open_writer(index, model=MODEL):
        pass

    with Catalogue.open(index) as catalogue:
        assert catalogue.count().tracks == 0


def test_an_index_on_a_read_only_disk_can_be_read(folder, made_read_only):
    with Catalogue.open(made_read_only(folder)) as catalogue:
        assert catalogue.count().tracks == 2


def test_an_index_on_a_read_only_disk_cannot_be_written_and_says_so(folder, made_read_only):
    with (
        pytest.raises(StoreError, match=r"cannot write: Permission denied; .* give permission"),
        open_writer(made_read_only(folder), model=MODEL),
    ):
        pass


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from indexing.catalogue_writer import open_writer
    from tests_model import MODEL
    with open_writer(Path(sys.argv[1]), model=MODEL) as writer, writer._change() as connection:
        connection.execute("PRAGMA cache_size = 1")  # so that half of the change is in the file already
        connection.execute("UPDATE tracks SET title = hex(zeroblob(50000))")
        connection.execute("DELETE FROM tracks WHERE id = 2")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(folder, tmp_path):
    """The index after a writer was killed in the middle of a change that was partly in the file."""
    (tmp_path / "tests_model.py").write_text(f"from indexing.model import ModelRecord\nMODEL = {MODEL!r}\n")
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert (folder / "catalogue.sqlite-journal").stat().st_size > 0
    return folder


@pytest.mark.parametrize("first", ["a reader", "a writer"])
def test_after_kill_9_in_the_middle_of_a_change_the_state_before_it_is_found(killed, first):
    if first == "a writer":
        with open_writer(killed, model=MODEL) as writer:
            assert [track.title for track in writer.tracks()] == ["a", "b"]

    with Catalogue.open(killed) as catalogue:
        assert [track.title for track in catalogue.tracks()] == ["a", "b"]
        catalogue.check()


def test_half_a_change_on_a_read_only_disk_is_not_read_as_if_it_were_whole(killed, made_read_only):
    with pytest.raises(StoreError, match=r"a killed writer left .* half changed; open it once where it may be written"):
        Catalogue.open(made_read_only(killed))


def test_a_full_disk_is_an_error_and_the_catalogue_is_as_it_was(folder, writer):
    writer._connection.execute(f"PRAGMA max_page_count = {(folder / 'catalogue.sqlite').stat().st_size // 4096}")

    with pytest.raises(StoreError, match=r"cannot reach catalogue\.sqlite: database or disk is full; .* free space"):
        writer.register(replace(SHARD, name="000001", rows=1), [new("c.mp3", title="x" * 100_000)])

    assert paths(writer) == {1: "a.mp3", 2: "b.mp3"}


def test_create_makes_an_index_without_tracks(tmp_path):
    create_catalogue(tmp_path, MODEL)

    with Catalogue.open(tmp_path) as catalogue:
        assert (catalogue.model, catalogue.count().tracks) == (MODEL, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue.sqlite"]
