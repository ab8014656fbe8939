"""Standard MIDI Files: the notes of a piece, written as a program such as fluidsynth reads them."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

TICKS_PER_BEAT = 480
DRUM_CHANNEL = 9
_TEMPO = b"\xff\x51"
_VOLUME, _PEDAL = 7, 64  # controllers
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)


@dataclass(frozen=True, kw_only=True)
class Note:
    """One note; `start` and `beats` (its length) count quarter notes from the beginning of the piece."""

    start: float
    beats: float
    pitch: int
    velocity: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """The notes that one instrument plays; `program` counts from 0, and is the kit where `is_drums`."""

    name: str
    program: int
    notes: tuple[Note, ...]
    is_drums: bool = False
    volume: int = 100


def write_midi(path: Path, parts: Sequence[Part], *, bpm: float, end_beat: float) -> None:
    """Write a format-1 MIDI file whose every track lasts until `end_beat`, past the last note's release.

    Raises:
        ValueError: more parts than the 15 melodic channels, or a note that ends after `end_beat`.
    """
    melodic = sum(not part.is_drums for part in parts)
    if melodic > len(MELODIC_CHANNELS):
        raise ValueError(f"{path}: {melodic} melodic parts; MIDI has {len(MELODIC_CHANNELS)} melodic channels")
    channels = iter(MELODIC_CHANNELS)
    tempo = struct.pack(">I", round(60_000_000 / bpm))[1:]
    tracks = [_track([(0, _TEMPO + b"\x03" + tempo)], end_beat=end_beat)]
    for part in parts:
        channel = DRUM_CHANNEL if part.is_drums else next(channels)
        tracks.append(_track(_events(part, channel), end_beat=end_beat))
    header = b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), TICKS_PER_BEAT)
    path.write_bytes(header + b"".join(tracks))


def _events(part: Part, channel: int) -> Iterable[tuple[int, bytes]]:
    yield 0, bytes((0xC0 | channel, part.program))
    yield 0, bytes((0xB0 | channel, 7, part.volume))
    for start, end, note in _separated(part.notes):
        yield start, bytes((0x90 | channel, note.pitch, note.velocity))
        yield end, bytes((0x80 | channel, note.pitch, 0))


def _separated(notes: Iterable[Note]) -> list[tuple[int, int, Note]]:
    """Ticks of each note's start and end; a key is released before it is struck again.

    Where two notes of one pitch overlap, the first one's release would otherwise cut the second short.
    """
    following: dict[int, int] = {}
    result = []
    for note in sorted(notes, key=lambda note: note.start, reverse=True):
        start = max(0, round(note.start * TICKS_PER_BEAT))
        end = min(start + max(1, round(note.beats * TICKS_PER_BEAT)), following.get(note.pitch, 1 << 30))
        if end > start:
            following[note.pitch] = start
            result.append((start, end, note))
    return result[::-1]


def _track(events: Iterable[tuple[int, bytes]], *, end_beat: float) -> bytes:
    end_tick = round(end_beat * TICKS_PER_BEAT)
    # At one tick: settings first, then releases, then strikes, so that a repeated note sounds again.
    order = {0x80: 1, 0x90: 2}
    body, now = b"", 0
    for tick, message in sorted(events, key=lambda event: (event[0], order.get(event[1][0] & 0xF0, 0))):
        if tick > end_tick:
            raise ValueError(f"a note ends at tick {tick}, after the end of the piece at {end_tick}")
        body += _variable_length(tick - now) + message
        now = tick
    body += _variable_length(end_tick - now) + b"\xff\x2f\x00"
    return b"MTrk" + struct.pack(">I", len(body)) + body


def _variable_length(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | (value & 0x7F))
    return bytes(reversed(digits))


def read_midi(path: Path, *, keep_restruck: bool = True) -> list[Part]:
    """The parts of a MIDI file; see `parse_midi`.

    Raises:
        ValueError: as for `parse_midi`.
    """
    return parse_midi(path.read_bytes(), str(path), keep_restruck=keep_restruck)


def parse_midi(content: bytes, name: str, *, keep_restruck: bool = True) -> list[Part]:
    """The parts of a MIDI file: one for each channel and program, in the order in which they first sound.

    Only notes, programs, the sustain pedal and the first volume are read. Beats are the file's own, so its tempo does
    not matter. A note ends where its key is released and the pedal is up, where the key is struck again, or with the
    file; its program is that at its start.

    Args:
        name: stands in messages.
        keep_restruck: whether a note that is cut short as its key is struck again is a note.

    Raises:
        ValueError: it is not a MIDI file that counts ticks of a beat, or it is cut off.
    """
    events, division = _read_events(content, name)
    order = {0xC0: 0, 0xB0: 0, 0x80: 1, 0x90: 2}
    events.sort(key=lambda event: (event[0], 1 if _is_release(event[1]) else order.get(event[1][0] & 0xF0, 0)))
    return _parts_of(events, division, keep_restruck=keep_restruck)


def read_bpm(path: Path) -> float:
    """The tempo of a MIDI file that keeps one from beginning to end.

    Raises:
        ValueError: as for `read_midi`, or it gives no tempo, or changes it.
    """
    tempos = {bpm for _, bpm in _tempos(_read_events(path.read_bytes(), str(path))[0])}
    if len(tempos) != 1:
        raise ValueError(f"{path}: has {len(tempos)} tempos; need one")
    return tempos.pop()


def usual_bpm(content: bytes, name: str) -> float:
    """The tempo that a MIDI file keeps for most of its beats; 120, as its standard has it, where it gives none.

    Raises:
        ValueError: as for `parse_midi`.
    """
    events, _ = _read_events(content, name)
    last = max((tick for tick, _ in events), default=0)
    tempos = [(0, 120.0), *sorted(_tempos(events), key=lambda tempo: tempo[0])]
    beats: dict[float, int] = {}
    for (start, bpm), (end, _) in pairwise([*tempos, (last, 0.0)]):
        beats[bpm] = beats.get(bpm, 0) + end - start
    return max(beats, key=lambda bpm: beats[bpm])


def _tempos(events: Iterable[tuple[int, bytes]]) -> list[tuple[int, float]]:
    """Ticks at which a tempo begins, and beats a minute."""
    given = [(tick, int.from_bytes(message[2:], "big")) for tick, message in events if message[:2] == _TEMPO]
    return [(tick, 60_000_000 / microseconds) for tick, microseconds in given if microseconds]


def _read_events(content: bytes, path: str) -> tuple[list[tuple[int, bytes]], int]:
    """(tick, message) of all tracks, and how many ticks a beat has."""
    division = int.from_bytes(content[12:14], "big")
    if content[:4] != b"MThd" or division == 0 or division >= 0x8000:
        raise ValueError(f"{path}: not a MIDI file that counts ticks of a beat")
    events: list[tuple[int, bytes]] = []
    tracks = 0
    position = 8 + int.from_bytes(content[4:8], "big")
    try:
        while position + 8 <= len(content):
            length = int.from_bytes(content[position + 4 : position + 8], "big")
            if content[position : position + 4] == b"MTrk":
                events += _read_track(_taken(content, position + 8, length))
                tracks += 1
            position += 8 + length
    except IndexError as error:
        raise ValueError(f"{path}: ends within track {tracks + 1}; copy it again") from error
    if tracks < (stated := int.from_bytes(content[10:12], "big")):
        raise ValueError(f"{path}: holds {tracks} of {stated} tracks; copy it again")
    return events, division


def _taken(content: bytes, start: int, length: int) -> bytes:
    """A slice; an IndexError where there are fewer bytes."""
    if start + length > len(content):
        raise IndexError(f"{length} bytes at {start} of {len(content)}")
    return content[start : start + length]


def _is_release(message: bytes) -> bool:
    return message[0] & 0xF0 == 0x80 or (message[0] & 0xF0 == 0x90 and message[2] == 0)


def _read_track(track: bytes) -> list[tuple[int, bytes]]:
    """(tick, message) of everything that is said to a channel, or of the piece: that without its length."""
    events, position, tick, status = [], 0, 0, 0
    while position < len(track):
        delta, position = _read_length(track, position)
        tick += delta
        if track[position] >= 0x80:
            status = track[position]
            position += 1
        if status in (0xFF, 0xF0, 0xF7):
            kind = track[position : position + (status == 0xFF)]
            length, position = _read_length(track, position + len(kind))
            if kind:
                events.append((tick, bytes((status,)) + kind + _taken(track, position, length)))
            position += length
            continue
        size = 1 if status & 0xF0 in (0xC0, 0xD0) else 2
        events.append((tick, bytes((status, *_taken(track, position, size)))))
        position += size
    return events


def _read_length(track: bytes, position: int) -> tuple[int, int]:
    value = 0
    while True:
        byte = track[position]
        position += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position


class _Keys:
    """The keys that sound, and the notes that they have become: by channel and program, in the order of their ends."""

    def __init__(self, *, keep_restruck: bool) -> None:
        self._keep_restruck = keep_restruck
        self.notes: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}  # start, end, pitch, velocity
        self._sounding: dict[tuple[int, int], tuple[int, int, int]] = {}  # by channel and pitch
        self._pedals: set[int] = set()
        self._held: set[tuple[int, int]] = set()  # released, but the pedal is down

    def strike(self, channel: int, pitch: int, *, tick: int, velocity: int, program: int) -> None:
        """A key that sounds ends where it is struck again; of two strikes at once the later one counts."""
        if self._keep_restruck:
            self._end((channel, pitch), tick)
        self._held.discard((channel, pitch))
        self._sounding[channel, pitch] = (tick, velocity, program)
        self.notes.setdefault((channel, program), [])

    def release(self, channel: int, pitch: int, *, tick: int) -> None:
        if channel in self._pedals:
            self._held.add((channel, pitch))
        else:
            self._end((channel, pitch), tick)

    def press_pedal(self, channel: int, *, tick: int, is_down: bool) -> None:
        if is_down:
            self._pedals.add(channel)
            return
        self._pedals.discard(channel)
        for key in sorted(key for key in self._held if key[0] == channel):
            self._end(key, tick)

    def end_all(self, tick: int) -> None:
        for key in list(self._sounding):
            self._end(key, tick)

    def _end(self, key: tuple[int, int], tick: int) -> None:
        self._held.discard(key)
        start, velocity, program = self._sounding.pop(key, (tick, 0, 0))
        if tick > start:
            self.notes[key[0], program].append((start, tick, key[1], velocity))


def _parts_of(events: Sequence[tuple[int, bytes]], division: int, *, keep_restruck: bool) -> list[Part]:
    programs: dict[int, int] = {}
    volumes: dict[int, int] = {}
    keys = _Keys(keep_restruck=keep_restruck)
    for tick, message in events:
        channel, kind = message[0] & 0x0F, message[0] & 0xF0
        if kind == 0xC0:
            programs[channel] = message[1]
        elif kind == 0xB0 and message[1] == _VOLUME:
            volumes.setdefault(channel, message[2])
        elif kind == 0xB0 and message[1] == _PEDAL:
            keys.press_pedal(channel, tick=tick, is_down=message[2] >= 64)
        elif kind == 0x90 and message[2] > 0:
            keys.strike(channel, message[1], tick=tick, velocity=message[2], program=programs.get(channel, 0))
        elif _is_release(message):
            keys.release(channel, message[1], tick=tick)
    keys.end_all(max((tick for tick, _ in events), default=0))
    return [
        Part(
            name=f"channel {channel + 1}",
            program=program,
            notes=tuple(
                Note(start=start / division, beats=(end - start) / division, pitch=pitch, velocity=velocity)
                for start, end, pitch, velocity in played
            ),
            is_drums=channel == DRUM_CHANNEL,
            volume=volumes.get(channel, 100),
        )
        for (channel, program), played in keys.notes.items()
        if played
    ]
