"""What others do to an index while it is migrated: `pytest tests/indexing/test_migrate_meanwhile.py`.

The new model sees every angle 90 degrees further on. Shards have two tracks: t0 is in the first that is written.
"""

import os
import re
import shutil
from contextlib import ExitStack

import pytest

from data.errors import StoreError
from indexing import Index, care, embedding, migrate, sync_library
from indexing.care import compact, index_info, repair, verify
from indexing.catalogue import Catalogue
from indexing.catalogue_writer import open_writer
from indexing.migrate import migrate_index
from indexing.model import model_record

pytestmark = pytest.mark.usefixtures("small_shards")


def test_until_it_is_done_readers_find_the_index_as_it_was(synced, new, everything_in, best):
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


def test_an_interrupted_migration_goes_on_after_its_last_finished_shard(synced, new, begin):
    begin(new, synced, files=5)  # two shards are finished, the third is not
    info = index_info(synced)
    assert (info.model.name, info.migration.model.name) == ("toy", "new")
    assert (info.migration.embedded, info.migration.recordings) == (4, 7)

    new.embedded.clear()
    report = migrate_index(new, synced)

    assert (report.embedded, len(new.embedded)) == (3, 3)


def test_a_begun_migration_survives_compaction_and_repair(synced, library, toy_encoder, new, begin):
    (library / "t1.wav").unlink()
    sync_library(toy_encoder, library, synced)
    begin(new, synced)
    compact(synced)
    repair(synced)
    assert index_info(synced).migration.embedded == 4
    new.embedded.clear()
    migrate_index(new, synced)
    assert len(new.embedded) == 2


def test_another_model_than_the_one_begun_is_one_clear_line(synced, new, everything_in, begin):
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


def test_a_sync_between_two_runs_is_taken_in(
    synced, library, toy_encoder, new, write_track, tmp_path, stable_rows, vectors_of, begin, turned
):
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
    assert vectors_of(synced) == turned(before)
    assert verify(synced) == []


def test_a_shard_that_was_damaged_since_it_was_written_is_embedded_again(synced, new, begin):
    begin(new, synced)
    path = synced / "migrating" / "shards" / "000001" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    new.embedded.clear()
    migrate_index(new, synced)
    assert len(new.embedded) == 5
    assert verify(synced) == []


def test_a_repair_that_a_migration_overtakes_drops_nothing(synced, new, monkeypatch, best):
    really = Catalogue.check

    def check_slowly(catalogue):
        really(catalogue)
        monkeypatch.undo()
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        migrate_index(new, synced)

    monkeypatch.setattr(Catalogue, "check", check_slowly)
    assert repair(synced) == care.RepairReport(findings=(), tracks=0)
    assert (best(synced, 100), verify(synced)) == ("t0", [])


@pytest.fixture
def migrate_while(new, synced):
    """migrate_while(done, work): migrate, and do some work once so many files are done; gives the report."""

    def run(done, work):
        did = []

        def on_progress(progress):
            if progress.done == done and not did:
                did.append(True)
                work()

        new.embedded.clear()
        return migrate_index(new, synced, on_progress=on_progress)

    return run


def test_syncs_go_through_while_a_migration_runs_and_are_followed(
    synced, library, toy_encoder, new, write_track, migrate_while, stable_rows, vectors_of, turned, best
):
    found = []

    def sync():
        (library / "t0.wav").unlink()  # by then it is embedded, as t1 is; t2, t4 and t6 are planned
        (library / "t1.wav").rename(library / "moved.wav")
        os.utime(library / "t2.wav")
        write_track(library / "t4.wav", 200)
        (library / "t6.wav").rename(library / "t6 moved.wav")
        write_track(library / "t7.wav", 80)
        report = sync_library(toy_encoder, library, synced)
        assert (len(report.embedded), len(report.moved), len(report.retagged), len(report.removed)) == (2, 2, 1, 1)
        found.extend([stable_rows(synced), vectors_of(synced)])

    report = migrate_while(3, sync)

    rows, before = found
    assert stable_rows(synced) == rows
    assert vectors_of(synced) == turned(before)
    assert (report.tracks, report.embedded, report.dropped, report.quarantined) == (9, 8, (), ())
    assert sorted(path.name for path in new.embedded) == [
        "copy of t5.wav", "t0.wav", "t1.wav", "t2.wav", "t2.wav", "t3.wav", "t4.wav", "t4.wav", "t6 moved.wav",
        "t6.wav", "t7.wav",
    ]  # fmt: skip
    assert (best(synced, 170), verify(synced)) == ("t7", [])


def test_a_file_that_was_refused_is_tried_once_in_a_run(synced, library, toy_encoder, new, write_track, migrate_while):
    read, refused = new.embed_files, []

    def refuse(paths):
        for path, outcome in zip(paths, read(paths), strict=True):
            if path.name == "t0.wav":
                refused.append(path)
                outcome = embedding.FailedFile(path=path, reason="no longer read")
            yield outcome

    new.embed_files = refuse

    def sync():
        write_track(library / "t7.wav", 80)
        sync_library(toy_encoder, library, synced)

    for tries in (1, 2):
        with pytest.raises(StoreError, match=r"1 of 10 files cannot be used, first .*t0\.wav \(no longer read\)"):
            migrate_while(3, sync)
        assert len(refused) == tries


def test_the_switch_waits_for_who_writes_the_index_and_takes_over_what_he_did(
    synced, library, toy_encoder, new, write_track, monkeypatch, vectors_of, caplog
):
    slept = []
    with ExitStack() as others:
        others.enter_context(open_writer(synced, model=model_record(toy_encoder)))

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 2:
                others.close()
                write_track(library / "t7.wav", 80)
                sync_library(toy_encoder, library, synced)

        really = migrate.time.sleep  # in its turn, the lock sleeps for 0.02 s
        monkeypatch.setattr(migrate.time, "sleep", lambda seconds: (sleep if seconds > 1 else really)(seconds))
        report = migrate_index(new, synced)

    assert (len(slept), report.tracks, len(vectors_of(synced)["t7.wav"])) == (2, 10, 1)
    (message,) = caplog.messages
    assert re.search(rf"process {os.getpid()} is writing this index.*; all is embedded, and the switch waits", message)


def test_a_sync_between_the_last_round_and_the_lock_is_taken_over(
    synced, library, toy_encoder, new, write_track, monkeypatch, stable_rows
):
    rows, really = [], migrate.open_writer

    def open_late(folder, *, model):
        if folder == synced and not rows:
            write_track(library / "t7.wav", 80)
            (library / "t0.wav").unlink()
            sync_library(toy_encoder, library, synced)
            rows.extend(stable_rows(synced))
        return really(folder, model=model)

    monkeypatch.setattr(migrate, "open_writer", open_late)
    report = migrate_index(new, synced)

    assert (report.tracks, report.embedded, stable_rows(synced), verify(synced)) == (9, 8, rows, [])


def test_a_second_migration_at_once_is_refused_and_the_first_goes_on(synced, new, migrate_while):
    def migrate_too():
        assert index_info(synced).migration.is_running
        again = type(new)(name="new", fingerprint="new-1")
        with pytest.raises(StoreError, match=f"migrating: process {os.getpid()} is writing this index"):
            migrate_index(again, synced)

    assert migrate_while(3, migrate_too).tracks == 9


def test_an_index_that_was_given_another_model_meanwhile_is_left_alone(synced, toy_encoder, migrate_while):
    other = model_record(type(toy_encoder)(name="other", fingerprint="other-1"))

    def take_over():
        with open_writer(synced, model=model_record(toy_encoder)) as writer:
            writer.change_model(other, {}, [], failures=[], dropped=writer.track_ids("1"))

    with pytest.raises(StoreError, match="made with other"):
        migrate_while(3, take_over)
    assert index_info(synced).model.name == "other"


def test_what_is_damaged_meanwhile_is_repaired_and_synced_meanwhile(
    synced, library, toy_encoder, migrate_while, vectors_of, turned
):
    before = vectors_of(synced)

    def repair_and_sync():
        (synced / "shards" / "000001" / "vectors.npy").unlink()
        assert repair(synced).tracks > 0
        sync_library(toy_encoder, library, synced)
        compact(synced)

    assert migrate_while(3, repair_and_sync).tracks == 9
    assert vectors_of(synced) == turned(dict(sorted(before.items())))
