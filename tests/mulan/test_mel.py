"""The log-mel front end against torchaudio and against numbers done by hand. Run: pytest tests/mulan/test_mel.py"""

import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from mulan.mel import MSD_MEAN, MSD_STD, LogMel


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_mel_equals_torchaudio_without_its_last_frame():
    waveforms = _noise(2, 24_000)
    power = MelSpectrogram(sample_rate=24_000, n_fft=2048, hop_length=240, n_mels=128)(waveforms)[..., :-1]

    mel = LogMel()(waveforms)

    assert mel.shape == (2, 128, 100)
    expected = (10 * power.clamp(min=1e-10).log10() - MSD_MEAN) / MSD_STD
    torch.testing.assert_close(mel, expected, atol=1e-5, rtol=0)  # float32 rounding of two orders of summation


def test_silence_is_the_floor_of_minus_100_decibels():
    mel = LogMel(mean=0.0, std=2.0)(torch.zeros(1, 2400))

    assert mel.shape == (1, 128, 10)
    assert mel.unique().tolist() == [-50.0]


@pytest.mark.parametrize(("samples", "frames"), [(1025, 4), (2399, 9), (2400, 10), (2401, 10)])
def test_there_is_one_frame_for_each_whole_hop(samples, frames):
    assert LogMel()(_noise(1, samples)).shape == (1, 128, frames)


def test_levelling_takes_its_share_of_what_a_clip_is_louder_or_quieter():
    waveform, plain = _noise(1, 2400), {"mean": 0.0, "std": 1.0}
    half, whole = LogMel(**plain, levelling=0.5), LogMel(**plain, levelling=1.0)

    quieter = 10 ** (-6 / 20)  # -6 dB

    # Noise of RMS 1 is 20 dB above the level that all are brought towards. 1e-3 dB: float32 of about 50 dB.
    torch.testing.assert_close(
        half(waveform) - half(quieter * waveform), torch.full((1, 128, 10), 3.0), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(whole(waveform), whole(quieter * waveform), atol=1e-3, rtol=0)
    level = 10 * waveform.square().mean().log10()
    torch.testing.assert_close(whole(waveform), LogMel(**plain)(waveform) - 20 - level, atol=1e-3, rtol=0)


def test_levelling_makes_no_music_of_what_is_all_but_silent():
    assert LogMel(mean=0.0, std=1.0, levelling=1.0)(torch.zeros(1, 2400)).unique().tolist() == [-100.0]
    hiss = 1e-5 * _noise(1, 2400)  # -100 dBFS, of which 50 dB are given back
    gained = LogMel(mean=0.0, std=1.0, levelling=1.0)(hiss) - LogMel(mean=0.0, std=1.0, floor=1e-20)(hiss)
    torch.testing.assert_close(gained, torch.full((1, 128, 10), 50.0), atol=1e-3, rtol=0)


def test_too_short_a_waveform_is_refused_with_the_minimum():
    with pytest.raises(ValueError, match="1024 samples; need at least 1025"):
        LogMel()(torch.zeros(1, 1024))


def test_mel_is_float32_under_autocast_and_for_half_inputs():
    waveform = _noise(1, 4800).bfloat16()
    expected = LogMel()(waveform.float())

    with torch.autocast("cpu", torch.bfloat16):
        mel = LogMel()(waveform)

    assert mel.dtype == torch.float32
    torch.testing.assert_close(mel, expected, atol=0, rtol=0)


def test_the_constants_are_in_no_state_dict():
    assert LogMel().state_dict() == {}
