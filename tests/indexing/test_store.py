"""The index folder: what is written is read back, damage is named: `pytest tests/indexing/test_store.py`."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import StoreError
from indexing.store import (
    Manifest,
    ModelRecord,
    Shard,
    TrackRecord,
    read_manifest,
    read_shard,
)
from indexing.writer import open_writer

MODEL = ModelRecord(name="toy", fingerprint="f" * 64, dim=2, clip_seconds=1.0, licence="Apache-2.0")
LIBRARY = Path("/music")


def track(number, *, windows=1, name="song.wav", **facts):
    record = TrackRecord(
        id=number,
        path=LIBRARY / name,
        size=2044,
        mtime_ns=1,
        title="Song",
        artist=None,
        album=None,
        genre=None,
        year=None,
        seconds=float(windows),
        windows=windows,
    )
    return replace(record, **facts)


def shard(*tracks):
    rows = sum(one.windows for one in tracks)
    vectors = np.tile(np.array([1, 0], np.float32), (rows, 1))
    return Shard(tracks=tracks, vectors=vectors, spans=np.tile(np.array([0.0, 1.0]), (rows, 1)))


@pytest.fixture
def folder(tmp_path):
    """An index with one shard of two tracks and three windows."""
    place = tmp_path / "index"
    with open_writer(place, library=LIBRARY, model=MODEL) as writer:
        writer.append(
            shard(track(0, windows=2, name="a.wav"), track(1, name="b.wav")), precision="float32", replaces=()
        )
    return place


def test_a_new_index_is_empty(tmp_path):
    with open_writer(tmp_path / "deep" / "index", library=LIBRARY, model=MODEL):
        pass

    assert read_manifest(tmp_path / "deep" / "index") == Manifest(library=LIBRARY, model=MODEL)


def test_a_shard_is_read_back_as_it_was_written(tmp_path):
    written = Shard(
        tracks=(track(7, windows=2, artist="Zoë", year=1999), track(8)),
        vectors=np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32),
        spans=np.array([[0, 1], [1, 1.5], [0, 1]]),
    )
    with open_writer(tmp_path, library=LIBRARY, model=MODEL) as writer:
        writer.append(written, precision="bfloat16", replaces=())

    manifest = read_manifest(tmp_path)
    found = read_shard(tmp_path, manifest.shards[0], manifest=manifest)

    assert found.tracks == written.tracks
    assert np.array_equal(found.vectors, written.vectors)
    assert np.array_equal(found.spans, written.spans)
    assert isinstance(found.vectors, np.memmap)
    assert (manifest.shards[0].precision, manifest.next_track) == ("bfloat16", 9)


@pytest.mark.parametrize("name", ["夜曲.wav", "two\nlines.wav", "line\u2028break.wav", os.fsdecode(b"caf\xe9.wav")])
def test_any_file_name_survives(tmp_path, name):
    with open_writer(tmp_path, library=LIBRARY, model=MODEL) as writer:
        writer.append(shard(track(0, name=name)), precision="float32", replaces=())
        writer.settle(drop=(), skipped=[(LIBRARY / name, "why")])

    manifest = read_manifest(tmp_path)

    assert read_shard(tmp_path, manifest.shards[0], manifest=manifest).tracks[0].path == LIBRARY / name
    assert manifest.skipped == ((LIBRARY / name, "why"),)


def test_appending_drops_what_is_replaced_in_the_same_step(folder):
    with open_writer(folder, library=LIBRARY, model=MODEL) as writer:
        writer.append(shard(track(2, name="a.wav")), precision="float32", replaces=[0])

    manifest = read_manifest(folder)
    assert [record.name for record in manifest.shards] == ["000000", "000001"]
    assert manifest.dropped == (0,)


def test_settling_without_news_writes_nothing(folder):
    before = (folder / "manifest.json").stat().st_mtime_ns

    with open_writer(folder, library=LIBRARY, model=MODEL) as writer:
        writer.settle(drop=(), skipped=())

    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_what_a_killed_writer_left_is_cleared_away(folder):
    for name in (".partial", "000001"):
        (folder / "shards" / name).mkdir()
        (folder / "shards" / name / "vectors.npy").write_bytes(b"half")

    with open_writer(folder, library=LIBRARY, model=MODEL) as writer:
        writer.append(shard(track(2)), precision="float32", replaces=())

    assert sorted(path.name for path in (folder / "shards").iterdir()) == ["000000", "000001"]
    manifest = read_manifest(folder)
    assert read_shard(folder, manifest.shards[1], manifest=manifest).tracks == (track(2),)


def test_a_second_writer_is_refused_and_told_who_the_first_is(folder):
    with (
        open_writer(folder, library=LIBRARY, model=MODEL),
        pytest.raises(StoreError, match=f"process {os.getpid()} is building this index"),
        open_writer(folder, library=LIBRARY, model=MODEL),
    ):
        pass

    with open_writer(folder, library=LIBRARY, model=MODEL):
        pass  # the first has gone


def test_a_folder_that_holds_something_else_is_not_written_to(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "of-glass.txt").touch()

    with (
        pytest.raises(StoreError, match="holds 'shards' and no index"),
        open_writer(tmp_path, library=LIBRARY, model=MODEL),
    ):
        pass

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["of-glass.txt", "shards"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "index").touch()

    with (
        pytest.raises(StoreError, match="a file, not a folder"),
        open_writer(tmp_path / "index", library=LIBRARY, model=MODEL),
    ):
        pass
    with pytest.raises(StoreError, match="no index here"):
        read_manifest(tmp_path / "index")


def test_an_index_of_another_library_is_refused(folder):
    with (
        pytest.raises(StoreError, match="index of /music, not of /other; give each library its own --index"),
        open_writer(folder, library=Path("/other"), model=MODEL),
    ):
        pass


def test_a_full_disk_is_one_line_and_leaves_the_index_as_it_was(folder, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    before = (folder / "manifest.json").read_bytes()
    with open_writer(folder, library=LIBRARY, model=MODEL) as writer:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="cannot write: No space left on device; finished shards are kept"):
            writer.append(shard(track(2)), precision="float32", replaces=[0])
        assert writer.manifest == read_manifest(folder)

    assert (folder / "manifest.json").read_bytes() == before


def test_a_missing_index_says_how_to_make_one(tmp_path):
    with pytest.raises(StoreError, match=r"no index here; make one: mulan index build LIBRARY --index .*nowhere"):
        read_manifest(tmp_path / "nowhere")


def test_an_index_from_a_newer_version_is_refused(folder):
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, "format": 2}))

    with pytest.raises(StoreError, match="index format 2; this mulan reads 1; upgrade mulan"):
        read_manifest(folder)


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", '{"format": 1}', '{"format": 1, "library": 7}', "\udcff"])
def test_a_damaged_manifest_is_named(folder, content):
    (folder / "manifest.json").write_bytes(content.encode("utf-8", "surrogateescape"))

    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        read_manifest(folder)


def test_a_shard_of_another_shape_is_found_when_it_is_opened(folder):
    np.save(folder / "shards" / "000000" / "vectors.npy", np.ones((3, 5), np.float32))
    manifest = read_manifest(folder)

    with pytest.raises(StoreError, match=r"shard 000000 is damaged .*expected 3 windows of 2 tracks in 2 dim"):
        read_shard(folder, manifest.shards[0], manifest=manifest)


@pytest.mark.parametrize("name", ["vectors.npy", "spans.npy", "tracks.jsonl"])
@pytest.mark.parametrize("keep", [0, 40, 130])
def test_a_truncated_shard_is_found_when_it_is_opened(folder, name, keep):
    path = folder / "shards" / "000000" / name
    path.write_bytes(path.read_bytes()[:keep])
    manifest = read_manifest(folder)

    with pytest.raises(StoreError, match="shard 000000 is damaged"):
        read_shard(folder, manifest.shards[0], manifest=manifest)


def test_a_missing_shard_is_found_when_it_is_opened(folder):
    (folder / "shards" / "000000" / "spans.npy").unlink()
    manifest = read_manifest(folder)

    with pytest.raises(StoreError, match=r"shard 000000 is damaged .*No such file"):
        read_shard(folder, manifest.shards[0], manifest=manifest)
