"""Recordings whose notes are known: planetblupi's ten Ogg files, each of which is its MIDI file played.

Source: the Debian packages planetblupi-music-ogg and planetblupi-music-midi, which no model of ours may learn from.
Each MIDI keeps one tempo; the Ogg goes on for 2 to 4 s, as the last notes die away. Loading checks no more than this
length. That the notes sound where the MIDI says was checked once, in Debian 12's packages: in four excerpts of 90 s of
each track, from beginning to end, the spectral flux of the audio was correlated with the notes' onsets at lags up to
4 s. In 35 of the 40 the best lag was 0.03 to 0.09 s; in the others, of music that repeats itself, a lag of whole beats
was better by at most 0.03, and the peak at 0.03 to 0.09 s was there, too, at 0.6 or more.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.datasets.dataset import Dataset
from data.errors import ManifestError
from data.instruments import DRUMLIKE, INSTRUMENT_TAGS, INSTRUMENTS
from data.manifest import Track
from data.midi import Note, Part, read_bpm, read_midi

OGG, MIDI = "planetblupi-music-ogg", "planetblupi-music-midi"
WINDOW_SECONDS = 5.0
"""As mulan-mini cuts music; in windows twice as long, the drums of planetblupi pause but three times."""
PRESENT_SECONDS = 1.25
"""Of a window: as long must an instrument sound to be present. For less, nothing is known of it."""
FEWEST_WINDOWS = 10
"""A word is judged that is true of as many windows, and false of as many."""

_LONGEST_TAIL = 5.0  # seconds of an Ogg after the last note
_FADING = 1.0  # seconds; who stopped playing so shortly before a window is not certainly absent from it
_SHORTEST_SOUND = 0.25  # seconds; a struck thing rings on, however short its note is written
_AUDIBLE = 30.0  # of 127: velocity times volume
_PER_SECOND = 100  # as finely is it known when a part sounds
_DRUMS = "drums"


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """A part and when it sounds, bool for each hundredth of a second: by its audible notes, and by all of them."""

    part: Part
    audible: np.ndarray
    all: np.ndarray

    @property
    def true(self) -> tuple[str, ...]:
        """The words that are true where it sounds."""
        return (_DRUMS,) if self.part.is_drums else INSTRUMENTS[self.part.program].tags

    @property
    def not_false(self) -> tuple[str, ...]:
        """The words that are not false where it sounds, be it ever so little."""
        if self.part.is_drums:
            return (_DRUMS,)
        instrument = INSTRUMENTS[self.part.program]
        drumlike = (_DRUMS,) if self.part.program in DRUMLIKE else ()
        return (*instrument.tags, *instrument.unsure, *drumlike)


def planetblupi_windows(tracks: Sequence[Track]) -> Dataset:
    """Windows of 5 s, each with the instruments that its MIDI file says sound there, and whether there are drums.

    Windows of one recording are no independent witnesses: `facts["recording"]` names it, and figures are resampled by
    recordings, of which there are ten.

    Args:
        tracks: as `data.debian_music.list_music` gives them, with their MIDI files where the packages put them.

    Raises:
        ManifestError: none is of planetblupi, a MIDI file is missing or is not that of its Ogg, or no word is true of
            some windows and false of others.
    """
    chosen = [track for track in tracks if track.facts.get("package") == OGG]
    if not chosen:
        raise ManifestError(f"no track of {OGG} is there; fetch it with `mulan data music FOLDER --reserved`")
    windows = tuple(window for track in chosen for window in _windows(track))
    true = Counter(word for window in windows for word in window.tags)
    false = Counter(word for window in windows for word in window.absent)
    labels = tuple(word for word in (*INSTRUMENT_TAGS, _DRUMS) if min(true[word], false[word]) >= FEWEST_WINDOWS)
    if not labels:
        raise ManifestError(f"{OGG}: no word is true of {FEWEST_WINDOWS} windows and false of as many; fetch all of it")
    return Dataset(name="planetblupi", split=f"windows of {WINDOW_SECONDS:g} s", labels=labels, tracks=windows)


def midi_of(path: Path) -> Path:
    """Where the notes of an Ogg file of planetblupi lie."""
    return Path(*(MIDI if part == OGG else part for part in path.parts)).with_suffix(".mid")


def _windows(track: Track) -> Iterator[Track]:
    heard = _heard(track)
    end = len(heard[0].all) / _PER_SECOND
    if track.length is None or not 0 <= track.length - end <= _LONGEST_TAIL:
        found = "unknown" if track.length is None else f"{track.length:.1f} s"
        raise ManifestError(
            f"{track.path}: its length is {found}, but {midi_of(track.path)} ends after {end:.1f} s, so it is not the"
            " same music; fetch both packages again"
        )
    for number in range(int(end // WINDOW_SECONDS)):
        start = number * WINDOW_SECONDS
        verdicts = _verdicts(heard, start)
        yield replace(
            track,
            id=f"{track.id}#{start:g}",
            start=start,
            end=start + WINDOW_SECONDS,
            tags=tuple(word for word, verdict in verdicts.items() if verdict is True),
            absent=tuple(word for word, verdict in verdicts.items() if verdict is False),
            facts={**track.facts, "recording": track.id},
        )


def _heard(track: Track) -> list[_Heard]:
    path = midi_of(track.path)
    try:
        parts, beat = read_midi(path), 60 / read_bpm(path)
        end = max(_end(note, beat) for part in parts for note in part.notes)  # a ValueError where there are none
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read as the notes of {track.path.name}: {error}") from error
    return [
        _Heard(
            part=part,
            audible=_sounding(_loud(part), beat, end),
            all=_sounding(part.notes, beat, end),
        )
        for part in parts
    ]


def _loud(part: Part) -> Sequence[Note]:
    return [note for note in part.notes if note.velocity * part.volume / 127 >= _AUDIBLE]


def _sounding(notes: Sequence[Note], beat: float, end: float) -> np.ndarray:
    """bool [hundredths of a second until `end`]: whether one of the notes is under way; a beat lasts `beat` seconds."""
    sounds = np.zeros(round(end * _PER_SECOND), bool)
    for note in notes:
        sounds[round(note.start * beat * _PER_SECOND) : round(_end(note, beat) * _PER_SECOND)] = True
    return sounds


def _end(note: Note, beat: float) -> float:
    return note.start * beat + max(note.beats * beat, _SHORTEST_SOUND)


def _verdicts(heard: Sequence[_Heard], start: float) -> Mapping[str, bool | None]:
    """Of each word whether it is true of a window; None where it is not known."""
    first, last = (round(seconds * _PER_SECOND) for seconds in (start, start + WINDOW_SECONDS))
    before = max(0, first - round(_FADING * _PER_SECOND))
    present = [part for part in heard if part.audible[first:last].sum() >= PRESENT_SECONDS * _PER_SECOND]
    touching = [part for part in heard if part.all[before:last].any()]
    true = {word for part in present for word in part.true}
    not_false = {word for part in touching for word in part.not_false}
    return {word: True if word in true else None if word in not_false else False for word in (*INSTRUMENT_TAGS, _DRUMS)}
