"""Old scores for new instruments. Alone: pytest tests/data/composer/test_repertoire.py"""

import pytest

from data.compose import compose
from data.composer import repertoire
from data.composer.repertoire import REPERTOIRE
from data.composer.sketch import Wish
from data.errors import MulanError
from data.instruments import INSTRUMENTS


def test_missing_scores_name_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repertoire.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MulanError, match=r"pip install 'mulan-retrieval\[composer\]'"):
        repertoire.scores_folder()


def test_what_may_not_be_used_is_in_no_pattern() -> None:
    patterns = " ".join(pattern for kind in REPERTOIRE for pattern in kind.patterns)
    assert "essen" not in patterns
    assert "palestrina" not in patterns


@pytest.mark.parametrize("kind", REPERTOIRE, ids=lambda kind: kind.name)
def test_a_score_is_played_within_its_instruments_and_without_drums(kind) -> None:
    piece = compose("a", seed=1, seconds=20, wish=Wish(kind="repertoire", style=kind.name))
    assert set(kind.tags) <= set(piece.facts.tags)
    assert piece.facts.drums == "none"
    assert bool(piece.facts.key) == bool(piece.facts.mode) == kind.keeps_key
    assert 19 < piece.seconds < 21.5
    for part in piece.parts:
        pitches = [note.pitch for note in part.notes]
        assert INSTRUMENTS[part.program].low <= min(pitches)
        assert max(pitches) <= INSTRUMENTS[part.program].high


def test_the_instruments_wished_for_play_the_chorale() -> None:
    piece = compose("a", seed=1, wish=Wish(kind="repertoire", style="chorale", words=("tuba", "oboe")))
    assert piece.facts.instruments == ("oboe", "tuba")
    assert piece.facts.mode in ("major", "minor")
    assert piece == compose("a", seed=1, wish=Wish(kind="repertoire", style="chorale", words=("tuba", "oboe")))
