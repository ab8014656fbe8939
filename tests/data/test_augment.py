"""Audio augmentation in decibels and rectangles. Run: pytest tests/data/test_augment.py."""

import numpy as np
import pytest
from scipy import signal

from data.augment import (
    AudioAugmentation,
    Equaliser,
    Mixing,
    Noise,
    SpecAugment,
    Speed,
    augment,
    draw_blanked,
    peak,
    shelf,
)
from data.config import parse_config
from data.errors import ConfigError

EVERYTHING = AudioAugmentation(
    gain_db=6, equaliser=Equaliser(share=1), noise=Noise(share=1), mixing=Mixing(share=1), spec_augment=SpecAugment()
)


@pytest.fixture
def waveform():
    return (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)


def unused():
    raise AssertionError("no other clip was needed")


def level_db(waveform):
    return 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)))


def loudest_hz(waveform):
    return np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))).argmax() * 24_000 / len(waveform)


def response_db(sections, frequency):
    """The gain of second-order sections at a frequency in cycles per sample."""
    _, gains = signal.sosfreqz(np.atleast_2d(sections), worN=[frequency], fs=1)
    return 20 * np.log10(abs(gains[0]))


def test_nothing_is_done_by_default(waveform):
    rng = np.random.default_rng(0)
    assert augment(waveform, rng, AudioAugmentation(), unused) is waveform
    assert not draw_blanked(rng, AudioAugmentation(), bands=128, frames=100).any()
    assert rng.random() == np.random.default_rng(0).random()  # nor is the generator asked


def test_the_same_generator_gives_the_same_waveform_and_the_input_is_not_written_to(waveform):
    before = waveform.copy()
    one, same, different = (
        augment(waveform, np.random.default_rng(seed), EVERYTHING, lambda: waveform[::-1]) for seed in (1, 1, 2)
    )
    assert one.dtype == np.float32
    assert one.shape == waveform.shape
    assert np.array_equal(one, same)
    assert not np.allclose(one, different)
    assert np.array_equal(waveform, before)


def test_gain_is_even_in_decibels_and_scales_only(waveform):
    gains = []
    for seed in range(300):
        louder = augment(waveform, np.random.default_rng(seed), AudioAugmentation(gain_db=9), unused)
        gains.append(level_db(louder) - level_db(waveform))
        np.testing.assert_allclose(louder, waveform * 10 ** (gains[-1] / 20), rtol=1e-5)  # float32
    assert -9 <= min(gains) < -8.5 < 8.5 < max(gains) <= 9
    assert abs(np.mean(gains)) < 1.2  # 4 standard errors of 9 / sqrt(3) / sqrt(300)


def test_a_gain_beyond_full_scale_is_not_clipped():
    ones = np.ones(8, np.float32)
    highest = max(augment(ones, np.random.default_rng(s), AudioAugmentation(gain_db=9), unused)[0] for s in range(50))
    assert highest > 2


@pytest.mark.parametrize("colour", ["white", "pink"])
def test_noise_lies_at_its_signal_to_noise_ratio(waveform, colour):
    config = AudioAugmentation(noise=Noise(share=1, snr_db=(13, 13), colours=(colour,)))
    added = augment(waveform, np.random.default_rng(3), config, unused) - waveform
    assert level_db(waveform) - level_db(added) == pytest.approx(13, abs=0.1)


def test_pink_noise_falls_by_three_decibels_an_octave_and_white_noise_does_not(waveform):
    def falls_by(colour):
        config = AudioAugmentation(noise=Noise(share=1, snr_db=(0, 0), colours=(colour,)))
        power = sum(
            np.abs(np.fft.rfft(augment(waveform, np.random.default_rng(seed), config, unused) - waveform)) ** 2
            for seed in range(10)
        )
        octaves = [power[2**k : 2 ** (k + 1)].mean() for k in range(6, 13)]
        return np.mean(np.diff(10 * np.log10(octaves)))

    assert falls_by("pink") == pytest.approx(-3.01, abs=0.1)
    assert falls_by("white") == pytest.approx(0, abs=0.1)


def test_another_clip_is_mixed_in_at_its_ratio(waveform):
    times = np.arange(len(waveform)) / 24_000
    other = np.sin(2 * np.pi * 440 * times).astype(np.float32)
    config = AudioAugmentation(mixing=Mixing(share=1, snr_db=(20, 20)))
    added = augment(waveform, np.random.default_rng(0), config, lambda: other) - waveform
    assert level_db(waveform) - level_db(added) == pytest.approx(20, abs=0.1)
    assert np.corrcoef(added, other)[0, 1] > 0.9999


def test_silence_and_silent_company_leave_a_clip_as_it_is(waveform):
    silence = np.zeros_like(waveform)
    mixing = AudioAugmentation(mixing=Mixing(share=1))
    assert augment(waveform, np.random.default_rng(0), mixing, lambda: silence) is waveform
    assert augment(silence, np.random.default_rng(0), AudioAugmentation(noise=Noise(share=1)), unused) is silence


def test_a_share_is_how_many_clips_are_changed(waveform):
    short = waveform[:64]
    config = AudioAugmentation(noise=Noise(share=0.3))
    changed = sum(augment(short, np.random.default_rng(seed), config, unused) is not short for seed in range(1000))
    assert changed == pytest.approx(300, abs=58)  # 4 standard deviations


@pytest.mark.parametrize("gain_db", [-9.0, 6.0])
def test_a_peak_has_its_gain_at_its_frequency_and_none_far_away(gain_db):
    sections = peak(0.05, gain_db=gain_db, q=1.0)
    assert response_db(sections, 0.05) == pytest.approx(gain_db, abs=1e-6)
    assert response_db(sections, 0.0) == pytest.approx(0, abs=1e-6)
    assert response_db(sections, 0.5) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("gain_db", [-9.0, 6.0])
@pytest.mark.parametrize(("side", "raised", "kept"), [("low", 0.0, 0.5), ("high", 0.5, 0.0)])
def test_a_shelf_has_its_gain_on_one_side_and_half_of_it_at_its_frequency(gain_db, side, raised, kept):
    sections = shelf(0.05, gain_db=gain_db, side=side)
    assert response_db(sections, raised) == pytest.approx(gain_db, abs=1e-6)
    assert response_db(sections, 0.05) == pytest.approx(gain_db / 2, abs=1e-6)
    assert response_db(sections, kept) == pytest.approx(0, abs=1e-6)


def test_an_equalised_impulse_shows_only_smooth_gains_within_their_bounds():
    impulse = np.zeros(8192, np.float32)
    impulse[0] = 1
    config = AudioAugmentation(equaliser=Equaliser(share=1, max_db=6, peaks=2))
    gains = np.array(
        [
            20 * np.log10(abs(np.fft.rfft(augment(impulse, np.random.default_rng(seed), config, unused))))
            for seed in range(100)
        ]
    )
    assert abs(gains).max() < 4 * 6  # were all four filters to meet
    assert np.median(abs(gains).max(axis=1)) > 2  # and it is heard
    assert abs(gains.mean()) < 1  # neither louder nor softer on average


def test_blanked_stretches_go_from_edge_to_edge_and_are_no_wider_than_configured():
    config = AudioAugmentation(spec_augment=SpecAugment(time_masks=1, max_frames=50, band_masks=1, max_bands=16))
    widths = []
    for seed in range(500):
        blanked = draw_blanked(np.random.default_rng(seed), config, bands=128, frames=1000)
        frames, bands = blanked.all(axis=0), blanked.all(axis=1)
        assert blanked.shape == (128, 1000)
        assert np.array_equal(blanked, frames[None, :] | bands[:, None])
        assert max(np.diff(np.flatnonzero(frames), prepend=np.flatnonzero(frames)[:1]), default=0) <= 1  # one stretch
        widths.append((frames.sum(), bands.sum()))
    assert np.max(widths, axis=0).tolist() == [50, 16]
    assert np.mean(widths, axis=0) == pytest.approx([25, 8], rel=0.11)  # evenly from none: 4 standard errors


def test_masks_wider_than_the_spectrogram_stay_inside_it():
    config = AudioAugmentation(spec_augment=SpecAugment(time_masks=3, max_frames=900, band_masks=3, max_bands=900))
    shares = [draw_blanked(np.random.default_rng(s), config, bands=8, frames=10).mean() for s in range(100)]
    assert min(shares) < 1
    assert max(shares) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise": {"snr_db": [30, 10]}}, r"noise\.snr_db: \[30\.0, 10\.0\]: the lower bound comes first"),
        ({"noise": {"share": 2}}, r"noise\.share = 2: input should be less than or equal to 1"),
        ({"noise": {"colours": ["brown"]}}, r"noise\.colours\.0 = 'brown': input should be 'white' or 'pink'"),
        ({"mixing": {"snr": [10, 20]}}, r"unknown key 'mixing\.snr'; did you mean 'snr_db'\?"),
        ({"equalizer": {}}, r"unknown key 'equalizer'; did you mean 'equaliser'\?"),
    ],
)
def test_a_wrong_configuration_is_refused(values, message):
    with pytest.raises(ConfigError, match=rf"^x: {message}(\n|$)"):
        parse_config(AudioAugmentation, values, where="x")


def test_speed_moves_pitch_and_tempo_alike_and_keeps_the_length():
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 24_000).astype(np.float32)
    config = AudioAugmentation(speed=Speed(share=1, octaves=0.5))
    heard = [loudest_hz(augment(tone, np.random.default_rng(seed), config, unused)[:24_000]) for seed in range(40)]
    octaves = np.log2(np.array(heard) / 440)
    assert abs(octaves).max() < 0.51
    assert octaves.min() < -0.3 < 0.3 < octaves.max()
    clicks = np.zeros(24_000, np.float32)
    clicks[::6000] = 1  # four in a second
    played = augment(clicks, np.random.default_rng(1), config, unused)
    assert played.shape == clicks.shape
    assert played.dtype == np.float32
    octaves = np.random.default_rng(1)
    octaves.random()
    gap = np.diff(np.flatnonzero(played > 0.2)).max()
    assert gap == pytest.approx(6000 / 2 ** octaves.uniform(-0.5, 0.5), rel=0.01)
