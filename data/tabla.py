"""A tabla of recorded strokes, in place of General MIDI's congas: Debian's sonic-pi-samples, which are CC0."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from data.composer.grooves import HIGH_BONGO, LOW_BONGO, LOW_CONGA, MUTE_CONGA
from data.errors import MulanError
from data.midi import Note

FOLDER = Path("/usr/share/sonic-pi/samples")
# The strokes of each written drum: ringing and dry ones of the small drum, those of the large one.
_STROKES = {
    HIGH_BONGO: ("tabla_na", "tabla_na_o", "tabla_tun1", "tabla_tas1"),
    LOW_BONGO: ("tabla_tun2", "tabla_tas2", "tabla_tun3"),
    MUTE_CONGA: ("tabla_te1", "tabla_te2", "tabla_ke3", "tabla_re", "tabla_te_m"),
    LOW_CONGA: ("tabla_ghe1", "tabla_ghe4", "tabla_ghe8", "tabla_ghe7"),
}
# Brings the strokes to the level of what fluidsynth plays beside them.
_GAIN = 0.18


def check_tabla() -> None:
    """Raise MulanError where the samples are not installed."""
    if not FOLDER.is_dir():
        raise MulanError(f"{FOLDER}: no such samples; on Debian: apt install sonic-pi-samples")


def play_tabla(
    notes: Iterable[Note], rng: np.random.Generator, *, bpm: float, samples: int, sample_rate: int
) -> np.ndarray:
    """The strokes as float32 [samples]; each drum keeps to one of its samples through the piece.

    Raises:
        MulanError: the samples are not installed.
    """
    check_tabla()
    chosen = {drum: str(rng.choice(names)) for drum, names in _STROKES.items()}
    played = np.zeros(samples, np.float32)
    for note in notes:
        stroke = _load(chosen[note.pitch], sample_rate)
        start = round(note.start * 60 / bpm * sample_rate)
        stroke = stroke[: max(0, samples - start)]
        played[start : start + len(stroke)] += stroke * np.float32(_GAIN * (note.velocity / 127) ** 2)
    return played


@cache
def _load(name: str, sample_rate: int) -> np.ndarray:
    waveform, recorded = soundfile.read(FOLDER / f"{name}.flac", dtype="float32")
    resampled: np.ndarray = soxr.resample(waveform, recorded, sample_rate).astype(np.float32)
    return resampled
