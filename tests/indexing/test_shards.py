"""Shards: what is written is read back, damage is named: `pytest tests/indexing/test_shards.py`."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from data.errors import StoreError
from indexing.catalogue import ShardRecord
from indexing.shards import Shard, leftovers, read_shard, remove_leftovers, shard_sha256, write_shard

RECORD = ShardRecord(
    name="000001", rows=3, precision="float32", fingerprint="f", window_rule="", licence="", sha256="unknown"
)
SHARD = Shard(
    vectors=np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32), spans=np.array([[0, 1], [1, 1.5], [0, 1]], np.float64)
)


@pytest.fixture
def record(tmp_path):
    """What a catalogue would know of the shard in tmp_path."""
    return replace(RECORD, sha256=write_shard(tmp_path, "000001", SHARD))


def test_a_shard_is_read_back_as_it_was_written(tmp_path, record):
    found = read_shard(tmp_path, record, dim=2)

    assert np.array_equal(found.vectors, SHARD.vectors)
    assert np.array_equal(found.spans, SHARD.spans)
    assert shard_sha256(tmp_path, record) == record.sha256


@pytest.mark.parametrize("file", ["vectors.npy", "spans.npy"])
def test_one_bit_changes_the_sum(tmp_path, record, file):
    path = tmp_path / "shards" / "000001" / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    assert shard_sha256(tmp_path, record) != record.sha256


@pytest.mark.parametrize("file", ["vectors.npy", "spans.npy"])
@pytest.mark.parametrize("keep", [0, 40, 130])
def test_a_truncated_shard_is_found_when_it_is_opened(tmp_path, record, file, keep):
    path = tmp_path / "shards" / "000001" / file
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(StoreError, match=r"shard 000001 is damaged .*; mulan index repair --index .*, then sync again"):
        read_shard(tmp_path, record, dim=2)


def test_a_shard_of_another_shape_or_type_is_found_when_it_is_opened(tmp_path, record):
    with pytest.raises(StoreError, match="expected 4 windows in 2 dimensions"):
        read_shard(tmp_path, replace(record, rows=4), dim=2)
    np.save(tmp_path / "shards" / "000001" / "vectors.npy", np.ones((3, 2), np.float64))
    with pytest.raises(StoreError, match="expected 3 windows in 2 dimensions"):
        read_shard(tmp_path, record, dim=2)


def test_a_missing_shard_is_found_when_it_is_opened_or_summed(tmp_path):
    for attempt in (lambda: read_shard(tmp_path, RECORD, dim=2), lambda: shard_sha256(tmp_path, RECORD)):
        with pytest.raises(StoreError, match=r"shard 000001 is damaged .*No such file"):
            attempt()


def test_a_full_disk_is_one_line_and_leaves_no_shard_behind_and_no_obstacle(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="cannot write: No space left on device; what was committed is kept"):
            write_shard(tmp_path, "000001", SHARD)
    assert not (tmp_path / "shards" / "000001").exists()

    write_shard(tmp_path, "000001", SHARD)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["000001"]


def test_what_the_catalogue_does_not_name_is_found_and_removed(tmp_path, record):
    (tmp_path / "shards" / ".partial").mkdir()
    (tmp_path / "shards" / "stray").touch()

    assert [path.name for path in leftovers(tmp_path, {"000001"})] == [".partial", "stray"]
    assert remove_leftovers(tmp_path, {"000001"}) == 2
    assert leftovers(tmp_path, {"000001"}) == []
    assert leftovers(tmp_path / "nowhere", set()) == []
