"""What every way of composing hands over: notes to be played, and what is known of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data.composer.style import unsure_of
from data.instruments import INSTRUMENTS
from data.midi import Note, Part

# Mean velocity below which a part is turned up.
_SOFTEST_PART = 74
# General MIDI percussion that belongs to a kit; the rest is shaken, tapped or scraped by hand.
_KIT_DRUMS = frozenset({*range(35, 54), 55, 57, 59})


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a piece is wanted for.

    Attributes:
        kind: "style" and "groove" are pieces of a style, of our own or over an accompaniment of the program `mma`;
            "repertoire" is a score of others, "arrangement" a song of others for a band; "drums" are heard alone;
            the rest is written for its instruments.
        style: the name of the style, groove or repertoire.
        words: of `INSTRUMENT_TAGS`; instruments that must be heard.
    """

    kind: Literal["style", "groove", "repertoire", "arrangement", "drums", "solo", "ensemble", "band"]
    style: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A piece as its composer leaves it; beats are quarter notes, the tonic counts from C as 0.

    Without a mode its key is not known, nor its metre without beats of a bar.

    Attributes:
        unsure: words of styles that are neither true nor false of it.
        music_beats: where the last bar ends.
        origin: where it comes from: "song", or the groove, score or MIDI file it was made of.
    """

    style: str | None
    tags: tuple[str, ...]
    unsure: tuple[str, ...]
    parts: tuple[Part, ...]
    drums: Literal["kit", "hand", "tabla", "none"]
    bpm: float
    beats_per_bar: int
    tonic: int
    mode: str
    music_beats: float
    has_pauses: bool = False
    origin: str


def unsure_words(tags: tuple[str, ...], *, beats_per_bar: int) -> tuple[str, ...]:
    """Words of styles that are neither true nor false of a piece with `tags`; any piece in three may be a waltz."""
    unsure = unsure_of(tags)
    return (*unsure, "waltz") if beats_per_bar == 3 and "waltz" not in (*unsure, *tags) else unsure


def longest_rest(notes: Iterable[Note], last_beat: float) -> float:
    """Beats of the longest silence from the beginning to `last_beat`."""
    heard_until, longest = 0.0, 0.0
    for note in sorted(notes, key=lambda note: note.start):
        longest = max(longest, note.start - heard_until)
        heard_until = max(heard_until, note.start + note.beats)
    return max(longest, last_beat - heard_until)


def kind_of_drums(parts: Iterable[Part]) -> Literal["kit", "hand", "none"]:
    """Whether the drums among the parts are a kit, or shaken, tapped and scraped by hand, or there are none."""
    drums = {note.pitch for part in parts if part.is_drums for note in part.notes}
    return "none" if not drums else "kit" if drums & _KIT_DRUMS else "hand"


def turned_up(part: Part) -> Part:
    """A part loud enough that it is heard, since it will be named."""
    lift = max(1.0, _SOFTEST_PART / float(np.mean([note.velocity for note in part.notes])))
    notes = (replace(note, velocity=min(127, round(note.velocity * lift))) for note in part.notes)
    return replace(part, notes=tuple(notes))


def excerpt(notes: Iterable[Note], *, first: float, beats: float) -> list[Note]:
    """The notes that begin within `beats` from the beat `first` on, counted from there and ended there."""
    return [
        replace(note, start=note.start - first, beats=min(note.beats, first + beats - note.start))
        for note in notes
        if first <= note.start < first + beats - 0.1
    ]


def part_for(program: int, notes: Sequence[Note], *, shift: int) -> Part:
    """Notes on an instrument, `shift` semitones higher.

    They are moved by whole octaves to where most of them fit, and one by one where they do not.
    """
    instrument = INSTRUMENTS[program]
    middle = (instrument.low + instrument.high) / 2
    mean = sum(note.pitch for note in notes) / len(notes)
    lowest, highest = min(note.pitch for note in notes) + shift, max(note.pitch for note in notes) + shift
    octaves = 0 if instrument.low <= lowest and highest <= instrument.high else round((middle - mean - shift) / 12)
    moved = (replace(note, pitch=instrument.fold(note.pitch + shift + 12 * octaves)) for note in notes)
    return Part(name=instrument.name, program=program, notes=tuple(moved))


def perform(part: Part, rng: np.random.Generator, *, spread: float, swing: float, force: int, last_beat: float) -> Part:
    """Play the written notes as people do: swung, not quite together, louder and softer.

    Args:
        spread: standard deviation of a note's start, in beats.
        swing: share of the first half of a beat (0.5 straight, 0.67 triplets).
        force: added to every velocity.
    """
    notes = []
    for note in part.notes:
        start = max(0.0, _swung(note.start, swing) + float(rng.normal(0, spread)))
        velocity = note.velocity + force + int(rng.normal(0, 4))
        notes.append(
            Note(
                start=min(start, last_beat - 0.05),
                beats=max(0.05, min(note.beats, last_beat - start)),
                pitch=note.pitch,
                velocity=int(np.clip(velocity, 20, 127)),
            )
        )
    return replace(part, notes=tuple(notes))


def _swung(beat: float, swing: float) -> float:
    whole, within = divmod(beat, 1.0)
    return whole + (within * 2 * swing if within < 0.5 else swing + (within - 0.5) * 2 * (1 - swing))
