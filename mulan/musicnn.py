"""The taggers of the musicnn package: 3 s of music in, one logit for each of 50 tags out.

Both networks look at the same mel patches. Their weights were trained by their authors, on Last.fm's tags of the
Million Song Dataset (MSD) or on MagnaTagATune (MTT); `mulan/teachers.py` and `mulan/judge.py` give them.

Source: Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", arXiv:1909.06654;
the first network's design is that of arXiv:1711.02520.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

from data.audio import load_audio
from data.errors import AudioError
from data.manifest import Track

SAMPLE_RATE = 16_000
WINDOW_FRAMES = 187
_FFT_SAMPLES = 512
_HOP_SAMPLES = 256
_BANDS = 96
WINDOW_SAMPLES = WINDOW_FRAMES * _HOP_SAMPLES  # 2.992 s
_SHORTEST_SAMPLES = _FFT_SAMPLES // 2 + 1  # the first frame is completed with the mirrored beginning
_WINDOWS_PER_BATCH = 16
# Frames and bands, as in the graph that lies beside the weights; the source of the package has other strides.
_VGG_POOLS = ((4, 1), (1, 4), (2, 2), (2, 2), (4, 4))
_EPSILON = 1e-3  # of the norms; TensorFlow's default, not torch's

# In the order of the networks' outputs, spelt as there.
_MSD = """
rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, jazz, beautiful, metal,
chillout, male vocalists, classic rock, soul, indie rock, Mellow, electronica, 80s, folk, 90s, chill, instrumental,
punk, oldies, blues, hard rock, ambient, acoustic, experimental, female vocalist, guitar, Hip-Hop, 70s, party,
country, easy listening, sexy, catchy, funk, electro, heavy metal, Progressive rock, 60s, rnb, indie pop, sad,
House, happy
"""
_MTT = """
guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, beat, violin, vocal, synth,
female, indian, opera, male, singing, vocals, no vocals, harpsichord, loud, quiet, flute, woman, male vocal, no vocal,
pop, soft, sitar, solo, man, classic, choir, voice, new age, dance, male voice, female vocal, beats, harp, cello,
no voice, weird, country, metal, female voice, choral
"""
MSD_TAGS = tuple(tag.strip() for tag in _MSD.split(","))
MTT_TAGS = tuple(tag.strip() for tag in _MTT.split(","))


def load_heard(track: Track, *, seconds: float | None) -> np.ndarray:
    """So many seconds of a track from its start, or all, as `Tagger.logits` takes them.

    Raises:
        AudioError: as for `data.audio.load_audio`, or it is shorter than 257 samples.
    """
    waveform = load_audio(track.source, sample_rate=SAMPLE_RATE, start=track.start, seconds=seconds)
    if len(waveform) < _SHORTEST_SAMPLES:
        raise AudioError(
            f"{track.source}: found {len(waveform)} samples at {track.start:g} s; a tagger needs {_SHORTEST_SAMPLES}"
        )
    return waveform


class Tagger(nn.Module):
    """A network behind its front end: a waveform of any length in, logits of each of its windows out.

    Attributes:
        name: of its weights, such as "MSD_musicnn".
        tags: what the logits stand for.
    """

    def __init__(self, network: nn.Module, *, name: str, tags: tuple[str, ...]) -> None:
        super().__init__()
        self.name, self.tags = name, tags
        self._mel, self._network = PatchMel(), network.eval().requires_grad_(False)

    def logits(self, waveform: np.ndarray) -> np.ndarray:
        """Tag every whole window of a waveform; one shorter than a window is repeated until it fills one.

        Args:
            waveform: mono float32 [s] at 16 kHz, of more than 256 samples.

        Returns:
            float32 [s // 47,872 or 1, tags]; window i is about the audio from 2.992 i to 2.992 (i + 1) seconds.
        """
        with torch.inference_mode():
            rows = [self._network(patches).float() for patches in self._mel.batches(torch.from_numpy(waveform))]
        return torch.cat(rows).cpu().numpy()


class PatchMel(nn.Module):
    """Log-mel patches of 187 frames of 16 ms, 96 bands; the frames are those of the whole waveform, cut up."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = melscale_fbanks(
            _FFT_SAMPLES // 2 + 1, 0.0, SAMPLE_RATE / 2, _BANDS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("window", torch.hann_window(_FFT_SAMPLES), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def batches(self, waveform: Tensor) -> Iterator[Tensor]:
        """Yield float32 [n, 187, 96], n of at most 16, of a waveform [s]; memory does not grow with its length."""
        edge = _FFT_SAMPLES // 2
        padded = functional.pad(waveform.to(self.window)[None], (edge, edge), mode="reflect")[0]
        frames = 1 + len(waveform) // _HOP_SAMPLES
        if frames < WINDOW_FRAMES:
            yield self(padded)[torch.arange(WINDOW_FRAMES) % frames][None]
            return
        windows = frames // WINDOW_FRAMES
        for first in range(0, windows, _WINDOWS_PER_BATCH):
            last = min(first + _WINDOWS_PER_BATCH, windows)
            end = last * WINDOW_SAMPLES - _HOP_SAMPLES + _FFT_SAMPLES
            yield self(padded[first * WINDOW_SAMPLES : end]).unflatten(0, (last - first, WINDOW_FRAMES))

    def forward(self, samples: Tensor) -> Tensor:
        """Frames of samples [s], none of them padded: float32 [1 + (s - 512) // 256, 96]."""
        spectrum = torch.stft(
            samples, _FFT_SAMPLES, _HOP_SAMPLES, window=self.window, center=False, return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()  # [257, t]
        return torch.log10(10_000 * (power.T @ self.filters) + 1)


class Musicnn(nn.Module):
    """Filters as tall as timbres and as long as rhythms, then three layers over time, then pooling over it.

    Args:
        timbral: filters of each of the two tall kinds.
        temporal: filters of each of the three long kinds.
        width: filters of each layer over time.
        hidden: width of the layer before the last.
    """

    def __init__(
        self, *, tags: int = 50, timbral: int = 204, temporal: int = 51, width: int = 64, hidden: int = 200
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=_EPSILON)
        self.front = nn.ModuleList(
            [_Filters(timbral, bands=bands, frames=7) for bands in (38, 67)]
            + [_Filters(temporal, bands=1, frames=frames) for frames in (128, 64, 32)]
        )
        channels = 2 * timbral + 3 * temporal
        self.layers = nn.ModuleList([_Layer(channels, width), _Layer(width, width), _Layer(width, width)])
        pooled = 2 * (channels + 3 * width)
        self.pooled_norm = nn.BatchNorm1d(pooled, eps=_EPSILON)
        self.hidden = nn.Linear(pooled, hidden)
        self.hidden_norm = nn.BatchNorm1d(hidden, eps=_EPSILON)
        self.output = nn.Linear(hidden, tags)

    def forward(self, patches: Tensor) -> Tensor:
        """Turn mel patches [b, t, 96] into logits [b, tags]."""
        mel = self.norm(patches[:, None])[:, 0]
        features = [torch.cat([filters(mel) for filters in self.front], dim=1)]  # [b, channels, t]
        for number, layer in enumerate(self.layers):
            features.append(layer(features[-1]) + (features[-1] if number else 0))
        everything = torch.cat(features, dim=1)
        pooled = torch.stack([everything.amax(2), everything.mean(2)], dim=2).flatten(1)
        hidden = self.hidden(self.pooled_norm(pooled)).relu()
        return self.output(self.hidden_norm(hidden))

    def use_dtype(self, dtype: torch.dtype) -> None:
        """Compute the filters over the mel, which are nine tenths of the work, in this dtype."""
        for filters in self.front:
            filters.conv.to(dtype)


class _Filters(nn.Module):
    """Filters that move over time and over the bands, and the best that each finds on any band."""

    def __init__(self, filters: int, *, bands: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(bands, filters, frames)
        self.norm = nn.BatchNorm1d(filters, eps=_EPSILON)

    def forward(self, mel: Tensor) -> Tensor:
        """Turn [b, t, 96] into [b, filters, t]."""
        (frames,), bands = self.conv.kernel_size, self.conv.in_channels
        before = (frames - 1) // 2
        padded = functional.pad(mel, (0, 0, before, frames - 1 - before)).to(self.conv.weight.dtype)
        places = padded.unfold(2, bands, 1).permute(0, 2, 3, 1)  # [b, places, bands, t]
        found = self.conv(places.flatten(0, 1)).unflatten(0, places.shape[:2])
        # The norm comes between activation and maximum. Both keep the order, but a negative scale turns it around.
        best = torch.where(self.norm.weight[:, None] >= 0, found.amax(1), found.amin(1))
        return self.norm(best.float().relu())


class _Layer(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, 7, padding=3)
        self.norm = nn.BatchNorm1d(width, eps=_EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.conv(features).relu())


class Vgg(nn.Module):
    """Five layers of 3 x 3 filters over the mel as over a picture."""

    def __init__(self, *, tags: int = 50, filters: int = 128) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=_EPSILON)
        self.convs = nn.ModuleList(nn.Conv2d(filters if n else 1, filters, 3, padding=1) for n in range(5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters, eps=_EPSILON) for _ in range(5))
        self.output = nn.Linear(2 * filters, tags)

    def forward(self, patches: Tensor) -> Tensor:
        """Turn mel patches [b, 187, 96] into logits [b, tags]."""
        features = self.norm(patches[:, None])
        for conv, norm, pool in zip(self.convs, self.norms, _VGG_POOLS, strict=True):
            activation = conv(features.to(conv.weight.dtype)).relu().float()
            features = functional.max_pool2d(norm(activation), pool)
        return self.output(features.permute(0, 2, 3, 1).flatten(1))  # [b, filters, 2, 1] before

    def use_dtype(self, dtype: torch.dtype) -> None:
        """Compute the layers of filters in this dtype."""
        self.convs.to(dtype)
