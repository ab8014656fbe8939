"""data/shards.py: shards hold what files held; the cache keeps its bound. Alone: pytest tests/data/test_shards.py

Shards are "fetched" by cp from another folder; needs no network.
"""

import collections
import dataclasses
import io
import json
import os
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import ConfigError, ManifestError
from data.loader import Clips, batches
from data.manifest import Track, read_manifest, write_manifest
from data.shards import ShardCache, read_shards, write_shards
from data.tar import TarMember, list_members, open_member


@pytest.fixture
def tracks(tmp_path, write_corpus):
    return write_corpus(tmp_path / "music", 12)


@pytest.fixture
def shards(tmp_path, tracks):
    """Six shards of two tracks, in a folder that stands for a distant one."""
    write_shards(tracks, tmp_path / "far", tracks_per_shard=2)
    return tmp_path / "far"


@pytest.fixture
def cache_of(tmp_path, shards):
    """cache_of(keep): a cache whose fetches are counted in tmp_path/fetched."""
    script = tmp_path / "fetch.sh"
    script.write_text(f'echo "$1" >> {tmp_path}/fetched; cp {shards}/"$1" "$2"\n')
    return lambda keep: ShardCache(tmp_path / "near", fetch=f"sh {script} {{name}} {{file}}", keep=keep)


def clips_of(tracks, cache=None):
    return Clips(tracks, sample_rate=1000, clip_seconds=0.5, seed=1, cache=cache)


def tar_of(path, **contents):
    with tarfile.open(path, "w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_shards_hold_the_files_unchanged_and_all_that_is_known(tmp_path, tracks):
    tracks[1] = dataclasses.replace(tracks[1], start=0.25, end=0.75, split="valid", facts={"bpm": 60.0})
    write_shards(tracks, tmp_path / "out", tracks_per_shard=5)
    manifest = tmp_path / "out" / "manifest.jsonl"
    assert sorted(path.name for path in manifest.parent.iterdir()) == [
        "manifest.jsonl",
        "shard-000000.tar",
        "shard-000001.tar",
        "shard-000002.tar",
    ]
    sharded = read_manifest(manifest)
    assert sharded == read_shards(tmp_path / "out")
    for track, original in zip(sharded, tracks, strict=True):
        assert dataclasses.replace(track, path=original.path, member=None) == original
        with open_member(track.source) as file:
            assert file.read() == original.path.read_bytes()
    assert list(list_members(tmp_path / "out" / "shard-000002.tar"))[:2] == ["000000010.flac", "000000010.json"]


def test_clips_from_shards_equal_clips_from_files(shards, tracks):
    ours, theirs = clips_of(read_shards(shards)), clips_of(tracks)
    for number in range(12):
        assert np.array_equal(ours.read(number, epoch=0).waveform, theirs.read(number, epoch=0).waveform)


def test_writing_goes_on_where_it_was_interrupted(tmp_path, tracks, shards):
    original = {path.name: path.read_bytes() for path in shards.iterdir()}
    (shards / "shard-000002.tar").unlink()
    (shards / "shard-000004.tar").write_bytes(original["shard-000004.tar"][:700])
    (shards / "manifest.jsonl").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    write_shards(tracks, shards, tracks_per_shard=2)
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == original
    assert (shards / "shard-000001.tar").stat().st_mtime_ns == times["shard-000001.tar"]


def test_shards_can_be_cut_anew_from_shards(tmp_path, shards, tracks):
    again = write_shards(read_shards(shards), tmp_path / "again", tracks_per_shard=12)
    assert [(track.id, track.tags) for track in again] == [(track.id, track.tags) for track in tracks]
    assert np.array_equal(clips_of(again).read(7, epoch=0).waveform, clips_of(tracks).read(7, epoch=0).waveform)


def test_shards_are_not_cut_anew_in_their_own_place(shards, monkeypatch):
    original = {path.name: path.read_bytes() for path in shards.iterdir()}
    monkeypatch.chdir(shards.parent)
    with pytest.raises(ManifestError, match="holds the shards that these tracks are read from; pack"):
        write_shards(read_shards(shards), Path(shards.name), tracks_per_shard=12)
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == original


def test_a_file_whose_suffix_readers_of_shards_do_not_know_is_reported_and_left_out(tmp_path, tracks):
    odd = tracks[0].path.with_suffix(".voc")
    odd.write_bytes(tracks[0].path.read_bytes())
    reported = []
    packed = write_shards(
        [dataclasses.replace(tracks[0], id="odd", path=odd), tracks[1]],
        tmp_path / "out",
        tracks_per_shard=5,
        on_missing=lambda path, reason: reported.append((path, reason)),
    )
    assert [track.id for track in packed] == [tracks[1].id]
    ((path, reason),) = reported
    assert (path, reason.partition(";")[0]) == (odd, ".voc")


def test_a_file_whose_name_is_not_utf8_is_packed_and_read(tmp_path, tracks):
    odd = tmp_path / os.fsdecode(b"caf\xe9.flac")
    odd.write_bytes(tracks[0].path.read_bytes())
    packed = write_shards([Track(id=odd.name, path=odd)], tmp_path / "out", tracks_per_shard=5)
    assert [track.id for track in packed] == [track.id for track in read_manifest(tmp_path / "out" / "manifest.jsonl")]
    assert packed[0].id == odd.name


def test_shards_that_others_made_are_read(tmp_path):
    path = tar_of(
        tmp_path / "a.tar",
        x__mp3=b"1",
        x__json=json.dumps({"text": ["a caption"], "tag": "rock", "key": 7}).encode(),
        y__mix__flac=b"2",
        y__txt=b"one\ntwo",
        z__ogg=b"3",
        cover__jpg=b"4",
    )
    x, y, z = read_shards([path])
    assert (x.id, x.captions, x.tags, x.facts) == ("a.tar/x.mp3", ("a caption",), ("rock",), {"key": 7})
    assert (y.source, y.captions) == (TarMember(path, "y.mix.flac"), ("one", "two"))
    assert (z.id, z.captions) == ("a.tar/z.ogg", ())
    write_manifest(tmp_path / "m.jsonl", [x, y, z])
    assert read_manifest(tmp_path / "m.jsonl") == [x, y, z]


def test_what_is_no_shard_is_refused_in_one_line(tmp_path, tracks):
    with pytest.raises(ManifestError, match=r"found no shard; give a folder that holds \.tar files"):
        read_shards(tmp_path)
    (tmp_path / "x.tar").write_text("not a tar" * 1000)
    with pytest.raises(ManifestError, match=r"x\.tar: cannot be read as a tar \(.*\); give a whole, uncompressed one"):
        read_shards(tmp_path)


def test_a_missing_file_is_left_out_and_told_and_the_shards_behind_the_last_one_go(tmp_path, tracks):
    write_shards(tracks, tmp_path / "out", tracks_per_shard=5)
    for track in tracks[:3]:
        track.path.unlink()
    missing = []
    packed = write_shards(
        tracks, tmp_path / "out", tracks_per_shard=5, on_missing=lambda path, reason: missing.append((path, reason))
    )
    assert [track.id for track in packed] == [track.id for track in tracks[3:]]
    assert missing == [(track.path, "no such file") for track in tracks[:3]]
    assert len(list((tmp_path / "out").glob("*.tar"))) == 2


def test_each_shard_is_fetched_once_an_epoch(tmp_path, shards, cache_of):
    clips = clips_of(read_shards(shards), cache_of(4))
    for step, _ in batches(clips, batch_size=3, first_step=0, steps=8):
        if step == 3:
            assert sorted((tmp_path / "fetched").read_text().split()) == sorted(
                path.name for path in shards.glob("*.tar")
            )
    fetched = collections.Counter((tmp_path / "fetched").read_text().split())
    assert max(fetched.values()) <= 2


def test_no_more_than_keep_shards_lie_here_while_workers_fetch_and_read(tmp_path, shards, cache_of):
    clips = clips_of(read_shards(shards), cache_of(2))
    counted = [
        len(list((tmp_path / "near").glob("*.tar*")))
        for _ in batches(clips, batch_size=2, first_step=0, steps=12, workers=2)
    ]
    assert max(counted) == 2


def test_an_epoch_goes_through_half_as_many_shards_at_a_time_as_are_kept(shards, cache_of):
    clips = clips_of(read_shards(shards), cache_of(4))
    order = clips.order(0)
    assert sorted(order) == list(range(12))
    groups = [{clips.tracks[number].path.name for number in order[first : first + 4]} for first in (0, 4, 8)]
    assert [len(group) for group in groups] == [2, 2, 2]
    assert not np.array_equal(order, clips.order(1))


def test_the_same_batches_come_with_the_cache_whatever_the_number_of_workers(shards, cache_of):
    clips = clips_of(read_shards(shards), cache_of(2))
    alone = list(batches(clips, batch_size=4, first_step=0, steps=6))
    for (_, one), (_, other) in zip(alone, batches(clips, batch_size=4, first_step=0, steps=6, workers=2), strict=True):
        assert one.keys == other.keys
        assert torch.equal(one.waveforms, other.waveforms)


def test_a_shard_in_use_is_not_thrown_out(tmp_path, cache_of):
    cache = cache_of(1)
    arrived = threading.Event()

    def want_another():
        with cache.use("shard-000001.tar"):
            arrived.set()

    with cache.use("shard-000000.tar") as path:
        waiting = threading.Thread(target=want_another)
        waiting.start()
        assert not arrived.wait(0.3)
        assert path.exists()
    waiting.join()
    assert [path.name for path in (tmp_path / "near").glob("*.tar")] == ["shard-000001.tar"]


def test_the_shard_used_longest_ago_makes_room(tmp_path, cache_of):
    cache = cache_of(2)
    for number in (0, 1, 0, 2):
        with cache.use(f"shard-00000{number}.tar"):
            time.sleep(0.02)
    assert sorted(path.name for path in (tmp_path / "near").glob("*.tar")) == ["shard-000000.tar", "shard-000002.tar"]


def test_what_a_killed_fetch_left_is_cleared_away(tmp_path, cache_of):
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "shard-000009.tar.unfinished").write_bytes(b"half")
    with cache_of(1).use("shard-000000.tar"):
        assert [path.name for path in (tmp_path / "near").glob("*.tar*")] == ["shard-000000.tar"]


@pytest.mark.parametrize(
    ("fetch", "reason"),
    [
        (
            "cp {name} {file}",
            r"cannot be fetched with `cp s.tar .*`: cp: .*s.tar.*; try the command",
        ),
        ("no-such-program {name} {file}", r"No such file or directory: 'no-such-program'"),
        ("true {name} {file}", r"it left no .*s\.tar\.unfinished"),
        ("false {name} {file}", r"exit status 1; try the command by hand$"),
    ],
)
def test_a_fetch_that_fails_is_one_line_and_ends_the_run(tmp_path, tracks, fetch, reason):
    cache = ShardCache(tmp_path / "near", fetch=fetch, keep=1)
    distant = [dataclasses.replace(tracks[0], path=tmp_path / "s.tar", member="0.flac")]
    for workers in (0, 1):
        with pytest.raises(ManifestError, match=reason) as caught:
            list(batches(clips_of(distant, cache), batch_size=1, first_step=0, steps=1, workers=workers))
        assert str(caught.value).startswith("s.tar: cannot be fetched")
        assert "\n" not in str(caught.value)
    assert not [name for name in os.listdir(tmp_path / "near") if name.endswith(".tar")]


def test_a_cache_needs_a_place_and_a_command(tmp_path):
    with pytest.raises(ValueError, match="keep is 0; must be at least 1"):
        ShardCache(tmp_path, fetch="cp {name} {file}", keep=0)
    with pytest.raises(ConfigError, match=r"'cp \{name\}': is no command to fetch a shard; write one with \{name\}"):
        ShardCache(tmp_path, fetch="cp {name}", keep=1)


@pytest.mark.parametrize("fetch", ["cp a b", "cp '{name} {file}", "cp {name} {file} {other}", "cp {name} {} {file}"])
def test_a_command_that_cannot_fetch_is_refused_before_it_is_needed(tmp_path, fetch):
    with pytest.raises(ConfigError, match="is no command to fetch a shard"):
        ShardCache(tmp_path, fetch=fetch, keep=2)
