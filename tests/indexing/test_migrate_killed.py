"""Migrations that are killed: `pytest tests/indexing/test_migrate_killed.py`.

A killed migration is a process of its own (a fork of this one), ended with SIGKILL. Shards have two tracks.
"""

import os
import shutil
import signal
from itertools import count

import pytest

from indexing import migrate, sync_library
from indexing.care import begun_migration, compact, index_info, repair, verify
from indexing.catalogue import Catalogue
from indexing.catalogue_writer import CatalogueWriter
from indexing.migrate import migrate_index

# Newer Pythons warn of threads that a fork leaves behind; none of them matters to a migration.
pytestmark = [
    pytest.mark.usefixtures("small_shards"),
    pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture
def killed_everywhere(synced, tmp_path, forked):
    """killed_everywhere(work): `work(call, index)` on a copy of the index, which kills itself at that call, for each.

    Gives the call, the index and whether it is of the new model, at last for a call that is not reached.
    """

    def run(work):
        for call in count():
            index = shutil.copytree(synced, tmp_path / f"killed-{call}")
            status = forked(lambda at=call, place=index: work(at, place)).status()
            assert status in (0, -signal.SIGKILL)
            yield call, index, index_info(index).model.name == "new"
            shutil.rmtree(index)
            if status == 0:
                return

    return run


def test_a_migration_killed_before_any_write_of_its_own_equals_an_uninterrupted_one(
    synced, library, tmp_path, new, everything_in, vectors_of, killed_everywhere, dies_at
):
    before = vectors_of(synced)
    migrate_index(new, shutil.copytree(synced, tmp_path / "uninterrupted"))
    expected, after = everything_in(tmp_path / "uninterrupted"), vectors_of(tmp_path / "uninterrupted")

    def migrate_killed_at(call, index):
        dies_at(call, "fsync", "replace", "link", "unlink", "rmdir")
        migrate_index(new, index)

    switched = set()
    for call, index, is_switched in killed_everywhere(migrate_killed_at):
        switched.add(is_switched)
        assert vectors_of(index) == (after if is_switched else before), f"killed at call {call}"
        with Catalogue.open(index) as catalogue:
            begun = begun_migration(catalogue)
        new.embedded.clear()
        report = migrate_index(new, index)
        assert (report is None) == is_switched
        if is_switched:
            sync_library(new, library, index)  # or any writer: what is left to delete goes with it
        assert len(new.embedded) == (0 if is_switched else 7 - (begun.embedded if begun else 0))
        assert everything_in(index) == expected, f"killed at call {call}"
        assert not (index / "migrating").exists()
    assert switched == {False, True}
    assert call > 40


def test_a_migration_killed_within_its_switch_is_taken_back_and_done_again(
    synced, new, monkeypatch, everything_in, forked
):
    before = everything_in(synced)
    really = CatalogueWriter.change_model

    def killed(writer, *values, **keywords):
        writer._connection.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGKILL), 200)
        really(writer, *values, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(CatalogueWriter, "change_model", killed)
        assert forked(lambda: migrate_index(new, synced)).status() == -signal.SIGKILL
    assert everything_in(synced)["catalogue"] == before["catalogue"]
    new.embedded.clear()
    assert migrate_index(new, synced).tracks == 9
    assert new.embedded == []


def test_what_a_migration_killed_after_its_switch_left_is_removed_by_compaction(synced, new, monkeypatch, best):
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "forget_files", lambda writer: None)
        migrate_index(new, synced)
    assert (synced / "migrating").exists()
    assert index_info(synced).migration is None
    compact(synced)
    assert not (synced / "migrating").exists()
    assert (best(synced, 100), verify(synced)) == ("t0", [])


def test_a_migration_that_a_sync_overtook_and_that_is_then_killed_loses_nothing(
    synced,
    library,
    tmp_path,
    toy_encoder,
    new,
    write_track,
    vectors_of,
    stable_rows,
    turned,
    killed_everywhere,
    dies_at,
):
    before = vectors_of(synced)
    (library / "t0.wav").unlink()
    (library / "t1.wav").rename(library / "moved.wav")
    write_track(library / "t7.wav", 80)
    sync_library(toy_encoder, library, shutil.copytree(synced, tmp_path / "expected"))
    rows, after = stable_rows(tmp_path / "expected"), turned(vectors_of(tmp_path / "expected"))
    replace = os.replace

    def migrate_killed_at(call, index):
        def sync_once(progress):
            if progress.done == 3 and os.replace is replace:
                sync_library(toy_encoder, library, index)
                dies_at(call, "replace", "link", "unlink", "rmdir")

        migrate_index(new, index, on_progress=sync_once)

    switched = set()
    for call, index, is_switched in killed_everywhere(migrate_killed_at):
        switched.add(is_switched)
        assert stable_rows(index) == rows
        assert vectors_of(index).keys() == after.keys() != before.keys()
        begun = index_info(index).migration
        new.embedded.clear()
        assert (migrate_index(new, index) is None) == is_switched
        assert len(new.embedded) == (0 if is_switched else begun.recordings - begun.embedded)
        assert (stable_rows(index), vectors_of(index)) == (rows, after), f"killed at call {call}"
        repair(index)
        assert verify(index) == []
        assert not (index / "migrating").exists()
    assert switched == {False, True}
    assert call > 10
