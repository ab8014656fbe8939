"""Rendering with fluidsynth. Alone: pytest tests/data/test_render.py (-m needs_fluidsynth for what plays sound)"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile

from data import render, soundfonts
from data.compose import compose
from data.composer.schedule import wish_for
from data.composer.sketch import Wish
from data.errors import MulanError
from data.facts import TAGS
from data.instruments import INSTRUMENTS
from data.manifest import Track, read_manifest, write_manifest
from data.midi import Note, Part
from data.render import (
    SAMPLE_RATE,
    heldout_id,
    level_db,
    render_corpus,
    render_waveform,
)
from data.soundfonts import HELDOUT_SOUNDFONT, TRAINING_SOUNDFONTS, Soundfont, soundfonts_for

WHISTLE = 78


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that renders is asked for."""
    for check in ("check_mma", "check_tabla", "check_songs", "scores_folder"):
        monkeypatch.setattr(render, check, lambda: None)
    monkeypatch.setattr(render, "check_soundfonts", lambda *, heldout: None)
    monkeypatch.setattr(render.shutil, "which", lambda name: f"/usr/bin/{name}")


def test_a_tenth_of_the_ids_is_held_out_and_always_the_same() -> None:
    held = [heldout_id(f"piece-1-{number:06d}") for number in range(5000)]
    assert 420 < sum(held) < 580  # 500 ± 4 deviations of 21
    assert held == [heldout_id(f"piece-1-{number:06d}") for number in range(5000)]


def test_a_missing_program_names_its_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MulanError, match="apt install fluidsynth"):
        render_corpus(tmp_path / "out", pieces=1, seed=1, heldout=False)


def test_a_missing_soundfont_names_its_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.shutil, "which", lambda name: f"/usr/bin/{name}")
    absent = Soundfont(name="a", path=tmp_path / "a.sf2", package="a-soundfont", gain=1.0)
    monkeypatch.setattr(soundfonts, "TRAINING_SOUNDFONTS", (absent,))
    with pytest.raises(MulanError, match=r"a\.sf2: no such soundfont; on Debian: apt install a-soundfont"):
        render_corpus(tmp_path / "out", pieces=1, seed=1, heldout=False)


@pytest.mark.parametrize("heldout", [False, True])
def test_repertoire_is_for_training_only_and_the_other_pieces_keep_their_wishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_programs: None, heldout: bool
) -> None:
    asked = []
    monkeypatch.setattr(render, "_render_track", lambda name, wish, **options: asked.append((name, wish)))
    render_corpus(tmp_path, pieces=200, seed=3, heldout=heldout)

    ids = [name for number in range(5000) if heldout_id(name := f"piece-3-{number:06d}") == heldout]
    planned = [(name, wish_for(number, seed=3)) for number, name in enumerate(ids)]
    wanted = [(name, wish) for name, wish in planned if not heldout or wish.kind != "repertoire"]
    assert asked == wanted[:200]
    assert any(wish.kind == "repertoire" for _, wish in planned[:200])


def test_arrangements_are_asked_for_by_their_own_ids_and_never_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_programs: None
) -> None:
    asked = []
    monkeypatch.setattr(render, "_render_track", lambda name, wish, **options: asked.append((name, wish.kind)))
    render_corpus(tmp_path, pieces=2, seed=3, heldout=False, arrangements=True)
    assert asked == [("arrangement-3-000000", "arrangement"), ("arrangement-3-000001", "arrangement")]
    with pytest.raises(MulanError, match="leave out one of --heldout and --arrangements"):
        render_corpus(tmp_path, pieces=2, seed=3, heldout=True, arrangements=True)


@pytest.mark.parametrize(
    ("known", "split"), [("piece-4-000000", "train"), ("piece-3-000012", "heldout"), ("arrangement-3-000000", "train")]
)
def test_a_folder_that_holds_another_corpus_keeps_it(
    tmp_path: Path, without_programs: None, known: str, split: Literal["train", "heldout"]
) -> None:
    write_manifest(tmp_path / "manifest.jsonl", [Track(id=known, path=tmp_path / "a.flac", split=split)])
    before = (tmp_path / "manifest.jsonl").read_bytes()
    with pytest.raises(MulanError, match=f"lists '{known}', of another corpus; give this one another folder"):
        render_corpus(tmp_path, pieces=1, seed=3, heldout=False)
    assert (tmp_path / "manifest.jsonl").read_bytes() == before


def test_asking_for_fewer_pieces_keeps_the_others_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_programs: None
) -> None:
    def rendered(name: str, wish: Wish, *, out: Path, **options: object) -> Track:
        (out / "audio" / f"{name}.flac").touch()
        return Track(id=name, path=out / "audio" / f"{name}.flac")

    monkeypatch.setattr(render, "_render_track", rendered)
    first = render_corpus(tmp_path, pieces=4, seed=3, heldout=False)
    first[3].path.unlink()
    assert render_corpus(tmp_path, pieces=1, seed=3, heldout=False) == first[:1]
    assert read_manifest(tmp_path / "manifest.jsonl") == first[:3]


def test_a_soundfont_plays_no_piece_for_an_instrument_that_it_leaves_out() -> None:
    names = {font.name for font in TRAINING_SOUNDFONTS}
    assert {font.name for font in soundfonts_for((0, 76), heldout=False)} == names - {"A320U"}
    assert {font.name for font in soundfonts_for((0, 42, 78), heldout=False)} == names - {"GeneralUser", "TimGM6mb"}
    assert soundfonts_for((76,), heldout=True) == (HELDOUT_SOUNDFONT,)


@pytest.mark.needs_fluidsynth
@pytest.mark.parametrize("soundfont", [*TRAINING_SOUNDFONTS, HELDOUT_SOUNDFONT], ids=lambda font: font.name)
def test_every_soundfont_has_a_sound_for_every_program_that_it_plays(soundfont: Soundfont) -> None:
    content = soundfont.path.read_bytes()
    start = content.rindex(b"phdr")
    length = int.from_bytes(content[start + 4 : start + 8], "little")
    ends = start + 8 + length - 38  # the last header is none of a sound
    headers = [content[at : at + 38] for at in range(start + 8, ends, 38)]
    presets = {(int.from_bytes(h[22:24], "little"), int.from_bytes(h[20:22], "little")) for h in headers}
    assert {program for program in range(128) if (0, program) not in presets} <= soundfont.leaves_out
    assert (128, 0) in presets  # drums


@pytest.mark.needs_fluidsynth
@pytest.mark.parametrize("soundfont", soundfonts_for((WHISTLE,), heldout=False), ids=lambda font: font.name)
def test_a_whistle_sounds_in_every_pitch_in_which_it_may_be_rendered(soundfont: Soundfont) -> None:
    instrument = INSTRUMENTS[WHISTLE]
    beats = range(instrument.high - instrument.low + 1)
    notes = tuple(Note(start=beat, beats=0.9, pitch=instrument.low + beat, velocity=100) for beat in beats)
    part = Part(name="whistle", program=WHISTLE, notes=notes)
    piece = compose("a", seed=1, seconds=6)
    facts = dataclasses.replace(piece.facts, bpm=120.0)
    end = len(notes) + 1
    scale = dataclasses.replace(piece, parts=(part,), facts=facts, end_beat=end, seconds=end / 2)
    waveform = render_waveform(scale, soundfont=soundfont, rng=np.random.default_rng(0))
    for beat in beats:
        start = round(beat * SAMPLE_RATE / 2)
        assert level_db(waveform[start : start + SAMPLE_RATE // 2]) > -45, notes[beat].pitch


@pytest.mark.needs_fluidsynth
def test_a_render_is_as_long_as_its_composition_sounds_and_does_not_clip() -> None:
    composition = compose("a", seed=1, seconds=6)
    waveform = render_waveform(composition, soundfont=TRAINING_SOUNDFONTS[1], rng=np.random.default_rng(0))
    assert waveform.dtype == np.float32
    assert len(waveform) == round(composition.seconds * SAMPLE_RATE)
    assert np.sqrt(np.mean(waveform**2)) > 0.005
    assert np.abs(waveform).max() < 0.99


@pytest.mark.needs_fluidsynth
def test_a_corpus_is_complete_reproducible_and_resumes(tmp_path: Path) -> None:
    calls: list[int] = []
    first = render_corpus(tmp_path / "a", pieces=4, seed=9, heldout=False, workers=2, on_piece=lambda: calls.append(1))
    assert len(calls) == len(first) == 4
    assert first == read_manifest(tmp_path / "a" / "manifest.jsonl")
    for track in first:
        assert track.split == "train"
        assert not heldout_id(track.id)
        assert track.facts["soundfont"] in {font.name for font in TRAINING_SOUNDFONTS}
        assert all(1 <= volume <= 127 for _, volume in track.facts["volumes"])
        assert track.captions
        assert set(track.tags) | set(track.absent) <= set(TAGS)
        info = soundfile.info(track.path)
        assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
        assert info.duration == pytest.approx(track.seconds, abs=0.001)

    second = render_corpus(tmp_path / "b", pieces=2, seed=9, heldout=False)
    assert [track.captions for track in second] == [track.captions for track in first[:2]]
    assert all(one.path.read_bytes() == other.path.read_bytes() for one, other in zip(first, second, strict=False))

    kept, lost = first[0].path, first[1].path
    written = kept.stat().st_mtime_ns
    content = lost.read_bytes()
    lost.unlink()
    render_corpus(tmp_path / "a", pieces=4, seed=9, heldout=False)
    assert kept.stat().st_mtime_ns == written
    assert lost.read_bytes() == content


@pytest.mark.needs_fluidsynth
def test_held_out_pieces_are_rendered_in_the_held_out_font(tmp_path: Path) -> None:
    (track,) = render_corpus(tmp_path, pieces=1, seed=2, heldout=True)
    assert track.split == "heldout"
    assert heldout_id(track.id)
    assert track.facts["soundfont"] == "MuseScore_General"
