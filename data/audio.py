"""Reads any audio file as mono float32 at the rate asked for, in bounded memory.

The file may also lie inside a tar: where a path is asked for, a `data.tar.TarMember` will do.
A file that cannot be used raises AudioError, one line: `PATH: found …; what to do`. A file that is cut short or
partly damaged is used as far as it can be read, and one warning says how far.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from data.decode import AudioInfo, AudioPath, Block, Ending, audio_error, read_blocks, read_info

__all__ = [
    "AUDIO_SUFFIXES",
    "MIN_SECONDS",
    "SILENCE_PEAK",
    "AudioInfo",
    "AudioPath",
    "load_audio",
    "measure_seconds",
    "probe",
    "resample",
    "stream_audio",
]

logger = logging.getLogger(__name__)

MIN_SECONDS = 0.1
"""A file with less audio than this is refused."""

SILENCE_PEAK = 1e-4
"""A file that never reaches this amplitude (-80 dBFS, three steps of 16 bits) is refused as silent."""

_SUFFIXES = """
.aac .aif .aifc .aiff .ape .au .caf .flac .m4a .m4b .mka .mp2 .mp3 .mp4 .mpc .oga .ogg .opus .rf64 .tta .w64 .wav
.webm .wma .wv
"""
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Names worth trying when a folder is searched; whether a file is audio is decided by its content."""

# Outside these a sample rate is a damaged header, and resampling from it could fill the memory.
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 768_000

_MEASURED_RATE = 44_100

# About 1.5 s at 44.1 kHz: enough to make the cost of a step vanish.
_CHUNK_SAMPLES = 65_536


def probe(path: AudioPath) -> AudioInfo:
    """Rate, channels and length of a file, from its headers or, where these say no length, its frames' lengths.

    Raises:
        AudioError: it is missing, unreadable, empty or not audio.
    """
    return read_info(path)


def measure_seconds(path: AudioPath) -> float:
    """Length of a file: what its headers state, or, where they do not, of what can be decoded.

    Raises:
        AudioError: as for `probe` or, where it is decoded, for `stream_audio`.
    """
    stated = probe(path).seconds
    if stated is not None:
        return stated
    return sum(len(block) for block in stream_audio(path, sample_rate=_MEASURED_RATE)) / _MEASURED_RATE


def stream_audio(path: AudioPath, *, sample_rate: int) -> Iterator[np.ndarray]:
    """Yield a whole file as blocks of mono float32 [s] at `sample_rate`; channels are averaged.

    Memory does not grow with the file. The blocks, joined, are what one resampling of the whole would give.

    Raises:
        AudioError: it is missing, unreadable, empty, not audio, silent, shorter than MIN_SECONDS, or holds NaN
            or infinity. May come after some blocks: discard them.
    """
    return _resampled(_audible(path, _finite(path)), sample_rate)


def load_audio(path: AudioPath, *, sample_rate: int, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """A file, or an excerpt of it, as mono float32 [s] at `sample_rate`.

    An excerpt may be silent, and shorter than asked for at the end of the file. Wav, flac, ogg and their kin are
    sought in; other formats are decoded from their beginning, because seeks in them are inexact.

    Args:
        start: seconds from the beginning.
        seconds: length of the excerpt; to the end if None.

    Raises:
        AudioError: as for `stream_audio`, or nothing is left at `start`.
        ValueError: start is negative, or seconds is not positive.
    """
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"found start={start}, seconds={seconds}; start must be >= 0 and seconds > 0")
    if start == 0 and seconds is None:
        return np.concatenate(list(stream_audio(path, sample_rate=sample_rate)))
    source = _finite(path, start)
    chunks = list(_resampled(source if seconds is None else _first_seconds(source, seconds), sample_rate))
    if not chunks:
        raise audio_error(path, f"found nothing at {start:g} s", "ask for an earlier start")
    return np.concatenate(chunks)[: None if seconds is None else round(seconds * sample_rate)]


def resample(waveform: np.ndarray, *, source_rate: int, sample_rate: int) -> np.ndarray:
    """A mono waveform, float32 [s], at another rate (soxr, high quality).

    Raises:
        ValueError: the waveform is not one-dimensional, or a rate is not positive.
    """
    if waveform.ndim != 1:
        raise ValueError(f"waveform has shape {waveform.shape}; must be mono, [s]")
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    if source_rate == sample_rate:
        return waveform
    resampled: np.ndarray = soxr.resample(waveform, source_rate, sample_rate)
    return resampled


def _finite(path: AudioPath, start: float = 0.0) -> Iterator[Block]:
    """Blocks from `start` seconds on, free of NaN; at their end, warns if there were fewer than promised."""
    ending = Ending()
    seconds = start
    for block in read_blocks(path, start, ending):
        if not _LOWEST_RATE <= block.rate <= _HIGHEST_RATE:
            found = f"found a sample rate of {block.rate} Hz"
            raise audio_error(path, found, f"use {_LOWEST_RATE} to {_HIGHEST_RATE} Hz")
        if not np.isfinite(block.samples).all():
            raise audio_error(path, f"found NaN or infinite samples after {seconds:.1f} s", "export it again")
        seconds += len(block.samples) / block.rate
        yield block
    if seconds - start >= MIN_SECONDS:
        _warn_of_loss(path, seconds, ending)


def _warn_of_loss(path: AudioPath, seconds: float, ending: Ending) -> None:
    promised = ending.promised_seconds or 0.0
    # Encoders pad, and round the length that they state: these are not losses.
    if promised - seconds > max(0.5, 0.01 * promised):
        logger.warning("%s: ends early: %.1f s of %.1f s could be read; using them", path, seconds, promised)
    elif ending.fault:
        logger.warning("%s: is damaged (%s): %.1f s could be read; using them", path, ending.fault, seconds)


def _audible(path: AudioPath, blocks: Iterable[Block]) -> Iterator[Block]:
    """The same blocks; at their end, refuses what is too short or too quiet to be a track."""
    seconds = peak = 0.0
    for block in blocks:
        seconds += len(block.samples) / block.rate
        peak = max(peak, float(np.abs(block.samples).max()))
        yield block
    if seconds < MIN_SECONDS:
        raise audio_error(path, f"found {seconds:.2g} s of audio", f"needs at least {MIN_SECONDS} s")
    if peak < SILENCE_PEAK:
        found = f"found silence (the mean of its channels peaks at {peak:.1g})"
        raise audio_error(path, found, f"needs a peak of {SILENCE_PEAK:g} (-80 dBFS)")


def _first_seconds(blocks: Iterable[Block], seconds: float) -> Iterator[Block]:
    left = seconds
    for block in blocks:
        count = min(len(block.samples), round(left * block.rate))
        if count:
            yield Block(block.samples[:count], block.rate)
        left -= count / block.rate
        if left * block.rate < 0.5:
            return


def _resampled(blocks: Iterable[Block], sample_rate: int) -> Iterator[np.ndarray]:
    # A chained ogg or a broadcast may change its rate on the way: each stretch gets its own resampler.
    for rate, stretch in itertools.groupby(blocks, key=lambda block: block.rate):
        chunks = _joined(block.samples for block in stretch)
        if rate == sample_rate:
            yield from chunks
            continue
        resampler = soxr.ResampleStream(rate, sample_rate, 1)
        for chunk in chunks:
            yield resampler.resample_chunk(chunk)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _joined(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same samples in longer arrays: at least _CHUNK_SAMPLES each, but for the last."""
    held: list[np.ndarray] = []
    held_samples = 0
    for piece in pieces:
        held.append(piece)
        held_samples += len(piece)
        if held_samples >= _CHUNK_SAMPLES:
            yield np.concatenate(held)
            held, held_samples = [], 0
    if held:
        yield np.concatenate(held)
