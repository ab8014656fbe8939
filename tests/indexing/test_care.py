"""Looking after an index: info, verify, repair, compact: `pytest tests/indexing/test_care.py`.

The index under test has shards of two tracks: t0 t1, t2 t3 (three windows), t4 t5, t6.
"""

import errno
import re
import shutil
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from data.errors import StoreError
from indexing import Index, care, shards, sync_library
from indexing.care import compact, forget_library, index_info, library_tracks, repair, verify
from indexing.catalogue import Catalogue
from indexing.catalogue_writer import open_writer
from indexing.engines import ENGINE_FILE, IvfSettings, ShardVectors, Vectors, build_ivf
from indexing.shards import read_shard
from indexing.tracks import read_holdings

# Newer Pythons warn of threads that a fork leaves behind; none of them matters to a sync.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning"),
    pytest.mark.usefixtures("small_shards"),
]


@pytest.fixture
def synced(toy_encoder, library, index):
    sync_library(toy_encoder, library, index)
    return index


def break_shard(index, name, file="vectors.npy"):
    """Flip the last bit of a shard's file."""
    path = index / "shards" / name / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def change(index, statement):
    connection = sqlite3.connect(index / "catalogue.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def vectors_by_title(index):
    """The windows and spans of every track, by its title: what no repair or compaction may change."""
    holdings = read_holdings(index)
    windows = {track.title: holdings.windows(track) for track in holdings.tracks}
    return {title: (vectors.tolist(), spans.tolist()) for title, (vectors, spans) in windows.items()}


def shard_names(index):
    return sorted(path.name for path in (index / "shards").iterdir())


def test_info_says_what_is_in_an_index(synced, library, toy_encoder):
    (library / "t1.wav").unlink()
    sync_library(toy_encoder, library, synced)

    info = index_info(synced)

    assert (info.model.name, info.model.licence, info.precisions) == ("toy", "Apache-2.0", ("float32",))
    assert (info.counts.tracks, info.counts.windows, info.counts.shards, info.counts.quarantined) == (6, 7, 4, 1)
    assert (info.rows, info.dead_rows) == (8, 1)
    assert [(one.root, one.tracks, len(one.quarantine)) for one in info.libraries] == [(library, 6, 1)]
    assert info.bytes == sum(path.stat().st_size for path in synced.rglob("*") if path.is_file())


def test_an_index_without_tracks_is_whole(tmp_path, synced):
    with Catalogue.open(synced) as catalogue:
        model = catalogue.model
    with open_writer(tmp_path / "empty", model=model):
        pass

    assert verify(tmp_path / "empty") == []
    assert index_info(tmp_path / "empty").rows == 0
    assert compact(tmp_path / "empty").shards == 0


def test_a_whole_index_has_nothing_wrong_with_it_and_repair_and_compaction_leave_it_alone(synced, everything_in):
    before = everything_in(synced)

    assert verify(synced) == []
    assert repair(synced).tracks == 0
    assert compact(synced).shards == 4
    assert everything_in(synced) == before


@pytest.mark.parametrize("file", ["vectors.npy", "spans.npy"])
def test_a_bit_that_the_disk_lost_is_found_and_repaired_by_embedding_again(synced, library, toy_encoder, file):
    before = vectors_by_title(synced)
    break_shard(synced, "000002", file)

    (finding,) = verify(synced)
    assert "shard 000002 is not what was written (SHA-256 differs)" in finding.problem
    assert repair(synced).tracks == 2
    assert verify(synced) == []
    assert [track.title for track in Index.open(synced).tracks] == ["t0", "t1", "t4", "t5", "t6"]

    toy_encoder.embedded.clear()
    sync_library(toy_encoder, library, synced)
    assert [path.name for path in toy_encoder.embedded] == ["t2.wav", "t3.wav"]
    assert vectors_by_title(synced) == before


def test_a_damaged_engine_file_is_found_and_deleted_and_no_track_is_lost(synced):
    with Catalogue.open(synced) as catalogue:
        records = catalogue.shards().values()
        shards = [ShardVectors(one.key, read_shard(synced, one, dim=catalogue.model.dim).vectors) for one in records]
    build_ivf(synced / ENGINE_FILE, Vectors(shards), IvfSettings(nlist=1, nprobe=1))
    assert verify(synced) == []
    content = bytearray((synced / ENGINE_FILE).read_bytes())
    content[len(content) // 3] ^= 1
    (synced / ENGINE_FILE).write_bytes(content)

    (finding,) = verify(synced)
    assert finding.file == synced / ENGINE_FILE
    assert "the engine is damaged (SHA-256 differs" in finding.problem
    assert repair(synced).tracks == 0
    assert not (synced / ENGINE_FILE).exists()
    assert verify(synced) == []
    assert len(Index.open(synced).tracks) == 7


@pytest.fixture
def two_libraries(synced, toy_encoder, tmp_path, library):
    """The index with another library in it: a copy of t3, a track of its own, and a file that is no audio."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("t3.wav", "t2-broken.wav"):
        shutil.copy(library / name, other / name)
    (other / "own.wav").write_bytes((library / "t0.wav").read_bytes()[:-200])
    sync_library(toy_encoder, other, synced)
    return other


def test_a_library_is_forgotten_with_its_quarantine_and_the_others_are_as_they_were(
    synced, library, two_libraries, toy_encoder, monkeypatch
):
    before = vectors_by_title(synced)
    shutil.rmtree(library)
    monkeypatch.chdir(library.parent)
    assert library_tracks(synced, Path("music")) == 7

    assert forget_library(synced, Path("music/")) == 7

    info = index_info(synced)
    assert [(one.root, one.tracks, len(one.quarantine)) for one in info.libraries] == [(two_libraries, 2, 1)]
    assert verify(synced) == []
    kept = {title: before[title] for title in ("t3", "own")}
    assert vectors_by_title(synced) == kept
    compact(synced)
    assert index_info(synced).dead_rows == 0
    assert vectors_by_title(synced) == kept


def test_a_library_that_is_not_there_cannot_be_forgotten_and_those_that_are_are_named(
    synced, library, two_libraries, tmp_path
):
    for attempt in (library_tracks, forget_library):
        with pytest.raises(StoreError) as caught:
            attempt(synced, tmp_path / "strange")
        expected = f"{synced}: holds no library {tmp_path / 'strange'}; it has {library}, {two_libraries}"
        assert str(caught.value) == expected
    for root in (library, two_libraries):
        forget_library(synced, root)
    with pytest.raises(StoreError, match=r"holds no library .*; it has none"):
        forget_library(synced, library)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda shard: (shard / "spans.npy").unlink(), "shard 000001 is damaged .*No such file"),
        (lambda shard: (shard / "vectors.npy").write_bytes(b""), "shard 000001 is damaged"),
        (lambda shard: np.save(shard / "vectors.npy", np.ones((2, 3), np.float32)), "expected 2 windows in 2 dim"),
    ],
)
def test_a_missing_or_misshapen_shard_is_found_and_repaired(synced, damage, problem):
    damage(synced / "shards" / "000001")
    with pytest.raises(StoreError, match=problem):
        Index.open(synced)

    assert [finding.shard for finding in verify(synced)] == [1]
    repair(synced)

    assert verify(synced) == []
    assert shard_names(synced) == ["000002", "000003", "000004"]
    assert len(Index.open(synced).tracks) == 5


def test_a_shard_that_may_not_be_read_is_not_taken_for_damaged_and_loses_nothing(synced, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(shards, "map_npy", refused)  # root may read everything
        for attempt in (verify, repair):
            with pytest.raises(StoreError, match=r"shard 000001 cannot be read \(Permission denied\); give"):
                attempt(synced)

    assert (verify(synced), index_info(synced).counts.tracks) == ([], 7)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE tracks SET first_row = 5 WHERE id = 1", "shard 000001 has 2 rows, and tracks that lie beyond them"),
        ("UPDATE shards SET fingerprint = 'other' WHERE id = 1", r"000001 was made with another model \(other\)"),
    ],
)
def test_a_catalogue_that_contradicts_the_shards_is_found_and_repaired(synced, statement, problem):
    change(synced, statement)

    (finding,) = verify(synced)
    assert finding.shard == 1
    assert re.search(problem, finding.problem)
    repair(synced)
    assert verify(synced) == []


def test_what_killed_writers_left_is_found_and_removed(synced):
    (synced / "shards" / ".partial").mkdir()

    (finding,) = verify(synced)
    assert finding.problem.endswith(".partial: belongs to no track; left by a killed writer")
    assert (len(repair(synced).findings), shard_names(synced)) == (1, ["000001", "000002", "000003", "000004"])


def test_a_damaged_catalogue_is_beyond_repair_and_says_so(synced):
    path = synced / "catalogue.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))

    for attempt in (verify, repair):
        with pytest.raises(StoreError, match=r"catalogue\.sqlite is damaged .*; restore it, or delete"):
            attempt(synced)


def test_compaction_removes_dropped_rows_joins_small_shards_and_changes_no_vector(
    synced, library, toy_encoder, write_track
):
    (library / "t1.wav").unlink()
    (library / "t2.wav").unlink()
    write_track(library / "copy of t0.wav", 10)
    sync_library(toy_encoder, library, synced)
    before, hits = vectors_by_title(synced), Index.open(synced).search([1, 0], k=99)

    report = compact(synced)

    # t0 t3 in one new shard, t6 alone in another; t4 t5 stay
    assert (report.shards_before, report.shards) == (4, 3)
    assert report.bytes < report.bytes_before
    assert shard_names(synced) == ["000003", "000005", "000006"]
    assert vectors_by_title(synced) == before
    assert Index.open(synced).search([1, 0], k=99) == hits
    assert (index_info(synced).dead_rows, verify(synced)) == (0, [])
    assert compact(synced) == care.CompactReport(
        shards_before=3, shards=3, bytes_before=report.bytes, bytes=report.bytes
    )


def test_shards_of_other_precision_are_not_joined(synced, library, toy_encoder, write_track):
    write_track(library / "u.wav", 99)
    toy_encoder.precision = "bfloat16"
    sync_library(toy_encoder, library, synced)

    compact(synced)

    assert index_info(synced).precisions == ("bfloat16", "float32")
    assert index_info(synced).counts.shards == 5


def test_an_index_without_any_track_left_is_compacted_to_nothing(synced, library, toy_encoder):
    for path in library.iterdir():
        path.unlink()
    sync_library(toy_encoder, library, synced, drop_missing=True)

    assert compact(synced).shards == 0
    assert shard_names(synced) == []


def test_a_damaged_shard_is_not_copied_as_if_it_were_whole(synced, library, toy_encoder):
    (library / "t1.wav").unlink()
    sync_library(toy_encoder, library, synced)
    break_shard(synced, "000001")

    with pytest.raises(StoreError, match=r"shard 000001 is damaged \(SHA-256 differs\); mulan index repair"):
        compact(synced)


def test_a_compaction_killed_before_any_write_of_its_own_loses_nothing(synced, library, toy_encoder, forked, dies_at):
    for name in ("t1.wav", "t2.wav", "t5.wav"):
        (library / name).unlink()
    sync_library(toy_encoder, library, synced)
    before = vectors_by_title(synced)

    def compact_killed_at(call):
        dies_at(call, "fsync", "replace", "unlink", "rmdir")
        compact(synced)

    for call in range(99):
        status = forked(lambda at=call: compact_killed_at(at)).status()
        assert status in (0, -signal.SIGKILL)
        assert vectors_by_title(synced) == before
        if status == 0:
            break
    assert call > 6
    compact(synced)
    assert (verify(synced), index_info(synced).counts.shards) == ([], 2)
    assert vectors_by_title(synced) == before


def test_care_of_no_index_says_how_to_make_one(tmp_path):
    for attempt in (index_info, verify, repair, compact):
        with pytest.raises(StoreError, match="no index here; make one: mulan index sync"):
            attempt(tmp_path)


def test_an_index_that_another_process_writes_is_not_repaired_or_compacted(synced):
    with Catalogue.open(synced) as catalogue:
        model = catalogue.model
    with open_writer(synced, model=model):
        assert verify(synced) == []
        for attempt in (repair, compact):
            with pytest.raises(StoreError, match="is writing this index"):
                attempt(synced)
