"""An index that follows its folder: `pytest tests/indexing/test_live.py`."""

import logging
import os
import threading
import time
from datetime import UTC, datetime

import pytest

from data.errors import CheckpointError, StoreError
from indexing import Index, live
from indexing.live import LiveIndex
from indexing.migrate import migrate_index
from indexing.stamp import has_changed_since, read_stamp


def settle(index, seconds=5):
    """As if the last commit were so long ago."""
    moment = time.time_ns() - seconds * 10**9
    os.utime(index / "catalogue.sqlite", ns=(moment, moment))


def titles(index):
    return [track.title for track in index.tracks]


@pytest.fixture
def following(sync, index, toy_encoder):
    sync()
    settle(index, 60)
    return LiveIndex(Index.open(index), toy_encoder)


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


def test_a_folder_that_comes_back_as_it_was_is_not_behind_and_what_is_wrong_later_is_said_again(
    following, index, add, caplog
):
    old = following.current()
    for _ in range(2):
        index.rename(index.with_name("elsewhere"))
        assert following.current() is old
        assert following.is_behind
        index.with_name("elsewhere").rename(index)
        assert following.current() is old
        assert not following.is_behind
    assert caplog.text.count("no index here") == 2
    add("new")
    assert following.current() is not old


def test_a_look_takes_up_a_change_in_the_background(following, add):
    old = following.current()
    add("new")
    following.look()
    following._looking.join(10)
    assert titles(following.loaded.index) == [*titles(old.index), "new"]


def test_vectors_of_another_model_are_never_taken_where_it_cannot_be_loaded(
    following, index, library, toy_encoder, caplog, sync
):
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


@pytest.fixture
def migrated(sync, index, toy_encoder, new):
    """migrated(load): who follows an index that is then migrated to the model `new`, and what it had loaded before."""

    def make(load):
        sync()
        settle(index, 60)
        following = LiveIndex(Index.open(index), toy_encoder, load=load)
        old = following.current()
        migrate_index(new, index)
        settle(index)
        return following, old

    return make


def when_loaded(following):
    """What it has once it has done what it does in the background."""
    following.current()
    following._loading.join(10)
    return following.loaded


def test_a_migrated_index_is_taken_with_its_model_and_until_then_the_old_one_answers(migrated, new):
    may_end, names = threading.Event(), []

    def load(name):
        names.append(name)
        assert may_end.wait(10)
        return new

    following, old = migrated(load)
    for _ in range(3):
        assert following.current() is old
    assert (
        old.index.search(old.encoder.encode_text(["20"])[0], k=1)[0].title == "t1"
    )  # the files of its shards are gone
    may_end.set()

    loaded = when_loaded(following)

    assert names == ["new"]
    assert (loaded.encoder, loaded.index.model.fingerprint) == (new, "new-1")
    assert loaded.index.search(new.encode_text(["110"])[0], k=1)[0].title == "t1"
    assert loaded.at > old.at
    assert following.current() is loaded
    assert not following.is_behind


def test_a_model_that_cannot_be_loaded_leaves_the_old_one_says_so_once_and_is_tried_again(
    migrated, new, caplog, monkeypatch
):
    errors = [CheckpointError("local:gone: no such folder"), CheckpointError("local:gone: no such folder")]
    errors.append(RuntimeError("CUDA out of memory"))

    def load(name):
        if errors:
            raise errors.pop(0)
        return new

    following, old = migrated(load)
    with caplog.at_level(logging.WARNING):
        assert when_loaded(following) is old
        assert following.current() is old  # and a minute is not over
        assert (len(errors), following.is_behind) == (2, True)
        monkeypatch.setattr(live, "_RETRY_SECONDS", 0.0)
        monkeypatch.setattr(following, "_next_try", 0.0)
        assert when_loaded(following) is old
        assert when_loaded(following) is old
    rest = "; going on with what was loaded before: put it right, or restart"
    assert caplog.messages == [f"local:gone: no such folder{rest}", f"CUDA out of memory{rest}"]

    assert when_loaded(following).encoder is new
    assert not following.is_behind


def test_another_model_of_the_same_name_is_not_taken_nor_loaded_again_until_the_index_changes(
    migrated, new, caplog, monkeypatch, index
):
    other, names = type(new)(name="new", fingerprint="new-2"), []
    monkeypatch.setattr(live, "_RETRY_SECONDS", 0.0)
    following, old = migrated(lambda name: names.append(name) or other)
    for _ in range(3):
        assert when_loaded(following) is old
    assert "made with new (fingerprint new-1), not with new (fingerprint new-2)" in caplog.text
    assert (names, following.is_behind) == (["new"], True)

    settle(index, 4)
    assert when_loaded(following) is old
    assert names == ["new", "new"]


def test_no_model_is_loaded_for_an_index_that_cannot_be_opened(migrated, index, caplog):
    names = []
    following, old = migrated(names.append)
    for vectors in index.glob("shards/*/vectors.npy"):
        vectors.unlink()
    assert when_loaded(following) is old
    assert (names, following.is_behind) == ([], True)


def test_an_index_of_another_model_is_not_followed_from_the_start(sync, index, new):
    sync()
    with pytest.raises(StoreError, match=r"made with toy .*, not with new"):
        LiveIndex(Index.open(index), new)
