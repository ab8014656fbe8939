"""Captions written from facts: every phrase is true of the piece, in the many ways people put it."""

import re
from collections.abc import Sequence

import numpy as np

from data.composer.style import STYLE_TAGS
from data.facts import ALIASES, Facts
from data.instruments import BASSES, INSTRUMENTS

CAPTIONS_PER_TRACK = 16

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
    "electric piano": ("electric piano", "rhodes", "e-piano"),
    "harpsichord": ("harpsichord", "cembalo"),
    "harp": ("harp", "concert harp"),
    "double bass": ("double bass", "upright bass", "contrabass"),
    "bass guitar": ("bass guitar", "electric bass"),
    "synth bass": ("synth bass", "synthesizer bass"),
    "synth pad": ("synth pad", "pads", "synth pads"),
    "synth lead": ("synth lead", "lead synth"),
    "french horn": ("french horn", "horn"),
    "pizzicato strings": ("pizzicato strings", "plucked strings", "pizzicato"),
    "cello": ("cello", "violoncello"),
    "pan flute": ("pan flute", "panpipes"),
    "bagpipes": ("bagpipes", "bagpipe"),
    "steel drums": ("steel drums", "steelpan"),
    "kalimba": ("kalimba", "thumb piano"),
    "vibraphone": ("vibraphone", "vibes"),
    "timpani": ("timpani", "kettledrums"),
    "piano": ("piano", "piano music"),
    "no vocals": ("no vocals", "instrumental", "without vocals", "no voice", "no vocal"),
    "harmonica": ("harmonica", "mouth organ"),
    "brass": ("brass", "brass instruments", "horns"),
    "drums": ("drums", "drum kit", "drum beat", "with a beat", "beats", "beat"),
    "tabla": ("tabla", "tablas", "indian hand drums"),
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
    "hip hop": ("hip hop", "hip-hop", "hip hop beat", "hip hop instrumental"),
    "march": ("march", "marching music"),
    "blues": ("blues", "blues music", "bluesy"),
    "funk": ("funk", "funky", "funk groove"),
    "reggae": ("reggae", "reggae music"),
    "pop": ("pop", "pop music", "pop song"),
    "punk": ("punk", "punk rock"),
    "soul": ("soul", "soul music", "r&b"),
    "disco": ("disco", "disco music"),
    "trance": ("trance", "trance music"),
    "acid": ("acid", "acid house", "acid line"),
    "drum and bass": ("drum and bass", "drum & bass", "dnb", "jungle"),
    "trap": ("trap", "trap beat"),
    "lofi": ("lofi", "lo-fi", "lofi beats", "lo-fi hip hop"),
    "chiptune": ("chiptune", "8-bit", "video game music"),
    "drone": ("drone", "drone music"),
    "celtic": ("celtic", "irish music", "celtic music"),
    "orchestral": ("orchestral", "orchestra", "orchestral music"),
    "early music": ("early music", "music of the middle ages and the renaissance"),
    "swing": ("swing", "swing music"),
    "big band": ("big band", "big band jazz"),
    "samba": ("samba", "brazilian samba"),
    "tango": ("tango", "tango music"),
    "ska": ("ska", "ska music"),
    "polka": ("polka", "polka music"),
    "waltz": ("waltz", "waltz in three"),
    "bluegrass": ("bluegrass", "bluegrass music"),
    "ragtime": ("ragtime", "rag"),
    "bossa nova": ("bossa nova", "bossa"),
}
_NOUNS = ("piece", "track", "tune", "recording", "instrumental")
# Phrases that stand for a whole piece, not for one of its instruments.
_OF_A_WHOLE_PIECE = frozenset({"choral music", "organ music", "piano music"})
_OF_NO_INSTRUMENT = _OF_A_WHOLE_PIECE | {"choral", "distortion"}
# Names of our styles that say more than their tags, and that people search for.
_STYLE_NAMES = frozenset({
    "boogie-woogie", "gypsy jazz", "jazz waltz", "dixieland", "mambo", "cha-cha-cha", "rumba", "merengue", "calypso",
    "Viennese waltz", "French waltz", "thrash metal", "pop ballad", "soft rock", "country blues", "minimal techno",
    "salsa", "chorale", "medieval polyphony", "doom metal", "synthwave",
})  # fmt: skip
_ASKING = (
    "do you have {}?", "any {}?", "find me {}", "I want to hear {}", "looking for {}", "play {}", "something like {}",
    "what is there with {}?", "show me {}", "I need {} for a video", "give me {}", "which tracks have {}?",
)  # fmt: skip
# What one may miss: said where it is certainly not there.
_MISSED = ("piano", "guitar", "synth", "strings", "electric guitar", "saxophone", "violin", "brass", "choir", "flute")
# Modes that people name; the others are left unsaid.
_NAMED_MODES = ("major", "minor")


def write_captions(facts: Facts, rng: np.random.Generator) -> tuple[str, ...]:
    """Write `CAPTIONS_PER_TRACK` different captions or fewer: bare words, lists, queries, sentences and all at once."""
    writers = (_bare, _complete, _query, _sentence, _list, _complete, _question, _complete, _negation)
    captions: dict[str, None] = {}
    for attempt in range(4 * CAPTIONS_PER_TRACK):
        caption = writers[attempt % len(writers)](facts, rng)
        captions.setdefault(" ".join(caption.split()))
        if len(captions) == CAPTIONS_PER_TRACK:
            break
    return tuple(captions)


def full_caption(facts: Facts) -> str:
    """One sentence with tempo, style and up to four instruments and the drums, the same for the same facts.

    "A fast celtic piece with violin, flute and acoustic guitar, around 132 bpm."
    """
    paces = [word for word in ("slow", "fast") if word in facts.tags]
    style = facts.style if facts.style in (*_STYLE_NAMES, *STYLE_TAGS) else next(iter(facts.style_tags), None)
    start = _article(" ".join([*paces, *([style] if style else []), "piece"]))
    heard = [program for program in facts.programs if program not in BASSES] or list(facts.programs)
    names = list(dict.fromkeys(INSTRUMENTS[program].name for program in heard))[:4]
    if facts.is_solo:
        return f"{start} for solo {names[0]}, {_tempo(facts)}."
    drums = {"kit": ["drums"], "hand": ["hand drums"], "tabla": ["tabla"], "none": []}[facts.drums]
    return f"{start} with {_joined([*names, *drums])}, {_tempo(facts)}."


def _complete(facts: Facts, rng: np.random.Generator) -> str:
    """Tempo, style, up to four instruments and the drums: as a sentence, as a query, or as a list."""
    if rng.random() < 0.3:
        return full_caption(facts)
    mood, style, tempo = _mood(facts, rng), _style(facts, rng), _tempo(facts)
    names = _names(facts, rng, most=4)
    is_unsaid = facts.is_solo or not facts.programs or (facts.drums == "none" and rng.random() < 0.5)
    drums = [] if is_unsaid else [_drums(facts, rng)]
    form = int(rng.integers(3))
    if form == 0:
        noun = "piece" if facts.is_solo else _pick(_NOUNS[:-1], rng)
        scoring = f"for solo {names[0]}" if facts.is_solo else f"with {_joined(names)}"
        return ", ".join([f"{_article(f'{mood} {style} {noun}'.strip())} {scoring}", *drums, tempo]) + "."
    if form == 1:
        return " ".join([mood, style, f"solo {names[0]}" if facts.is_solo else _joined(names), *drums, tempo])
    true = [tag for tag in ("solo", "drums", "no drums", "tabla") if tag in facts.tags]
    words = [word for word in (mood, style, *names, *true) if word]
    return ", ".join([*rng.permutation(words), tempo] if rng.random() < 0.5 else rng.permutation(words))


def _bare(facts: Facts, rng: np.random.Generator) -> str:
    return _worded(_pick(_telling(facts, rng), rng), facts, rng)


def _telling(facts: Facts, rng: np.random.Generator) -> tuple[str, ...]:
    """The true words, each once under its own name, and what is true of nearly all pieces only now and then."""
    words = tuple(tag for tag in facts.tags if tag not in ALIASES)
    seldom = {"no vocals"} if rng.random() < 0.7 else set()
    return tuple(word for word in words if word not in seldom) or words


def _list(facts: Facts, rng: np.random.Generator) -> str:
    telling = _telling(facts, rng)
    count = min(len(telling), int(rng.integers(2, 6)))
    words = [_worded(str(tag), facts, rng) for tag in rng.choice(telling, size=count, replace=False)]
    return (", " if rng.random() < 0.75 else " ").join(words)


def _worded(tag: str, facts: Facts, rng: np.random.Generator) -> str:
    """A word as people put it; of a piece for several instruments, none of them makes it "piano music"."""
    phrase = _say(tag, rng)
    is_alone = len([program for program in facts.programs if program not in BASSES]) < 2 and facts.drums == "none"
    return tag if phrase in _OF_A_WHOLE_PIECE and not is_alone else phrase


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
    noun = _pick(_NOUNS if "no vocals" in facts.tags else _NOUNS[:-1], rng)  # a choir is no instrumental
    names = _joined(_names(facts, rng, most=4))
    adjectives = f"{mood} {style}".strip()
    start = _article(f"{adjectives} {noun}".strip())
    scoring = (
        f"for solo {names}" if facts.is_solo else f"{_pick(('for', 'with', 'featuring', 'played on'), rng)} {names}"
    )
    details = [
        detail for detail in (_drums(facts, rng), _tempo(facts), _key(facts), _metre(facts), _pauses(facts)) if detail
    ]
    chosen = [detail for detail in details if rng.random() < 0.45]
    ending = "" if not chosen else f", {', '.join(chosen)}"
    vocals = ", no vocals" if rng.random() < 0.15 and "no vocals" in facts.tags else ""
    return f"{start} {scoring}{ending}{vocals}."


def _question(facts: Facts, rng: np.random.Generator) -> str:
    """What one asks a person, or a search box that one takes for a person."""
    return _pick(_ASKING, rng).format(" ".join(_query(facts, rng).split()))


def _negation(facts: Facts, rng: np.random.Generator) -> str:
    """What it is, and one thing that it has not; a large band may have all that one may miss."""
    listed = _list(facts, rng)
    missed = [word for word in _MISSED if word in facts.absent]
    return f"{listed}, {_pick(('no', 'without', 'but no'), rng)} {_pick(missed, rng)}" if missed else listed


def _mood(facts: Facts, rng: np.random.Generator) -> str:
    """A word of tempo or energy that the facts bear out, or nothing."""
    words: list[str] = [""]
    if "slow" in facts.tags:
        is_gentle = facts.drums == "none" and "loud" in facts.absent and "distorted guitar" in facts.absent
        words += ["slow", "slow", "calm", "gentle"] if is_gentle else ["slow", "slow-paced"]
    if "fast" in facts.tags:
        words += ["fast", "fast", "upbeat", "energetic", "lively"] if facts.drums == "kit" else ["fast", "lively"]
    if "slow" in facts.absent and "fast" in facts.absent:
        words += ["mid-tempo", "moderate"]
    words += ["quiet"] if "quiet" in facts.tags else []
    words += ["loud"] if "loud" in facts.tags else []
    return _pick(words[1:], rng) if len(words) > 1 and rng.random() < 0.6 else ""


def _style(facts: Facts, rng: np.random.Generator) -> str:
    if facts.style in _STYLE_NAMES and rng.random() < 0.5:
        return facts.style
    return _pick([tag for tag in facts.tags if tag in STYLE_TAGS] or [""], rng)


def _names(facts: Facts, rng: np.random.Generator, *, most: int) -> tuple[str, ...]:
    """The instruments, the leading one first, by their own names or by the words of the vocabulary.

    Basses are named only where there is nothing else.
    """
    heard = [program for program in facts.programs if program not in BASSES] or list(facts.programs)
    if not heard:
        return (_pick(("drum kit", "drums alone", "nothing but drums"), rng),)
    names: list[str] = []
    said: set[str] = set()
    for program in heard[:most]:
        instrument = INSTRUMENTS[program]
        words = [tag for tag in instrument.tags if tag not in said]
        phrase = _say(_pick(words, rng), rng) if words and rng.random() < 0.5 else instrument.name
        names.append(instrument.name if phrase in _OF_NO_INSTRUMENT else phrase)
        said.update(instrument.tags)
    return tuple(dict.fromkeys(names))


def _drums(facts: Facts, rng: np.random.Generator) -> str:
    if not facts.programs:
        return ""
    phrases = {
        "kit": ("with drums", "and drums", "with a drum beat"),
        "hand": ("with hand percussion", "with hand drums"),
        "tabla": ("with tabla", "and tabla", "with hand drums"),
        "none": ("no drums", "without drums", "without a drum kit"),
    }
    if facts.drums == "none" and "no drums" not in facts.tags:
        return phrases["none"][-1]  # there are timpani or the like
    return _pick(phrases[facts.drums], rng)


def _tempo(facts: Facts) -> str:
    return f"around {round(facts.bpm)} bpm"


def _metre(facts: Facts) -> str:
    """In three, where we wrote it so; scores of others may be felt otherwise."""
    is_ours = facts.origin == "song" or facts.origin.startswith("groove ")
    return "in three-four time" if facts.beats_per_bar == 3 and is_ours else ""


def _pauses(facts: Facts) -> str:
    return "with pauses in between" if facts.has_pauses else ""


def _key(facts: Facts) -> str:
    return f"in {facts.key} {facts.mode}" if facts.mode in _NAMED_MODES else ""


def say(tag: str, rng: np.random.Generator) -> str:
    """One of the ways people put a word that hold of any piece it is true of; else the word itself."""
    phrase = _pick(_SYNONYMS[tag], rng) if tag in _SYNONYMS else tag
    return tag if phrase in _OF_A_WHOLE_PIECE else phrase


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
    said = f"{_spaced(caption)} "

    def is_said(phrase: str) -> bool:  # whole: a harpsichord is no harp
        words = _spaced(phrase)
        return f"{words} " in said or f"{words}s " in said

    stated = tuple(tag for tag in tags if any(is_said(phrase) for phrase in (tag, *_SYNONYMS.get(tag, ()))))
    return stated or tuple(tags)


def _spaced(text: str) -> str:
    """Its words, each behind a space; what a hyphen joins is several."""
    return "".join(f" {word}" for word in re.findall(r"[\w&]+", text.lower()))
