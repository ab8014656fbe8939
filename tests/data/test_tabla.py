"""The tabla's strokes. Alone: pytest tests/data/test_tabla.py"""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data import tabla
from data.composer.grooves import GROOVES, LOW_CONGA
from data.errors import MulanError
from data.midi import Note


@pytest.fixture
def strokes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample is a tenth of a second at half of full scale."""
    for name in {name for names in tabla._STROKES.values() for name in names}:
        soundfile.write(tmp_path / f"{name}.flac", np.full(2400, 0.5), 24_000)
    monkeypatch.setattr(tabla, "FOLDER", tmp_path)
    tabla._load.cache_clear()
    yield
    tabla._load.cache_clear()


def test_strokes_sound_where_they_are_written_and_louder_where_struck_harder(strokes: None) -> None:
    notes = [Note(start=beat, beats=0.2, pitch=LOW_CONGA, velocity=velocity) for beat, velocity in ((1, 127), (2, 64))]
    played = tabla.play_tabla(notes, np.random.default_rng(0), bpm=60, samples=49_000, sample_rate=24_000)
    assert np.flatnonzero(np.abs(played) > 0.01)[0] == pytest.approx(24_000, abs=30)
    assert played[25_000] == pytest.approx(0.5 * 0.18, abs=0.005)
    # The second begins at 48,000 and is cut where the piece ends; half the velocity is a quarter of the amplitude.
    assert played[48_500] == pytest.approx(0.5 * 0.18 * (64 / 127) ** 2, abs=0.005)


def test_every_drum_of_the_tabla_grooves_has_strokes() -> None:
    assert {drum for groove in GROOVES["tabla"] for drum in groove} == set(tabla._STROKES)


def test_missing_samples_name_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabla, "FOLDER", tmp_path / "absent")
    with pytest.raises(MulanError, match="apt install sonic-pi-samples"):
        tabla.check_tabla()
