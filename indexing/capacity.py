"""What an index of so many tracks takes: vectors, memory and disk by index type, GPUs or CPUs, and hours."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from data.audio import stream_audio
from indexing.embedding import SHARD_TRACKS
from indexing.engines import ivf_settings
from mulan.encoding import Encoder

HNSW_LINKS = 32
"""Neighbours of a vector in each layer but the lowest of an HNSW graph, which has twice as many."""

_FLOAT_BYTES, _SPAN_BYTES, _LINK_BYTES = 4, 16, 4
_HNSW_BYTES = 12  # of a vector: the layers it is in, and where its links begin
_DEVICES = (1, 8, 64)
_MEASURED_SECONDS, _MOST_WINDOWS = 2.0, 1024  # noise for a quick GPU: 1 GB at 24 kHz and 10 s


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What was measured: windows that a GPU, or all cores of a CPU, embed in a second, and that a core decodes."""

    device: Literal["GPU", "CPU"]
    embedded_per_second: float
    decoded_per_second: float


@dataclass(frozen=True, kw_only=True)
class IndexSize:
    """Bytes of an index type: in memory for quick searches, and on disk with the float32 vectors it ranks by."""

    name: str
    memory: int
    disk: int


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """So many GPUs or CPUs, the cores besides that keep them busy, and the hours they take for all tracks."""

    devices: int
    cores: int
    hours: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The needs of an index; its catalogue, with what the tags say, comes on top. The fleets are of `device`."""

    tracks: int
    vectors: int
    dim: int
    shards: int
    device: Literal["GPU", "CPU"]
    sizes: tuple[IndexSize, ...]
    fleets: tuple[Fleet, ...]


def plan(tracks: int, *, windows_per_track: float, dim: int, rates: Rates) -> Plan:
    """The needs of an index of so many tracks.

    Args:
        windows_per_track: on average; a song of four minutes has 24 of 10 s.
        dim: width of a vector.
        rates: of this machine, or of the one to be.

    Raises:
        ValueError: a number is not above zero.
    """
    given = (tracks, windows_per_track, dim, rates.embedded_per_second, rates.decoded_per_second)
    if min(given) <= 0:
        raise ValueError(f"tracks, windows, width and rates are {given}; each has to be above 0")
    vectors = math.ceil(tracks * windows_per_track)
    seconds = vectors / rates.embedded_per_second
    cores = rates.embedded_per_second / rates.decoded_per_second
    return Plan(
        tracks=tracks,
        vectors=vectors,
        dim=dim,
        shards=math.ceil(tracks / SHARD_TRACKS),
        device=rates.device,
        sizes=_sizes(vectors, dim),
        fleets=tuple(Fleet(devices=n, cores=math.ceil(n * cores), hours=seconds / n / 3600) for n in _DEVICES),
    )


def measure_rates(encoder: Encoder, files: Sequence[Path]) -> Rates:
    """What this machine does: it embeds noise for two seconds or more, and decodes files.

    Decoding is measured in seconds of a core, so that others on the machine hardly matter; embedding is not.

    Raises:
        AudioError: a file cannot be decoded.
    """
    spent = time.process_time()
    samples = sum(len(block) for file in files for block in stream_audio(file, sample_rate=encoder.sample_rate))
    spent = time.process_time() - spent
    return Rates(
        device="CPU" if encoder.device == "cpu" else "GPU",
        embedded_per_second=_embedded_per_second(encoder),
        decoded_per_second=samples / encoder.sample_rate / encoder.clip_seconds / spent,
    )


def _embedded_per_second(encoder: Encoder) -> float:
    window = round(encoder.sample_rate * encoder.clip_seconds)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, window).astype(np.float32)
    encoder.encode_windows(noise, encoder.sample_rate)  # the first call prepares what later ones use
    windows = 4
    while True:
        started = time.perf_counter()
        encoder.encode_windows(np.tile(noise, windows), encoder.sample_rate)
        elapsed = time.perf_counter() - started
        if elapsed >= _MEASURED_SECONDS or windows >= _MOST_WINDOWS:
            return windows / elapsed
        windows *= 2


def _sizes(vectors: int, dim: int) -> tuple[IndexSize, ...]:
    floats = vectors * dim * _FLOAT_BYTES
    shards = floats + vectors * _SPAN_BYTES
    wide = ivf_settings(vectors, dim)
    eight, four = (replace(wide, bits=bits).memory_bytes(vectors, dim) for bits in (8, 4))
    # Each layer has one in HNSW_LINKS vectors of the one below it.
    links = HNSW_LINKS * _LINK_BYTES * (2 + 1 / (HNSW_LINKS - 1))
    graph = floats + math.ceil(vectors * (links + _HNSW_BYTES))
    return (
        IndexSize(name="exact, float32", memory=floats, disk=shards),  # memory-mapped shards: there is no other file
        IndexSize(name="IVF, 8 bits", memory=eight, disk=shards + eight),
        IndexSize(name="IVF, 4 bits", memory=four, disk=shards + four),
        IndexSize(name="HNSW, float32", memory=graph, disk=shards + graph),
    )
