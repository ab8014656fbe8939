"""The form of a piece: sections under letters, whose music comes back with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.composer.harmony import Chord, parse_chord
from data.midi import Note

_FORMS = ("AABA", "ABAB", "AABB", "ABAC", "ABCA")
_FORCE = {"A": 0, "B": 5, "C": -5}


@dataclass(frozen=True, kw_only=True)
class Section:
    """Bars that belong together, one chord each; `force` is added to their velocities."""

    letter: str
    first_bar: int
    chords: tuple[Chord, ...]
    force: int


@dataclass(frozen=True, kw_only=True)
class Form:
    """The sections of a piece of so many bars; the last section may reach beyond its end."""

    sections: tuple[Section, ...]
    bars: int
    beats_per_bar: int
    tonic: int
    mode: str

    @property
    def beats(self) -> int:
        """Where the last bar ends."""
        return self.bars * self.beats_per_bar

    @property
    def chords(self) -> tuple[Chord, ...]:
        """The chord of every bar."""
        return tuple(chord for section in self.sections for chord in section.chords)[: self.bars]


def draw_form(
    progressions: Sequence[str], rng: np.random.Generator, *, bars: int, beats_per_bar: int, tonic: int, mode: str
) -> Form:
    """Divide a piece into sections of eight bars, or of four where it is short; each letter has its progression."""
    length = 8 if bars >= 18 else 4
    letters = _FORMS[rng.integers(len(_FORMS))]
    cycles: dict[str, tuple[Chord, ...]] = {}
    sections = []
    for number, first in enumerate(range(0, bars, length)):
        letter = letters[number % len(letters)]
        if letter not in cycles:
            numerals = str(rng.choice(progressions)).split()
            cycles[letter] = tuple(parse_chord(numeral, tonic=tonic, mode=mode) for numeral in numerals)
        cycle = cycles[letter]
        chords = tuple(cycle[bar % len(cycle)] for bar in range(length))
        sections.append(Section(letter=letter, first_bar=first, chords=chords, force=_FORCE[letter]))
    return Form(sections=tuple(sections), bars=bars, beats_per_bar=beats_per_bar, tonic=tonic, mode=mode)


def play_form(form: Form, write: Callable[[Section], list[Note]]) -> list[Note]:
    """The notes of all sections, each letter's written once.

    Args:
        write: gives a section's notes, counted from its own beginning.
    """
    written: dict[str, list[Note]] = {}
    notes: list[Note] = []
    for section in form.sections:
        if section.letter not in written:
            written[section.letter] = write(section)
        start = section.first_bar * form.beats_per_bar
        notes += [
            replace(note, start=note.start + start, velocity=note.velocity + section.force)
            for note in written[section.letter]
            if note.start + start < form.beats
        ]
    return notes
