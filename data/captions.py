"""Captions written from facts: every phrase is true of the piece, in the many ways people put it."""

import re
from collections.abc import Sequence

import numpy as np

from data.facts import Facts
from data.instruments import BASSES, INSTRUMENTS
from data.styles import STYLE_TAGS

CAPTIONS_PER_TRACK = 12

# What people also say; each phrase is true wherever its word is.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    "saxophone": ("saxophone", "sax"),
    "acoustic guitar": ("acoustic guitar", "unplugged guitar"),
    "electric guitar": ("electric guitar", "electric guitars"),
    "distorted guitar": ("distorted guitar", "distorted guitars", "heavy guitar", "overdriven guitar", "distortion"),
    "choir": ("choir", "choral", "choir voices", "choral music"),
    "strings": ("strings", "string section", "bowed strings"),
    "synth": ("synth", "synthesizer", "synthesiser", "synths"),
    "organ": ("organ", "organ music"),
    "bells": ("bells", "chimes"),
    "harmonica": ("harmonica", "mouth organ"),
    "brass": ("brass", "brass instruments", "horns"),
    "drums": ("drums", "drum kit", "drum beat", "with a beat", "beats"),
    "no drums": ("no drums", "without drums", "drumless", "no drum beat"),
    "slow": ("slow", "slow tempo", "slow-paced", "unhurried"),
    "fast": ("fast", "fast tempo", "up-tempo", "uptempo", "quick"),
    "solo": ("solo", "solo instrument", "unaccompanied", "one instrument alone"),
    "quiet": ("quiet", "soft", "quiet music"),
    "loud": ("loud", "loud music"),
    "classical": ("classical", "classical music", "classic"),
    "baroque": ("baroque", "baroque music"),
    "rock": ("rock", "rock music", "rock song"),
    "metal": ("metal", "heavy metal", "metal music"),
    "jazz": ("jazz", "jazz music", "jazzy"),
    "latin": ("latin", "latin music", "latin american music"),
    "electronic": ("electronic", "electronic music", "electronica"),
    "dance": ("dance", "dance music", "danceable"),
    "house": ("house", "house music"),
    "techno": ("techno", "techno track"),
    "ambient": ("ambient", "ambient music", "atmospheric soundscape"),
    "folk": ("folk", "folk music"),
    "country": ("country", "country music"),
    "indian": ("indian", "indian music", "music from India", "raga"),
    "new age": ("new age", "new age music", "relaxing music"),
    "hip hop": ("hip hop", "hip-hop", "hip hop beat", "rap beat"),
    "march": ("march", "marching band"),
    "blues": ("blues", "blues music", "bluesy"),
    "funk": ("funk", "funky", "funk groove"),
    "reggae": ("reggae", "reggae music"),
}
_NOUNS = ("piece", "track", "tune", "recording", "instrumental")
# Phrases that stand for a whole piece, not for one of its instruments.
_OF_A_WHOLE_PIECE = frozenset({"choral", "choral music", "organ music", "distortion"})
# Modes that people name; the others are left unsaid.
_NAMED_MODES = ("major", "minor")


def write_captions(facts: Facts, rng: np.random.Generator) -> tuple[str, ...]:
    """Write `CAPTIONS_PER_TRACK` different captions or fewer: bare words, lists, queries and sentences."""
    writers = (_bare, _bare, _list, _query, _query, _sentence)
    captions: dict[str, None] = {}
    for attempt in range(4 * CAPTIONS_PER_TRACK):
        caption = writers[attempt % len(writers)](facts, rng)
        captions.setdefault(" ".join(caption.split()))
        if len(captions) == CAPTIONS_PER_TRACK:
            break
    return tuple(captions)


def _bare(facts: Facts, rng: np.random.Generator) -> str:
    return _say(_pick(facts.tags, rng), rng)


def _list(facts: Facts, rng: np.random.Generator) -> str:
    count = min(len(facts.tags), int(rng.integers(2, 6)))
    words = [_say(str(tag), rng) for tag in rng.choice(facts.tags, size=count, replace=False)]
    return (", " if rng.random() < 0.75 else " ").join(words)


def _query(facts: Facts, rng: np.random.Generator) -> str:
    """What one types into a search box: "slow solo piano", "fast rock with distorted guitar and drums"."""
    mood, style = _mood(facts, rng), _style(facts, rng)
    names = _names(facts, rng, most=2)
    if facts.is_solo:
        return f"{mood} {style if rng.random() < 0.4 else ''} solo {names[0]}"
    with_drums = _drums(facts, rng)
    if style and rng.random() < 0.75:
        tail = f"with {_joined(names)}" if facts.drums == "none" or rng.random() < 0.7 else with_drums
        return f"{mood} {style} {tail}"
    return f"{mood} {_joined(names)} {with_drums if rng.random() < 0.6 else ''}"


def _sentence(facts: Facts, rng: np.random.Generator) -> str:
    mood, style = _mood(facts, rng), _style(facts, rng)
    noun = _pick(_NOUNS, rng)
    names = _joined(_names(facts, rng, most=4))
    adjectives = f"{mood} {style}".strip()
    start = _article(f"{adjectives} {noun}".strip())
    scoring = (
        f"for solo {names}" if facts.is_solo else f"{_pick(('for', 'with', 'featuring', 'played on'), rng)} {names}"
    )
    details = [detail for detail in (_drums(facts, rng), _tempo(facts), _key(facts)) if detail]
    chosen = [detail for detail in details if rng.random() < 0.45]
    ending = "" if not chosen else f", {', '.join(chosen)}"
    vocals = ", no vocals" if rng.random() < 0.15 and "choir" in facts.absent else ""
    return f"{start} {scoring}{ending}{vocals}."


def _mood(facts: Facts, rng: np.random.Generator) -> str:
    """A word of tempo or energy that the facts bear out, or nothing."""
    words: list[str] = [""]
    if "slow" in facts.tags:
        words += ["slow", "slow", "calm", "gentle"] if facts.drums == "none" else ["slow", "slow-paced"]
    if "fast" in facts.tags:
        words += ["fast", "fast", "upbeat", "energetic", "lively"] if facts.drums == "kit" else ["fast", "lively"]
    words += ["quiet"] if "quiet" in facts.tags else []
    words += ["loud"] if "loud" in facts.tags else []
    return _pick(words[1:], rng) if len(words) > 1 and rng.random() < 0.6 else ""


def _style(facts: Facts, rng: np.random.Generator) -> str:
    return _pick([tag for tag in facts.tags if tag in STYLE_TAGS] or [""], rng)


def _names(facts: Facts, rng: np.random.Generator, *, most: int) -> tuple[str, ...]:
    """The instruments, the leading one first, by their own names or by the words of the vocabulary.

    Basses are named only where there is nothing else.
    """
    heard = [program for program in facts.programs if program not in BASSES] or list(facts.programs)
    names: list[str] = []
    said: set[str] = set()
    for program in heard[:most]:
        instrument = INSTRUMENTS[program]
        words = [tag for tag in instrument.tags if tag not in said]
        phrase = _say(_pick(words, rng), rng) if words and rng.random() < 0.5 else instrument.name
        names.append(instrument.name if phrase in _OF_A_WHOLE_PIECE else phrase)
        said.update(instrument.tags)
    return tuple(dict.fromkeys(names))


def _drums(facts: Facts, rng: np.random.Generator) -> str:
    phrases = {
        "kit": ("with drums", "and drums", "with a drum beat"),
        "hand": ("with hand percussion", "with hand drums"),
        "none": ("no drums", "without drums", "without a drum kit"),
    }
    return _pick(phrases[facts.drums], rng)


def _tempo(facts: Facts) -> str:
    return f"around {round(facts.bpm)} bpm"


def _key(facts: Facts) -> str:
    return f"in {facts.key} {facts.mode}" if facts.mode in _NAMED_MODES else ""


def _say(tag: str, rng: np.random.Generator) -> str:
    """The word itself half of the time, else one of the ways people put it."""
    return _pick(_SYNONYMS[tag], rng) if tag in _SYNONYMS and rng.random() < 0.5 else tag


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _article(words: str) -> str:
    return f"{'An' if words[0].lower() in 'aeiou' else 'A'} {words}"


def claimed_tags(caption: str, tags: Sequence[str]) -> tuple[str, ...]:
    """Those of a track's true tags that a caption states, in a word or by a synonym; all of them if none is found."""
    words = " " + " ".join(re.findall(r"[\w-]+", caption.lower()))
    stated = tuple(
        tag for tag in tags if any(f" {phrase.lower()}" in words for phrase in (tag, *_SYNONYMS.get(tag, ())))
    )
    return stated or tuple(tags)
