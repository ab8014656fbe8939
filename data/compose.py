"""The composer: from an id and a seed to a piece of music whose facts are known.

Two kinds of piece: those of a style (`styles.STYLES`), and those written for instruments drawn at random, alone or
together, so that no instrument's word can be guessed from a style's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.casting import draw_program, ensemble_style, solo_style
from data.facts import Facts
from data.grooves import CRASH, FILLS, GROOVES, Groove
from data.harmony import Chord, MelodyPlan, parse_chord, write_melody
from data.instruments import BASSES, INSTRUMENTS
from data.midi import Note, Part
from data.styles import STYLES, Layer, Style

TAIL_SECONDS = 0.6
KEYS = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
# Chances, against the sum of the styles' own weights (about 123), of a piece without a style.
_SOLO_WEIGHT, _ENSEMBLE_WEIGHT = 11.0, 16.0
_STEPS_PER_BEAT = 4
_STROKES = {"X": 108, "x": 88, "o": 58}
_HAND_DRUMS = ("tabla",)


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A piece: its parts in beats, the beat at which it ends (after the last decay), and what is true of it."""

    id: str
    seconds: float
    end_beat: float
    parts: tuple[Part, ...]
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What is decided before the first note: the time, the key, the chords and who is in the room."""

    style: Style
    voices: tuple[tuple[Layer, int], ...]
    groove: str
    bpm: float
    beats_per_bar: int
    tonic: int
    mode: str
    chords: tuple[Chord, ...]
    force: int
    has_ending: bool
    drums_enter: int


def compose(composition_id: str, *, seed: int, seconds: float = 18.0) -> Composition:
    """Write a piece of about `seconds`, in whole bars; the same arguments give the same piece."""
    digest = hashlib.sha256(f"{seed}:{composition_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    setting = _draw_setting(_draw_style(rng), rng, seconds=seconds)
    lines = [_write_line(setting, layer, program, rng) for layer, program in setting.voices]
    parts = [
        Part(name=INSTRUMENTS[program].name, program=program, notes=tuple(notes))
        for (_, program), notes in zip(setting.voices, lines, strict=True)
        if notes
    ]
    if setting.groove:
        strokes = tuple(_write_drums(setting, rng))
        parts.append(Part(name="drums", program=0, notes=strokes, is_drums=True))
    music_beats = len(setting.chords) * setting.beats_per_bar
    end_beat = music_beats + TAIL_SECONDS * setting.bpm / 60
    performed = tuple(_perform(part, setting, rng, last_beat=music_beats) for part in parts)
    return Composition(
        id=composition_id,
        seconds=end_beat * 60 / setting.bpm,
        end_beat=end_beat,
        parts=performed,
        facts=_facts_of(setting, parts, music_seconds=music_beats * 60 / setting.bpm),
    )


def _facts_of(setting: _Setting, parts: Sequence[Part], *, music_seconds: float) -> Facts:
    drums = "none" if not setting.groove else "hand" if setting.groove in _HAND_DRUMS else "kit"
    onsets = {round(note.start * _STEPS_PER_BEAT) for part in parts for note in part.notes}
    return Facts(
        style=setting.style.name or None,
        style_tags=setting.style.tags,
        unsure_tags=setting.style.unsure,
        programs=tuple(dict.fromkeys(part.program for part in parts if not part.is_drums)),
        drums=drums,  # type: ignore[arg-type]
        bpm=setting.bpm,
        key=KEYS[setting.tonic],
        mode=setting.mode,
        beats_per_bar=setting.beats_per_bar,
        onsets_per_second=round(len(onsets) / music_seconds, 3),
    )


def _draw_style(rng: np.random.Generator) -> Style:
    weights = np.array([*(style.weight for style in STYLES), _SOLO_WEIGHT, _ENSEMBLE_WEIGHT])
    number = int(rng.choice(len(weights), p=weights / weights.sum()))
    if number < len(STYLES):
        return STYLES[number]
    return solo_style(rng) if number == len(STYLES) else ensemble_style(rng)


def _draw_setting(style: Style, rng: np.random.Generator, *, seconds: float) -> _Setting:
    bpm = round(float(np.exp(rng.uniform(np.log(style.bpm[0]), np.log(style.bpm[1])))), 1)
    beats_per_bar = 3 if rng.random() < style.waltz_chance else 4
    bar_seconds = beats_per_bar * 60 / bpm
    bars = max(1, round((seconds - TAIL_SECONDS + rng.uniform(-1, 1)) / bar_seconds))
    mode = str(rng.choice(list(style.progressions)))
    tonic = int(rng.integers(12))
    numerals = str(rng.choice(style.progressions[mode])).split()
    cycle = tuple(parse_chord(numeral, tonic=tonic, mode=mode) for numeral in numerals)
    is_unplugged = rng.random() < style.unplugged_chance
    return _Setting(
        style=style,
        voices=_draw_voices(style, rng, is_unplugged=is_unplugged),
        groove="" if is_unplugged else style.groove,
        bpm=bpm,
        beats_per_bar=beats_per_bar,
        tonic=tonic,
        mode=mode,
        chords=tuple(cycle[bar % len(cycle)] for bar in range(bars)),
        force=int(rng.choice((-20, -8, 0, 6, 10))),
        has_ending=bool(rng.random() < 0.5),
        # The drums may wait for one bar, if it is short: a caption must hold for every excerpt of a piece.
        drums_enter=int(bar_seconds < 2.2 and rng.random() < 0.25),
    )


def _draw_voices(style: Style, rng: np.random.Generator, *, is_unplugged: bool) -> tuple[tuple[Layer, int], ...]:
    voices = [(layer, int(rng.choice(layer.programs))) for layer in style.layers if rng.random() < layer.chance]
    if not is_unplugged:
        guest = draw_program(rng)
        # A distorted guitar would change the style and not only its colour.
        if rng.random() < style.guest_chance and "distorted guitar" not in INSTRUMENTS[guest].tags:
            voices[0] = (_fitted(voices[0][0], guest), guest)
        return tuple(voices)
    (lead, first), (comp, second) = voices[:2]
    if rng.random() < 0.5:
        return (lead, first), (comp, second)
    # One player does both: whoever of the two can.
    player = first if INSTRUMENTS[first].is_chordal else second
    return (lead, player), (comp, player)


def _fitted(layer: Layer, program: int) -> Layer:
    """The layer for a guest: what cannot play chords gets a melody instead."""
    if layer.patterns and not INSTRUMENTS[program].is_chordal:
        return replace(layer, patterns=(), density=1.5)
    return layer


def _write_line(setting: _Setting, layer: Layer, program: int, rng: np.random.Generator) -> list[Note]:
    instrument = INSTRUMENTS[program]
    if not layer.patterns:
        octave = int(rng.choice((-12, 0, 0, 0, 12)))
        centre = int(np.clip(layer.centre + octave, instrument.low + 7, instrument.high - 7))
        plan = MelodyPlan(
            chords=setting.chords,
            beats_per_bar=setting.beats_per_bar,
            tonic=setting.tonic,
            mode=setting.mode,
            low=max(instrument.low, centre - 10),
            high=min(instrument.high, centre + 10),
            density=layer.density,
        )
        return [replace(note, beats=note.beats * layer.gate) for note in write_melody(plan, rng, velocity=layer.level)]
    width = setting.beats_per_bar * _STEPS_PER_BEAT
    fitting = [pattern for pattern in layer.patterns if len(pattern) == width] or [p[:width] for p in layer.patterns]
    patterns = [str(rng.choice(fitting)) for _ in "AB"]
    notes: list[Note] = []
    for bar, chord in enumerate(setting.chords):
        is_last = setting.has_ending and bar == len(setting.chords) - 1
        hold = ("0" if program in BASSES else "c") + "-" * (width - 1)
        pattern = hold if is_last else patterns["AABA"[bar // 2 % 4] == "B"]
        following = setting.chords[(bar + 1) % len(setting.chords)]
        for note in _play_bar(pattern, layer, chord, following):
            pitch = _into_range(note.pitch, instrument.low, instrument.high)
            notes.append(replace(note, start=note.start + bar * setting.beats_per_bar, pitch=pitch))
    return notes


def _play_bar(pattern: str, layer: Layer, chord: Chord, following: Chord) -> list[Note]:
    notes = []
    for step, sign in enumerate(pattern):
        if sign in ".-":
            continue
        held = len(pattern[step + 1 :]) - len(pattern[step + 1 :].lstrip("-"))
        accent = 10 if sign.isupper() else 4 if step == 0 else 0
        for pitch in _pitches(sign.lower(), chord, following, centre=layer.centre):
            notes.append(
                Note(
                    start=step / _STEPS_PER_BEAT,
                    beats=(1 + held) / _STEPS_PER_BEAT * layer.gate,
                    pitch=pitch,
                    velocity=layer.level + accent,
                )
            )
    return notes


def _pitches(sign: str, chord: Chord, following: Chord, *, centre: int) -> tuple[int, ...]:
    root = chord.root_near(centre)
    match sign:
        case "c":
            return chord.voicing(centre)
        case "p":
            return root, root + 7, root + 12
        case "b":
            return (root - 12,)
        case "w":
            goal = following.root_near(centre)
            return (goal - 1 if goal > root else goal + 1,)
        case _:
            return (chord.tone(int(sign), centre=centre),)


def _into_range(pitch: int, low: int, high: int) -> int:
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def _write_drums(setting: _Setting, rng: np.random.Generator) -> list[Note]:
    width = setting.beats_per_bar * _STEPS_PER_BEAT
    every = GROOVES[setting.groove]
    fitting = [groove for groove in every if len(next(iter(groove.values()))) == width] or list(every)
    grooves = [fitting[rng.integers(len(fitting))] for _ in "AB"]
    has_fills = setting.groove not in ("swing", "bossa", *_HAND_DRUMS)
    strokes: list[Note] = []
    for bar in range(setting.drums_enter, len(setting.chords)):
        groove = grooves["AABA"[bar // 2 % 4] == "B"]
        is_fill = has_fills and bar % 4 == 3 and rng.random() < 0.6
        if is_fill:
            groove = FILLS[rng.integers(len(FILLS))]
        if has_fills and bar % 4 == 0 and bar and rng.random() < 0.5:
            groove = {**groove, CRASH: "X"}
        strokes += _strike_bar(groove, width, start=bar * setting.beats_per_bar)
    return strokes


def _strike_bar(groove: Groove, width: int, *, start: float) -> list[Note]:
    return [
        Note(start=start + step / _STEPS_PER_BEAT, beats=0.2, pitch=drum, velocity=_STROKES[sign])
        for drum, pattern in groove.items()
        for step, sign in enumerate(pattern[:width])
        if sign != "."
    ]


def _perform(part: Part, setting: _Setting, rng: np.random.Generator, *, last_beat: float) -> Part:
    """Play the written notes as people do: swung, not quite together, louder and softer."""
    spread = setting.style.looseness * setting.bpm / 60
    notes = []
    for note in part.notes:
        start = max(0.0, _swung(note.start, setting.style.swing) + float(rng.normal(0, spread)))
        velocity = note.velocity + setting.force + int(rng.normal(0, 4))
        notes.append(
            Note(
                start=start,
                beats=max(0.05, min(note.beats, last_beat - start)),
                pitch=note.pitch,
                velocity=int(np.clip(velocity, 20, 127)),
            )
        )
    return replace(part, notes=tuple(notes))


def _swung(beat: float, swing: float) -> float:
    """Delay the second half of a beat; `swing` is the share of the first half (0.5 straight, 0.67 triplets)."""
    whole, within = divmod(beat, 1.0)
    return whole + (within * 2 * swing if within < 0.5 else swing + (within - 0.5) * 2 * (1 - swing))
