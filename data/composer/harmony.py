"""Scales, chords and melodies: what the composer knows of pitch and rhythm."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.midi import Note

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "bhairav": (0, 1, 4, 5, 7, 8, 11),
    "kafi": (0, 2, 3, 5, 7, 9, 10),
}
_NUMERALS = {"I": 0, "II": 1, "III": 2, "IV": 3, "V": 4, "VI": 5, "VII": 6}
_QUALITIES = {
    (True, ""): (0, 4, 7), (False, ""): (0, 3, 7), (True, "7"): (0, 4, 7, 10), (False, "7"): (0, 3, 7, 10),
    (True, "M7"): (0, 4, 7, 11), (True, "5"): (0, 7), (False, "5"): (0, 7), (True, "sus"): (0, 5, 7),
}  # fmt: skip
# Lengths in beats of the notes of one bar of four; a negative length is a rest. Keyed by notes a bar.
_RHYTHMS: dict[int, tuple[tuple[float, ...], ...]] = {
    1: ((4,), (-1, 3), (3, -1)),
    2: ((2, 2), (3, 1), (1, 3), (2.5, 1.5)),
    4: ((1, 1, 1, 1), (1.5, 0.5, 1, 1), (2, 0.5, 0.5, 1), (-0.5, 1, 0.5, 1, 1), (1, 0.5, 0.5, 2)),
    6: ((0.5, 0.5, 1, 0.5, 0.5, 1), (1, 0.5, 0.5, 1, 0.5, 0.5), (0.75, 0.75, 0.5, 0.75, 0.75, 0.5)),
    8: ((0.5,) * 8, (0.75, 0.25, 0.5, 0.5, 0.75, 0.25, 0.5, 0.5), (-0.5, *(0.5,) * 5, 0.25, 0.25, 0.5)),
    12: ((0.5, 0.25, 0.25) * 4, (0.25, 0.25, 0.5) * 4, (0.25,) * 8 + (0.5,) * 4),
    16: ((0.25,) * 16, (0.25,) * 12 + (0.5, 0.5)),
}


@dataclass(frozen=True, kw_only=True)
class Chord:
    """A chord as pitch classes above its root, which is 0 to 11 with C as 0."""

    root: int
    intervals: tuple[int, ...]

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """The chord's notes as pitch classes."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)

    def root_near(self, centre: int) -> int:
        """The root's MIDI pitch from 8 below `centre` to 3 above."""
        return centre - 8 + (self.root - centre + 8) % 12

    def tone(self, number: int, *, centre: int) -> int:
        """The chord's tone counted upwards from its root near `centre`."""
        octave, step = divmod(number, len(self.intervals))
        return self.root_near(centre) + 12 * octave + self.intervals[step]

    def voicing(self, centre: int) -> tuple[int, ...]:
        """All notes of the chord, each within six semitones of `centre`, so that chords lead smoothly."""
        return tuple(sorted(centre - 6 + (pitch - centre + 6) % 12 for pitch in self.pitch_classes))


def parse_chord(numeral: str, *, tonic: int, mode: str) -> Chord:
    """Read a roman numeral such as ii7 or VII in a key; degrees follow the mode's scale."""
    match = re.fullmatch(r"([IV]+|[iv]+)(M7|7|5|sus)?", numeral)
    if match is None:
        raise ValueError(f"chord {numeral!r}: expected a roman numeral with nothing, 7, M7, 5 or sus")
    letters, suffix = match.group(1), match.group(2) or ""
    scale = SCALES["mixolydian" if mode == "blues" else mode]
    root = scale[_NUMERALS[letters.upper()]]
    return Chord(root=(tonic + root) % 12, intervals=_QUALITIES[letters.isupper(), suffix])


@dataclass(frozen=True, kw_only=True)
class MelodyPlan:
    """What a melody is written over: one chord a bar, in a key, within a range of MIDI pitches."""

    chords: Sequence[Chord]
    beats_per_bar: int
    tonic: int
    mode: str
    low: int
    high: int
    density: float


def write_melody(plan: MelodyPlan, rng: np.random.Generator, *, velocity: int) -> list[Note]:
    """Write a melody in phrases of two bars, A A' B A': rhythm and contour come back, pitches follow the chords."""
    ladder = [
        pitch
        for pitch in range(plan.low, plan.high + 1)
        if (pitch - plan.tonic) % 12 in SCALES[plan.mode] or any(pitch % 12 in c.pitch_classes for c in plan.chords[:1])
    ]
    phrases = {name: [_motif(plan, rng) for _ in range(2)] for name in "AB"}
    position = len(ladder) // 2
    notes: list[Note] = []
    for bar, chord in enumerate(plan.chords):
        phrase, half = divmod(bar, 2)
        motif = phrases["AABA"[phrase % 4]][half]
        is_cadence = half == 1 or bar == len(plan.chords) - 1
        beat = 0.0
        for index, (length, step) in enumerate(motif):
            last = is_cadence and beat + abs(length) >= plan.beats_per_bar
            if length > 0:
                # A varied repeat: in A' an occasional step goes elsewhere.
                step += int(rng.integers(-1, 2)) if phrase % 4 in (1, 3) and rng.random() < 0.3 else 0
                position = int(np.clip(position + step, 0, len(ladder) - 1))
                if (beat == int(beat) and int(beat) % 2 == 0) or last:
                    position = _nearest_chord_tone(ladder, position, chord)
                position = _drawn_to_centre(position, len(ladder))
                accent = 8 if index == 0 else int(rng.integers(-6, 5))
                swell = round(6 * np.sin(np.pi * (bar % 4 + beat / plan.beats_per_bar) / 4))
                notes.append(
                    Note(
                        start=bar * plan.beats_per_bar + beat,
                        beats=length * (0.8 if last else 1.0),
                        pitch=ladder[position],
                        velocity=velocity + accent + swell,
                    )
                )
            beat += abs(length)
    return notes


def _motif(plan: MelodyPlan, rng: np.random.Generator) -> list[tuple[float, int]]:
    wanted = plan.density * 4 * rng.uniform(0.8, 1.25)
    key = min(_RHYTHMS, key=lambda count: abs(np.log(count / wanted)))
    lengths, total = [], 0.0
    for length in _RHYTHMS[key][rng.integers(len(_RHYTHMS[key]))]:
        length = float(np.copysign(min(abs(length), plan.beats_per_bar - total), length))
        if length:
            lengths.append(length)
            total += abs(length)
    direction = int(rng.choice((-1, 1)))
    steps = rng.choice((-2, -1, 0, 1, 2, 3), size=len(lengths), p=(0.08, 0.24, 0.1, 0.38, 0.14, 0.06))
    return [(length, direction * int(step)) for length, step in zip(lengths, steps, strict=True)]


def _nearest_chord_tone(ladder: Sequence[int], position: int, chord: Chord) -> int:
    tones = [index for index, pitch in enumerate(ladder) if pitch % 12 in chord.pitch_classes]
    return min(tones, key=lambda index: abs(index - position), default=position)


def _drawn_to_centre(position: int, size: int) -> int:
    """Turn a line back from the ends of its range, where it would otherwise stay."""
    if position <= 0:
        return min(2, size - 1)
    return max(0, size - 3) if position >= size - 1 else position
