"""Syncing when the power fails, the disk is full or two do it at once: `pytest tests/indexing/test_sync_killed.py`.

A killed sync is a process of its own (a fork of this one), ended with SIGKILL, so no clean-up of any kind runs in it.
"""

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import count

import pytest

from data.errors import StoreError
from indexing import Index, embedding, sync_library
from indexing.catalogue import Catalogue

KILLS = 20
# Newer Pythons warn of threads that a fork leaves behind; none of them matters to a sync.
pytestmark = pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(embedding, "SHARD_TRACKS", 2)


@pytest.fixture
def everything(toy_encoder, library, tmp_path, everything_in, write_track):
    """What the index of an uninterrupted sync holds; among the files are two copies."""
    write_track(library / "copy of t5.wav", 60)
    write_track(library / "t5 again.wav", 60)
    sync_library(toy_encoder, library, tmp_path / "uninterrupted")
    return everything_in(tmp_path / "uninterrupted")


def test_a_sync_killed_twenty_times_at_random_moments_equals_an_uninterrupted_one(
    toy_encoder, library, tmp_path, everything_in, write_track, forked
):
    start = tmp_path / "start"
    sync_library(toy_encoder, library, start)
    (library / "t0.wav").unlink()
    (library / "t1.wav").rename(library / "moved.wav")
    write_track(library / "t4.wav", 200, 210)
    for number in range(6):
        write_track(library / f"new {number}.wav", 100 + number // 2)  # two of each
    sync_library(toy_encoder, library, shutil.copytree(start, tmp_path / "uninterrupted"))
    expected = everything_in(tmp_path / "uninterrupted")
    generator = random.Random(6)

    def sync_slowly(index):
        sync_library(toy_encoder, library, index, on_progress=lambda progress: time.sleep(0.01))

    kills = 0
    for attempt in count():
        index = shutil.copytree(start, tmp_path / f"killed-{attempt}")
        status = -signal.SIGKILL
        while status != 0 and kills < KILLS:
            child = forked(lambda place=index: sync_slowly(place))
            time.sleep(generator.uniform(0.01, 0.3))
            child.kill()
            status = child.status()
            assert status in (0, -signal.SIGKILL)
            kills += status != 0
            with Catalogue.open(index) as catalogue:
                catalogue.check()
            assert Index.open(index).search([1, 0], k=1)
        sync_library(toy_encoder, library, index)
        assert everything_in(index) == expected, f"index {attempt}, after {kills} kills"
        if kills >= KILLS:
            return


def test_a_sync_killed_before_any_write_of_its_own_equals_an_uninterrupted_one(
    toy_encoder, library, tmp_path, everything, everything_in, monkeypatch, forked, dies_at
):
    def sync_killed_at(call, index):
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        dies_at(call, "fsync", "replace")
        sync_library(toy_encoder, library, index)

    for call in count():
        index = tmp_path / f"killed-{call}"
        status = forked(lambda at=call, place=index: sync_killed_at(at, place)).status()
        if status == 0:
            break
        assert status == -signal.SIGKILL
        sync_library(toy_encoder, library, index)
        assert everything_in(index) == everything, f"killed at call {call}"
    # The catalogue is 3 calls: its file, its place, its folder. A shard is 6: two files, the folder aside, its place,
    # the folders above it. There are four shards.
    assert call == 3 + 4 * 6


@pytest.mark.parametrize("call", range(0, 22, 3))  # of the 27 calls above, 5 are renames
def test_a_disk_that_fills_up_is_one_line_and_the_sync_goes_on_when_there_is_space(
    toy_encoder, library, index, everything, everything_in, monkeypatch, call
):
    calls = count()

    def full(descriptor):
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left on device; what was committed is kept: free space"):
            sync_library(toy_encoder, library, index)
    sync_library(toy_encoder, library, index)

    assert everything_in(index) == everything


def test_an_encoder_that_fails_midway_loses_no_finished_shard(toy_encoder, library, index, monkeypatch):
    good = toy_encoder.embed_files

    def out_of_memory(paths):
        if len(toy_encoder.embedded) == 4:
            raise RuntimeError("out of memory")
        yield from good(paths)

    monkeypatch.setattr(toy_encoder, "embed_files", out_of_memory)

    with pytest.raises(RuntimeError, match="out of memory"):
        sync_library(toy_encoder, library, index)

    assert [track.title for track in Index.open(index).tracks] == ["t0", "t1", "t2", "t3"]


def test_interrupting_an_update_leaves_the_old_vectors_of_what_is_not_finished(
    toy_encoder, library, index, write_track
):
    sync_library(toy_encoder, library, index)
    old = {track.title: track.id for track in Index.open(index).tracks}
    write_track(library / "t0.wav", 100)
    write_track(library / "t1.wav", 101)

    def interrupt(progress):
        if progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync_library(toy_encoder, library, index, on_progress=interrupt)

    now = {track.title: track.id for track in Index.open(index).tracks}
    assert len(now) == 7
    assert [title for title in old if now[title] != old[title]] == ["t0"]


def test_of_two_syncs_at_once_the_second_is_told_of_the_first(toy_encoder, library, index):
    def sync_again(progress):
        if progress.done == 3:
            with pytest.raises(StoreError, match=f"process {os.getpid()} is writing this index; wait for it"):
                sync_library(type(toy_encoder)(), library, index)

    assert sync_library(toy_encoder, library, index, on_progress=sync_again).tracks == 7


def test_a_killed_process_leaves_no_lock_behind(toy_encoder, library, index):
    sync_library(toy_encoder, library, index)
    hold = "import fcntl, sys; lock = open(sys.argv[1]); fcntl.flock(lock, fcntl.LOCK_EX); print(); sys.stdin.read()"
    command = [sys.executable, "-u", "-c", hold, str(index / ".lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"\n"
        with pytest.raises(StoreError, match="is writing this index"):
            sync_library(toy_encoder, library, index)
        holder.send_signal(signal.SIGKILL)

    assert sync_library(toy_encoder, library, index).tracks == 7


def test_an_index_that_may_only_be_read_is_one_line(toy_encoder, library, index, made_read_only):
    sync_library(toy_encoder, library, index)

    with pytest.raises(StoreError, match=r"cannot write: Permission denied; .* give permission"):
        sync_library(toy_encoder, library, made_read_only(index))


def test_an_index_from_a_newer_version_is_not_touched(toy_encoder, library, index, everything_in):
    sync_library(toy_encoder, library, index)
    connection = sqlite3.connect(index / "catalogue.sqlite")
    connection.execute("UPDATE meta SET format = 3")
    connection.commit()
    connection.close()
    before = everything_in(index)

    with pytest.raises(StoreError, match="index format 3; this mulan reads 2; upgrade mulan"):
        sync_library(toy_encoder, library, index)

    assert everything_in(index) == before


def test_an_index_of_an_older_mulan_is_refused_with_the_remedy(toy_encoder, library, index):
    index.mkdir()
    (index / "manifest.json").write_text("{}")

    for attempt in (lambda: sync_library(toy_encoder, library, index), lambda: Index.open(index)):
        with pytest.raises(StoreError, match="index format 1, of an older mulan; this one reads 2; delete the folder"):
            attempt()
