"""What a style is: who plays what, over which chords, how fast; and which words are true of it.

A pattern is one bar, four characters a beat (16 in a bar of four, 12 in a bar of three):
`c` the chord, `p` root, fifth and octave, `0`-`9` one tone of the chord counted upwards, `b` the root an octave
below, `w` a step towards the next chord's root, `-` hold what sounds, `.` rest; a capital C or P is an accent.
A chord is a roman numeral: upper case major, lower case minor, with 7, M7 (major seventh), 5 (power) or sus.
"""

from dataclasses import dataclass

# Each style's word, and those that people may also call it: neither true nor false of the piece.
KIN: dict[str, tuple[str, ...]] = {
    "classical": ("baroque", "early music", "orchestral", "new age", "waltz", "march"),
    "baroque": ("early music", "orchestral", "classical"),
    "early music": ("baroque", "classical", "folk", "celtic"),
    "orchestral": ("classical", "march", "waltz", "new age"),
    "rock": ("pop", "metal", "punk", "blues", "country", "funk", "dance"),
    "pop": ("rock", "dance", "soul", "disco", "country", "folk", "electronic", "new age"),
    "metal": ("rock", "punk"),
    "punk": ("rock", "metal", "pop", "ska"),
    "blues": ("jazz", "rock", "folk", "country", "soul", "ragtime", "swing"),
    "jazz": ("blues", "swing", "big band", "latin", "bossa nova", "funk", "soul", "lofi", "ragtime"),
    "swing": ("jazz", "big band", "blues", "dance"),
    "big band": ("jazz", "swing", "latin", "dance"),
    "ragtime": ("jazz", "blues", "march", "swing"),
    "latin": ("dance", "bossa nova", "samba", "tango", "jazz", "pop"),
    "bossa nova": ("jazz", "samba", "dance", "latin", "pop"),
    "samba": ("bossa nova", "dance", "latin"),
    "tango": ("latin", "dance", "classical"),
    "reggae": ("ska", "dance", "latin", "pop", "funk"),
    "ska": ("reggae", "dance", "rock", "punk", "pop"),
    "funk": ("soul", "dance", "disco", "jazz", "rock", "hip hop", "pop"),
    "soul": ("funk", "pop", "disco", "blues", "jazz", "dance", "rock"),
    "disco": ("dance", "funk", "pop", "soul", "house", "electronic"),
    "techno": ("house", "trance", "acid"),
    "house": ("techno", "trance", "disco", "funk", "acid"),
    "trance": ("techno", "house", "acid"),
    "acid": ("techno", "house", "trance"),
    "drum and bass": ("techno", "dance", "electronic", "hip hop"),
    "electronic": ("dance", "pop"),
    "dance": ("pop",),
    "hip hop": ("electronic", "funk", "dance", "jazz", "soul", "pop", "trap", "lofi"),
    "trap": ("electronic", "hip hop", "dance", "pop"),
    "lofi": ("hip hop", "jazz", "electronic", "ambient", "new age", "pop", "soul"),
    "chiptune": ("dance", "techno", "trance", "house"),
    "ambient": ("new age", "electronic", "classical", "drone"),
    "drone": ("electronic", "new age", "indian"),
    "new age": ("ambient", "classical", "folk", "electronic", "celtic"),
    "folk": ("country", "celtic", "classical", "new age", "bluegrass", "pop"),
    "celtic": ("country", "dance", "bluegrass", "folk"),
    "country": ("folk", "rock", "blues", "bluegrass", "pop"),
    "bluegrass": ("folk", "celtic", "blues", "country"),
    "indian": ("folk", "new age", "drone"),
    "march": ("classical", "folk", "orchestral", "polka"),
    "polka": ("folk", "dance", "march"),
    "waltz": ("classical", "folk", "dance", "jazz", "pop", "country"),
}  # fmt: skip
STYLE_TAGS = tuple(KIN)

PADS = (88, 89, 91, 95, 50)
LEAD_SYNTHS = (80, 81, 87, 90, 62)
HELD = ("c---------------", "c-----------")
BASS_GUITARS = (33, 34)

MAJOR = ("I V vi IV", "I IV V I", "I vi IV V", "I iii IV V", "I IV I V", "vi IV I V", "I ii V I")
MINOR = ("i VI III VII", "i iv V i", "i VII VI V", "i iv VII III", "i VI iv V")
CLASSICAL = {
    "major": ("I V I IV ii V I I", "I IV V I vi ii V I", "I V vi iii IV I IV V", "I vi ii V"),
    "minor": ("i iv V i VI iv V i", "i V i iv i V i i", "i VII III VI iv ii V i"),
}
EPIC = {
    "minor": ("i VI III VII", "i i VI VII", "i VII VI V", "i iv i V", "i VI i VII"),
    "dorian": ("i VII IV i", "i IV i VII"),
    "major": ("I vi IV V", "I IV I V", "IV V vi I", "I V vi IV"),
}
FOLK = {"major": ("I IV I V", "I I IV V", "I V IV I", "I vi IV V"), "dorian": ("i VII i VII", "i IV i VII")}
LOOPS = {"minor": ("i i VI VII", "i VI", "i iv", "i i i VII"), "dorian": ("i IV", "i i IV i")}
JAZZ = {
    "major": ("ii7 V7 IM7 IM7", "IM7 vi7 ii7 V7", "iii7 vi7 ii7 V7", "IM7 IV7 iii7 VI7 ii7 V7 IM7 V7"),
    "minor": ("i7 iv7 V7 i7", "i7 VIM7 ii7 V7"),
}
POP = {"major": MAJOR, "minor": MINOR}
TWELVE_BARS = {"blues": ("I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7", "I7 I7 IV7 I7 V7 IV7 I7 V7")}

CHUGS = ("pppppppppppppppp", "P-pp.pp.P-pp.pp.", "P-.pp.P-.pp.P-p-", "pp.ppp.ppp.pp.pp")
STRUMS = ("C-c-c-cc.-c-c-c-", "C---c-c-..c-c-c-", "C-c-C-c-C-c-C-c-", "C---c-c-c-c-")
PICKING = ("b-2-3-2-b-2-4-2-", "b-1-2-3-b-3-2-1-", "0-1-2-3-4-3-2-1-", "b-2-3-2-4-2-")
BOOM_CHUCK = ("b---c---2---c---", "b---c-c-2---c-c-", "b---c---c---")
ARPEGGIOS = ("0123432101234321", "0-1-2-3-4-3-2-1-", "0123012301230123", "0-2-4-5-4-2-")
WALKING = ("0---1---2---w---", "0---2---3---w---", "3---2---1---w---", "0---2---w---")
ROOTS = ("0-0-0-0-0-0-0-0-", "0---0-0-0---0-2-", "0-----0-0---2---", "0---0---2---")
TWO_BEAT = ("0-------2-------", "0-----0-2-----2-", "0-----------")
OFF_BEATS = ("..0...0...0...0.", "..0...0...0..00.", ".000.000.000.000")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One line of the arrangement: the programs it may have and the patterns it plays.

    Without patterns it is a melody, of about `density` notes a beat. `centre` is the MIDI pitch it lies around,
    `level` its mean velocity, `chance` how often it is there, `gate` the sounding part of each note's length.
    """

    programs: tuple[int, ...]
    patterns: tuple[str, ...] = ()
    centre: int = 64
    level: int = 80
    chance: float = 1.0
    density: float = 1.0
    gate: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Style:
    """How pieces of one name are made. The first layer leads.

    Attributes:
        slots: of a block of the corpus (`data.composer.schedule`), how many pieces are of this style.
        unsure: words beside those of `KIN` that are neither true nor false of its pieces.
        accepts: how many instruments foreign to the style may join without making it another.
        kit: the General MIDI drum kit.
    """

    name: str
    tags: tuple[str, ...]
    layers: tuple[Layer, ...]
    progressions: dict[str, tuple[str, ...]]
    bpm: tuple[int, int]
    unsure: tuple[str, ...] = ()
    slots: int = 4
    accepts: int = 1
    groove: str = ""
    kit: int = 0
    waltz_chance: float = 0.0
    swing: float = 0.5
    looseness: float = 0.012
    unplugged_chance: float = 0.0


def unsure_of(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Words of styles that are neither true nor false where `tags` are true."""
    akin = {other for tag in tags for other in KIN[tag]}
    return tuple(tag for tag in STYLE_TAGS if tag in akin and tag not in tags)
