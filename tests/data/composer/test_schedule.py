"""The quotas of a corpus, on its plan alone. Alone: pytest tests/data/composer/test_schedule.py"""

from collections import Counter

import pytest

from data.compose import compose
from data.composer.accompaniment import MMA_STYLES
from data.composer.repertoire import REPERTOIRE
from data.composer.schedule import block_length, wish_for
from data.composer.sketch import Wish
from data.composer.styles import STYLES
from data.datasets import magnatagatune
from data.facts import TAGS
from data.instruments import INSTRUMENT_TAGS

PIECES = 7000
NEEDED = 200
HAVE_DRUMS = {style.name for style in STYLES if style.groove}


@pytest.fixture(scope="module")
def wishes() -> list[Wish]:
    return [wish_for(number, seed=5) for number in range(PIECES)]


def _has_band(wish: Wish) -> bool:
    return wish.kind in ("band", "groove") or (wish.kind == "style" and wish.style in HAVE_DRUMS)


def test_the_plan_is_the_same_for_the_same_seed_and_in_another_order_for_another(wishes: list[Wish]) -> None:
    assert wishes[:50] == [wish_for(number, seed=5) for number in range(50)]
    assert wishes[:50] != [wish_for(number, seed=6) for number in range(50)]


def test_every_block_holds_every_style_as_often_as_its_slots_say(wishes: list[Wish]) -> None:
    counts = Counter((wish.kind, wish.style) for wish in wishes[: block_length()])
    for kind, styles in (("style", STYLES), ("groove", MMA_STYLES), ("repertoire", REPERTOIRE)):
        assert all(counts[kind, style.name] == style.slots for style in styles)


def test_every_instrument_is_wished_for_often_and_mostly_with_a_band(wishes: list[Wish]) -> None:
    every = Counter(word for wish in wishes for word in wish.words)
    band = Counter(word for wish in wishes if _has_band(wish) for word in wish.words)
    # Distorted guitars are no guests of other styles, but what metal, punk and half of rock are made of.
    common = [word for word in INSTRUMENT_TAGS if word != "distorted guitar"]
    assert min(every[word] for word in common) >= 130
    assert min(band[word] / every[word] for word in common) >= 0.5
    assert min(1 - band[word] / every[word] for word in common) >= 0.2


@pytest.fixture(scope="module")
def truths() -> tuple[Counter[str], Counter[str], Counter[str]]:
    """In how many pieces of a block each word is at least true, true with a band, and false.

    Our own songs are composed; of the others count the instruments wished for and the styles' words.
    """
    true, with_band, false = Counter[str](), Counter[str](), Counter[str]()
    grooves, scores = ({style.name: style.tags for style in styles} for styles in (MMA_STYLES, REPERTOIRE))
    for number in range(block_length()):
        wish = wish_for(number, seed=5)
        if wish.kind in ("groove", "repertoire"):
            words = {*wish.words, *(grooves if wish.kind == "groove" else scores)[wish.style]}
        else:
            facts = compose(f"piece-{number}", seed=5, seconds=12, wish=wish).facts
            words = set(facts.tags)
            false.update(facts.absent)
        true.update(words)
        with_band.update(words if _has_band(wish) else ())
    return true, with_band, false


def test_every_word_is_true_of_two_hundred_pieces(truths: tuple[Counter[str], Counter[str], Counter[str]]) -> None:
    true, with_band, _ = truths
    blocks = PIECES / block_length()
    of_magnatagatune = set(magnatagatune.TAGS) & set(TAGS)
    wanted = {*INSTRUMENT_TAGS, *of_magnatagatune} - {"quiet", "soft", "loud"}  # known once a piece is rendered
    # A block is one seventh of the corpus; of 29 pieces another block has 29 ± 4.
    assert {word: round(true[word] * blocks) for word in wanted if true[word] * blocks < NEEDED * 0.9} == {}
    assert {word: with_band[word] for word in INSTRUMENT_TAGS if with_band[word] < 0.4 * NEEDED / blocks} == {}


def test_every_word_is_false_of_many_pieces_too(truths: tuple[Counter[str], Counter[str], Counter[str]]) -> None:
    *_, false = truths
    words = set(TAGS) - {"quiet", "soft", "loud"}
    assert {word: false[word] for word in words if false[word] < 25} == {}
