"""Windows of recordings whose notes are known, from small MIDI files made here.

Run: pytest tests/data/datasets/test_planetblupi.py.
"""

from pathlib import Path

import pytest

from data.datasets import planetblupi
from data.datasets.planetblupi import MIDI, OGG, midi_of, planetblupi_windows
from data.errors import ManifestError
from data.manifest import Track
from data.midi import Note, Part, write_midi


def held(start: float, seconds: float, *, velocity: int = 100) -> Note:
    return Note(start=start, beats=seconds, pitch=60, velocity=velocity)  # at 60 beats a minute


def part(program: int, *notes: Note, is_drums: bool = False, volume: int = 127) -> Part:
    return Part(name="part", program=program, notes=notes, is_drums=is_drums, volume=volume)


# Twelve windows of 5 s. Koto in the first; an organ from 9 s to 10 s, too short to be sure of; a vibraphone that cannot
# be heard; drums, each hit a twentieth of a second, all of the time but for seconds 20 to 31; a bass all of the time.
PARTS = [
    part(107, held(0, 5)),
    part(18, held(9, 1)),
    part(11, held(40, 5, velocity=20)),
    part(0, *(held(beat / 2, 0.05) for beat in range(120) if not 40 <= beat < 62), is_drums=True),
    part(33, held(0, 60)),
]


@pytest.fixture
def song(tmp_path, monkeypatch) -> Track:
    """A track of the Ogg package whose notes lie in the other; of two windows a word must be true, of two false."""
    monkeypatch.setattr(planetblupi, "FEWEST_WINDOWS", 1)
    return write_song(tmp_path, PARTS)


def write_song(folder: Path, parts: list[Part], *, seconds: float | None = 62.0) -> Track:
    path = folder / OGG / "music" / "music000.ogg"
    midi_of(path).parent.mkdir(parents=True, exist_ok=True)
    write_midi(midi_of(path), parts, bpm=60, end_beat=121)
    return Track(id=f"{OGG}/music000.ogg", path=path, seconds=seconds, split="heldout", facts={"package": OGG})


def test_every_whole_window_of_the_notes_is_a_track_of_its_recording(song):
    dataset = planetblupi_windows([song, Track(id="other", path=Path("other.ogg"))])
    assert len(dataset.tracks) == 12
    second = dataset.tracks[1]
    assert (second.id, second.start, second.end) == (f"{OGG}/music000.ogg#5", 5.0, 10.0)
    assert {track.facts["recording"] for track in dataset.tracks} == {song.id}


def test_what_sounds_for_a_quarter_of_a_window_is_true_and_what_does_not_sound_at_all_is_false(song):
    windows = planetblupi_windows([song]).tracks
    # In the second window the koto may still be dying away.
    assert [window.has("koto") for window in windows[:4]] == [True, None, False, False]
    # One second of the second window is no quarter of it, and the window after it begins as the organ stops.
    assert [window.has("organ") for window in windows[:4]] == [False, None, None, False]
    # Hits ring for a quarter second, so two a second fill half of a window. The last before the pause is at 19.5 s.
    assert [window.has("drums") for window in windows[3:8]] == [True, None, False, True, True]
    assert all(window.has("bass guitar") for window in windows)


def test_words_that_some_would_say_are_unknown(song):
    windows = planetblupi_windows([song]).tracks
    assert windows[3].has("guitar") is None  # a bass guitar
    assert windows[0].has("harp") is None  # a koto
    assert windows[3].has("harp") is False


def test_notes_too_soft_to_be_heard_make_nothing_true_and_nothing_false(song):
    windows = planetblupi_windows([song]).tracks
    assert [window.has("vibraphone") for window in windows[7:11]] == [False, None, None, False]


def test_words_that_are_true_of_too_few_windows_are_no_labels(tmp_path):
    notes = [part(107, held(0, 35)), part(18, *(held(second, 5) for second in (0, 5))), part(33, held(0, 60))]
    song = write_song(tmp_path, notes)
    with pytest.raises(ManifestError, match="no word is true of 10 windows and false of as many"):
        planetblupi_windows([song])


def test_a_word_that_is_true_of_ten_windows_and_false_of_ten_is_a_label(tmp_path):
    song = write_song(tmp_path, [part(107, held(0, 50)), part(33, held(0, 120))], seconds=122.0)
    assert planetblupi_windows([song]).labels == ("koto",)  # 10 windows with, 1 unknown, 13 without


def test_audio_that_is_not_the_notes_played_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"its length is 90.0 s, but .*music000.mid ends after 60.0 s"):
        planetblupi_windows([write_song(tmp_path, PARTS, seconds=90.0)])
    with pytest.raises(ManifestError, match="its length is unknown"):
        planetblupi_windows([write_song(tmp_path, PARTS, seconds=None)])


def test_missing_music_and_missing_notes_are_refused_with_a_remedy(song):
    with pytest.raises(ManifestError, match="mulan data music FOLDER --reserved"):
        planetblupi_windows([Track(id="other", path=Path("other.ogg"))])
    assert MIDI in midi_of(song.path).parts
    midi_of(song.path).write_bytes(midi_of(song.path).read_bytes()[:-5])
    with pytest.raises(ManifestError, match=r"music000.mid: cannot be read as the notes of .*: ends within"):
        planetblupi_windows([song])
    midi_of(song.path).unlink()
    with pytest.raises(ManifestError, match=r"music000.mid: cannot be read as the notes of music000.ogg"):
        planetblupi_windows([song])
