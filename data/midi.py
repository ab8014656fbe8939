"""Standard MIDI Files: the notes of a piece, written as a program such as fluidsynth reads them."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_BEAT = 480
DRUM_CHANNEL = 9
_TEMPO = b"\xff\x51"
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


def read_midi(path: Path) -> list[Part]:
    """The parts of a MIDI file: one for each channel and program, in the order in which they first sound.

    Only notes, programs and the first volume are read. Beats are the file's own, so its tempo does not matter.

    Raises:
        ValueError: it is not a MIDI file that counts ticks of a beat.
    """
    events, division = _read_events(path)
    order = {0xC0: 0, 0xB0: 0, 0x80: 1, 0x90: 2}
    events.sort(key=lambda event: (event[0], 1 if _is_release(event[1]) else order.get(event[1][0] & 0xF0, 0)))
    return _parts_of(events, division)


def read_bpm(path: Path) -> float:
    """The tempo of a MIDI file that keeps one from beginning to end.

    Raises:
        ValueError: it is not a MIDI file that counts ticks of a beat, or gives no tempo, or changes it.
    """
    tempos = {message[2:] for _, message in _read_events(path)[0] if message[:2] == _TEMPO}
    if len(tempos) != 1:
        raise ValueError(f"{path}: has {len(tempos)} tempos; need one")
    return 60_000_000 / int.from_bytes(tempos.pop(), "big")


def _read_events(path: Path) -> tuple[list[tuple[int, bytes]], int]:
    """(tick, message) of all tracks, and how many ticks a beat has."""
    content = path.read_bytes()
    division = int.from_bytes(content[12:14], "big")
    if content[:4] != b"MThd" or division == 0 or division >= 0x8000:
        raise ValueError(f"{path}: not a MIDI file that counts ticks of a beat")
    events: list[tuple[int, bytes]] = []
    position = 8 + int.from_bytes(content[4:8], "big")
    while position + 8 <= len(content):
        length = int.from_bytes(content[position + 4 : position + 8], "big")
        if content[position : position + 4] == b"MTrk":
            events += _read_track(content[position + 8 : position + 8 + length])
        position += 8 + length
    return events, division


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
                events.append((tick, bytes((status,)) + kind + track[position : position + length]))
            position += length
            continue
        size = 1 if status & 0xF0 in (0xC0, 0xD0) else 2
        events.append((tick, bytes((status, *track[position : position + size]))))
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


def _parts_of(events: Iterable[tuple[int, bytes]], division: int) -> list[Part]:
    programs: dict[int, int] = {}
    volumes: dict[int, int] = {}
    sounding: dict[tuple[int, int], tuple[int, int]] = {}
    notes: dict[tuple[int, int], list[Note]] = {}
    for tick, message in events:
        channel, kind = message[0] & 0x0F, message[0] & 0xF0
        if kind == 0xC0:
            programs[channel] = message[1]
        elif kind == 0xB0 and message[1] == 7:
            volumes.setdefault(channel, message[2])
        elif kind == 0x90 and message[2] > 0:
            sounding[channel, message[1]] = (tick, message[2])
            notes.setdefault((channel, programs.get(channel, 0)), [])
        elif _is_release(message) and (channel, message[1]) in sounding:
            start, velocity = sounding.pop((channel, message[1]))
            beats = (tick - start) / division
            note = Note(start=start / division, beats=beats, pitch=message[1], velocity=velocity)
            notes.setdefault((channel, programs.get(channel, 0)), []).append(note)
    return [
        Part(
            name=f"channel {channel + 1}",
            program=program,
            notes=tuple(played),
            is_drums=channel == DRUM_CHANNEL,
            volume=volumes.get(channel, 100),
        )
        for (channel, program), played in notes.items()
        if played
    ]
