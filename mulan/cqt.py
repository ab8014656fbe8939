"""Constant-Q magnitudes: 336 bins, 48 an octave, 75 frames a second; the musical teacher of MERT."""

import math

import torch
from torch import Tensor, nn

from mulan.mel import SAMPLE_RATE

BINS = 336
BINS_PER_OCTAVE = 48
LOWEST_HERTZ = 32.7  # C1; the highest bin is at 4.13 kHz
HOP_SAMPLES = 320
# How far a filter's spectrum is kept, in units of sample_rate / its length; beyond it lies below 1e-3 of the peak.
_REACH = 8.0


class ConstantQ(nn.Module):
    """Magnitude of a constant-Q transform, always in float32; 75 frames a second, a frame centred on each hop.

    Hann windows of Q periods, Q = 69.3; silence beyond the ends of the waveform; scaled as librosa's `scale=True`, a
    filter of length n weighing sqrt(n) / sum(window): noise is equally loud in all bins, a tone louder in lower ones.

    All in the frequency domain and to within 1e-3 of the filters in time: the spectrum of a Hann window is known in
    closed form and narrow, so a bin is a slice of one long spectrum times that form. Adding the product up modulo the
    number of frames is the same as keeping every 320th sample in time, so the way back costs next to nothing.

    The filters depend on the waveform's length; those of the last length seen are kept.

    Source: Brown and Puckette 1992; settings of MERT, arXiv:2306.00107 (nnAudio). Q follows librosa, 0.7 % above
    nnAudio's; the last frame, centred on the waveform's end, is dropped, as in `LogMel`.
    """

    def __init__(self) -> None:
        super().__init__()
        ratio = 2.0 ** (2 / BINS_PER_OCTAVE)
        quality = (ratio + 1) / (ratio - 1)
        self._frequencies = LOWEST_HERTZ * 2.0 ** (torch.arange(BINS, dtype=torch.float64) / BINS_PER_OCTAVE)
        self._lengths = quality * SAMPLE_RATE / self._frequencies  # in samples, not rounded
        self._filters: tuple[int, torch.device, list[_Octave]] | None = None

    def forward(self, waveforms: Tensor) -> Tensor:
        """Turn waveforms [b, s] at 24 kHz into float32 [b, s // 320, 336].

        Raises:
            ValueError: the waveforms are shorter than a hop.
        """
        samples = waveforms.shape[-1]
        if samples < HOP_SAMPLES:
            raise ValueError(f"waveform: {samples} samples; need at least {HOP_SAMPLES}")
        # Silence of half the longest filter, at the end, serves both ends: the transform is circular.
        frames = _smooth(math.ceil((samples + float(self._lengths[0]) / 2) / HOP_SAMPLES))
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = torch.fft.rfft(waveforms.float(), n=frames * HOP_SAMPLES, norm="forward")
            octaves = [octave(spectrum) for octave in self._octaves(frames, waveforms.device)]
            return torch.cat(octaves, dim=-1)[:, : samples // HOP_SAMPLES]

    def _octaves(self, frames: int, device: torch.device) -> "list[_Octave]":
        if self._filters is None or self._filters[:2] != (frames, device):
            octaves = [
                _Octave(frequencies, lengths, frames=frames, device=device)
                for frequencies, lengths in zip(
                    self._frequencies.split(BINS_PER_OCTAVE), self._lengths.split(BINS_PER_OCTAVE), strict=True
                )
            ]
            self._filters = (frames, device, octaves)
        return self._filters[2]


class _Octave:
    """The filters of one octave over the slice of the spectrum that they share."""

    def __init__(self, frequencies: Tensor, lengths: Tensor, *, frames: int, device: torch.device) -> None:
        spacing = SAMPLE_RATE / (frames * HOP_SAMPLES)  # Hz between two bins of the long spectrum
        reach = _REACH * SAMPLE_RATE / lengths
        self._start = max(int((frequencies[0] - reach[0]) / spacing), 0)
        wraps = math.ceil((float(frequencies[-1] + reach[-1]) / spacing - self._start) / frames)
        self._stop = self._start + wraps * frames
        hertz = torch.arange(self._start, self._stop, dtype=torch.float64) * spacing
        offset = (hertz - frequencies[:, None]) * (lengths[:, None] / SAMPLE_RATE)  # in bins of the filter itself
        # Only the magnitude is wanted, so it does not matter that the slice begins at zero instead of at `start`.
        filters = _hann_spectrum(offset) * lengths[:, None].sqrt()
        self._filters = filters.unflatten(1, (wraps, frames)).permute(2, 1, 0).float().contiguous().to(device)

    def __call__(self, spectrum: Tensor) -> Tensor:
        """Turn spectra complex64 [b, n] into magnitudes float32 [b, frames, 48]."""
        frames, wraps, _ = self._filters.shape
        band = spectrum[:, self._start : self._stop].unflatten(1, (wraps, frames))  # [b, wraps, frames]
        parts = torch.view_as_real(band).permute(2, 0, 3, 1).flatten(1, 2)  # [frames, b * 2, wraps]
        # One small product per residue: multiplies and adds up modulo `frames` without the [b, 48, n] in between.
        folded = (parts @ self._filters).unflatten(1, (-1, 2)).transpose(2, 3).contiguous()  # [frames, b, 48, 2]
        return torch.fft.ifft(torch.view_as_complex(folded), dim=0, norm="forward").abs().transpose(0, 1)


def _hann_spectrum(offset: Tensor) -> Tensor:
    """The spectrum of a Hann window of unit sum, `offset` bins from its centre."""
    return torch.sinc(offset) + (torch.sinc(offset - 1) + torch.sinc(offset + 1)) / 2


def _smooth(least: int) -> int:
    """The smallest number from `least` on without prime factors above 5; a fast length for a Fourier transform."""
    number = least
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 1
