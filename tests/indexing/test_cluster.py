"""Embedding on a local Ray: the vectors of one process, and nothing lost with a worker.

Run: pytest tests/indexing/test_cluster.py. All but one test need the extra `cluster`.
"""

import importlib.util
import os
import secrets
import shutil
import sys
import tempfile
from functools import partial

import numpy as np
import pytest
import soundfile

from data.audio import stream_audio
from data.clips import split_windows
from data.errors import CheckpointError, ConfigError
from indexing import embedding, sync_library
from indexing.cluster import ClusterEncoder, ClusterError
from mulan import load_encoder
from mulan.batching import embed_tracks
from mulan.encoding import EmbeddedFile, FailedFile


class CountingEncoder:
    """Hears one second a window, and tells with each vector how many windows it was computed with.

    A vector is (the angle of a toy second, windows in the batch), scaled to unit length: so it depends on its batch as
    the last bits of a real model's do, and plainly. `embed_files` is what one process does, in batches of 8.
    """

    name, fingerprint, licence, device, dim, sample_rate = "counting", "counting-1", "MIT", "cpu", 2, 1000

    def __init__(self, *, dies_at=None, dies="always", precision="float32", clip_seconds=1.0):
        self.dies_at, self.dies, self.precision, self.clip_seconds = dies_at, dies, precision, clip_seconds

    def encode_windows(self, waveform, sample_rate):
        angles = np.round(waveform[::sample_rate] * 32768)
        if self.dies_at in angles and (self.dies == "always" or is_first(self.dies)):
            os._exit(1)
        rows = np.stack([angles, np.full(len(angles), len(angles))], axis=1)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), np.zeros((len(angles), 2))

    def embed_files(self, paths):
        windows = [split_windows(stream_audio(path, sample_rate=1000), window_samples=1000) for path in paths]
        tracks = embed_tracks(windows, lambda batch: self.encode_windows(batch.ravel(), 1000)[0], batch_windows=8)
        for path, track in zip(paths, tracks, strict=True):
            if track.error:
                yield FailedFile(path=path, reason=str(track.error).removeprefix(f"{path}: "))
            else:
                yield EmbeddedFile(path=path, vectors=track.stacked(), spans=np.array(track.spans) / 1000)


def is_first(marker):
    """Whether nobody has asked for this file before, in whichever process."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    """A Ray of two CPUs on this machine, told of this file, which its workers cannot import."""
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed: pip install -e '.[cluster]'")
    place = tempfile.mkdtemp(prefix="ray-")  # pytest's folders are too deep for the names of sockets
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray leaves one in the home folder
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            "local",
            num_cpus=2,
            object_store_memory=100_000_000,
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
            _temp_dir=place,
            _node_ip_address="127.0.0.1",
        )
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield ray
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        ray.shutdown()
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def library(tmp_path, write_track):
    """21 windows in six tracks; a file that is no audio, and one whose fourth second turns out to be NaN."""
    folder = tmp_path / "music"
    for number, angles in enumerate([[50], [60, 61, 62, 63], [70], range(80, 92), [100], [110, 111]]):
        write_track(folder / f"t{number}.wav", *angles)
    (folder / "t1-broken.wav").write_bytes(b"this is text")
    samples = np.full(5000, 0.1, np.float32)
    samples[3500] = np.nan
    soundfile.write(folder / "t2-nan.wav", samples, 1000, subtype="FLOAT")
    return folder


def assert_same(found, expected):
    """Every result is the other's, bit for bit."""
    assert [type(one) for one in found] == [type(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.path == other.path
        if isinstance(one, FailedFile):
            assert one.reason == other.reason
        else:
            assert (one.vectors.dtype, one.vectors.tobytes()) == (np.float32, other.vectors.tobytes())
            assert (one.spans.dtype, one.spans.tobytes()) == (np.float64, other.spans.tobytes())


def test_the_vectors_are_those_of_one_process_also_where_the_batch_shows_and_files_fail(ray, library):
    paths = sorted(library.iterdir())
    encoder = ClusterEncoder(CountingEncoder)

    expected = list(CountingEncoder().embed_files(paths))
    assert_same(list(encoder.embed_files(map(str, paths))), expected)

    assert encoder.workers == 2
    assert [path.path.name for path in expected if isinstance(path, FailedFile)] == ["t1-broken.wav", "t2-nan.wav"]
    assert_same(list(encoder.embed_files(paths[-1:])), list(CountingEncoder().embed_files(paths[-1:])))
    assert list(encoder.embed_files([])) == []


def test_a_synced_index_is_that_of_one_process_though_a_worker_was_killed(
    ray, library, tmp_path, everything_in, monkeypatch
):
    monkeypatch.setattr(embedding, "SHARD_TRACKS", 5)
    killed = tmp_path / "killed"
    one = sync_library(CountingEncoder(), library, tmp_path / "one")

    many = sync_library(ClusterEncoder(partial(CountingEncoder, dies_at=85, dies=killed)), library, tmp_path / "many")

    assert killed.exists()
    assert (many.embedded, many.quarantined, many.audio_seconds) == (one.embedded, one.quarantined, 21.0)
    assert everything_in(tmp_path / "many") == everything_in(tmp_path / "one")


def test_a_batch_that_kills_every_worker_ends_the_work_and_blames_no_file(ray, library, tmp_path):
    encoder = ClusterEncoder(partial(CountingEncoder, dies_at=85))

    with pytest.raises(ClusterError, match=r"^the cluster failed: ") as caught:
        sync_library(encoder, library, tmp_path / "index")

    assert "\n" not in str(caught.value)


def test_mulan_mini_gives_the_same_bits_on_a_cluster(ray, tmp_path):
    load = partial(load_encoder, "mulan-mini", device="cpu", precision="float32")
    noise = np.random.default_rng(0)
    paths = [tmp_path / f"{seconds}.wav" for seconds in (6, 31, 0.5)]  # 2 + 7 + 1 windows of 5 s: batches of 8 and 2
    for path in paths:
        soundfile.write(path, noise.normal(0, 0.1, round(float(path.stem) * 24000)), 24000)

    assert_same(list(ClusterEncoder(load).embed_files(paths)), list(load().embed_files(paths)))


def test_what_a_worker_raises_is_raised_here_as_it_was(ray):
    def fail():
        raise CheckpointError("model 'x': unknown")

    with pytest.raises(CheckpointError, match=r"^model 'x': unknown$"):
        ClusterEncoder(fail)


def test_machines_of_different_kinds_are_refused(ray, tmp_path):
    def load():
        return CountingEncoder(precision="bfloat16" if is_first(tmp_path / "first") else "float32")

    with pytest.raises(ConfigError, match=r"^the machines of the cluster differ in precision \(.*float.*, .*float"):
        ClusterEncoder(load)


def test_a_model_that_hears_nothing_is_refused(ray):
    with pytest.raises(ConfigError, match=r"^counting hears nothing"):
        ClusterEncoder(partial(CountingEncoder, clip_seconds=0.0))


def test_an_address_without_a_ray_is_one_line_with_the_remedy(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(address, **options):
        raise ConnectionError(f"no answer\nfrom {address}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)

    with pytest.raises(ConfigError, match=r"^head:6379: no Ray .* \(no answer from head:6379\); start one there"):
        ClusterEncoder(CountingEncoder, address="head:6379")


def test_a_missing_ray_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"^a cluster needs ray.*pip install 'mulan-retrieval\[cluster\]'$"):
        ClusterEncoder(CountingEncoder)
