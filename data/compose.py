"""The composer: from an id and a seed to a piece of music whose facts are known.

Four sources: songs of our own, songs over accompaniments of the program `mma`, scores of older music for instruments
of our choice, and others' songs for bands. Pieces are of a style, or for instruments drawn at random, alone or
together, so that no instrument's word can be guessed from a style's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.composer.accompaniment import write_groove
from data.composer.arrangements import arrange_song
from data.composer.repertoire import arrange_score
from data.composer.sketch import Sketch, Wish, longest_rest
from data.composer.song import write_song
from data.facts import Facts
from data.midi import Part

TAIL_SECONDS = 0.6
KEYS = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
# What a caption names must be heard in every excerpt of ten seconds.
_LONGEST_REST_SECONDS = 6.5
_STEPS_PER_BEAT = 4


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A piece: its parts in beats, the beat at which it ends (after the last decay), and what is true of it."""

    id: str
    seconds: float
    end_beat: float
    parts: tuple[Part, ...]
    facts: Facts


def compose(composition_id: str, *, seed: int, seconds: float = 18.0, wish: Wish | None = None) -> Composition:
    """Write a piece of about `seconds`, in whole bars; the same arguments give the same piece.

    Args:
        wish: what the piece must be; without it anything of our own writing.

    Raises:
        MulanError: the wish needs the program mma, the scores of music21 or games' songs, and they are not installed.
    """
    digest = hashlib.sha256(f"{seed}:{composition_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    sketch = _sketch(wish, rng, seconds=seconds - TAIL_SECONDS)
    parts = _steady_parts(sketch)
    end_beat = sketch.music_beats + TAIL_SECONDS * sketch.bpm / 60
    return Composition(
        id=composition_id,
        seconds=end_beat * 60 / sketch.bpm,
        end_beat=end_beat,
        parts=parts,
        facts=_facts_of(sketch, parts),
    )


def _sketch(wish: Wish | None, rng: np.random.Generator, *, seconds: float) -> Sketch:
    if wish is not None and wish.kind == "groove":
        return write_groove(wish, rng, seconds=seconds)
    if wish is not None and wish.kind == "repertoire":
        return arrange_score(wish, rng, seconds=seconds)
    if wish is not None and wish.kind == "arrangement":
        return arrange_song(rng, seconds=seconds)
    return write_song(wish, rng, seconds=seconds)


def _steady_parts(sketch: Sketch) -> tuple[Part, ...]:
    """The parts without those that rest for so long that an excerpt would not have them."""
    longest = _LONGEST_REST_SECONDS * sketch.bpm / 60
    return tuple(part for part in sketch.parts if longest_rest(part.notes, sketch.music_beats) <= longest)


def _facts_of(sketch: Sketch, parts: Sequence[Part]) -> Facts:
    onsets = {round(note.start * _STEPS_PER_BEAT) for part in parts for note in part.notes}
    music_seconds = sketch.music_beats * 60 / sketch.bpm
    return Facts(
        style=sketch.style,
        style_tags=sketch.tags,
        unsure_tags=sketch.unsure,
        programs=tuple(dict.fromkeys(part.program for part in parts if not part.is_drums)),
        drums=sketch.drums if any(part.is_drums for part in parts) else "none",
        bpm=sketch.bpm,
        key=KEYS[sketch.tonic] if sketch.mode else "",
        mode=sketch.mode,
        beats_per_bar=sketch.beats_per_bar,
        onsets_per_second=round(len(onsets) / music_seconds, 3),
        voices=sum(not part.is_drums for part in parts),
        has_pauses=sketch.has_pauses,
        origin=sketch.origin,
    )
