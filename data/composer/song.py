"""Songs of our own: a style, a form, and for each line what it plays in each section."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.composer.casting import draw_program, drums_alone, ensemble_style, seat_guests, solo_style
from data.composer.form import Form, Section, draw_form, play_form
from data.composer.grooves import CRASH, FILLS, GROOVES, HAND_DRUMS, Groove
from data.composer.harmony import Chord, MelodyPlan, write_melody
from data.composer.sketch import Sketch, Wish, perform, unsure_words
from data.composer.style import Layer, Style
from data.composer.styles import STYLES
from data.instruments import BASSES, INSTRUMENTS
from data.midi import Note, Part

# Of a piece that nobody wished for: chances beside the styles' slots.
_SOLO_SLOTS, _ENSEMBLE_SLOTS = 26, 38
_STEPS_PER_BEAT = 4
_STROKES = {"X": 108, "x": 88, "o": 58}
_WITHOUT_FILLS = ("swing", "bossa", *HAND_DRUMS)
# A caption must hold for every excerpt of a piece: nothing it names may rest for longer.
_LONGEST_REST_SECONDS = 2.2


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What is decided before the first note: the time, the key, the form and who is in the room."""

    style: Style
    voices: tuple[tuple[Layer, int], ...]
    groove: str
    bpm: float
    form: Form
    force: int
    has_ending: bool
    drum_rests: frozenset[int]
    pauses: frozenset[int]


def write_song(wish: Wish | None, rng: np.random.Generator, *, seconds: float) -> Sketch:
    """Write a song of about `seconds`, in whole bars."""
    style, guests = _draw_style(wish, rng)
    setting = _draw_setting(style, guests, rng, seconds=seconds)
    parts = []
    for layer, program in setting.voices:
        notes = _without_pauses(_write_line(setting, layer, program, rng), setting)
        parts.append(Part(name=INSTRUMENTS[program].name, program=program, notes=tuple(notes)))
    if setting.groove:
        strokes = tuple(_write_drums(setting, rng))
        parts.append(Part(name="drums", program=style.kit, notes=strokes, is_drums=True))
    spread = style.looseness * setting.bpm / 60
    return Sketch(
        style=style.name or None,
        tags=style.tags,
        unsure=(*unsure_words(style.tags, beats_per_bar=setting.form.beats_per_bar), *style.unsure),
        parts=tuple(
            perform(part, rng, spread=spread, swing=style.swing, force=setting.force, last_beat=setting.form.beats)
            for part in parts
        ),
        drums="none" if not setting.groove else "tabla" if setting.groove in HAND_DRUMS else "kit",
        bpm=setting.bpm,
        beats_per_bar=setting.form.beats_per_bar,
        tonic=setting.form.tonic,
        mode=setting.form.mode if setting.voices else "",
        music_beats=setting.form.beats,
        has_pauses=bool(setting.pauses),
        origin="song",
    )


def _draw_style(wish: Wish | None, rng: np.random.Generator) -> tuple[Style, tuple[int, ...]]:
    """The style, and the instruments that join it from elsewhere."""
    if wish is not None:
        programs = tuple(draw_program(rng, word, is_guest=bool(wish.style)) for word in wish.words)
        if wish.style:
            return next(style for style in STYLES if style.name == wish.style), programs
        if wish.kind == "drums":
            return drums_alone(rng), ()
        if wish.kind == "solo":
            return solo_style(rng, programs[0]), ()
        return ensemble_style(rng, programs, with_drums=wish.kind == "band"), ()
    slots = np.array([*(style.slots for style in STYLES), _SOLO_SLOTS, _ENSEMBLE_SLOTS], dtype=float)
    number = int(rng.choice(len(slots), p=slots / slots.sum()))
    if number < len(STYLES):
        guests = (draw_program(rng),) if STYLES[number].accepts and rng.random() < 0.4 else ()
        # A distorted guitar would change the style and not only its colour.
        return STYLES[number], tuple(p for p in guests if "distorted guitar" not in INSTRUMENTS[p].tags)
    if number == len(STYLES):
        return solo_style(rng, draw_program(rng)), ()
    programs = tuple(draw_program(rng) for _ in range(int(rng.integers(2, 5))))
    return ensemble_style(rng, programs, with_drums=bool(rng.random() < 0.5)), ()


def _draw_setting(style: Style, guests: Sequence[int], rng: np.random.Generator, *, seconds: float) -> _Setting:
    bpm = round(float(np.exp(rng.uniform(np.log(style.bpm[0]), np.log(style.bpm[1])))), 1)
    beats_per_bar = 3 if rng.random() < style.waltz_chance else 4
    bar_seconds = beats_per_bar * 60 / bpm
    bars = max(1, round((seconds + rng.uniform(-1, 1)) / bar_seconds))
    mode = str(rng.choice(list(style.progressions)))
    tonic = int(rng.integers(12))
    # Who is wished for plays in the whole band.
    is_unplugged = not guests and rng.random() < style.unplugged_chance
    groove = "" if is_unplugged else style.groove
    can_rest = bar_seconds < _LONGEST_REST_SECONDS
    return _Setting(
        style=style,
        voices=_draw_voices(style, guests, rng, is_unplugged=is_unplugged),
        groove=groove,
        bpm=bpm,
        form=draw_form(style.progressions[mode], rng, bars=bars, beats_per_bar=beats_per_bar, tonic=tonic, mode=mode),
        force=int(rng.choice((-28, -16, -6, 0, 6, 10))),
        has_ending=bool(rng.random() < 0.5),
        drum_rests=frozenset(bar for bar in range(0, bars, 8) if can_rest and rng.random() < 0.2),
        pauses=_draw_pauses(rng, bars=bars) if not groove and can_rest and rng.random() < 0.2 else frozenset(),
    )


def _draw_pauses(rng: np.random.Generator, *, bars: int) -> frozenset[int]:
    every = int(rng.choice((3, 4)))
    return frozenset(range(every - 1, bars - 1, every))


def _draw_voices(
    style: Style, guests: Sequence[int], rng: np.random.Generator, *, is_unplugged: bool
) -> tuple[tuple[Layer, int], ...]:
    voices = [(layer, int(rng.choice(layer.programs))) for layer in style.layers if rng.random() < layer.chance]
    if not is_unplugged:
        return tuple(seat_guests(voices, guests, rng))
    (lead, first), (comp, second) = voices[:2]
    if rng.random() < 0.5:
        return (lead, first), (comp, second)
    # One player does both: whoever of the two can.
    player = first if INSTRUMENTS[first].is_chordal else second
    return (lead, player), (comp, player)


def _write_line(setting: _Setting, layer: Layer, program: int, rng: np.random.Generator) -> list[Note]:
    """What one player plays."""
    patterns = {letter: str(rng.choice(_fitting(setting, layer))) for letter in "ABC"} if layer.patterns else {}
    octave = int(rng.choice((-12, 0, 0, 0, 12)))

    def write(section: Section) -> list[Note]:
        if layer.patterns:
            return _write_patterns(patterns[section.letter], setting, layer, program, section.chords)
        line = write_melody(_melody_plan(setting, layer, program, octave, section.chords), rng, velocity=layer.level)
        return [replace(note, beats=note.beats * layer.gate) for note in line]

    notes = play_form(setting.form, write)
    return _with_ending(notes, setting, layer, program) if setting.has_ending and layer.patterns else notes


def _fitting(setting: _Setting, layer: Layer) -> list[str]:
    width = setting.form.beats_per_bar * _STEPS_PER_BEAT
    return [pattern for pattern in layer.patterns if len(pattern) == width] or [p[:width] for p in layer.patterns]


def _melody_plan(setting: _Setting, layer: Layer, program: int, octave: int, chords: tuple[Chord, ...]) -> MelodyPlan:
    instrument = INSTRUMENTS[program]
    centre = int(np.clip(layer.centre + octave, instrument.low + 7, instrument.high - 7))
    return MelodyPlan(
        chords=chords,
        beats_per_bar=setting.form.beats_per_bar,
        tonic=setting.form.tonic,
        mode=setting.form.mode,
        low=max(instrument.low, centre - 10),
        high=min(instrument.high, centre + 10),
        density=layer.density,
    )


def _write_patterns(
    pattern: str, setting: _Setting, layer: Layer, program: int, chords: tuple[Chord, ...]
) -> list[Note]:
    notes: list[Note] = []
    for bar, chord in enumerate(chords):
        following = chords[(bar + 1) % len(chords)]
        for note in _play_bar(pattern, layer, chord, following):
            pitch = INSTRUMENTS[program].fold(note.pitch)
            notes.append(replace(note, start=note.start + bar * setting.form.beats_per_bar, pitch=pitch))
    return notes


def _with_ending(notes: Sequence[Note], setting: _Setting, layer: Layer, program: int) -> list[Note]:
    """The last bar as one long chord."""
    start = (setting.form.bars - 1) * setting.form.beats_per_bar
    hold = ("0" if program in BASSES else "c") + "-" * (setting.form.beats_per_bar * _STEPS_PER_BEAT - 1)
    chord = setting.form.chords[-1]
    last = [
        replace(note, start=note.start + start, pitch=INSTRUMENTS[program].fold(note.pitch))
        for note in _play_bar(hold, layer, chord, chord)
    ]
    return [note for note in notes if note.start < start] + last


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


def _without_pauses(notes: Sequence[Note], setting: _Setting) -> list[Note]:
    """Leave the bars of a pause empty, and end before them what would sound into them."""
    kept = []
    for note in notes:
        bar = int(note.start // setting.form.beats_per_bar)
        if bar in setting.pauses:
            continue
        ends = [rest * setting.form.beats_per_bar for rest in setting.pauses if rest > bar]
        kept.append(replace(note, beats=min([note.beats, *(end - note.start for end in ends)])))
    return kept


def _write_drums(setting: _Setting, rng: np.random.Generator) -> list[Note]:
    width = setting.form.beats_per_bar * _STEPS_PER_BEAT
    every = GROOVES[setting.groove]
    fitting = [groove for groove in every if len(next(iter(groove.values()))) == width] or list(every)
    grooves = {letter: fitting[rng.integers(len(fitting))] for letter in "ABC"}
    has_fills = setting.groove not in _WITHOUT_FILLS
    strokes: list[Note] = []
    for section in setting.form.sections:
        for number in range(len(section.chords)):
            bar = section.first_bar + number
            if bar in setting.drum_rests or bar >= setting.form.bars:
                continue
            groove = grooves[section.letter]
            if has_fills and number % 4 == 3 and rng.random() < (0.9 if number == len(section.chords) - 1 else 0.4):
                groove = FILLS[rng.integers(len(FILLS))]
            if has_fills and number == 0 and bar and rng.random() < 0.7:
                groove = {**groove, CRASH: "X"}
            strokes += _strike_bar(groove, width, start=bar * setting.form.beats_per_bar, force=section.force)
    return strokes


def _strike_bar(groove: Groove, width: int, *, start: float, force: int) -> list[Note]:
    return [
        Note(start=start + step / _STEPS_PER_BEAT, beats=0.2, pitch=drum, velocity=_STROKES[sign] + force)
        for drum, pattern in groove.items()
        for step, sign in enumerate(pattern[:width])
        if sign != "."
    ]
