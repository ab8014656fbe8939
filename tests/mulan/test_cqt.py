"""The constant-Q transform against librosa's and against its definition. Run: pytest tests/mulan/test_cqt.py"""

import librosa
import numpy as np
import pytest
import torch

from mulan.cqt import BINS, BINS_PER_OCTAVE, HOP_SAMPLES, LOWEST_HERTZ, ConstantQ
from mulan.mel import SAMPLE_RATE

SECONDS = 4
TIME = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
FREQUENCIES = LOWEST_HERTZ * 2 ** (np.arange(BINS) / BINS_PER_OCTAVE)


def _tones(*hertz: float) -> np.ndarray:
    return np.sum([np.sin(2 * np.pi * frequency * TIME) for frequency in hertz], axis=0) / len(hertz)


SIGNALS = {
    "tone": _tones(440.0),
    "chord": _tones(65.4, 130.8, 164.8, 196.0, 1046.5),
    "noise": 0.1 * np.random.default_rng(0).standard_normal(len(TIME)),
}


def _ours(*signals: np.ndarray) -> np.ndarray:
    return ConstantQ()(torch.from_numpy(np.stack(signals)).float()).numpy()


def _librosa(signal: np.ndarray) -> np.ndarray:
    """librosa's magnitudes [frames, 336]; sparsity 0 takes its filters whole."""
    return np.abs(
        librosa.cqt(
            signal,
            sr=SAMPLE_RATE,
            hop_length=HOP_SAMPLES,
            fmin=LOWEST_HERTZ,
            n_bins=BINS,
            bins_per_octave=BINS_PER_OCTAVE,
            tuning=0.0,
            sparsity=0.0,
        )
    ).T


def _by_definition(signal: np.ndarray, *, frames: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Products of the signal with librosa's filters in time, float64, without any resampling."""
    ratio = 2 ** (2 / BINS_PER_OCTAVE)
    alpha = np.full(BINS, (ratio - 1) / (ratio + 1))
    filters, lengths = librosa.filters.wavelet(
        freqs=FREQUENCIES, sr=SAMPLE_RATE, alpha=alpha, norm=1, pad_fft=False, dtype=np.complex128
    )
    width = filters.shape[1]
    padded = np.pad(signal, (width // 2, width))
    excerpts = np.stack([padded[frame * HOP_SAMPLES :][:width] for frame in frames])
    return np.abs(excerpts @ filters[bins].conj().T) * np.sqrt(lengths[bins])


@pytest.mark.parametrize("name", SIGNALS)
def test_magnitudes_are_librosas(name):
    ours, theirs = _ours(SIGNALS[name])[0], _librosa(SIGNALS[name])

    assert ours.shape == (SECONDS * 75, BINS)
    assert len(theirs) == SECONDS * 75 + 1  # the frame at the very end, which we drop
    # Measured: relative error 0.005 to 0.010, correlation 0.9999. It is librosa's, which halves the sample rate from
    # octave to octave: ours is ten times nearer to the definition (next test).
    assert np.linalg.norm(ours - theirs[:-1]) < 0.015 * np.linalg.norm(theirs)
    assert np.corrcoef(ours.ravel(), theirs[:-1].ravel())[0, 1] > 0.9995


@pytest.mark.parametrize("name", SIGNALS)
def test_magnitudes_follow_the_definition_from_the_first_frame_to_the_last(name):
    frames, bins = np.array([0, 1, 50, 151, SECONDS * 75 - 1]), np.arange(0, BINS, 5)

    ours = _ours(SIGNALS[name])[0][np.ix_(frames, bins)]

    expected = _by_definition(SIGNALS[name], frames=frames, bins=bins)
    # Measured 1e-4 to 1e-3: filters cut at 1e-3 of their peak, and librosa's of whole numbers of samples.
    assert np.linalg.norm(ours - expected) < 0.002 * np.linalg.norm(expected)


@pytest.mark.parametrize("index", [0, 1, 47, 48, 180, 287, 335])
def test_the_tone_of_a_bin_peaks_at_it(index):
    middle = _ours(_tones(FREQUENCIES[index]))[0, SECONDS * 75 // 2]

    assert middle.argmax() == index
    # Half the amplitude times the root of the filter's length in samples, Q * 24000 / f with Q = 69.25.
    assert middle[index] == pytest.approx(0.5 * np.sqrt(69.25 * SAMPLE_RATE / FREQUENCIES[index]), rel=1e-3)


def test_a_click_is_found_at_its_frame():
    click = np.zeros(len(TIME))
    click[100 * HOP_SAMPLES] = 1.0

    found = _ours(click)[0]

    assert found[:, -1].argmax() == 100
    # The top filter is 405 samples long: not two frames.
    assert found[[98, 102], -1].max() < 0.002 * found[100, -1]


def test_a_row_does_not_depend_on_its_neighbours_nor_on_an_earlier_length():
    transform = ConstantQ()
    waveforms = torch.from_numpy(np.stack([SIGNALS["noise"], SIGNALS["chord"]])).float()
    alone = transform(waveforms[1:])

    transform(waveforms[:, :5000])
    together = transform(waveforms)

    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)  # other order of sums in the products


@pytest.mark.parametrize("samples", [320, 321, 5000, 24_000, 33_333])
def test_there_is_a_frame_for_each_whole_hop(samples):
    assert ConstantQ()(torch.zeros(1, samples)).shape == (1, samples // 320, BINS)


def test_autocast_changes_nothing():
    waveforms = torch.from_numpy(SIGNALS["noise"]).float()[None]
    with torch.autocast("cpu", torch.bfloat16):
        inside = ConstantQ()(waveforms)

    assert inside.dtype == torch.float32
    assert torch.equal(inside, ConstantQ()(waveforms))


def test_a_waveform_shorter_than_a_hop_is_refused():
    with pytest.raises(ValueError, match="319 samples; need at least 320"):
        ConstantQ()(torch.zeros(1, 319))
