"""Who plays: instruments drawn by their words, alone, together, or as guests of a style.

Through these no instrument's word can be guessed from a style's, and each is heard both bare and in a band.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.composer.grooves import GROOVES, HAND_DRUMS
from data.composer.style import (
    ARPEGGIOS,
    BASS_GUITARS,
    FOLK,
    HELD,
    MAJOR,
    MINOR,
    PICKING,
    ROOTS,
    STRUMS,
    TWO_BEAT,
    WALKING,
    Layer,
    Style,
)  # fmt: skip
from data.instruments import BASSES, INSTRUMENT_TAGS, INSTRUMENTS, NOISES, programs_of

_PLAIN_GROOVES = (
    "rock", "shuffle", "swing", "bossa", "funk", "country", "march", "hip hop", "house", "disco", "soul", "ballad",
)  # fmt: skip
_GENERIC_PROGRESSIONS = {"major": MAJOR, "minor": MINOR, "dorian": FOLK["dorian"]}
_ACCOMPANIMENTS = ("b---c---2---c---", "c---c---c---c---", "b---c---c---", *PICKING, *STRUMS[:2], *ARPEGGIOS)
_BASS_LINES = (*ROOTS, *TWO_BEAT, *WALKING[:2])
_TIMPANI = 47
_TIMPANI_ROLLS = ("0---....0-0-2---", "0---0---2---0-0-", "0-00....2-00....", "0---2-2-0---")


def draw_program(rng: np.random.Generator, word: str = "", *, is_guest: bool = False) -> int:
    """An instrument of which `word` is true; without a word any, usually by a word drawn evenly.

    Args:
        is_guest: leaves out distorted guitars where there are others: they would change a style, not only its colour.
    """
    if word:
        programs = programs_of(word)
    elif rng.random() < 0.85:
        programs = programs_of(str(rng.choice(INSTRUMENT_TAGS)))
    else:
        programs = tuple(program for program in INSTRUMENTS if program not in NOISES)
    if is_guest:
        programs = tuple(p for p in programs if "distorted guitar" not in INSTRUMENTS[p].tags) or programs
    melodic = [program for program in programs if program not in BASSES]
    return int(rng.choice(melodic or list(programs)))


def solo_style(rng: np.random.Generator, program: int) -> Style:
    """One instrument alone: a melody, which whoever can play chords mostly accompanies."""
    layers = [_melody_layer(program, rng, level=94)]
    if INSTRUMENTS[program].is_chordal and rng.random() < 0.75:
        layers.append(_chord_layer(program, rng, level=76))
    return _generic_style(layers, groove="", rng=rng)


def drums_alone(rng: np.random.Generator) -> Style:
    """Any groove of ours, with nothing beside it."""
    return _generic_style([], groove=str(rng.choice([name for name in GROOVES if name not in HAND_DRUMS])), rng=rng)


def ensemble_style(rng: np.random.Generator, programs: Sequence[int], *, with_drums: bool) -> Style:
    """The given instruments together, with drums and a bass or without."""
    programs = list(dict.fromkeys(programs))
    leads = [program for program in programs if not _is_low(program)] or [int(rng.choice((0, 24, 26, 48)))]
    layers = [_melody_layer(leads[0], rng, level=100)]
    for program in leads[1:]:
        if INSTRUMENTS[program].is_chordal and rng.random() < 0.75:
            layers.append(_chord_layer(program, rng, level=90))
        else:
            layers.append(_melody_layer(program, rng, level=92))
    low = [program for program in programs if _is_low(program)]
    layers += [_low_layer(program) for program in low]
    if not BASSES.intersection(low) and (with_drums or rng.random() < 0.2):
        layers.append(Layer(programs=(*BASS_GUITARS, 32, 35), patterns=_BASS_LINES, centre=39, level=88))
    return _generic_style(layers, groove=str(rng.choice(_PLAIN_GROOVES)) if with_drums else "", rng=rng)


def seat_guests(
    voices: Sequence[tuple[Layer, int]], guests: Sequence[int], rng: np.random.Generator
) -> list[tuple[Layer, int]]:
    """Put guests into an arrangement: the first takes the lead, a bass takes the bass, the others join."""
    seated = list(voices)
    lead_is_free = True
    for guest in sorted(guests, key=_is_low):
        if _is_low(guest):
            seated = [(layer, program) for layer, program in seated if guest not in BASSES or program not in BASSES]
            seated.append((_low_layer(guest), guest))
        elif lead_is_free:
            seated[0] = (_fitted(seated[0][0], guest), guest)
            lead_is_free = False
        elif INSTRUMENTS[guest].is_chordal and rng.random() < 0.5:
            seated.append((_chord_layer(guest, rng, level=90), guest))
        else:
            seated.append((_melody_layer(guest, rng, level=94), guest))
    return seated


def _is_low(program: int) -> bool:
    return program in BASSES or program == _TIMPANI


def _low_layer(program: int) -> Layer:
    if program == _TIMPANI:
        return Layer(programs=(program,), patterns=_TIMPANI_ROLLS, centre=45, level=100)
    return Layer(programs=(program,), patterns=_BASS_LINES, centre=39, level=94)


def _fitted(layer: Layer, program: int) -> Layer:
    """The layer for a guest: what cannot play chords gets a melody instead."""
    level = max(layer.level, 94)
    if layer.patterns and not INSTRUMENTS[program].is_chordal:
        return replace(layer, patterns=(), density=1.5, level=level)
    return replace(layer, level=level)


def _generic_style(layers: Sequence[Layer], *, groove: str, rng: np.random.Generator) -> Style:
    slowest = int(50 * 3 ** rng.random())
    return Style(
        name="",
        tags=(),
        layers=tuple(layers),
        progressions=_GENERIC_PROGRESSIONS,
        bpm=(slowest, slowest + 26),
        groove=groove,
        swing=0.64 if groove in ("swing", "shuffle") else 0.5,
        waltz_chance=0.2,
    )


def _melody_layer(program: int, rng: np.random.Generator, *, level: int) -> Layer:
    instrument = INSTRUMENTS[program]
    if _is_low(program):
        return replace(_low_layer(program), level=level)
    centre = int(np.clip(rng.normal(70, 7), instrument.low + 8, instrument.high - 8))
    return Layer(programs=(program,), centre=centre, level=level, density=float(rng.choice((0.5, 1.0, 1.5, 2.2))))


def _chord_layer(program: int, rng: np.random.Generator, *, level: int) -> Layer:
    instrument = INSTRUMENTS[program]
    centre = int(np.clip(rng.normal(56, 4), instrument.low + 10, instrument.high - 10))
    patterns = _ACCOMPANIMENTS if instrument.fades else (*HELD, "c-------c-------", *_ACCOMPANIMENTS[:3])
    return Layer(programs=(program,), patterns=patterns, centre=centre, level=level)
