"""Pieces without a style: instruments drawn evenly from all there are, alone or together.

Through these no instrument's word can be guessed from a style's, and each is heard both bare and in a band.
"""

from collections.abc import Sequence

import numpy as np

from data.instruments import BASSES, INSTRUMENT_TAGS, INSTRUMENTS, programs_of
from data.styles import (
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

_PLAIN_GROOVES = ("rock", "shuffle", "swing", "bossa", "funk", "country", "march", "hip hop", "house")
# Words drawn once or twice more than the others, because few styles call for them.
_SELDOM_IN_STYLES = (
    *("accordion", "banjo", "bells", "marimba") * 2, "marimba", "harmonica", "choir", "clarinet", "vibraphone",
)  # fmt: skip
_GENERIC_PROGRESSIONS = {"major": MAJOR, "minor": MINOR, "dorian": FOLK["dorian"]}
_ACCOMPANIMENTS = ("b---c---2---c---", "c---c---c---c---", "b---c---c---", *PICKING, *STRUMS[:2], *ARPEGGIOS)


def draw_program(rng: np.random.Generator) -> int:
    """Any instrument: usually by a word drawn evenly, sometimes one of the nameless rest."""
    words = [*INSTRUMENT_TAGS, *_SELDOM_IN_STYLES]
    programs = programs_of(str(rng.choice(words))) if rng.random() < 0.85 else tuple(INSTRUMENTS)
    return int(rng.choice([program for program in programs if program not in BASSES] or list(programs)))


def solo_style(rng: np.random.Generator) -> Style:
    """One instrument alone: a melody, which whoever can play chords mostly accompanies."""
    program = draw_program(rng)
    layers = [_melody_layer(program, rng, level=94)]
    if INSTRUMENTS[program].is_chordal and rng.random() < 0.75:
        layers.append(_chord_layer(program, rng, level=76))
    return _generic_style(layers, groove="", rng=rng)


def ensemble_style(rng: np.random.Generator) -> Style:
    """Two to four instruments, half of the time with drums and a bass."""
    programs = list(dict.fromkeys(draw_program(rng) for _ in range(int(rng.integers(2, 5)))))
    layers = [_melody_layer(programs[0], rng, level=100)]
    for program in programs[1:]:
        if INSTRUMENTS[program].is_chordal:
            layers.append(_chord_layer(program, rng, level=86))
        else:
            layers.append(_melody_layer(program, rng, level=88))
    groove = str(rng.choice(_PLAIN_GROOVES)) if rng.random() < 0.5 else ""
    if groove or rng.random() < 0.3:
        basses = (*BASS_GUITARS, 32, 35)
        layers.append(Layer(programs=basses, patterns=(*ROOTS, *TWO_BEAT, *WALKING[:2]), centre=39, level=88))
    return _generic_style(layers, groove=groove, rng=rng)


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
        guest_chance=0.0,
    )


def _melody_layer(program: int, rng: np.random.Generator, *, level: int) -> Layer:
    instrument = INSTRUMENTS[program]
    centre = int(np.clip(rng.normal(70, 7), instrument.low + 8, instrument.high - 8))
    return Layer(programs=(program,), centre=centre, level=level, density=float(rng.choice((0.5, 1.0, 1.5, 2.2))))


def _chord_layer(program: int, rng: np.random.Generator, *, level: int) -> Layer:
    instrument = INSTRUMENTS[program]
    centre = int(np.clip(rng.normal(56, 4), instrument.low + 10, instrument.high - 10))
    patterns = _ACCOMPANIMENTS if instrument.fades else (*HELD, "c-------c-------", *_ACCOMPANIMENTS[:3])
    return Layer(programs=(program,), patterns=patterns, centre=centre, level=level)
