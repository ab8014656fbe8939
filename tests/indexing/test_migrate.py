"""Giving an index another model: `pytest tests/indexing/test_migrate.py`.

The new model of these tests turns every angle by 90 degrees, and so does its text. Shards have two tracks.
A killed migration is a process of its own (a fork of this one), ended with SIGKILL.
"""

import os
import re
import shutil
import signal
import sqlite3
import traceback
from itertools import count

import numpy as np
import pytest

from data.errors import StoreError
from indexing import Index, care, embedding, migrate, sync_library
from indexing.care import begun_migration, compact, index_info, repair, verify
from indexing.catalogue import Catalogue
from indexing.catalogue_writer import CatalogueWriter, open_writer
from indexing.migrate import migrate_index
from indexing.tracks import read_holdings

# Newer Pythons warn of threads that a fork leaves behind; none of them matters to a migration.
pytestmark = pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def _small_shards_without_sync(monkeypatch):
    monkeypatch.setattr(embedding, "SHARD_TRACKS", 2)
    monkeypatch.setattr(care, "SHARD_TRACKS", 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def turned(encoder):
    """Make a model see every angle 90 degrees further on."""
    see = encoder.encode_windows

    def see_turned(waveform, sample_rate):
        vectors, spans = see(waveform, sample_rate)
        return np.stack([-vectors[:, 1], vectors[:, 0]], axis=1), spans

    encoder.encode_windows = see_turned
    return encoder


@pytest.fixture
def new(toy_encoder):
    return turned(type(toy_encoder)(name="new", fingerprint="new-1"))


@pytest.fixture
def synced(toy_encoder, library, index, write_track):
    """t0 to t6, two copies of t5, and an engine file of the old space."""
    write_track(library / "copy of t5.wav", 60)
    write_track(library / "t5 again.wav", 60)
    sync_library(toy_encoder, library, index)
    return index


def best(index, degrees):
    """The title that answers an angle."""
    angle = np.deg2rad(degrees)
    return Index.open(index).search(np.array([np.cos(angle), np.sin(angle)], np.float32), k=1)[0].title


def stable_rows(index):
    """All of the catalogue that a migration has to keep: ids, files, tags, quarantine."""
    connection = sqlite3.connect(index / "catalogue.sqlite")
    columns = "id, library, path, size, mtime_ns, content, title, artist, album, genre, year, bpm"
    queries = (f"SELECT {columns} FROM tracks", "SELECT * FROM libraries", "SELECT * FROM quarantine")
    found = [list(connection.execute(query)) for query in queries]
    connection.close()
    return found


def vectors_of(index):
    """The windows of every track, in the order of ids."""
    held = read_holdings(index)
    return {track.path: held.windows(track).vectors.round(5).tolist() for track in held.tracks}


def forked(work):
    """Do some work in another process; gives its exit code, minus the signal that killed it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def interrupt_after(files):
    def on_progress(progress):
        if progress.done >= files:
            raise KeyboardInterrupt

    return on_progress


def begin(encoder, index, *, files=5):
    """Migrate until some files were embedded."""
    with pytest.raises(KeyboardInterrupt):
        migrate_index(encoder, index, on_progress=interrupt_after(files))


def test_every_track_keeps_its_id_and_tags_and_gets_the_vectors_of_the_new_model(synced, new):
    rows, before = stable_rows(synced), vectors_of(synced)
    assert best(synced, 10) == "t0"

    report = migrate_index(new, synced)

    assert (report.tracks, report.embedded, report.quarantined, report.dropped) == (9, 7, (), ())
    assert stable_rows(synced) == rows
    assert vectors_of(synced) == {path: [[0.0 - y, x] for x, y in vectors] for path, vectors in before.items()}
    assert best(synced, 100) == "t0"
    info = index_info(synced)
    assert (info.model.name, info.model.fingerprint, info.migration) == ("new", "new-1", None)
    assert (info.counts.shards, info.rows, info.dead_rows) == (4, 8, 0)
    assert verify(synced) == []
    assert sorted(path.name for path in synced.iterdir()) == [
        ".lock", "catalogue.sqlite", "catalogue.sqlite-journal", "shards",
    ]  # fmt: skip


def test_each_recording_is_embedded_once(synced, new):
    migrate_index(new, synced)
    assert sorted(path.name for path in new.embedded) == [
        "copy of t5.wav", "t0.wav", "t1.wav", "t2.wav", "t3.wav", "t4.wav", "t6.wav",
    ]  # fmt: skip


def test_the_index_can_be_synced_by_the_new_model_and_not_by_the_old_one(
    synced, library, toy_encoder, new, write_track
):
    migrate_index(new, synced)
    write_track(library / "t7.wav", 80)
    new.embedded.clear()

    assert sync_library(new, library, synced).embedded == ("t7.wav",)
    assert best(synced, 170) == "t7"
    with pytest.raises(StoreError, match="made with new"):
        sync_library(toy_encoder, library, synced)


def test_until_it_is_done_readers_find_the_index_as_it_was(synced, new, everything_in):
    before, seen = everything_in(synced), []

    def on_progress(progress):
        seen.append((everything_in(synced) == before, best(synced, 10), index_info(synced).model.name))

    migrate_index(new, synced, on_progress=on_progress)

    assert set(seen) == {(True, "t0", "toy")}
    assert len(seen) == 10


def test_an_index_opened_before_answers_as_before(synced, new):
    opened = Index.open(synced)
    hits = opened.search([1, 0], k=9)
    migrate_index(new, synced)
    assert opened.search([1, 0], k=9) == hits


def test_the_engine_of_the_old_space_is_dropped_with_it(synced, new):
    (synced / "engine.ivf").write_bytes(b"whatever")
    begin(new, synced)
    assert (synced / "engine.ivf").exists()
    migrate_index(new, synced)
    assert not (synced / "engine.ivf").exists()


def test_the_model_it_has_is_nothing_to_do(synced, toy_encoder, everything_in):
    before = everything_in(synced)
    toy_encoder.embedded.clear()
    assert migrate_index(toy_encoder, synced) is None
    assert (everything_in(synced), toy_encoder.embedded) == (before, [])


def test_a_model_of_another_width_takes_over(synced, new):
    class Wide(type(new)):
        def encode_windows(self, waveform, sample_rate):
            vectors, spans = super().encode_windows(waveform, sample_rate)
            return np.pad(vectors, ((0, 0), (0, 1))), spans

    wide = Wide(name="wide", fingerprint="wide-1")
    wide.dim = 3
    migrate_index(wide, synced)
    assert Index.open(synced).model.dim == 3
    assert Index.open(synced).search([1, 0, 0], k=1)[0].title == "t0"


def test_an_index_without_tracks_changes_its_model(tmp_path, synced, new):
    with Catalogue.open(synced) as catalogue:
        model = catalogue.model
    with open_writer(tmp_path / "empty", model=model):
        pass
    assert migrate_index(new, tmp_path / "empty").tracks == 0
    assert index_info(tmp_path / "empty").model.name == "new"


def test_back_and_forth_gives_the_old_vectors_again(synced, toy_encoder, new):
    rows, before = stable_rows(synced), vectors_of(synced)
    migrate_index(new, synced)
    migrate_index(toy_encoder, synced)
    assert (stable_rows(synced), vectors_of(synced), verify(synced)) == (rows, before, [])


def test_an_interrupted_migration_goes_on_after_its_last_finished_shard(synced, new):
    begin(new, synced, files=5)  # two shards are finished, the third is not
    info = index_info(synced)
    assert (info.model.name, info.migration.model.name) == ("toy", "new")
    assert (info.migration.embedded, info.migration.recordings) == (4, 7)

    new.embedded.clear()
    report = migrate_index(new, synced)

    assert (report.embedded, len(new.embedded)) == (3, 3)


def test_a_begun_migration_survives_compaction_and_repair(synced, library, toy_encoder, new):
    (library / "t1.wav").unlink()
    sync_library(toy_encoder, library, synced)
    begin(new, synced)
    compact(synced)
    repair(synced)
    assert index_info(synced).migration.embedded == 4
    new.embedded.clear()
    migrate_index(new, synced)
    assert len(new.embedded) == 2


def test_another_model_than_the_one_begun_is_one_clear_line(synced, new, everything_in):
    begin(new, synced)
    before = everything_in(synced)
    other = type(new)(name="other", fingerprint="other-1")

    with pytest.raises(StoreError) as refused:
        migrate_index(other, synced)

    assert re.search(
        r"a migration to new \(fingerprint new-1\) is begun, not to other .*; go on with --model new, or "
        rf"delete {re.escape(str(synced))}/migrating to give it up$",
        str(refused.value),
    )
    assert (everything_in(synced), index_info(synced).migration.embedded) == (before, 4)
    shutil.rmtree(synced / "migrating")
    assert migrate_index(other, synced).model.name == "other"


def test_a_sync_between_two_runs_is_taken_in(synced, library, toy_encoder, new, write_track, tmp_path):
    begin(new, synced, files=7)  # copy of t5, t0 to t4 are there
    (library / "t0.wav").unlink()
    (library / "t1.wav").rename(library / "t3.wav.moved.wav")
    (library / "t2.wav").rename(library / "aside.wav")
    (library / "t4.wav").rename(library / "t2.wav")
    (library / "aside.wav").rename(library / "t4.wav")  # t2 and t4 changed places
    write_track(library / "t3.wav", 200)
    write_track(library / "t7.wav", 80)
    sync_library(toy_encoder, library, synced)
    rows, before = stable_rows(synced), vectors_of(synced)
    new.embedded.clear()

    migrate_index(new, synced)

    assert sorted(path.name for path in new.embedded) == ["t3.wav", "t6.wav", "t7.wav"]
    assert stable_rows(synced) == rows
    assert vectors_of(synced) == {path: [[0.0 - y, x] for x, y in vectors] for path, vectors in before.items()}
    assert verify(synced) == []


def test_a_shard_that_was_damaged_since_it_was_written_is_embedded_again(synced, new):
    begin(new, synced)
    path = synced / "migrating" / "shards" / "000001" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    new.embedded.clear()
    migrate_index(new, synced)
    assert len(new.embedded) == 5
    assert verify(synced) == []


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_files_that_cannot_be_read_leave_the_old_model_in_place_and_say_what_to_do(
    synced, library, new, write_track, everything_in, harm
):
    before = everything_in(synced)
    for name in ("t1.wav", "t4.wav"):
        (library / name).unlink()
        if harm == "changed":
            write_track(library / name, 99, 99)

    with pytest.raises(StoreError) as refused:
        migrate_index(new, synced)

    assert str(refused.value) == (
        f"{synced}: 2 of 9 files cannot be used, first {library}/t1.wav (gone, or changed since the last sync); "
        "the old model goes on serving, the others are embedded: plug in their disk or mulan index sync first, then "
        "migrate again; --drop-missing goes without them"
    )
    assert everything_in(synced) == before
    assert index_info(synced).migration.embedded == 5
    assert "t1.wav" not in [path.name for path in new.embedded]

    new.embedded.clear()
    report = migrate_index(new, synced, drop_missing=True)
    assert (report.tracks, report.embedded) == (7, 0)
    assert [one.path.name for one in report.dropped] == ["t1.wav", "t4.wav"]
    assert verify(synced) == []


def test_a_disk_plugged_in_again_is_all_that_is_needed(synced, library, tmp_path, new):
    begin(new, synced)
    library.rename(tmp_path / "away")
    with pytest.raises(StoreError, match="3 of 9 files cannot be used"):  # of the others the vectors are there
        migrate_index(new, synced)
    assert index_info(synced).migration.embedded == 4
    (tmp_path / "away").rename(library)
    new.embedded.clear()
    assert migrate_index(new, synced).tracks == 9
    assert len(new.embedded) == 3


def test_a_recording_is_embedded_from_a_copy_where_its_first_file_is_gone(synced, library, new):
    (library / "copy of t5.wav").unlink()
    report = migrate_index(new, synced)
    assert (report.tracks, report.dropped) == (9, ())
    assert "t5 again.wav" in [path.name for path in new.embedded]


def test_files_that_the_decoder_now_refuses_go_to_quarantine_on_the_switch(synced, library, new, monkeypatch):
    read, before = new.embed_files, stable_rows(synced)

    def refuse(paths):
        for path, outcome in zip(paths, read(paths), strict=True):
            is_refused = path.name in ("t0.wav", "t4.wav")
            yield embedding.FailedFile(path=path, reason="no longer read") if is_refused else outcome

    monkeypatch.setattr(new, "embed_files", refuse)
    begin(new, synced)
    assert stable_rows(synced) == before

    with pytest.raises(StoreError, match=r"2 of 9 files cannot be used, first .*t0\.wav \(no longer read\); the old"):
        migrate_index(new, synced)
    assert stable_rows(synced) == before
    report = migrate_index(new, synced, drop_missing=True)

    assert [(one.path.name, one.reason) for one in report.quarantined] == [
        ("t0.wav", "no longer read"), ("t4.wav", "no longer read"),
    ]  # fmt: skip
    (info,) = index_info(synced).libraries
    assert [(file.path, file.tries) for file in info.quarantine] == [("t0.wav", 1), ("t2-broken.wav", 1), ("t4.wav", 1)]
    assert (report.tracks, verify(synced)) == (7, [])
    assert sync_library(new, library, synced).still_quarantined == 3


def test_a_decoder_put_right_is_all_that_is_needed(synced, new, monkeypatch):
    read = new.embed_files
    refusing = [embedding.FailedFile(path=None, reason="no decoder")]
    with monkeypatch.context() as broken:
        broken.setattr(new, "embed_files", lambda paths: [*refusing, *list(read(paths))[1:]])
        with pytest.raises(StoreError, match="files cannot be used"):
            migrate_index(new, synced)

    assert migrate_index(new, synced).tracks == 9


def test_a_model_that_can_use_no_file_takes_nothing_over(synced, new, monkeypatch, everything_in):
    before = everything_in(synced)
    refused = [embedding.FailedFile(path=None, reason="no decoder")]
    monkeypatch.setattr(new, "embed_files", lambda paths: refused * len(paths))
    with pytest.raises(StoreError, match=r"none of 9 files can be used, first .*\(no decoder\); the index stays"):
        migrate_index(new, synced)
    assert everything_in(synced) == before


def test_a_library_inside_another_and_paths_of_any_bytes_are_migrated(synced, library, toy_encoder, new, write_track):
    odd = os.fsdecode(b"\xff\\x")
    write_track(library / "inner" / f"{odd}.wav", 120)
    sync_library(toy_encoder, library, synced)
    sync_library(toy_encoder, library / "inner", synced)
    rows = stable_rows(synced)
    assert migrate_index(new, synced).tracks == 11
    assert stable_rows(synced) == rows
    assert best(synced, 210).endswith("\\x")


def test_a_disk_without_links_gets_copies(synced, new, monkeypatch):
    def no_links(*paths):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", no_links)
    migrate_index(new, synced)
    assert (best(synced, 100), verify(synced)) == ("t0", [])


def test_a_repair_that_a_migration_overtakes_drops_nothing(synced, new, monkeypatch):
    really = Catalogue.check

    def check_slowly(catalogue):
        really(catalogue)
        monkeypatch.undo()
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        migrate_index(new, synced)

    monkeypatch.setattr(Catalogue, "check", check_slowly)
    assert repair(synced) == care.RepairReport(findings=(), tracks=0)
    assert (best(synced, 100), verify(synced)) == ("t0", [])


def test_a_sync_is_refused_while_a_migration_runs(synced, library, toy_encoder, new):
    def sync_meanwhile(progress):
        with pytest.raises(StoreError, match=f"process {os.getpid()} is writing this index"):
            sync_library(toy_encoder, library, synced)

    assert migrate_index(new, synced, on_progress=sync_meanwhile).tracks == 9


def test_a_migration_killed_before_any_write_of_its_own_equals_an_uninterrupted_one(
    synced, library, tmp_path, new, everything_in, monkeypatch
):
    before = vectors_of(synced)
    migrate_index(new, shutil.copytree(synced, tmp_path / "uninterrupted"))
    expected, after = everything_in(tmp_path / "uninterrupted"), vectors_of(tmp_path / "uninterrupted")
    steps = {name: getattr(os, name) for name in ("fsync", "replace", "link", "unlink", "rmdir")}

    def migrate_killed_at(call, index):
        calls = count()

        def step(name):
            def do(*arguments, **options):
                if next(calls) == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return steps[name](*arguments, **options)

            return do

        for name in steps:
            monkeypatch.setattr(os, name, step(name))
        migrate_index(new, index)

    switched = set()
    for call in count():
        index = shutil.copytree(synced, tmp_path / f"killed-{call}")
        status = forked(lambda at=call, place=index: migrate_killed_at(at, place))
        assert status in (0, -signal.SIGKILL)
        is_switched = index_info(index).model.name == "new"
        switched.add(is_switched)
        assert vectors_of(index) == (after if is_switched else before), f"killed at call {call}"
        if status == 0:
            break
        with Catalogue.open(index) as catalogue:
            begun = begun_migration(catalogue)
        new.embedded.clear()
        report = migrate_index(new, index)
        assert (report is None) == is_switched
        if is_switched:
            repair(index)  # or any sync: what is left to delete goes with the next writer
        assert len(new.embedded) == (0 if is_switched else 7 - (begun.embedded if begun else 0))
        assert everything_in(index) == expected, f"killed at call {call}"
        assert not (index / "migrating").exists()
        shutil.rmtree(index)
    assert switched == {False, True}
    assert call > 40


def test_a_migration_killed_within_its_switch_is_taken_back_and_done_again(synced, new, monkeypatch, everything_in):
    before = everything_in(synced)
    really = CatalogueWriter.change_model

    def killed(writer, *values, **keywords):
        writer._connection.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGKILL), 200)
        really(writer, *values, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(CatalogueWriter, "change_model", killed)
        assert forked(lambda: migrate_index(new, synced)) == -signal.SIGKILL
    assert everything_in(synced)["catalogue"] == before["catalogue"]
    new.embedded.clear()
    assert migrate_index(new, synced).tracks == 9
    assert new.embedded == []


def test_what_a_migration_killed_after_its_switch_left_is_removed_by_compaction(synced, new, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "forget_files", lambda writer: None)
        migrate_index(new, synced)
    assert (synced / "migrating").exists()
    assert index_info(synced).migration is None
    compact(synced)
    assert not (synced / "migrating").exists()
    assert (best(synced, 100), verify(synced)) == ("t0", [])
