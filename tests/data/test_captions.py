"""Captions say only what the facts bear out. Alone: pytest tests/data/test_captions.py"""

import re
from dataclasses import replace

import numpy as np
import pytest

from data.captions import CAPTIONS_PER_TRACK, claimed_tags, full_caption, write_captions
from data.compose import compose
from data.facts import Facts

SLOW_SOLO_PIANO = Facts(
    style="classical piano",
    style_tags=("classical",),
    unsure_tags=(),
    programs=(0,),
    drums="none",
    bpm=60.0,
    key="C",
    mode="minor",
    beats_per_bar=4,
    onsets_per_second=2.0,
    level_db=-24.0,
)


PHRASES_OF_NO_DRUMS = ("drums", "vocals", "vocal", "voice", "drum beat", "a drum kit")


def _many(facts: Facts) -> set[str]:
    return {caption for seed in range(60) for caption in write_captions(facts, np.random.default_rng(seed))}


def test_a_slow_solo_piano_is_asked_for_as_people_ask() -> None:
    captions = _many(SLOW_SOLO_PIANO)
    assert {"piano", "slow solo piano", "solo", "classical", "no drums"} <= captions
    assert any(caption.startswith("A slow classical") and "C minor" in caption for caption in captions)


def test_captions_are_different_from_each_other_and_reproducible() -> None:
    captions = write_captions(SLOW_SOLO_PIANO, np.random.default_rng(3))
    assert len(set(captions)) == len(captions) == CAPTIONS_PER_TRACK
    assert captions == write_captions(SLOW_SOLO_PIANO, np.random.default_rng(3))


def test_captions_are_never_blank_nor_badly_spaced() -> None:
    for number in range(100):
        facts = replace(compose(f"c-{number}", seed=2).facts, level_db=-20.0)
        for caption in write_captions(facts, np.random.default_rng(number)):
            assert caption
            assert caption == " ".join(caption.split())
            assert not re.search(r",,| ,|, \.|^,|,$", caption)


@pytest.fixture(scope="module")
def captioned() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Tags and captions of 150 pieces of all levels."""
    every = [replace(compose(f"d-{number}", seed=4).facts, level_db=-12.0 - number % 25) for number in range(150)]
    return [(facts.tags, write_captions(facts, np.random.default_rng(7))) for facts in every]


@pytest.mark.parametrize(
    ("phrase", "tag"),
    [
        ("slow", "slow"), ("calm", "slow"), ("fast", "fast"), ("energetic", "fast"), ("solo ", "solo"),
        ("loud", "loud"), ("quiet", "quiet"), ("no drums", "no drums"), ("without drums", "no drums"),
        ("with drums", "drums"), ("sax", "saxophone"), ("distort", "distorted guitar"), ("jazz", "jazz"),
        ("heavy metal", "metal"), ("fiddle", "violin"), ("sitar", "sitar"), ("choir", "choir"),
    ],
)  # fmt: skip
def test_a_phrase_is_said_only_where_its_word_is_true(
    phrase: str, tag: str, captioned: list[tuple[tuple[str, ...], tuple[str, ...]]]
) -> None:
    # Names of instruments that contain a word without claiming it.
    allowed = re.compile(r"choir pad|jazz guitar|soft")
    for tags, captions in captioned:
        for caption in captions:
            caption = re.sub(r", (no|without|but no) [a-z ]+$", "", caption)  # what is said to be missing
            if phrase in allowed.sub("", caption):
                assert tag in tags, caption


def test_what_is_said_to_be_missing_is_false_of_the_piece() -> None:
    for number in range(60):
        facts = replace(compose(f"n-{number}", seed=6).facts, level_db=-20.0)
        for caption in write_captions(facts, np.random.default_rng(number)):
            missing = re.search(r", (?:no|without|but no) ([a-z ]+)$", caption)
            if missing and missing.group(1) not in PHRASES_OF_NO_DRUMS:
                assert missing.group(1) in facts.absent, caption


def test_questions_and_whole_styles_are_among_the_phrasings() -> None:
    mambo = replace(SLOW_SOLO_PIANO, style="mambo", style_tags=("latin", "dance"), drums="kit", programs=(56, 0))
    captions = _many(mambo)
    assert any(caption.endswith("?") for caption in captions)
    assert any("mambo" in caption for caption in captions)


def test_no_vocals_is_not_said_where_a_choir_sings() -> None:
    choir = replace(SLOW_SOLO_PIANO, programs=(52,))
    assert not any("no vocals" in caption for caption in _many(choir))
    assert any("no vocals" in caption for caption in _many(SLOW_SOLO_PIANO))


def test_a_caption_claims_the_tags_it_names_or_paraphrases_and_no_others():
    tags = ("saxophone", "piano", "no drums", "fast", "jazz")
    assert claimed_tags("Jazzy sax, without drums.", tags) == ("saxophone", "no drums", "jazz")
    assert claimed_tags("something else", tags) == tags  # nothing recognised: it may claim any of them
    # A word inside another is not said; its plural is.
    assert claimed_tags("baroque harpsichord solo", ("harp", "harpsichord", "baroque")) == ("harpsichord", "baroque")
    assert claimed_tags("an organic mandolin and violins", ("organ", "mandolin", "violin")) == ("mandolin", "violin")
    hyphens = ("slow", "guitar", "hip-hop")
    assert claimed_tags("slow-paced, guitar-led hip hop", hyphens) == hyphens


def test_a_full_caption_names_tempo_style_instruments_and_drums() -> None:
    fast_celtic = replace(
        SLOW_SOLO_PIANO,
        style="dance tune",
        style_tags=("celtic", "folk"),
        programs=(40, 73, 25, 33),
        bpm=131.6,
        onsets_per_second=5.0,
    )
    caption = "A celtic piece with violin, flute and steel-string guitar, around 132 bpm."
    assert full_caption(fast_celtic) == caption  # at 131.6 it is a matter of opinion whether that is fast
    assert full_caption(replace(fast_celtic, bpm=132.0)) == caption.replace("A celtic", "A fast celtic")
    with_kit = replace(fast_celtic, style=None, style_tags=(), drums="kit", programs=(33,))
    assert full_caption(with_kit) == "A piece with bass guitar and drums, around 132 bpm."
    assert full_caption(replace(with_kit, programs=())) == "A piece with drums, around 132 bpm."


def test_a_third_of_the_captions_say_all_at_once() -> None:
    facts = Facts(
        style="bluegrass",
        style_tags=("bluegrass",),
        unsure_tags=(),
        programs=(105, 110),  # banjo, fiddle
        drums="kit",
        bpm=140.0,
        key="G",
        mode="major",
        beats_per_bar=4,
        onsets_per_second=5.0,
        level_db=-20.0,
    )
    written = [caption for seed in range(60) for caption in write_captions(facts, np.random.default_rng(seed))]
    complete = [caption for caption in written if all(word in caption for word in ("bluegrass", "banjo", "fiddle"))]
    assert 0.25 < len(complete) / len(written) < 0.6
    assert full_caption(facts) in written


def test_captions_of_drums_alone_leave_no_holes() -> None:
    facts = replace(SLOW_SOLO_PIANO, style="rock", style_tags=("rock",), programs=(), drums="kit", voices=0)
    captions = _many(facts)
    assert any("drums alone" in caption and "60 bpm" in caption for caption in captions)
    assert not [caption for caption in captions if re.search(r",,| ,|, \.|^,|,$|, ,|  ", caption)]


def test_a_full_caption_of_a_solo_says_so_and_styles_without_a_word_are_said_by_their_tags() -> None:
    assert full_caption(SLOW_SOLO_PIANO) == "A slow classical piece for solo piano, around 60 bpm."
    named = replace(SLOW_SOLO_PIANO, style="gypsy jazz", style_tags=("jazz",))
    assert full_caption(named).startswith("A slow gypsy jazz piece")


def test_of_a_band_that_has_all_one_may_miss_nothing_is_said_to_be_missing() -> None:
    piano, strings, brass, choir, flute, lead, guitar, saxophone, violin = 0, 48, 61, 52, 73, 80, 27, 65, 40
    band = replace(
        SLOW_SOLO_PIANO, programs=(piano, strings, brass, choir, flute, lead, guitar, saxophone, violin), drums="kit"
    )
    captions = _many(band)
    assert captions
    assert not [caption for caption in captions if re.search(r"\b(no|without)\b", caption)]
