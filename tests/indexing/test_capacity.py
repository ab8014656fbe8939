"""What an index of so many tracks takes. Run: pytest tests/indexing/test_capacity.py"""

from dataclasses import replace

import faiss
import numpy as np
import pytest

from indexing import capacity
from indexing.capacity import HNSW_LINKS, Fleet, Rates, measure_rates, plan
from indexing.engines import IvfSettings, ShardVectors, Vectors, build_ivf

RATES = Rates(device="GPU", embedded_per_second=500, decoded_per_second=200)


def sizes_of(plan):
    return {size.name: size for size in plan.sizes}


def test_a_hundred_million_tracks_are_counted_as_on_paper():
    needs = plan(100_000_000, windows_per_track=20, dim=512, rates=RATES)

    assert needs.vectors == 2_000_000_000
    assert needs.shards == 390_625  # of 256 tracks
    sizes = sizes_of(needs)
    assert sizes["exact, float32"].memory == 2_000_000_000 * 512 * 4  # 4.1 TB
    assert sizes["exact, float32"].disk == 2_000_000_000 * (512 * 4 + 2 * 8)  # each window has a start and an end
    # codes, a row number of 8 bytes, and 2 ** 16 centroids: 2 * sqrt(2e9) is 89,443, nearest to 2 ** 16 by logarithm
    centroids = 65_536 * 512 * 4
    assert sizes["IVF, 8 bits"].memory == 2_000_000_000 * (512 + 8) + centroids
    assert sizes["IVF, 4 bits"].memory == 2_000_000_000 * (256 + 8) + centroids
    assert sizes["IVF, 4 bits"].disk == sizes["exact, float32"].disk + sizes["IVF, 4 bits"].memory
    # 64 links of 4 bytes, 12 bytes beside them, and 32 links more for one vector in 31
    assert sizes["HNSW, float32"].memory == pytest.approx(2_000_000_000 * (2048 + 256 + 12 + 128 / 31), rel=1e-9)


def test_gpus_share_the_hours_and_each_needs_cores_that_decode():
    needs = plan(90_000, windows_per_track=20, dim=512, rates=RATES)

    # 1.8 million windows at 500 a second take an hour; a GPU takes what 2.5 cores decode
    assert needs.fleets == (
        Fleet(devices=1, cores=3, hours=1.0),
        Fleet(devices=8, cores=20, hours=1 / 8),
        Fleet(devices=64, cores=160, hours=1 / 64),
    )


def test_a_part_of_a_window_or_of_a_shard_counts_whole():
    needs = plan(257, windows_per_track=1.5, dim=2, rates=RATES)

    assert (needs.vectors, needs.shards) == (386, 2)


def test_the_sizes_are_those_of_real_files(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((4_000, 32)).astype(np.float32)
    needs = sizes_of(plan(4_000, windows_per_track=1, dim=32, rates=RATES))

    graph = faiss.IndexHNSWFlat(32, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 8  # changes how good the links are, not how many there is room for
    graph.add(vectors)
    # how many layers a vector is in is drawn by chance
    assert faiss.serialize_index(graph).nbytes == pytest.approx(needs["HNSW, float32"].memory, rel=0.005)
    settings = IvfSettings(nlist=128, nprobe=8)  # what the rules give for so many: 2 * sqrt(4000) is 126
    build_ivf(tmp_path / "engine.ivf", Vectors([ShardVectors("a", vectors)]), settings)
    # besides: the range of each dimension, a length for each list, the JSON line
    assert (tmp_path / "engine.ivf").stat().st_size == pytest.approx(needs["IVF, 8 bits"].memory, rel=0.02)


@pytest.mark.parametrize(
    "wrong", [{"tracks": 0}, {"windows_per_track": 0}, {"rates": replace(RATES, embedded_per_second=0)}]
)
def test_what_is_not_above_zero_is_refused(wrong):
    given = {"tracks": 1, "windows_per_track": 1, "dim": 2, "rates": RATES} | wrong
    with pytest.raises(ValueError, match="each has to be above 0"):
        plan(given.pop("tracks"), **given)


def test_rates_are_measured_on_noise_and_on_files(toy_encoder, write_track, tmp_path, monkeypatch):
    """Time stands still but for what is done: a quarter of a second a window, half a core's second a file."""
    clock = {"wall": 0.0, "core": 0.0}
    monkeypatch.setattr(capacity.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(capacity.time, "process_time", lambda: clock["core"])
    encode, stream, batches = toy_encoder.encode_windows, capacity.stream_audio, []

    def encode_slowly(waveform, sample_rate):
        windows = len(waveform) // 1000
        batches.append(windows)
        clock["wall"] += windows / 4
        return encode(waveform, sample_rate)

    def stream_slowly(path, *, sample_rate):
        clock["core"] += 0.5
        return stream(path, sample_rate=sample_rate)

    monkeypatch.setattr(toy_encoder, "encode_windows", encode_slowly)
    monkeypatch.setattr(capacity, "stream_audio", stream_slowly)
    files = [write_track(tmp_path / f"{angle}.wav", angle, angle) for angle in (10, 20)]

    rates = measure_rates(toy_encoder, files)

    assert batches == [1, 4, 8]  # the first prepares; four take a second, which is too short to measure
    assert rates == Rates(device="CPU", embedded_per_second=4.0, decoded_per_second=4.0)  # four windows in a second
