"""The MIDI writer, read back byte by byte. Alone: pytest tests/data/test_midi.py"""

from pathlib import Path

import pytest

from data.midi import Note, Part, read_bpm, read_midi, usual_bpm, write_midi

PIANO = Part(
    name="piano",
    program=0,
    notes=(Note(start=0, beats=1, pitch=60, velocity=100), Note(start=1, beats=0.5, pitch=64, velocity=90)),
)
KIT = Part(name="drums", program=0, notes=(Note(start=0, beats=0.2, pitch=36, velocity=100),), is_drums=True)


def _tracks(content: bytes) -> list[bytes]:
    assert content[:4] == b"MThd"
    count = int.from_bytes(content[10:12], "big")
    tracks, position = [], 14
    for _ in range(count):
        assert content[position : position + 4] == b"MTrk"
        length = int.from_bytes(content[position + 4 : position + 8], "big")
        tracks.append(content[position + 8 : position + 8 + length])
        position += 8 + length
    assert position == len(content)
    return tracks


def _events(track: bytes) -> list[tuple[int, bytes]]:
    """(tick, message) of a track as `write_midi` writes it: no running status, meta events of one length byte."""
    events, position, tick = [], 0, 0
    while position < len(track):
        delta = 0
        while True:
            byte = track[position]
            position += 1
            delta = delta << 7 | byte & 0x7F
            if byte < 0x80:
                break
        tick += delta
        status = track[position]
        size = 3 + track[position + 2] if status == 0xFF else 2 if status & 0xF0 == 0xC0 else 3
        events.append((tick, track[position : position + size]))
        position += size
    return events


def test_file_holds_tempo_programs_notes_and_their_releases(tmp_path: Path) -> None:
    write_midi(tmp_path / "a.mid", [PIANO], bpm=120, end_beat=3)
    tempo, piano = (_events(track) for track in _tracks((tmp_path / "a.mid").read_bytes()))
    assert tempo[0] == (0, b"\xff\x51\x03" + (500_000).to_bytes(3, "big"))  # 120 a minute is 500,000 µs a beat
    assert (0, b"\xc0\x00") in piano
    notes = [event for event in piano if event[1][0] in (0x80, 0x90)]
    assert notes == [
        (0, bytes((0x90, 60, 100))),
        (480, bytes((0x80, 60, 0))),
        (480, bytes((0x90, 64, 90))),
        (720, bytes((0x80, 64, 0))),
    ]


def test_every_track_lasts_until_the_end_of_the_piece(tmp_path: Path) -> None:
    write_midi(tmp_path / "a.mid", [PIANO, KIT], bpm=90, end_beat=300)  # far enough for a delta of three bytes
    for track in _tracks((tmp_path / "a.mid").read_bytes()):
        assert _events(track)[-1] == (300 * 480, b"\xff\x2f\x00")


def test_drums_play_on_the_tenth_channel_and_nothing_else_does(tmp_path: Path) -> None:
    write_midi(tmp_path / "a.mid", [PIANO] * 10 + [KIT] + [PIANO] * 5, bpm=90, end_beat=4)
    tracks = _tracks((tmp_path / "a.mid").read_bytes())[1:]
    channels = [{message[0] & 0x0F for _, message in _events(track) if message[0] < 0xF0} for track in tracks]
    assert channels[10] == {9}
    assert [channel for used in channels[:10] + channels[11:] for channel in used] == [*range(9), *range(10, 16)]


def test_a_repeated_key_is_released_before_it_is_struck_again(tmp_path: Path) -> None:
    overlapping = (Note(start=0, beats=2, pitch=60, velocity=80), Note(start=1, beats=2, pitch=60, velocity=80))
    write_midi(tmp_path / "a.mid", [Part(name="piano", program=0, notes=overlapping)], bpm=60, end_beat=4)
    events = _events(_tracks((tmp_path / "a.mid").read_bytes())[1])
    notes = [(tick, message[0]) for tick, message in events if message[0] in (0x80, 0x90)]
    assert notes == [(0, 0x90), (480, 0x80), (480, 0x90), (1440, 0x80)]


def test_too_many_parts_and_notes_past_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 melodic parts"):
        write_midi(tmp_path / "a.mid", [PIANO] * 16, bpm=60, end_beat=4)
    with pytest.raises(ValueError, match="after the end of the piece"):
        write_midi(tmp_path / "a.mid", [PIANO], bpm=60, end_beat=1)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    flute = Part(name="flute", program=73, notes=(Note(start=2, beats=1, pitch=72, velocity=70),), volume=64)
    write_midi(tmp_path / "a.mid", [PIANO, KIT, flute], bpm=90, end_beat=4)
    parts = read_midi(tmp_path / "a.mid")
    assert [(part.program, part.is_drums, part.volume, part.notes) for part in parts] == [
        (0, False, 100, PIANO.notes),
        (0, True, 100, KIT.notes),
        (73, False, 64, flute.notes),
    ]


def test_running_status_and_silent_strikes_as_releases_are_understood(tmp_path: Path) -> None:
    track = b"\x00\x90\x3c\x40" + b"\x60\x3c\x00" + b"\x00\x3e\x40" + b"\x60\x3e\x00" + b"\x00\xff\x2f\x00"
    header = b"MThd" + bytes((0, 0, 0, 6, 0, 0, 0, 1, 0, 96))
    (tmp_path / "a.mid").write_bytes(header + b"MTrk" + len(track).to_bytes(4, "big") + track)
    (part,) = read_midi(tmp_path / "a.mid")
    assert [(note.start, note.beats, note.pitch) for note in part.notes] == [(0, 1, 60), (1, 1, 62)]


def _read(path: Path, events: list[tuple[int, bytes]], **options: bool) -> list[tuple[int, float, float, int]]:
    """The notes of a file of one track with these (ticks since the last event, message), 96 ticks a beat."""
    track = b"".join(bytes((delta,)) + event for delta, event in [*events, (0, b"\xff\x2f\x00")])
    header = b"MThd" + bytes((0, 0, 0, 6, 0, 0, 0, 1, 0, 96))
    path.write_bytes(header + b"MTrk" + len(track).to_bytes(4, "big") + track)
    parts = read_midi(path, **options)
    return [(part.program, note.start, note.beats, note.velocity) for part in parts for note in part.notes]


STRIKE, AGAIN, RELEASE = b"\x90\x3c\x40", b"\x90\x3c\x50", b"\x80\x3c\x00"
PEDAL_DOWN, PEDAL_UP = b"\xb0\x40\x7f", b"\xb0\x40\x00"


def test_a_key_that_is_struck_again_has_sounded_until_then(tmp_path: Path) -> None:
    events = [(0, STRIKE), (96, AGAIN), (48, RELEASE), (96, RELEASE)]
    assert _read(tmp_path / "a.mid", events) == [(0, 0, 1, 64), (0, 1, 0.5, 80)]
    assert _read(tmp_path / "a.mid", events, keep_restruck=False) == [(0, 1, 0.5, 80)]
    assert _read(tmp_path / "a.mid", [(0, STRIKE), (0, AGAIN), (96, RELEASE)]) == [(0, 0, 1, 80)]


def test_a_note_is_of_the_program_that_it_began_with(tmp_path: Path) -> None:
    events = [(0, b"\xc0\x05"), (0, STRIKE), (48, b"\xc0\x06"), (48, RELEASE), (0, STRIKE), (96, RELEASE)]
    assert _read(tmp_path / "a.mid", events) == [(5, 0, 1, 64), (6, 1, 1, 64)]


def test_what_is_never_released_sounds_until_the_end(tmp_path: Path) -> None:
    assert _read(tmp_path / "a.mid", [(0, STRIKE), (96, b"\x90\x3e\x40"), (96, RELEASE)]) == [
        (0, 0, 2, 64),
        (0, 1, 1, 64),
    ]


def test_the_pedal_holds_notes_until_it_is_let_go_or_they_are_struck_again(tmp_path: Path) -> None:
    events = [(0, PEDAL_DOWN), (0, STRIKE), (24, RELEASE), (72, PEDAL_UP), (96, STRIKE), (96, RELEASE)]
    assert _read(tmp_path / "a.mid", events) == [(0, 0, 1, 64), (0, 2, 1, 64)]
    events = [(0, PEDAL_DOWN), (0, STRIKE), (24, RELEASE), (72, AGAIN), (96, PEDAL_UP), (96, RELEASE)]
    assert _read(tmp_path / "a.mid", events) == [(0, 0, 1, 64), (0, 1, 2, 80)]  # the second key is down until the end


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_midi(tmp_path / "a.mid", [PIANO, KIT], bpm=120, end_beat=3)
    whole = (tmp_path / "a.mid").read_bytes()
    for length in range(14, len(whole)):
        (tmp_path / "a.mid").write_bytes(whole[:length])
        for read in (read_midi, read_bpm):
            with pytest.raises(ValueError, match=r"a\.mid: (ends within track [123]|holds [012] of 3 tracks); copy it"):
                read(tmp_path / "a.mid")
    damaged = whole[:14] + whole[14:].replace(b"\xff\x51\x03", b"\xff\x51\x7f")  # a tempo longer than its track
    (tmp_path / "a.mid").write_bytes(damaged)
    with pytest.raises(ValueError, match="ends within track 1"):
        read_bpm(tmp_path / "a.mid")


def test_what_is_no_midi_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(b"RIFF" + bytes(20))
    with pytest.raises(ValueError, match="not a MIDI file"):
        read_midi(tmp_path / "a.mid")


def test_the_tempo_is_read_and_a_piece_that_changes_it_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    write_midi(path, [PIANO], bpm=96, end_beat=3)
    assert read_bpm(path) == pytest.approx(96, abs=0.001)  # whole microseconds a beat
    slower = b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big")
    path.write_bytes(path.read_bytes() + b"MTrk" + len(slower).to_bytes(4, "big") + slower)
    with pytest.raises(ValueError, match="has 2 tempos; need one"):
        read_bpm(path)


def test_the_usual_tempo_is_that_of_most_beats(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    long = Part(name="piano", program=0, notes=(Note(start=0, beats=10, pitch=60, velocity=90),))
    write_midi(path, [long], bpm=96, end_beat=10)
    assert usual_bpm(path.read_bytes(), "a") == pytest.approx(96, abs=0.001)
    ticks = b"\x8f\x00"  # 1,920, four beats
    slower = ticks + b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")
    path.write_bytes(path.read_bytes() + b"MTrk" + len(slower).to_bytes(4, "big") + slower)
    assert usual_bpm(path.read_bytes(), "a") == 60
    track = b"\x00\x90\x3c\x40\x60\x3c\x00\x00\xff\x2f\x00"
    silent_on_tempo = b"MThd" + bytes((0, 0, 0, 6, 0, 0, 0, 1, 0, 96)) + b"MTrk" + len(track).to_bytes(4, "big") + track
    assert usual_bpm(silent_on_tempo, "a") == 120
