"""Log-mel front end of MuQ: waveform in, normalised decibels out, always in float32."""

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

SAMPLE_RATE = 24_000
FFT_SAMPLES = 2048
HOP_SAMPLES = 240
MEL_BANDS = 128
# The statistics of the Million Song Dataset that the published weights expect (reference.md 1.1).
MSD_MEAN = 6.768444971712967
MSD_STD = 18.417922652295623
POWER_FLOOR = 1e-10  # -100 dB: what the published weights know silence as
# -20 and -70 dBFS: the level that music is brought towards, and the one from which a clip counts as silent: what is
# quieter is made no louder than that is, or noise would become music.
_USUAL_MEAN_SQUARE = 1e-2
_SILENT_MEAN_SQUARE = 1e-7


class LogMel(nn.Module):
    """Mel power spectrogram in decibels, shifted and scaled; one frame per 10 ms.

    The window and the filters are constants: they are in no state dict. Call it window by window: the reflection at
    the edges makes the mel of a slice differ from a slice of the mel, and so does levelling.

    Args:
        mean, std: of the decibels.
        floor: the least power of a band.
        levelling: share of a clip's distance from -20 dBFS RMS that is taken away, 0 to 1: with 0.5, what is 6 dB
            quieter is seen as 3 dB quieter. The published model has none.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, *, mean: float = MSD_MEAN, std: float = MSD_STD, floor: float = POWER_FLOOR, levelling: float = 0.0
    ) -> None:
        super().__init__()
        self.mean, self.std, self.floor, self.levelling = mean, std, floor, levelling
        filters = melscale_fbanks(FFT_SAMPLES // 2 + 1, 0.0, SAMPLE_RATE / 2, MEL_BANDS, SAMPLE_RATE)
        self.register_buffer("window", torch.hann_window(FFT_SAMPLES), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Turn waveforms [b, s] at 24 kHz into float32 [b, 128, s // 240].

        Raises:
            ValueError: the waveforms are too short for the reflection at their edges.
        """
        if waveforms.shape[-1] <= FFT_SAMPLES // 2:
            raise ValueError(f"waveform: {waveforms.shape[-1]} samples; need at least {FFT_SAMPLES // 2 + 1}")
        # Autocast would run the filter product in half precision, where decibels of quiet bands are noise.
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = torch.stft(waveforms.float(), FFT_SAMPLES, HOP_SAMPLES, window=self.window, return_complex=True)
            real, imaginary = spectrum[..., :-1].real, spectrum[..., :-1].imag  # as published, without the last frame
            power = real.square().addcmul_(imaginary, imaginary)  # three times as fast as abs().square() on a CPU
            mel = self.filters.T @ power  # [b, 128, t]
            if self.levelling:
                mean_square = waveforms.float().square().mean(dim=-1).clamp(min=_SILENT_MEAN_SQUARE)
                mel = mel * (_USUAL_MEAN_SQUARE / mean_square).pow(self.levelling)[..., None, None]
            decibels = 10.0 * mel.clamp(min=self.floor).log10()
            return (decibels - self.mean) / self.std
