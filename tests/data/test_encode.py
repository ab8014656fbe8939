"""Music through lossy codecs. Run: pytest tests/data/test_encode.py."""

import numpy as np
import pytest
from scipy.signal import chirp

from data.audio import probe
from data.encode import CODECS, through_codec, write_encoded

RATE = 24_000


def glide(seconds: float) -> np.ndarray:
    """A tone that rises from 100 Hz to 4 kHz, so that a shift or a cut is seen: float32 [s]."""
    times = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * chirp(times, 100, seconds, 4000)).astype(np.float32)


def spectra(waveform: np.ndarray) -> np.ndarray:
    """Amplitudes of frames of 0.04 s, in one row: phases are for a codec to choose."""
    frames = waveform[: len(waveform) // 1024 * 1024].reshape(-1, 1024)
    return np.abs(np.fft.rfft(frames * np.hanning(1024))).ravel()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seconds", [0.7, 31.3])
def test_what_comes_out_is_as_long_and_nearly_the_same(codec, seconds):
    before = glide(seconds)
    after = through_codec(before, sample_rate=RATE, codec=codec, bit_rate=64_000)
    assert after.dtype == np.float32
    assert after.shape == before.shape
    late = np.argmax(np.correlate(after[: RATE // 2], before[: RATE // 4], mode="valid"))
    assert late <= 0.01 * RATE
    assert np.corrcoef(spectra(after[late:]), spectra(before[: len(after) - late]))[0, 1] > 0.95


@pytest.mark.parametrize("codec", CODECS)
def test_fewer_bits_lose_more_and_the_same_bits_the_same(codec):
    noise = np.random.default_rng(0).normal(size=3 * RATE).astype(np.float32) * 0.1
    poor, poor_again, good = (
        through_codec(noise, sample_rate=RATE, codec=codec, bit_rate=rate) for rate in (24_000, 24_000, 96_000)
    )
    assert np.array_equal(poor, poor_again)
    kept = [np.corrcoef(spectra(waveform), spectra(noise))[0, 1] for waveform in (poor, good)]
    assert kept[0] < kept[1] - 0.05


def test_a_file_of_two_channels_keeps_them(tmp_path):
    stereo = np.stack([glide(2.0), 0.5 * glide(2.0)], axis=1)
    path = write_encoded(tmp_path / "a", stereo, sample_rate=44_100, codec="mp3", bit_rate=64_000)
    assert path == tmp_path / "a.mp3"
    found = probe(path)
    assert (found.sample_rate, found.channels) == (44_100, 2)
