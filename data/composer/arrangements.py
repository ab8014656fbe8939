"""Music that others wrote for bands, from the MIDI files of free games: their notes, on their instruments or on ours.

The files are those that Debian's packages install. What is rendered from them is trained on and not handed on.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from data.composer.casting import draw_program
from data.composer.sketch import Sketch, kind_of_drums, longest_rest, turned_up
from data.errors import MulanError
from data.instruments import BASSES, INSTRUMENTS, NOISES
from data.midi import Note, Part, parse_midi, usual_bpm

_ATTEMPTS = 200
_FASTEST_BPM = 190  # what counts more beats a minute is counted in halves
_BEATS_PER_BAR = 4
_MOST_PARTS = 14
# What a caption names is heard in nearly every excerpt of five seconds.
_LONGEST_REST_SECONDS = 3.5
_RECAST_SHARE, _EXCHANGED_SHARE = 0.8, 0.6  # of the pieces, and of the instruments in these
_WAD_HEADER, _WAD_ENTRY, _MIDI = b"IWAD", 16, b"MThd"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a Debian package puts its MIDI files, or the archives (WAD) that hold them."""

    package: str
    folder: Path
    pattern: str


_GAMES = Path("/usr/share/games")
SOURCES = (
    _Source(package="freedink-data", folder=_GAMES / "dink/dink/Sound", pattern="*.mid"),
    _Source(package="freedoom", folder=_GAMES / "doom", pattern="freedoom?.wad"),
    _Source(package="openttd-openmsx", folder=_GAMES / "openttd/baseset/openmsx", pattern="*.mid"),
    _Source(package="simutrans-data", folder=_GAMES / "simutrans/music", pattern="*.mid"),
)


@dataclass(frozen=True, kw_only=True)
class _Song:
    """A MIDI file: one part for each instrument, and one for the drums."""

    name: str
    parts: tuple[Part, ...]
    bpm: float

    @property
    def beats(self) -> float:
        return max(note.start + note.beats for part in self.parts for note in part.notes)


def check_songs() -> None:
    """Raise MulanError where a package is not installed."""
    for source in SOURCES:
        if not any(source.folder.glob(source.pattern)):
            raise MulanError(f"{source.folder}: has no {source.pattern}; on Debian: apt install {source.package}")


def arrange_song(rng: np.random.Generator, *, seconds: float) -> Sketch:
    """About `seconds` of a song, in another key and at another tempo, its instruments kept or exchanged.

    Nothing is known of its style. Parts that rest for long are left out, since an excerpt may not have them.

    Raises:
        MulanError: a package is not installed.
    """
    songs = _songs()
    for _ in range(_ATTEMPTS):
        song = songs[rng.integers(len(songs))]
        bpm = round(song.bpm * float(rng.uniform(0.85, 1.15)), 1)
        beats = seconds * bpm / 60
        bars = int((song.beats - beats) / _BEATS_PER_BAR)
        if bars < 0:
            continue
        first = float(_BEATS_PER_BAR * rng.integers(bars + 1))
        excerpts = (replace(part, notes=_excerpt(part.notes, first, beats)) for part in song.parts)
        longest = _LONGEST_REST_SECONDS * bpm / 60
        steady = [part for part in excerpts if part.notes and longest_rest(part.notes, beats) <= longest]
        if sum(not part.is_drums for part in steady) < 2:
            continue
        parts = _recast(steady, rng) if rng.random() < _RECAST_SHARE else steady
        shift = int(rng.integers(-3, 4))
        played = sorted((_play(part, shift) for part in parts), key=_leading_first)[:_MOST_PARTS]
        return Sketch(
            style=None,
            tags=(),
            unsure=(),
            parts=tuple(played),
            drums=kind_of_drums(played),
            bpm=bpm,
            beats_per_bar=_BEATS_PER_BAR,
            tonic=0,
            mode="",
            music_beats=beats,
            origin=song.name,
        )
    raise MulanError(f"found no excerpt of {seconds:.0f} s in {_ATTEMPTS} songs; give a shorter length")


def song_package(origin: str) -> str:
    """The Debian package of an arrangement's song, by the `origin` of its sketch."""
    return origin.partition("/")[0]


@cache
def _songs() -> tuple[_Song, ...]:
    check_songs()
    songs = []
    for source in SOURCES:
        for path in sorted(source.folder.glob(source.pattern)):
            for name, content in _midi_files(path):
                song = _read_song(f"{source.package}/{name}", content)
                songs += [song] if song else []
    return tuple(songs)


def _midi_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The name and content of a file, or of the MIDI files in a WAD, each content once."""
    content = path.read_bytes()
    if not content.startswith(_WAD_HEADER):
        yield path.stem, content
        return
    number, directory = (int.from_bytes(content[at : at + 4], "little") for at in (4, 8))
    seen = set()
    for entry in range(directory, directory + number * _WAD_ENTRY, _WAD_ENTRY):
        start, size = (int.from_bytes(content[at : at + 4], "little") for at in (entry, entry + 4))
        lump = content[start : start + size]
        if lump.startswith(_MIDI) and lump not in seen:
            seen.add(lump)
            name = content[entry + 8 : entry + 16].rstrip(b"\0").decode("ascii")
            yield f"{path.stem} {name}", lump


def _read_song(name: str, content: bytes) -> _Song | None:
    """None where it is beyond our reader."""
    try:
        parts, bpm = parse_midi(content, name), usual_bpm(content, name)
    except ValueError:
        return None
    scale = 0.5 if bpm > _FASTEST_BPM else 1.0
    together: dict[tuple[bool, int], list[Part]] = {}
    for part in parts:
        if part.is_drums or part.program not in NOISES:
            together.setdefault((part.is_drums, 0 if part.is_drums else part.program), []).append(part)
    joined = tuple(
        Part(
            name="drums" if is_drums else INSTRUMENTS[program].name,
            program=program,
            is_drums=is_drums,
            volume=max(80, *(part.volume for part in players)),
            notes=tuple(
                replace(note, start=note.start * scale, beats=note.beats * scale)
                for part in players
                for note in part.notes
            ),
        )
        for (is_drums, program), players in together.items()
    )
    return _Song(name=name, parts=joined, bpm=bpm * scale) if joined else None


def _excerpt(notes: Sequence[Note], first: float, beats: float) -> tuple[Note, ...]:
    return tuple(
        replace(note, start=note.start - first, beats=min(note.beats, first + beats - note.start))
        for note in notes
        if first <= note.start < first + beats - 0.1
    )


def _recast(parts: Sequence[Part], rng: np.random.Generator) -> list[Part]:
    """Some of the parts on other instruments, no two on the same: basses on basses, chords on what plays chords."""
    taken = {part.program for part in parts if not part.is_drums}
    recast = []
    for part in parts:
        if part.is_drums or rng.random() >= _EXCHANGED_SHARE:
            recast.append(part)
            continue
        drawn = (_draw_substitute(part, rng) for _ in range(_ATTEMPTS))
        program = next((program for program in drawn if program not in taken), part.program)
        taken.add(program)
        recast.append(replace(part, program=program, name=INSTRUMENTS[program].name))
    return recast


def _draw_substitute(part: Part, rng: np.random.Generator) -> int:
    if part.program in BASSES:
        return int(rng.choice(sorted(BASSES)))
    drawn = draw_program(rng)
    return drawn if INSTRUMENTS[drawn].is_chordal or not _has_chords(part) else part.program


def _has_chords(part: Part) -> bool:
    """Whether a third of the notes begin together with others."""
    starts = Counter(round(note.start, 2) for note in part.notes)
    return sum(count for count in starts.values() if count > 1) > len(part.notes) / 3


def _play(part: Part, shift: int) -> Part:
    part = turned_up(part)
    if part.is_drums:
        return part
    instrument = INSTRUMENTS[part.program]
    return replace(part, notes=tuple(replace(note, pitch=instrument.fold(note.pitch + shift)) for note in part.notes))


def _leading_first(part: Part) -> tuple[bool, bool, int]:
    return part.is_drums, part.program in BASSES, -len(part.notes)
