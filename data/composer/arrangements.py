"""Music that others wrote for bands, from the MIDI files of free games: their notes, on their instruments or on ours.

The files are those that Debian's packages install, each under a free licence; what is rendered from them is trained on
and not handed on.
"""

import logging
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from data.composer.casting import draw_program
from data.composer.sketch import Sketch, excerpt, kind_of_drums, longest_rest, part_for, turned_up
from data.errors import MulanError
from data.instruments import BASSES, INSTRUMENTS, NOISES
from data.midi import Note, Part, parse_midi, usual_bpm

logger = logging.getLogger(__name__)

_ATTEMPTS = 200
_FASTEST_BPM = 190  # what counts more beats a minute is counted in halves
# Excerpts begin with every fourth beat of a song, as most songs' bars do.
_BEATS = 4
_MOST_MELODIC_PARTS = 14
# What a caption names is heard in nearly every excerpt of five seconds.
_LONGEST_REST_SECONDS = 3.5
_FADED_SECONDS = 2.0  # a note struck or plucked that long ago is heard no more
_RECAST_SHARE, _EXCHANGED_SHARE = 0.8, 0.6  # of the pieces, and of the instruments in these
# How sharply notes must begin on quarters or thirds of beats, from 0 to 1: what somebody played without a metronome
# lies at 0.14 and below, and its tempo is not known.
_ON_THE_GRID = 0.4
_WAD_HEADER, _WAD_ENTRY, _MIDI = b"IWAD", 16, b"MThd"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a Debian package puts its MIDI files, or the archives (WAD) that hold them."""

    package: str
    licence: str
    folder: Path
    pattern: str


_GAMES = Path("/usr/share/games")
SOURCES = (
    Source(
        package="freedink-data",
        licence="zlib-like and GPL-3+ and public domain",
        folder=_GAMES / "dink/dink/Sound",
        pattern="*.mid",
    ),
    Source(package="freedoom", licence="BSD-3-Clause", folder=_GAMES / "doom", pattern="freedoom?.wad"),
    Source(package="openttd-openmsx", licence="GPL-2", folder=_GAMES / "openttd/baseset/openmsx", pattern="*.mid"),
    Source(package="simutrans-data", licence="Artistic-1.0", folder=_GAMES / "simutrans/music", pattern="*.mid"),
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
    """Raise MulanError where a package is not installed; warn of songs that cannot be used."""
    _songs()


def song_facts(origin: str) -> dict[str, str]:
    """Package, version and licence of an arrangement's song, by the `origin` of its sketch."""
    source = next(source for source in SOURCES if source.package == origin.partition("/")[0])
    return {"package": source.package, "version": _installed_version(source.package), "licence": source.licence}


def arrange_song(rng: np.random.Generator, *, seconds: float) -> Sketch:
    """About `seconds` of a song, in another key and at another tempo, its instruments kept or exchanged.

    Nothing is known of its style, key and metre. Parts that rest for long are left out, since an excerpt may not have
    them.

    Raises:
        MulanError: a package is not installed, or no song has so long an excerpt.
    """
    songs = _songs()
    for _ in range(_ATTEMPTS):
        song = songs[rng.integers(len(songs))]
        bpm = round(song.bpm * float(rng.uniform(0.85, 1.15)), 1)
        beats = seconds * bpm / 60
        latest = int((song.beats - beats) / _BEATS)
        if latest < 0:
            continue
        first = float(_BEATS * rng.integers(latest + 1))
        heard = [replace(part, notes=tuple(excerpt(part.notes, first=first, beats=beats))) for part in song.parts]
        cast = _recast(heard, rng) if rng.random() < _RECAST_SHARE else heard
        steady = [part for part in cast if part.notes and _longest_silence(part, bpm, beats) <= _LONGEST_REST_SECONDS]
        melodic = [part for part in steady if not part.is_drums]
        if len({part.name for part in melodic}) < 2:
            continue
        shift = int(rng.integers(-3, 4))
        played = [replace(part_for(part.program, part.notes, shift=shift), volume=part.volume) for part in melodic]
        played.sort(key=lambda part: (part.program in BASSES, -len(part.notes)))
        drums = [part for part in steady if part.is_drums]
        parts = tuple(turned_up(part) for part in (*played[:_MOST_MELODIC_PARTS], *drums))
        return Sketch(
            style=None,
            tags=(),
            unsure=(),
            parts=parts,
            drums=kind_of_drums(parts),
            bpm=bpm,
            beats_per_bar=0,
            tonic=0,
            mode="",
            music_beats=beats,
            origin=song.name,
        )
    raise MulanError(f"found no excerpt of {seconds:.0f} s in {_ATTEMPTS} attempts; give a shorter length")


@cache
def _songs() -> tuple[_Song, ...]:
    songs = []
    for source in SOURCES:
        paths = sorted(source.folder.glob(source.pattern))
        if not paths:
            raise MulanError(f"{source.folder}: has no {source.pattern}; on Debian: apt install {source.package}")
        for path in paths:
            for name, content in _midi_files(path):
                try:
                    songs.append(_read_song(f"{source.package}/{name}", content))
                except ValueError as error:
                    logger.warning("leaving out %s", error)
    return tuple(songs)


@cache
def _installed_version(package: str) -> str:
    """The version of an installed package, or "" where Debian's tools are missing."""
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


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


def _read_song(name: str, content: bytes) -> _Song:
    """A ValueError where it cannot be read, or does not keep to its beats."""
    parts, bpm = parse_midi(content, name), usual_bpm(content, name)
    scale = 0.5 if bpm > _FASTEST_BPM else 1.0
    players: dict[tuple[bool, int], list[Part]] = {}
    for part in parts:
        if part.is_drums or part.program not in NOISES:
            players.setdefault((part.is_drums, 0 if part.is_drums else part.program), []).append(part)
    joined = tuple(
        Part(
            name="drums" if is_drums else INSTRUMENTS[program].name,
            program=program,
            is_drums=is_drums,
            volume=max(80, *(part.volume for part in alike)),
            notes=tuple(
                replace(note, start=note.start * scale, beats=note.beats * scale)
                for part in alike
                for note in part.notes
            ),
        )
        for (is_drums, program), alike in players.items()
    )
    starts = np.array([note.start for part in joined for note in part.notes])
    on_the_grid = max((abs(np.exp(2j * np.pi * starts * steps).mean()) for steps in (3, 4)), default=0.0)
    if not len(starts) or on_the_grid < _ON_THE_GRID:
        raise ValueError(f"{name}: does not keep to the beats of its file")
    return _Song(name=name, parts=joined, bpm=bpm * scale)


def _longest_silence(part: Part, bpm: float, beats: float) -> float:
    """Seconds of the longest silence; a held note of what fades is soon silence, too."""
    faded = _FADED_SECONDS * bpm / 60
    notes: Sequence[Note] = part.notes
    if not part.is_drums and INSTRUMENTS[part.program].fades:
        notes = [replace(note, beats=min(note.beats, faded)) for note in notes]
    return longest_rest(notes, beats) * 60 / bpm


def _recast(parts: Sequence[Part], rng: np.random.Generator) -> list[Part]:
    """Some of the parts on other instruments, no two on the same: basses on basses, chords on what plays chords."""
    taken = {part.name for part in parts}
    recast = []
    for part in parts:
        if part.is_drums or rng.random() >= _EXCHANGED_SHARE:
            recast.append(part)
            continue
        drawn = (_draw_substitute(part, rng) for _ in range(_ATTEMPTS))
        program = next((program for program in drawn if INSTRUMENTS[program].name not in taken), part.program)
        taken.add(INSTRUMENTS[program].name)
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
