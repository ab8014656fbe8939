"""Which piece of a corpus is written for what: quotas of styles and instruments that do not hang on luck.

A corpus is a row of blocks. Each holds every style as often as its `slots` say, and every instrument's word alone,
in an ensemble and in a band, dealt out like cards; seed and block decide only the order and who meets whom.
"""

import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np

from data.composer.accompaniment import MMA_STYLES
from data.composer.repertoire import REPERTOIRE
from data.composer.sketch import Wish
from data.composer.styles import STYLES
from data.instruments import INSTRUMENT_TAGS

_ENSEMBLES, _BANDS, _DRUMS_ALONE = 130, 170, 10
_WORDS_OF_AN_ENSEMBLE = _WORDS_OF_A_BAND = 3
_GROOVE_GUESTS = 2
# Of a style's pieces, how many keep its own instruments.
_PURE_SHARE = 0.25
# A guest that would change the style and not only its colour.
_STYLE_MAKERS = frozenset({"distorted guitar"})
# Words that our styles seldom call for by themselves: three cards to the others' two.
_SELDOM = (
    "accordion", "bagpipes", "banjo", "bassoon", "clarinet", "fiddle", "french horn", "glockenspiel", "harmonica",
    "harp", "harpsichord", "kalimba", "koto", "marimba", "music box", "oboe", "pan flute", "pizzicato strings",
    "recorder",
    "saxophone", "steel drums", "synth lead", "timpani", "trombone", "vibraphone", "viola", "xylophone",
)  # fmt: skip


def wish_for(number: int, *, seed: int) -> Wish:
    """What the piece of this number, counted from 0, is wanted for."""
    block, place = divmod(number, block_length())
    return _block(seed, block)[place]


def block_length() -> int:
    """Pieces of a block: after as many every style and word has had its turns."""
    return len(_slots())


@cache
def _slots() -> tuple[Wish, ...]:
    """A block's pieces in order, without their instruments."""
    styles = [Wish(kind="style", style=style.name) for style in STYLES for _ in range(style.slots)]
    grooves = [Wish(kind="groove", style=style.name) for style in MMA_STYLES for _ in range(style.slots)]
    scores = [Wish(kind="repertoire", style=kind.name) for kind in REPERTOIRE for _ in range(kind.slots)]
    solos = [Wish(kind="solo", words=(word,)) for word in INSTRUMENT_TAGS]
    ensembles = [Wish(kind="ensemble") for _ in range(_ENSEMBLES)]
    bands = [Wish(kind="band") for _ in range(_BANDS)]
    return (*styles, *grooves, *scores, *solos, *ensembles, *bands, *[Wish(kind="drums")] * _DRUMS_ALONE)


@cache
def _block(seed: int, block: int) -> tuple[Wish, ...]:
    rng = np.random.default_rng([seed, block])
    with_drums, without = _deck(rng), _deck(rng)
    wishes = []
    for slot in _slots():
        has_drums, guests = _guests(slot, rng)
        dealt = _deal(with_drums if has_drums else without, guests, avoids_makers=bool(slot.style))
        wishes.append(Wish(kind=slot.kind, style=slot.style, words=(*slot.words, *dealt)))
    return tuple(wishes[index] for index in rng.permutation(len(wishes)))


def _guests(slot: Wish, rng: np.random.Generator) -> tuple[bool, int]:
    """Whether the piece has drums, and how many instruments it is dealt."""
    match slot.kind:
        case "band":
            return True, _WORDS_OF_A_BAND
        case "ensemble":
            return False, _WORDS_OF_AN_ENSEMBLE
        case "groove":
            style = next(style for style in MMA_STYLES if style.name == slot.style)
            return True, 0 if style.leads else _GROOVE_GUESTS
        case "style":
            own = next(style for style in STYLES if style.name == slot.style)
            return bool(own.groove), own.accepts if rng.random() >= _PURE_SHARE else 0
        case "repertoire":
            kind = next(kind for kind in REPERTOIRE if kind.name == slot.style)
            return False, kind.accepts if rng.random() >= _PURE_SHARE else 0
        case _:
            return False, 0


def _deck(rng: np.random.Generator) -> Iterator[str]:
    """Every word in turn, in an order that changes from round to round."""
    words = (*INSTRUMENT_TAGS, *INSTRUMENT_TAGS, *_SELDOM)
    for _ in itertools.count():
        yield from (words[index] for index in rng.permutation(len(words)))


def _deal(deck: Iterator[str], count: int, *, avoids_makers: bool) -> tuple[str, ...]:
    dealt: list[str] = []
    while len(dealt) < count:
        word = next(deck)
        if word not in dealt and not (avoids_makers and word in _STYLE_MAKERS):
            dealt.append(word)
    return tuple(dealt)
