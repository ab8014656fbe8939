"""Songs over accompaniments of MMA, the Musical MIDI Accompaniment: its grooves, our chords and our melodies.

The program `mma` (GPL-2+) is run, never imported; its output is what its user makes of it.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.composer.casting import draw_program, seat_guests
from data.composer.form import Form, Section, draw_form, play_form
from data.composer.harmony import Chord, MelodyPlan, write_melody
from data.composer.sketch import Sketch, Wish, kind_of_drums, perform, turned_up, unsure_words
from data.composer.style import CLASSICAL, FOLK, JAZZ, LOOPS, MAJOR, MINOR, POP, TWELVE_BARS, Layer
from data.errors import MulanError
from data.instruments import BASSES, INSTRUMENTS, NOISES
from data.midi import Note, Part, read_midi

_LEAD = Layer(programs=(0,), centre=73, level=108, density=1.4)
_SPREAD_SECONDS = 0.012
# It takes a tenth of a second; so long only where it hangs, however busy the machine.
_LONGEST_SECONDS = 300
_MOST_PARTS = 12
_NOTE_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_QUALITIES = {
    (0, 4, 7): "", (0, 3, 7): "m", (0, 4, 7, 10): "7", (0, 3, 7, 10): "m7", (0, 4, 7, 11): "maj7", (0, 7): "5",
    (0, 5, 7): "sus4",
}  # fmt: skip
_PROGRESSIONS: dict[str, Mapping[str, tuple[str, ...]]] = {
    "pop": POP,
    "rock": {"major": ("I V IV IV", "I VII IV I", *MAJOR[:3]), "minor": MINOR},
    "jazz": JAZZ,
    "blues": TWELVE_BARS,
    "plain": {"major": ("I I IV V", "I IV V I", "I V V I")},
    "folk": FOLK,
    "loop": LOOPS,
    "classical": CLASSICAL,
    "latin": {"minor": ("i iv V V", "i VII VI V"), "major": ("I IV V IV", "I ii V I")},
    "calm": {"major": ("IM7 IVM7", "I V vi IV"), "minor": ("i7 VIM7", "i VI III VII")},
}


@dataclass(frozen=True, kw_only=True)
class MmaStyle:
    """A name for some of MMA's grooves, the words that are true of them, and the tempi at which they are so."""

    name: str
    grooves: tuple[str, ...]
    tags: tuple[str, ...]
    bpm: tuple[int, int]
    beats_per_bar: int
    harmony: str
    slots: int
    leads: tuple[int, ...]


# name; grooves; tags; slowest and fastest tempo; beats of a bar; harmony; slots in a block of the corpus; and where
# other instruments would make it another style, those that lead
_TABLE = """
groove rock; BasicRock 50sRock Rock1 W-RockMainA Rock128Plus 60sRock; rock; 96 150; 4; rock; 8
groove soft rock; SoftRock SoftRock1 SlowRock PopRock1; rock; 76 112; 4; rock; 5
groove metal; metal1A metal1B metal2A metal2B HeavyMetal; metal; 110 176; 4; rock; 2; 30 29
groove pop; Pop 80sPop ElectricPop 8BeatPop1 PopRock1 WorldPop; pop; 88 132; 4; pop; 6
groove pop ballad; PopBallad PopBalladPlus 8BeatBallad1 16BeatBallad1 StringBallad PianoBallad; pop; 60 84; 4; pop; 4
groove blues; Blues Blues1 SlowBlues SlowBluesWalk4; blues; 60 116; 4; blues; 4
groove country blues; CountryBlues CountryBlues1; blues, country; 80 120; 4; blues; 2
boogie-woogie; BoggieWoggie BoggieWoggie1 ShuffleBoggie; blues; 120 168; 4; blues; 3
groove swing; Swing Swing1Walk SwingPlus EasySwing FastSwing; jazz, swing; 110 200; 4; jazz; 5
big band; BigBand BigBand1 FastBigBand MiddleBigBand; jazz, swing, big band; 110 184; 4; jazz; 5
groove jazz; MellowJazz ModernJazz JazzCombo Bebop NiteJazz SlowJazz; jazz; 70 190; 4; jazz; 4
gypsy jazz; GypsyJazz GypsyJazzGuitar; jazz, swing; 150 210; 4; jazz; 3
jazz waltz; JazzWaltz ModernJazzWaltz FastJazzWaltz; jazz, waltz; 100 180; 3; jazz; 3
dixieland; Dixie Dixie1 Dixie2 DixieStrum; jazz; 130 200; 4; plain; 3
groove bossa nova; BossaNova BossaNovaPlus; latin, bossa nova; 100 150; 4; jazz; 4
samba; Samba SambaPlus; latin, samba, dance; 90 124; 4; jazz; 4
groove salsa; Salsa SalsaPlus Salsa1MainA; latin, dance; 88 116; 4; latin; 2
mambo; Mambo Mambo1 Mambo2; latin, dance; 90 120; 4; latin; 3
cha-cha-cha; ChaCha ChaCha1; latin, dance; 104 128; 4; latin; 3
rumba; Rhumba Rhumba1 RhumbaTriple; latin; 92 124; 4; latin; 3
merengue; Merengue Merengue1; latin, dance; 110 140; 4; latin; 3
calypso; Calypso Calypso1 CalypsoPlus; latin; 90 130; 4; plain; 3
groove tango; Tango Tango1 LightTango; tango, latin; 108 132; 4; latin; 2
groove funk; BVFunk Funk1 Funk2 Strut; funk; 92 120; 4; loop; 4
groove soul; DSoul DSoulPlus Soul SoulPop R&B; soul; 76 116; 4; pop; 4
groove disco; DiscoSoul BoneyM BoneyMPlus; disco, dance; 108 130; 4; pop; 4
groove techno; Techno TeamTechno Rave; techno, electronic, dance; 124 148; 4; loop; 11
groove trance; Trance Trance1 Trance2; trance, electronic, dance; 124 142; 4; loop; 4
groove house; House LatinHouse; house, electronic, dance; 116 128; 4; loop; 4
groove dance; Dance1 Dance2 DancePop1 8BeatDance; dance; 112 136; 4; pop; 4
groove hip hop; HipHop HipHopPlus1 HipHopSusPlus2 Hip-Hop TripHop; hip hop; 74 104; 4; loop; 4
groove ambient; Ambient1 Ambient2 Ambient3; ambient; 56 84; 4; calm; 6
groove ska; Ska Ska1; ska; 120 164; 4; plain; 3
groove country; HillCountry SlowCountry CountrySwing WesternMainA; country; 84 140; 4; plain; 9
groove bluegrass; BlueGrass BlueGrassClap; bluegrass, country; 110 160; 4; plain; 3
groove folk; Folk FolkBallad BlueFolk; folk; 84 130; 4; folk; 4
groove polka; Polka PolkaArp PolkaFox; polka; 108 136; 4; plain; 3
groove waltz; Waltz Waltz1 FastWaltz; waltz; 100 180; 3; classical; 3
Viennese waltz; VieneseWaltz VieneseWaltz1; waltz; 150 196; 3; classical; 3
French waltz; FrenchWaltz FrenchWaltz1; waltz; 130 190; 3; classical; 3
groove ragtime; RagTime RagtimePlus; ragtime; 88 130; 4; plain; 3
groove march; March March1 GermanMarch; march; 100 126; 4; plain; 3
"""


def _parse(line: str) -> MmaStyle:
    name, grooves, tags, tempi, beats, harmony, slots, *leads = (field.strip() for field in line.split(";"))
    slowest, fastest = map(int, tempi.split())
    return MmaStyle(
        name=name.removeprefix("groove "),
        grooves=tuple(grooves.split()),
        tags=tuple(tags.split(", ")),
        bpm=(slowest, fastest),
        beats_per_bar=int(beats),
        harmony=harmony,
        slots=int(slots),
        leads=tuple(map(int, leads[0].split())) if leads else (),
    )


MMA_STYLES = tuple(map(_parse, _TABLE.strip().splitlines()))


def write_groove(wish: Wish, rng: np.random.Generator, *, seconds: float) -> Sketch:
    """Write a song of about `seconds`: MMA's accompaniment in one of the style's grooves, with our melodies over it.

    Raises:
        MulanError: the program mma is not installed, or refused the groove.
    """
    style = next(style for style in MMA_STYLES if style.name == wish.style)
    groove = str(rng.choice(style.grooves))
    bpm = round(float(np.exp(rng.uniform(*np.log(style.bpm)))), 1)
    beats = style.beats_per_bar
    bars = max(4, round(seconds * bpm / 60 / beats))
    progressions = _PROGRESSIONS[style.harmony]
    mode, tonic = str(rng.choice(list(progressions))), int(rng.integers(12))
    form = draw_form(progressions[mode], rng, bars=bars, beats_per_bar=beats, tonic=tonic, mode=mode)
    guests = _draw_guests(style, wish, rng)
    band = _tidied(_accompany(form.chords, groove, bpm=bpm, seed=int(rng.integers(1 << 30))), guests, form.beats)
    seated = seat_guests([(_LEAD, guests[0])], guests, rng)
    melodies = [_sing(layer, program, form, rng) for layer, program in seated if program in guests]
    spread = _SPREAD_SECONDS * bpm / 60
    ours = [perform(part, rng, spread=spread, swing=0.5, force=0, last_beat=form.beats) for part in melodies]
    return Sketch(
        style=style.name,
        tags=style.tags,
        unsure=unsure_words(style.tags, beats_per_bar=beats),
        parts=(*ours, *band),
        drums=kind_of_drums(band),
        bpm=bpm,
        beats_per_bar=beats,
        tonic=tonic,
        mode=mode,
        music_beats=form.beats,
        origin=f"groove {groove}",
    )


def _draw_guests(style: MmaStyle, wish: Wish, rng: np.random.Generator) -> list[int]:
    if style.leads:
        return [int(rng.choice(style.leads))]
    return list(dict.fromkeys(draw_program(rng, word, is_guest=True) for word in wish.words)) or [draw_program(rng)]


def _sing(layer: Layer, program: int, form: Form, rng: np.random.Generator) -> Part:
    """A melody, or a line of roots where the layer has patterns: a bass."""
    instrument = INSTRUMENTS[program]
    centre = int(np.clip(layer.centre, instrument.low + 7, instrument.high - 7))

    def write(section: Section) -> list[Note]:
        plan = MelodyPlan(
            chords=section.chords,
            beats_per_bar=form.beats_per_bar,
            tonic=form.tonic,
            mode=form.mode,
            low=max(instrument.low, centre - 10),
            high=min(instrument.high, centre + 10),
            density=layer.density,
        )
        return write_melody(plan, rng, velocity=layer.level)

    return Part(name=instrument.name, program=program, notes=tuple(play_form(form, write)), volume=112)


def check_mma() -> None:
    """Raise MulanError where the program is not installed."""
    if shutil.which("mma") is None:
        raise MulanError("the program mma is not installed; on Debian: apt install mma")


def _accompany(chords: tuple[Chord, ...], groove: str, *, bpm: float, seed: int) -> list[Part]:
    check_mma()
    lines = [f"RndSeed {seed}", f"Tempo {bpm}", f"Groove {groove}"]
    lines += [f"{bar} {_chord_name(chord)}" for bar, chord in enumerate(chords, start=1)]
    with tempfile.TemporaryDirectory(prefix="mulan-mma-") as folder:
        song, midi = Path(folder, "song.mma"), Path(folder, "song.mid")
        song.write_text("\n".join(lines) + "\n", encoding="utf-8")
        program = ["mma", "-i", os.devnull, str(song), "-f", str(midi)]
        environment = {**os.environ, "HOME": folder}
        try:
            done = subprocess.run(
                program, env=environment, capture_output=True, text=True, errors="replace", timeout=_LONGEST_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise MulanError(f"mma did not end within {_LONGEST_SECONDS} s on the groove {groove}") from error
        if done.returncode != 0 or not midi.exists():
            reason = " ".join((done.stdout + done.stderr).split())[-300:]
            raise MulanError(f"mma refused the groove {groove}: {reason}")
        try:
            # Without what a second strike cuts short: so were the corpora composed that models have learned from.
            return read_midi(midi, keep_restruck=False)
        except ValueError as error:
            raise MulanError(f"mma wrote no readable MIDI for the groove {groove}: {error}") from error


def _chord_name(chord: Chord) -> str:
    return _NOTE_NAMES[chord.root] + _QUALITIES[chord.intervals]


def _tidied(band: list[Part], guests: list[int], last_beat: float) -> list[Part]:
    """The accompaniment within its bars and its instruments' ranges, without noises and what the guests replace."""
    parts = []
    has_bass = any(program in BASSES for program in guests)
    for part in band:
        if not part.is_drums and (part.program in NOISES or (has_bass and part.program in BASSES)):
            continue
        notes = tuple(
            replace(
                note,
                start=max(0.0, note.start),
                beats=max(0.05, min(note.beats, last_beat - note.start)),
                pitch=note.pitch if part.is_drums else INSTRUMENTS[part.program].fold(note.pitch),
            )
            for note in turned_up(part).notes
            if note.start < last_beat - 0.05 and note.velocity > 0
        )
        name = "drums" if part.is_drums else INSTRUMENTS[part.program].name
        parts.append(replace(part, name=name, notes=notes))
    kept = sorted((part for part in parts if part.notes), key=lambda part: (not part.is_drums, -len(part.notes)))
    return kept[:_MOST_PARTS]
