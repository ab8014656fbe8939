"""The composer and the facts of its pieces. Alone: pytest tests/data/test_compose.py"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.captions import write_captions
from data.compose import Composition, compose
from data.composer.accompaniment import MMA_STYLES
from data.composer.form import draw_form
from data.composer.harmony import parse_chord
from data.composer.repertoire import REPERTOIRE
from data.composer.sketch import Wish
from data.composer.style import KIN, STYLE_TAGS, unsure_of
from data.composer.styles import STYLES
from data.facts import ALIASES, TAGS, Facts
from data.instruments import INSTRUMENT_TAGS, INSTRUMENTS, programs_of
from data.midi import write_midi

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


def test_every_style_and_instrument_word_has_a_source() -> None:
    sources = (*STYLES, *MMA_STYLES, *REPERTOIRE)
    assert {tag for style in sources for tag in style.tags} == set(STYLE_TAGS)
    assert all(programs_of(tag) for tag in INSTRUMENT_TAGS)
    assert len({style.name for style in sources}) >= 60  # a style may be ours and a groove of MMA's
    assert all(len({style.name for style in source}) == len(source) for source in (STYLES, MMA_STYLES, REPERTOIRE))
    for style in STYLES:
        assert all(program in INSTRUMENTS for layer in style.layers for program in layer.programs)
        assert all(len(pattern) in (12, 16) for layer in style.layers for pattern in layer.patterns)


def test_words_of_styles_that_are_akin_are_neither_true_nor_false() -> None:
    assert all(other in KIN for akin in KIN.values() for other in akin)
    assert "rock" in unsure_of(("metal",))
    assert "metal" not in unsure_of(("metal",))
    assert not {"techno", "classical", "jazz"} & set(unsure_of(("metal",)))


def test_what_a_style_leaves_open_is_not_said_of_its_pieces() -> None:
    facts = compose("a", seed=1, seconds=10, wish=Wish(kind="style", style="big beat")).facts
    assert {"electronic", "dance"} <= set(facts.tags)
    assert not {"techno", "drum and bass", "hip hop"} & {*facts.tags, *facts.absent}
    assert "jazz" in facts.absent


def test_ambient_music_is_not_classical_where_a_synthesizer_plays() -> None:
    """And may be where it is of strings alone; a style that says it is classical is so with a synthesizer, too."""
    ambient = replace(
        SOLO_PIANO, style="ambient", style_tags=("ambient",), unsure_tags=unsure_of(("ambient",)), programs=(89, 48)
    )
    assert {"classical", "classic", "baroque", "early music"} <= set(ambient.absent)
    assert "classical" not in {*replace(ambient, programs=(48,)).tags, *replace(ambient, programs=(48,)).absent}
    assert "classical" in replace(ambient, style_tags=("classical",)).tags


def test_a_distorted_guitar_alone_may_be_metal() -> None:
    facts = compose("a", seed=1, seconds=10, wish=Wish(kind="solo", words=("distorted guitar",))).facts
    assert "metal" not in {*facts.tags, *facts.absent}
    assert "reggae" in facts.absent


def test_all_that_a_piece_names_is_heard_in_every_ten_seconds_of_it(pieces: list[Composition]) -> None:
    for piece in pieces:
        seconds_per_beat = 60 / piece.facts.bpm
        for part in piece.parts:
            spans = [(n.start * seconds_per_beat, (n.start + n.beats) * seconds_per_beat) for n in part.notes]
            for begin in range(0, max(1, int(piece.seconds) - 10)):
                assert any(start < begin + 10 and end > begin for start, end in spans), (piece.id, part.name, begin)


def test_midi_and_captions_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    def written(name: str) -> bytes:
        piece = compose("song", seed=3, wish=Wish(kind="style", style="disco", words=("harp",)))
        write_midi(tmp_path / name, piece.parts, bpm=piece.facts.bpm, end_beat=piece.end_beat)
        return (tmp_path / name).read_bytes() + repr(write_captions(piece.facts, np.random.default_rng(1))).encode()

    assert written("one.mid") == written("two.mid")


def test_a_wish_for_instruments_is_granted() -> None:
    band = compose("a", seed=1, wish=Wish(kind="band", words=("oboe", "timpani", "harp")))
    assert {"oboe", "timpani", "harp", "drums"} <= set(band.facts.tags)
    alone = compose("a", seed=1, wish=Wish(kind="solo", words=("bagpipes",)))
    assert {"bagpipes", "solo", "no drums"} <= set(alone.facts.tags)
    assert {part.is_drums for part in compose("a", seed=1, wish=Wish(kind="drums")).parts} == {True}
    techno = compose("a", seed=1, wish=Wish(kind="style", style="techno", words=("bassoon",)))
    assert {"techno", "bassoon", "drums"} <= set(techno.facts.tags)


def test_the_music_of_a_section_comes_back_with_its_letter() -> None:
    form = draw_form(("I IV", "vi V"), np.random.default_rng(0), bars=32, beats_per_bar=4, tonic=0, mode="major")
    sections = {section.letter: section.chords for section in form.sections}
    assert len(form.sections) == 4
    assert all(section.chords == sections[section.letter] for section in form.sections)
    assert 2 <= len(sections) <= 3


def test_words_of_a_slow_solo_piano() -> None:
    assert set(SOLO_PIANO.tags) == {"piano", "no drums", "slow", "solo", "no vocals", "no vocal", "no voice"}
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


def test_voices_are_not_denied_where_a_choir_is_heard() -> None:
    choir = replace(SOLO_PIANO, programs=(52,))
    assert {"choir", "choral"} <= set(choir.tags)
    assert {"no vocals", "no vocal", "no voice"} <= set(choir.absent)
    assert "no vocals" not in {*replace(SOLO_PIANO, programs=(54,)).tags, *replace(SOLO_PIANO, programs=(54,)).absent}


def test_several_flutes_are_no_solo_and_one_harp_with_four_voices_is() -> None:
    assert "solo" in replace(SOLO_PIANO, programs=(73,)).tags
    assert "solo" not in replace(SOLO_PIANO, programs=(73,), voices=4).tags
    assert "solo" in replace(SOLO_PIANO, programs=(46,), voices=4).tags


def test_other_words_for_the_same_are_true_and_false_where_it_is() -> None:
    for alias, word in ALIASES.items():
        assert (alias in SOLO_PIANO.tags, alias in SOLO_PIANO.absent) == (
            word in SOLO_PIANO.tags,
            word in SOLO_PIANO.absent,
        )


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
