"""The composer and the facts of its pieces. Alone: pytest tests/data/test_compose.py"""

from collections import Counter
from dataclasses import replace

import pytest

from data.compose import Composition, compose
from data.facts import TAGS, Facts
from data.harmony import parse_chord
from data.instruments import INSTRUMENT_TAGS, INSTRUMENTS, programs_of
from data.styles import STYLE_TAGS, STYLES

SOLO_PIANO = Facts(
    style=None,
    style_tags=(),
    unsure_tags=(),
    programs=(0,),
    drums="none",
    bpm=60.0,
    key="C",
    mode="major",
    beats_per_bar=4,
    onsets_per_second=2.0,
)


@pytest.fixture(scope="module")
def pieces() -> list[Composition]:
    return [compose(f"piece-{number}", seed=5) for number in range(400)]


def test_same_id_and_seed_give_the_same_piece_and_others_another() -> None:
    assert compose("a", seed=1) == compose("a", seed=1)
    assert compose("a", seed=1) != compose("a", seed=2)
    assert compose("a", seed=1).parts != compose("b", seed=1).parts


def test_pieces_last_as_long_as_asked_to_the_bar(pieces: list[Composition]) -> None:
    # Half a bar at 44 beats a minute is 2.7 s, the free second and the rounding come on top.
    assert all(14 < piece.seconds < 22 for piece in pieces)
    assert 7 < compose("a", seed=1, seconds=10).seconds < 13


def test_notes_lie_within_their_instruments_and_their_piece(pieces: list[Composition]) -> None:
    for piece in pieces:
        assert len(piece.parts) <= 15
        for part in piece.parts:
            assert part.notes
            for note in part.notes:
                assert note.start >= 0
                assert note.start + note.beats <= piece.end_beat
                assert 1 <= note.velocity <= 127
                if not part.is_drums:
                    assert INSTRUMENTS[part.program].low <= note.pitch <= INSTRUMENTS[part.program].high


def test_facts_name_exactly_what_plays(pieces: list[Composition]) -> None:
    for piece in pieces:
        melodic = {part.program for part in piece.parts if not part.is_drums}
        assert set(piece.facts.programs) == melodic
        assert any(part.is_drums for part in piece.parts) == (piece.facts.drums != "none")


def test_no_word_is_both_true_and_absent(pieces: list[Composition]) -> None:
    for piece in pieces:
        assert not set(piece.facts.tags) & set(piece.facts.absent)
        assert set(piece.facts.tags) | set(piece.facts.absent) <= set(TAGS)


def test_every_word_is_true_of_enough_pieces(pieces: list[Composition]) -> None:
    counts = Counter(tag for piece in pieces for tag in piece.facts.tags)
    rendered_only = {"quiet", "loud"}
    # 4 % is the aim; of 400 pieces a word at 4 % has 16 ± 4, so 6 is 2.5 deviations below.
    assert min(counts[tag] for tag in TAGS if tag not in rendered_only) >= 6


def test_every_instrument_word_is_heard_with_and_without_drums(pieces: list[Composition]) -> None:
    with_drums = Counter(tag for piece in pieces if piece.facts.drums == "kit" for tag in piece.facts.tags)
    without = Counter(tag for piece in pieces if piece.facts.drums == "none" for tag in piece.facts.tags)
    assert all(with_drums[tag] and without[tag] for tag in INSTRUMENT_TAGS)


def test_every_style_and_instrument_word_has_a_source() -> None:
    assert {tag for style in STYLES for tag in style.tags} == set(STYLE_TAGS)
    assert all(programs_of(tag) for tag in INSTRUMENT_TAGS)
    for style in STYLES:
        assert not set(style.tags) & set(style.unsure)
        assert all(program in INSTRUMENTS for layer in style.layers for program in layer.programs)
        assert all(len(pattern) in (12, 16) for layer in style.layers for pattern in layer.patterns)


def test_words_of_a_slow_solo_piano() -> None:
    assert set(SOLO_PIANO.tags) == {"piano", "no drums", "slow", "solo"}
    assert {"organ", "harpsichord", "drums", "fast", "metal", "techno"} <= set(SOLO_PIANO.absent)
    assert "quiet" not in SOLO_PIANO.tags + SOLO_PIANO.absent


def test_doubtful_words_are_neither_true_nor_absent() -> None:
    def said(facts: Facts) -> set[str]:
        return set(facts.tags) | set(facts.absent)

    assert "strings" not in said(replace(SOLO_PIANO, programs=(50,)))  # a synthesiser that imitates strings
    assert "piano" not in said(replace(SOLO_PIANO, programs=(4,)))  # an electric piano
    assert {"slow", "fast"}.isdisjoint(said(replace(SOLO_PIANO, bpm=90.0)) - {"fast"})
    assert "fast" not in said(replace(SOLO_PIANO, bpm=120.0))
    assert "slow" not in said(replace(SOLO_PIANO, onsets_per_second=8.0))  # few beats, but many notes
    assert {"drums", "no drums"}.isdisjoint(said(replace(SOLO_PIANO, drums="hand")))
    assert "solo" not in said(replace(SOLO_PIANO, programs=(52,)))  # a choir is neither a soloist nor a band


def test_level_words_follow_the_recording() -> None:
    assert "quiet" in replace(SOLO_PIANO, level_db=-35.0).tags
    assert "loud" in replace(SOLO_PIANO, level_db=-15.0).tags
    assert {"quiet", "loud"} <= set(replace(SOLO_PIANO, level_db=-23.5).absent)


def test_two_bowed_instruments_are_strings() -> None:
    assert "strings" in replace(SOLO_PIANO, programs=(40, 42)).tags
    assert "strings" not in replace(SOLO_PIANO, programs=(40,)).tags


def test_chords_are_read_in_their_key() -> None:
    assert parse_chord("V7", tonic=0, mode="major").pitch_classes == (7, 11, 2, 5)  # G B D F in C
    assert parse_chord("ii", tonic=2, mode="major").pitch_classes == (4, 7, 11)  # E G B in D
    assert parse_chord("VI", tonic=9, mode="minor").pitch_classes == (5, 9, 0)  # F A C in A minor
    with pytest.raises(ValueError, match="roman numeral"):
        parse_chord("H", tonic=0, mode="major")
