"""Audio augmentation: speed, mixing, equaliser, noise, band limit and gain on waveforms, and SpecAugment's rectangles.

All of it is off by default. Waveforms are float32 [s], nominally between -1 and 1; results may go beyond, for nothing
is clipped or normalised: the log-mel front ends take any range.
"""

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from scipy import signal

from data.config import Fraction, StrictModel

Samples: TypeAlias = np.ndarray

# Cycles per sample between which filters lie: 94 Hz and 6 kHz at 24 kHz.
_LOWEST_FREQUENCY, _HIGHEST_FREQUENCY = 1 / 256, 1 / 4
_WIDEST_Q, _NARROWEST_Q = 0.5, 2.0
_SHELF_Q = 0.5**0.5  # the steepest shelf that does not overshoot


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{list(bounds)}: the lower bound comes first")
    return bounds


DecibelRange = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Equaliser(StrictModel):
    """A low shelf, a high shelf and some peaks between, each by up to ±max_db, at frequencies drawn evenly in octaves.

    `share` is how many clips are filtered.
    """

    share: Fraction = 0.5
    max_db: PositiveFloat = 6.0
    peaks: NonNegativeInt = 2


class Noise(StrictModel):
    """Noise of one of `colours`, at a signal-to-noise ratio drawn from `snr_db`; `share` is how many clips get it."""

    share: Fraction = 0.5
    snr_db: DecibelRange = (10.0, 40.0)
    colours: Annotated[tuple[Literal["white", "pink"], ...], Field(min_length=1)] = ("white", "pink")


class BandLimit(StrictModel):
    """All above a frequency is taken away, as by a lower sampling rate or a codec; `share` is how many clips lose it.

    `limit` bounds the frequency, drawn evenly, in parts of the highest: at 24 kHz, 0.5 is 6 kHz.
    """

    share: Fraction = 0.5
    limit: Annotated[tuple[Fraction, Fraction], AfterValidator(_ordered)] = (0.3, 1.0)


class Speed(StrictModel):
    """Played faster or slower, pitch and tempo alike, by up to `octaves`; `share` is how many clips are.

    Nobody may have said how fast a clip is, or in which key.
    """

    share: Fraction = 0.5
    octaves: PositiveFloat = 0.3


class Mixing(StrictModel):
    """Another clip of the data set, added `snr_db` below this one; `share` is how many clips get one.

    The caption stays, and so does what is known to be absent, though it may now be heard faintly.
    """

    share: Fraction = 0.5
    snr_db: DecibelRange = (10.0, 30.0)


class SpecAugment(StrictModel):
    """How many stretches of time and of mel bands are blanked, and the greatest width of each in frames and bands.

    Source: SpecAugment, arXiv:1904.08779, without its time warping.
    """

    time_masks: NonNegativeInt = 2
    max_frames: NonNegativeInt = 50
    band_masks: NonNegativeInt = 2
    max_bands: NonNegativeInt = 16


class AudioAugmentation(StrictModel):
    """What is done to the audio of a clip; a section that is missing is not done.

    `gain_db` bounds a gain drawn evenly from -gain_db to gain_db for every clip.
    """

    gain_db: NonNegativeFloat = 0.0
    speed: Speed | None = None
    equaliser: Equaliser | None = None
    noise: Noise | None = None
    band_limit: BandLimit | None = None
    mixing: Mixing | None = None
    spec_augment: SpecAugment | None = None


def augment(
    waveform: Samples, rng: np.random.Generator, config: AudioAugmentation, other: Callable[[], Samples]
) -> Samples:
    """Augment a waveform float32 [s]: speed, mixing, equaliser, noise, band limit, gain: as a recording meets them.

    The input is not written to, and is itself the result when nothing is done.

    Args:
        other: gives another clip of the data set, float32 [s]; called only when one is mixed in.
    """
    if config.speed and rng.random() < config.speed.share:
        waveform = _played_at(waveform, 2 ** rng.uniform(-config.speed.octaves, config.speed.octaves))
    if config.mixing and rng.random() < config.mixing.share:
        waveform = _add(waveform, other(), snr_db=rng.uniform(*config.mixing.snr_db))
    if config.equaliser and rng.random() < config.equaliser.share:
        waveform = signal.sosfilt(_draw_filters(rng, config.equaliser), waveform).astype(np.float32)
    if config.noise and rng.random() < config.noise.share:
        noise = _draw_noise(rng, config.noise, len(waveform))
        waveform = _add(waveform, noise, snr_db=rng.uniform(*config.noise.snr_db))
    if config.band_limit and rng.random() < config.band_limit.share:
        waveform = _without_highest(waveform, rng.uniform(*config.band_limit.limit))
    if config.gain_db:
        waveform = waveform * np.float32(10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20))
    return waveform


def draw_blanked(rng: np.random.Generator, config: AudioAugmentation, *, bands: int, frames: int) -> np.ndarray:
    """Draw a SpecAugment mask, bool [bands, frames]: true where the mel is to be blanked."""
    blanked = np.zeros((bands, frames), dtype=bool)
    if config.spec_augment is None:
        return blanked
    for _ in range(config.spec_augment.time_masks):
        blanked[:, _draw_stretch(rng, frames, config.spec_augment.max_frames)] = True
    for _ in range(config.spec_augment.band_masks):
        blanked[_draw_stretch(rng, bands, config.spec_augment.max_bands)] = True
    return blanked


def peak(frequency: float, *, gain_db: float, q: float) -> np.ndarray:
    """Give a filter, float64 [6] as scipy's second-order sections, with its gain at a frequency in cycles per sample.

    Source: R. Bristow-Johnson's Audio EQ Cookbook, as for `shelf`.
    """
    amplitude, cosine, alpha = _cookbook(frequency, gain_db, q)
    numerator = [1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude]
    denominator = [1 + alpha / amplitude, -2 * cosine, 1 - alpha / amplitude]
    return _section(numerator, denominator)


def shelf(frequency: float, *, gain_db: float, side: Literal["low", "high"]) -> np.ndarray:
    """Give a filter as `peak` does: its gain on one side of the frequency, half of it (in dB) at the frequency."""
    amplitude, cosine, alpha = _cookbook(frequency, gain_db, _SHELF_Q)
    turn = 1 if side == "low" else -1  # a high shelf is a low one with its frequency axis turned round
    rise, fall, edge = amplitude + 1, amplitude - 1, 2 * amplitude**0.5 * alpha
    numerator = [
        amplitude * (rise - turn * fall * cosine + edge),
        2 * amplitude * (turn * fall - rise * cosine),
        amplitude * (rise - turn * fall * cosine - edge),
    ]
    denominator = [
        rise + turn * fall * cosine + edge,
        -2 * (turn * fall + rise * cosine),
        rise + turn * fall * cosine - edge,
    ]
    return _section(numerator, denominator)


def _cookbook(frequency: float, gain_db: float, q: float) -> tuple[float, float, float]:
    angle = 2 * np.pi * frequency
    return 10 ** (gain_db / 40), float(np.cos(angle)), float(np.sin(angle)) / (2 * q)


def _section(numerator: list[float], denominator: list[float]) -> np.ndarray:
    return np.array([*numerator, *denominator]) / denominator[0]


def _draw_filters(rng: np.random.Generator, config: Equaliser) -> np.ndarray:
    """Second-order sections, float64 [2 + peaks, 6]."""
    count = 2 + config.peaks
    octaves = rng.uniform(np.log2(_LOWEST_FREQUENCY), np.log2(_HIGHEST_FREQUENCY), count)
    frequencies = np.sort(2**octaves)  # the shelves lie outside
    gains = rng.uniform(-config.max_db, config.max_db, count)
    widths = rng.uniform(_WIDEST_Q, _NARROWEST_Q, count)
    return np.stack(
        [
            shelf(frequencies[0], gain_db=gains[0], side="low"),
            *(peak(frequencies[i], gain_db=gains[i], q=widths[i]) for i in range(1, count - 1)),
            shelf(frequencies[-1], gain_db=gains[-1], side="high"),
        ]
    )


def _played_at(waveform: Samples, speed: float) -> Samples:
    """What is too short then is repeated."""
    places = np.arange(0, len(waveform) - 1, speed)
    played = np.interp(places, np.arange(len(waveform)), waveform).astype(np.float32)
    return np.resize(played, len(waveform))


def _without_highest(waveform: Samples, limit: float) -> Samples:
    spectrum = np.fft.rfft(waveform)
    spectrum[round(limit * len(spectrum)) :] = 0
    return np.fft.irfft(spectrum, len(waveform)).astype(np.float32)


def _draw_noise(rng: np.random.Generator, config: Noise, samples: int) -> Samples:
    white = rng.standard_normal(samples, dtype=np.float32)
    if config.colours[rng.integers(len(config.colours))] == "white":
        return white
    spectrum = np.fft.rfft(white)
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum), dtype=np.float32))  # power falls as 1 / frequency
    return np.fft.irfft(spectrum, samples)


def _add(waveform: Samples, quieter: Samples, *, snr_db: float) -> Samples:
    """Add so that the levels have this ratio; where either is silent there is none, and nothing is added."""
    loud, quiet = _level(waveform), _level(quieter)
    if not loud or not quiet:
        return waveform
    return waveform + quieter * np.float32(loud / quiet * 10 ** (-snr_db / 20))


def _level(waveform: Samples) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def _draw_stretch(rng: np.random.Generator, length: int, max_width: int) -> slice:
    width = int(rng.integers(min(max_width, length) + 1))
    start = int(rng.integers(length - width + 1))
    return slice(start, start + width)
