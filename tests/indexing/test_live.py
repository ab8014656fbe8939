"""An index that follows its folder: `pytest tests/indexing/test_live.py`."""

import logging
import os
import threading
import time
from datetime import UTC, datetime

import pytest

from indexing import Index, live
from indexing.live import LiveIndex
from indexing.stamp import has_changed_since, read_stamp


def settle(index, seconds=5):
    """As if the last commit were so long ago."""
    moment = time.time_ns() - seconds * 10**9
    os.utime(index / "catalogue.sqlite", ns=(moment, moment))


def titles(index):
    return [track.title for track in index.tracks]


@pytest.fixture
def following(sync, index):
    sync()
    settle(index, 60)
    return LiveIndex(Index.open(index))


@pytest.fixture
def add(sync, library, index, write_track):
    def run(name):
        write_track(library / f"{name}.wav", 99)
        sync()
        settle(index)

    return run


def test_an_index_that_nobody_changes_is_loaded_once(following):
    first = following.current()
    assert first.at <= datetime.now(UTC)
    assert following.current() is first


def test_a_sync_is_noticed_and_whoever_has_the_old_index_keeps_it(following, add):
    old = following.current()
    add("new")

    new = following.current()

    assert titles(new.index) == [*titles(old.index), "new"]
    assert new.at > old.at
    assert len(old.index.search(old.index.vector(1), k=99)) == 7
    assert following.current() is new


def test_a_change_counts_once_no_other_can_have_the_same_time(index, sync):
    sync()
    settle(index)
    before = read_stamp(index)
    settle(index, 0)
    assert not has_changed_since(index, before)
    settle(index, 2)
    assert has_changed_since(index, before)
    settle(index, -3600)  # of a machine whose clock is wrong
    assert has_changed_since(index, before)


def test_a_new_engine_file_is_a_change(index, sync):
    sync()
    settle(index)
    before = read_stamp(index)
    (index / "engine.ivf").touch()
    os.utime(index / "engine.ivf", (1, 1))
    assert has_changed_since(index, before)


def test_what_cannot_be_opened_leaves_the_old_index_says_so_once_and_is_tried_again(
    following, index, caplog, monkeypatch
):
    old = following.current()
    whole = (index / "catalogue.sqlite").read_bytes()
    (index / "catalogue.sqlite").write_bytes(b"damaged" * 1000)
    settle(index)

    with caplog.at_level(logging.WARNING):
        assert following.current() is following.current() is old
        monkeypatch.setattr(live, "_RETRY_SECONDS", 0.0)
        monkeypatch.setattr(following, "_next_try", 0.0)
        assert following.current() is old
    (message,) = caplog.messages
    assert "catalogue.sqlite is damaged" in message
    assert "going on with what was loaded before" in message

    (index / "catalogue.sqlite").write_bytes(whole)
    settle(index)
    assert following.current() is not old


def test_a_folder_that_is_gone_leaves_the_old_index(following, index, caplog):
    old = following.current()
    index.rename(index.with_name("elsewhere"))
    assert following.current() is old
    assert "no index here" in caplog.text


def test_vectors_of_another_model_are_never_taken(following, index, library, toy_encoder, caplog, sync):
    old = following.current()
    index.rename(index.with_name("old"))
    toy_encoder.fingerprint = "toy-2"
    sync()
    settle(index)

    assert following.current() is old
    assert following.current().index.model.fingerprint == "toy-1"
    assert caplog.text.count("has vectors of toy now") == 1


def test_while_one_thread_opens_the_new_index_the_others_get_the_old(following, add, monkeypatch):
    old = following.current()
    add("new")
    is_opening, may_end = threading.Event(), threading.Event()

    def slowly(index):
        is_opening.set()
        assert may_end.wait(10)
        return opening.again()

    opening = old.index.opening
    monkeypatch.setattr(old.index, "opening", opening._replace(again=lambda: slowly(old.index)))
    opener = threading.Thread(target=following.current)
    opener.start()
    assert is_opening.wait(10)
    assert following.current() is old
    may_end.set()
    opener.join()
    assert len(following.current().index.tracks) == 8
