"""Older music in scores that others encoded, played on instruments of our choice.

The scores are those in the wheel of music21, which is read as a folder of files and never imported. Of its corpus
these directories are used: bach (the chorales), haydn, mozart and beethoven (string quartets), trecento and
ryansMammoth (dance tunes, printed in 1883); the music is out of copyright, and music21's corpus licence says that the
encoders permit their distribution. Left out: essenFolksong (not for commercial use) and palestrina (its encoder
reserves the rights to all derivatives). What is rendered from them is trained on and not handed on.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from data.composer.casting import draw_program
from data.composer.score import Score, read_abc, read_musicxml
from data.composer.sketch import Sketch, Wish, excerpt, longest_rest, part_for, perform, unsure_words
from data.errors import MulanError
from data.instruments import INSTRUMENTS
from data.midi import Note

_SPREAD_SECONDS = 0.014
_LONGEST_REST_SECONDS = 5.5
_ATTEMPTS = 40
_STRUM_LEVEL = 68
_CHOIR, _STRINGS = (52, 52, 52, 52), (40, 40, 41, 42)


@dataclass(frozen=True, kw_only=True)
class Repertoire:
    """Scores of one kind: where they lie, what is true of them, and who may play them, the highest voice first.

    Attributes:
        unsure: words that are neither true nor false, beside those akin to `tags`.
        keeps_key: whether an excerpt is in the key that its score begins with.
        accepts: how many instruments may be wished for.
        slots: of a block of the corpus, how many pieces are of this kind.
    """

    name: str
    patterns: tuple[str, ...]
    tags: tuple[str, ...]
    bpm: tuple[int, int]
    casts: tuple[tuple[int, ...], ...]
    unsure: tuple[str, ...] = ()
    keeps_key: bool = False
    accepts: int = 2
    slots: int = 8


REPERTOIRE = (
    Repertoire(
        name="chorale", patterns=("bach/bwv*.mxl",), tags=("baroque", "classical"), bpm=(60, 92),
        slots=16, keeps_key=True,
        casts=(_CHOIR, (19, 19, 19, 19), _STRINGS, (56, 56, 60, 57), (73, 68, 71, 70), (64, 65, 66, 67),
               (74, 74, 74, 70), (6, 6, 6, 6), (0, 0, 0, 0), (48, 48, 48, 48), _CHOIR, (21, 21, 21, 21)),
    ),
    Repertoire(
        name="string quartet movement", tags=("classical",), bpm=(66, 126), slots=10,
        patterns=("haydn/**/*.mxl", "mozart/k80/*.mxl", "mozart/k1*/*.mxl", "mozart/k458/*.mxl",
                  "beethoven/**/*.mxl"),
        casts=(_STRINGS, _STRINGS, _STRINGS, (73, 68, 71, 70), (48, 48, 48, 48), (56, 60, 57, 58), (0, 0, 0, 0)),
    ),
    Repertoire(
        name="medieval polyphony", patterns=("trecento/*.xml",), tags=("early music",), bpm=(76, 116), slots=8,
        accepts=0,
        casts=((74, 41, 42, 42), (52, 52, 52, 52), (24, 46, 24, 42), (110, 41, 42, 42), (68, 74, 70, 70), (46,) * 4),
    ),
    Repertoire(
        name="dance tune", patterns=("ryansMammoth/*.abc",), tags=("celtic", "folk"), bpm=(96, 136), slots=10,
        keeps_key=True, accepts=1,
        casts=((110,), (73,), (72,), (109,), (21,), (40,), (105,), (22,), (78,), (25,), (46,), (74,)),
    ),
)  # fmt: skip


def scores_folder() -> Path:
    """Where music21 keeps its scores.

    Raises:
        MulanError: it is not installed.
    """
    found = importlib.util.find_spec("music21")
    places = [] if found is None else list(found.submodule_search_locations or [])
    for place in places:
        if Path(place, "corpus", "bach").is_dir():
            return Path(place, "corpus")
    raise MulanError("the scores of music21 are not installed; pip install 'mulan-retrieval[composer]'")


def arrange_score(wish: Wish, rng: np.random.Generator, *, seconds: float) -> Sketch:
    """About `seconds` of one of the repertoire's scores, for the instruments wished for or a usual cast.

    Raises:
        MulanError: music21's scores are not installed.
    """
    repertoire = next(repertoire for repertoire in REPERTOIRE if repertoire.name == wish.style)
    bpm = round(float(rng.uniform(*repertoire.bpm)), 1)
    score, bars = _draw_excerpt(repertoire, rng, bpm=bpm, seconds=seconds)
    cast = _draw_cast(repertoire, wish, rng, voices=len(bars))
    shift = int(rng.integers(-3, 4))
    if len(bars) == 1 and not wish.words and rng.random() < 0.6:
        bars.append(_strum(score, bars[0]))
        cast.append(int(rng.choice((24, 25, 46))))
    parts = [part_for(program, voice, shift=shift) for voice, program in zip(bars, cast, strict=True)]
    last_beat = max(note.start + note.beats for part in parts for note in part.notes)
    force = int(rng.choice((-20, -8, 0, 8)))
    return Sketch(
        style=repertoire.name,
        tags=repertoire.tags,
        unsure=(*unsure_words(repertoire.tags, beats_per_bar=int(score.beats_per_bar)), *repertoire.unsure),
        parts=tuple(
            perform(part, rng, spread=_SPREAD_SECONDS * bpm / 60, swing=0.5, force=force, last_beat=last_beat)
            for part in parts
        ),
        drums="none",
        bpm=bpm,
        beats_per_bar=int(score.beats_per_bar),
        tonic=(score.tonic + shift) % 12,
        mode=score.mode if repertoire.keeps_key else "",
        music_beats=last_beat,
        origin=score.title,
    )


@cache
def _files(patterns: Sequence[str]) -> tuple[Path, ...]:
    folder = scores_folder()
    return tuple(sorted(path for pattern in patterns for path in folder.glob(pattern)))


def _read(path: Path, rng: np.random.Generator) -> Score | None:
    """A score of the file, or None where it is beyond our readers."""
    try:
        scores = read_abc(path) if path.suffix == ".abc" else [read_musicxml(path)]
    except (ValueError, ElementTree.ParseError, KeyError, IndexError):
        return None
    return scores[rng.integers(len(scores))] if scores else None


def _draw_excerpt(
    repertoire: Repertoire, rng: np.random.Generator, *, bpm: float, seconds: float
) -> tuple[Score, list[list[Note]]]:
    """A score and the notes of each voice in an excerpt of it in which all voices are heard throughout."""
    files = _files(repertoire.patterns)
    for _ in range(_ATTEMPTS):
        score = _read(files[rng.integers(len(files))], rng)
        if score is None or not 1 <= len(score.voices) <= 5 or score.beats_per_bar.denominator != 1:
            continue
        total = max(note.start + note.beats for voice in score.voices for note in voice)
        wanted = seconds * bpm / 60
        if total < min(wanted, 16):
            continue
        bar = int(score.beats_per_bar)
        first = bar * int(rng.integers(0, max(1, int((total - wanted) / bar) + 1)))
        voices = [excerpt(_repeated(voice, total, first + wanted), first=first, beats=wanted) for voice in score.voices]
        if all(voice and longest_rest(voice, wanted) <= _LONGEST_REST_SECONDS * bpm / 60 for voice in voices):
            return score, voices
    raise MulanError(f"{repertoire.name}: no excerpt of {seconds:.0f} s in {_ATTEMPTS} scores; give a shorter length")


def _repeated(voice: Sequence[Note], total: float, until: float) -> list[Note]:
    """A short tune again from its beginning, as often as it takes."""
    times = int(np.ceil(until / total))
    return [replace(note, start=note.start + turn * total) for turn in range(times) for note in voice]


def _draw_cast(repertoire: Repertoire, wish: Wish, rng: np.random.Generator, *, voices: int) -> list[int]:
    wished = [draw_program(rng, word, is_guest=True) for word in wish.words]
    usual = repertoire.casts[rng.integers(len(repertoire.casts))]
    wished.sort(key=lambda program: -INSTRUMENTS[program].low)
    cast = wished if wished else list(usual)
    return [cast[min(number * len(cast) // max(voices, len(cast)), len(cast) - 1)] for number in range(voices)]


def _strum(score: Score, voice: Sequence[Note]) -> list[Note]:
    """Chords under a tune: with each half bar, or beat, the chord of the key that shares most with what is played."""
    third, sixth = (3, (10, 4)) if score.mode in ("minor", "dorian") else (4, (9, 3))
    chords = [
        tuple((score.tonic + root + interval) % 12 for interval in (0, quality, 7))
        for root, quality in ((0, third), (5, third), (7, 4), sixth)
    ]
    beats = max(1.0, float(score.beats_per_bar) / 2)
    notes = []
    for number in range(int(max(note.start + note.beats for note in voice) / beats)):
        start = number * beats
        heard = [note for note in voice if note.start < start + beats and note.start + note.beats > start]
        best = max(chords, key=lambda chord: sum(note.beats for note in heard if note.pitch % 12 in chord))
        notes += [Note(start=start, beats=beats * 0.9, pitch=48 + pitch, velocity=_STRUM_LEVEL) for pitch in best]
    return notes
