"""The lock of an index folder, and what a look at it spares: `pytest tests/indexing/test_lock.py`."""

import errno
import os
import resource
import threading

import pytest

from data.errors import StoreError
from indexing import embedding, lock, sync_library
from indexing.care import verify
from indexing.lock import BusyError, is_written, looking, writing


def test_of_two_writers_the_second_is_told_of_the_first_and_may_write_once_he_ends(tmp_path):
    is_refused = pytest.raises(BusyError, match=f"process {os.getpid()} is writing this index; wait for it or end it")
    with writing(tmp_path), is_refused, writing(tmp_path):
        pass
    with writing(tmp_path):
        pass


def test_who_looks_learns_whether_somebody_writes(tmp_path):
    with looking(tmp_path) as is_idle:
        assert is_idle  # nobody ever did
    with writing(tmp_path), looking(tmp_path) as is_idle:
        assert not is_idle
        assert is_written(tmp_path)
    assert not is_written(tmp_path)
    with looking(tmp_path) as is_idle, looking(tmp_path) as is_idle_too:
        assert (is_idle, is_idle_too) == (True, True)


def test_a_lock_that_cannot_be_written_is_a_store_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as of a full disk: no file may grow
    try:
        with pytest.raises(StoreError, match="cannot write: File too large"), writing(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_where_the_disk_has_no_locks_nobody_writes(tmp_path, monkeypatch):
    def refuse(lock, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / lock.LOCK).touch()
    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    assert not is_written(tmp_path)


def test_a_writer_waits_for_who_only_looks(tmp_path, monkeypatch):
    with writing(tmp_path):
        pass
    is_waiting, may_end, order = threading.Event(), threading.Event(), []
    really = lock.time.sleep
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: (is_waiting.set(), really(seconds)))
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 60.0)  # however slow this machine is

    def look():
        with looking(tmp_path):
            may_end.set()
            assert is_waiting.wait(60)
            order.append("looked")

    looker = threading.Thread(target=look)
    looker.start()
    assert may_end.wait(60)
    with writing(tmp_path):
        order.append("wrote")
    looker.join()
    assert order == ["looked", "wrote"]


def test_a_shard_that_a_running_sync_has_yet_to_register_is_not_found_wrong_but_noted(
    toy_encoder, library, index, monkeypatch, caplog
):
    really, found = embedding.write_next_shard, []

    def write_and_verify(*arguments, **options):
        record = really(*arguments, **options)
        assert (index / "shards" / record.name).is_dir()
        found.extend(verify(index))
        return record

    monkeypatch.setattr(embedding, "write_next_shard", write_and_verify)
    sync_library(toy_encoder, library, index)

    assert found == []
    assert {*caplog.messages} == {
        f"{index}: another process is writing it; shards that it has yet to register are passed over"
    }
    caplog.clear()
    assert (verify(index), caplog.messages) == ([], [])
