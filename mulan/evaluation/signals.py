"""Sounds to try a model with: music-like, the same at any sample rate, and those that break front ends."""

from collections.abc import Mapping

import numpy as np

CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))  # semitones above the key: I, VI, IV, V
HIGHEST_HERTZ = 8_000.0  # below the limit of every rate from 22.05 kHz up, so that no rate loses anything
_BEAT_SECONDS = 0.5
_FADE_SECONDS = 0.01  # slow enough that no partial spreads beyond 11 kHz


def music(sample_rate: int, *, seconds: float, seed: int = 0) -> np.ndarray:
    """Chords over a beat, float32 [s]; the same sound at every rate, for it is computed and not resampled.

    Args:
        sample_rate: in Hz, twice `HIGHEST_HERTZ` at least.
        seed: of key, phases and the partials of the high drum.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    key, partials = 110.0 * 2 ** (rng.integers(12) / 12), rng.uniform(3_000, HIGHEST_HERTZ, 16)
    since_beat, bar = time % _BEAT_SECONDS, (time // (4 * _BEAT_SECONDS)).astype(int) % len(CHORDS)
    from_edge = np.minimum(since_beat, _BEAT_SECONDS - since_beat)
    fade = np.sin(np.pi / 2 * np.minimum(from_edge / _FADE_SECONDS, 1)) ** 2
    sound = fade * np.exp(-12 * since_beat) * 0.5 * np.sin(2 * np.pi * 60 * time)
    for hertz in partials:
        sound += fade * np.exp(-40 * since_beat) * 0.02 * np.sin(2 * np.pi * hertz * time + rng.uniform(0, 2 * np.pi))
    for chord, notes in enumerate(CHORDS):
        envelope = (bar == chord) * fade * np.exp(-2 * since_beat)
        for note in notes:
            for harmonic in range(1, 5):
                hertz = key * 2 ** (note / 12) * harmonic
                sound += envelope * (0.12 / harmonic) * np.sin(2 * np.pi * hertz * time)
    return sound.astype(np.float32)


def hostile_signals(sample_rate: int, *, seconds: float) -> Mapping[str, np.ndarray]:
    """What has made front ends give NaN: by name, float32 [s] each."""
    count = round(seconds * sample_rate)
    noise = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    square = np.sign(np.sin(2 * np.pi * 220 * (np.arange(count) + 0.5) / sample_rate)).astype(np.float32)
    return {
        "noise": 0.1 * noise,
        "full-scale square wave": square,
        "near silence": np.float32(1e-6) * noise,
        "digital silence": np.zeros(count, np.float32),
        "clipping": np.clip(10 * music(sample_rate, seconds=seconds), -1, 1),
        "DC": np.full(count, 0.5, np.float32),
    }
