"""Songs over MMA's grooves. Alone: pytest tests/data/composer/test_accompaniment.py"""

from pathlib import Path

import pytest

from data.compose import compose
from data.composer.accompaniment import MMA_STYLES
from data.composer.sketch import Wish
from data.errors import MulanError

SWING = Wish(kind="groove", style="swing", words=("oboe", "double bass"))


def test_a_missing_program_names_its_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MulanError, match="apt install mma"):
        compose("a", seed=1, wish=SWING)


def test_a_midi_file_that_mma_did_not_finish_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mma"
    program.write_text('#!/bin/sh\nprintf MThd > "$5"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MulanError, match=r"^mma wrote no readable MIDI for the groove .*: not a MIDI file"):
        compose("a", seed=1, wish=SWING)


@pytest.mark.needs_mma
def test_a_groove_keeps_its_style_its_drums_and_the_guests() -> None:
    piece = compose("a", seed=1, seconds=20, wish=SWING)
    assert {"jazz", "swing", "drums", "oboe", "double bass"} <= set(piece.facts.tags)
    assert piece.facts.origin.startswith("groove ")
    assert {part.program for part in piece.parts if not part.is_drums} == set(piece.facts.programs)
    assert 17 < piece.seconds < 23  # whole bars of at most 2.2 s
    assert all(note.start + note.beats <= piece.end_beat for part in piece.parts for note in part.notes)


@pytest.mark.needs_mma
def test_the_same_seed_gives_the_same_song() -> None:
    assert compose("a", seed=1, seconds=15, wish=SWING) == compose("a", seed=1, seconds=15, wish=SWING)
    assert compose("a", seed=1, seconds=15, wish=SWING) != compose("a", seed=2, seconds=15, wish=SWING)


@pytest.mark.needs_mma
@pytest.mark.parametrize("style", [style for style in MMA_STYLES if style.slots >= 5], ids=lambda style: style.name)
def test_metre_and_tempo_are_those_of_the_style(style) -> None:
    piece = compose("b", seed=1, seconds=12, wish=Wish(kind="groove", style=style.name))
    assert style.bpm[0] <= piece.facts.bpm <= style.bpm[1]
    assert piece.facts.beats_per_bar == style.beats_per_bar
    assert set(style.tags) <= set(piece.facts.tags)
