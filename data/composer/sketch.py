"""What every way of composing hands over: notes to be played, and what is known of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data.composer.style import unsure_of
from data.midi import Note, Part


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a piece is wanted for.

    Attributes:
        kind: "style" and "groove" are pieces of a style, of our own or over an accompaniment of the program `mma`;
            "repertoire" is a score of others; "drums" are heard alone; the rest is written for its instruments.
        style: the name of the style, groove or repertoire.
        words: of `INSTRUMENT_TAGS`; instruments that must be heard.
    """

    kind: Literal["style", "groove", "repertoire", "drums", "solo", "ensemble", "band"]
    style: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A piece as its composer leaves it; beats are quarter notes, the tonic counts from C as 0.

    Attributes:
        unsure: words of styles that are neither true nor false of it.
        music_beats: where the last bar ends.
        origin: where it comes from: "song", or the groove or score it was made of.
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
