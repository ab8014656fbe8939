"""Others' songs for bands, from MIDI files written here. Alone: pytest tests/data/composer/test_arrangements.py"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.compose import compose
from data.composer import arrangements
from data.composer.arrangements import arrange_song, check_songs, song_facts
from data.composer.sketch import Sketch, Wish
from data.errors import MulanError
from data.instruments import BASSES, INSTRUMENTS
from data.midi import Note, Part, write_midi

BARS = 16


def _steady(pitches: tuple[int, ...], *, until: float = 4.0 * BARS) -> tuple[Note, ...]:
    """A chord of these pitches on every beat."""
    beats = range(int(until))
    return tuple(Note(start=float(beat), beats=0.9, pitch=pitch, velocity=40) for beat in beats for pitch in pitches)


PIANO = Part(name="", program=0, notes=_steady((60, 64, 67)))
BASS = Part(name="", program=33, notes=_steady((40,)))
FLUTE = Part(name="", program=73, notes=_steady((72,)))
OBOE_THAT_STOPS = Part(name="", program=68, notes=_steady((70,), until=4))
KIT = Part(name="", program=0, notes=_steady((36, 42)), is_drums=True)
GUNSHOTS = Part(name="", program=127, notes=_steady((60,)))


@pytest.fixture
def song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., bytes]]:
    """Makes the songs consist of one, at 120 beats a minute, in a package called game-music."""
    source = arrangements.Source(package="game-music", licence="MIT", folder=tmp_path, pattern="*.mid")
    monkeypatch.setattr(arrangements, "SOURCES", (source,))
    arrangements._songs.cache_clear()

    def write(*parts: Part, bpm: float = 120.0) -> bytes:
        write_midi(tmp_path / "march.mid", parts, bpm=bpm, end_beat=4.0 * BARS)
        return (tmp_path / "march.mid").read_bytes()

    yield write
    arrangements._songs.cache_clear()


def _arranged(count: int) -> list[Sketch]:
    return [arrange_song(np.random.default_rng(seed), seconds=10) for seed in range(count)]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = arrangements.Source(package="game-music", licence="MIT", folder=tmp_path / "none", pattern="*.mid")
    monkeypatch.setattr(arrangements, "SOURCES", (source,))
    with pytest.raises(MulanError, match=r"none: has no \*\.mid; on Debian: apt install game-music"):
        check_songs()


def test_what_is_heard_throughout_stays_and_noises_and_long_rests_go(song: Callable[..., bytes]) -> None:
    song(PIANO, BASS, FLUTE, OBOE_THAT_STOPS, KIT, GUNSHOTS)
    for sketch in _arranged(12):
        assert [part.is_drums for part in sketch.parts] == [False, False, False, True]
        assert sketch.drums == "kit"
        assert (sketch.style, sketch.tags, sketch.unsure, sketch.mode) == (None, (), (), "")
        assert sketch.music_beats == pytest.approx(10 * sketch.bpm / 60)
        assert all(note.start + note.beats <= sketch.music_beats + 1e-9 for part in sketch.parts for note in part.notes)
        assert song_facts(sketch.origin) == {"package": "game-music", "version": "", "licence": "MIT"}


def test_tempo_and_key_move_a_little(song: Callable[..., bytes]) -> None:
    song(FLUTE, BASS)
    sketches = _arranged(60)
    tempi = [sketch.bpm for sketch in sketches]
    assert 120 * 0.85 <= min(tempi) < 110
    assert 130 < max(tempi) <= 120 * 1.15
    flutes = [part for sketch in sketches for part in sketch.parts if part.program == 73]
    assert {part.notes[0].pitch for part in flutes} == set(range(69, 76))


def test_a_song_counted_too_fast_is_counted_in_halves(song: Callable[..., bytes]) -> None:
    song(FLUTE, BASS, bpm=240)
    for sketch in _arranged(4):
        assert 120 * 0.85 <= sketch.bpm <= 120 * 1.15
        assert sketch.parts[0].notes[1].start == pytest.approx(0.5)


def test_instruments_are_exchanged_basses_for_basses_and_chords_for_what_plays_chords(
    song: Callable[..., bytes],
) -> None:
    song(PIANO, BASS, FLUTE, KIT)
    seen: dict[int, set[int]] = {1: set(), 3: set()}
    for sketch in _arranged(150):
        melodic = [part for part in sketch.parts if not part.is_drums]
        assert len({part.program for part in melodic}) == 3
        assert melodic[-1].program in BASSES  # the leading ones first, the bass last
        chords = max(melodic, key=lambda part: len(part.notes))
        assert INSTRUMENTS[chords.program].is_chordal
        for part in melodic:
            instrument = INSTRUMENTS[part.program]
            assert all(instrument.low <= note.pitch <= instrument.high for note in part.notes)
            assert np.mean([note.velocity for note in part.notes]) == pytest.approx(74)  # turned up from 40
            seen[3 if part is chords else 1].add(part.program)
    assert len(seen[3]) > 20
    assert len(seen[1] - BASSES) > 20
    assert {0} < seen[3]  # and some keep theirs
    assert 73 in seen[1]


def test_songs_in_an_archive_of_a_game_are_found_each_once(
    song: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = song(PIANO, BASS)
    lumps = [(b"D_ONE", content), (b"D_AGAIN", content), (b"SPRITE", b"no music")]
    body, directory = b"", b""
    for name, lump in lumps:
        directory += struct.pack("<II8s", 12 + len(body), len(lump), name)
        body += lump
    wad = b"IWAD" + struct.pack("<II", len(lumps), 12 + len(body)) + body + directory
    (tmp_path / "game.wad").write_bytes(wad)
    source = arrangements.Source(package="game", licence="MIT", folder=tmp_path, pattern="*.wad")
    monkeypatch.setattr(arrangements, "SOURCES", (source,))
    assert [found.name for found in arrangements._songs()] == ["game/game D_ONE"]


def test_what_fades_does_not_take_over_long_notes(song: Callable[..., bytes]) -> None:
    held = tuple(Note(start=float(beat), beats=16, pitch=60, velocity=90) for beat in range(0, 4 * BARS, 16))
    song(Part(name="", program=19, notes=held), FLUTE, BASS)
    organs = [part for sketch in _arranged(150) for part in sketch.parts if len(part.notes) <= 2]
    assert len({part.program for part in organs}) > 10
    assert not any(INSTRUMENTS[part.program].fades for part in organs)


def test_two_pianos_alone_are_no_arrangement(song: Callable[..., bytes]) -> None:
    song(PIANO, replace(PIANO, program=1))
    assert all(len({part.name for part in sketch.parts}) == 2 for sketch in _arranged(30))


def test_songs_that_cannot_be_used_are_left_out_with_a_warning_and_one_that_is_too_short_is_named(
    song: Callable[..., bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    free = tuple(Note(start=1.07 * beat, beats=0.5, pitch=60, velocity=90) for beat in range(50))
    write_midi(tmp_path / "free.mid", [replace(PIANO, notes=free)], bpm=90, end_beat=64)
    (tmp_path / "broken.mid").write_bytes(b"MThd, but no more")
    song(PIANO, BASS)
    assert [found.name for found in arrangements._songs()] == ["game-music/march"]
    assert "leaving out game-music/free: does not keep to the beats of its file" in caplog.text
    assert "leaving out game-music/broken: " in caplog.text
    with pytest.raises(MulanError, match="found no excerpt of 600 s"):
        arrange_song(np.random.default_rng(0), seconds=600)


def test_the_composer_gives_its_facts(song: Callable[..., bytes]) -> None:
    song(PIANO, BASS, KIT)
    wish = Wish(kind="arrangement")
    piece = compose("a", seed=1, seconds=12, wish=wish)
    assert piece == compose("a", seed=1, seconds=12, wish=wish)
    assert piece.facts.drums == "kit"
    assert set(piece.facts.programs) == {part.program for part in piece.parts if not part.is_drums}
    assert "drums" in piece.facts.tags
    assert (piece.facts.style, piece.facts.key, piece.facts.mode, piece.facts.beats_per_bar) == (None, "", "", 0)
