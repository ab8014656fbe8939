"""The styles of the composer, as data: who plays what, over which chords, how fast.

A pattern is one bar, four characters a beat (16 in a bar of four, 12 in a bar of three):
`c` the chord, `p` root, fifth and octave, `0`-`9` one tone of the chord counted upwards, `b` the root an octave
below, `w` a step towards the next chord's root, `-` hold what sounds, `.` rest; a capital C or P is an accent.
A chord is a roman numeral: upper case major, lower case minor, with 7, M7 (major seventh), 5 (power) or sus.
"""

from dataclasses import dataclass

STYLE_TAGS = (
    "classical", "baroque", "rock", "metal", "blues", "jazz", "latin", "reggae", "funk", "techno", "house",
    "electronic", "dance", "ambient", "folk", "country", "indian", "new age", "hip hop", "march",
)  # fmt: skip

PADS = (88, 89, 91, 95, 50)
LEAD_SYNTHS = (80, 81, 87, 90, 62)
BOWED = (40, 41, 42)
HELD = ("c---------------", "c-----------")


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
    """How pieces of one name are made. The first layer leads; `unsure` tags are neither true nor false of it."""

    name: str
    tags: tuple[str, ...]
    layers: tuple[Layer, ...]
    progressions: dict[str, tuple[str, ...]]
    bpm: tuple[int, int]
    unsure: tuple[str, ...] = ()
    weight: float = 6.6
    groove: str = ""
    waltz_chance: float = 0.0
    swing: float = 0.5
    looseness: float = 0.012
    unplugged_chance: float = 0.0
    guest_chance: float = 0.4


MAJOR = ("I V vi IV", "I IV V I", "I vi IV V", "I iii IV V", "I IV I V", "vi IV I V", "I ii V I")
MINOR = ("i VI III VII", "i iv V i", "i VII VI V", "i iv VII III", "i VI iv V")
CLASSICAL = {
    "major": ("I V I IV ii V I I", "I IV V I vi ii V I", "I V vi iii IV I IV V", "I vi ii V"),
    "minor": ("i iv V i VI iv V i", "i V i iv i V i i", "i VII III VI iv ii V i"),
}
FOLK = {"major": ("I IV I V", "I I IV V", "I V IV I", "I vi IV V"), "dorian": ("i VII i VII", "i IV i VII")}
LOOPS = {"minor": ("i i VI VII", "i VI", "i iv", "i i i VII"), "dorian": ("i IV", "i i IV i")}
JAZZ = {
    "major": ("ii7 V7 IM7 IM7", "IM7 vi7 ii7 V7", "iii7 vi7 ii7 V7", "IM7 IV7 iii7 VI7 ii7 V7 IM7 V7"),
    "minor": ("i7 iv7 V7 i7", "i7 VIM7 ii7 V7"),
}
CHUGS = ("pppppppppppppppp", "P-pp.pp.P-pp.pp.", "P-.pp.P-.pp.P-p-", "pp.ppp.ppp.pp.pp")
STRUMS = ("C-c-c-cc.-c-c-c-", "C---c-c-..c-c-c-", "C-c-C-c-C-c-C-c-", "C---c-c-c-c-")
PICKING = ("b-2-3-2-b-2-4-2-", "b-1-2-3-b-3-2-1-", "0-1-2-3-4-3-2-1-", "b-2-3-2-4-2-")
BOOM_CHUCK = ("b---c---2---c---", "b---c-c-2---c-c-", "b---c---c---")
ARPEGGIOS = ("0123432101234321", "0-1-2-3-4-3-2-1-", "0123012301230123", "0-2-4-5-4-2-")
WALKING = ("0---1---2---w---", "0---2---3---w---", "3---2---1---w---", "0---2---w---")
ROOTS = ("0-0-0-0-0-0-0-0-", "0---0-0-0---0-2-", "0-----0-0---2---", "0---0---2---")
TWO_BEAT = ("0-------2-------", "0-----0-2-----2-", "0-----------")
BASS_GUITARS = (33, 34)

STYLES = (
    Style(
        name="classical piano", tags=("classical",), weight=2.5, bpm=(46, 160), waltz_chance=0.3,
        progressions=CLASSICAL, guest_chance=0.0, looseness=0.02, unsure=("new age", "jazz"),
        layers=(
            Layer(programs=(0, 1), centre=76, level=86, density=1.6),
            Layer(programs=(0, 1), centre=52, level=66,
                  patterns=("0-2-1-2-0-2-1-2-", "0212021202120212", "b---c---b---c---", "b-2-3-2-4-3-2-1-",
                            "b---c---c---", "0-2-3-4-3-2-")),
        ),
    ),
    Style(
        name="string quartet", tags=("classical",), weight=2.5, bpm=(54, 150), waltz_chance=0.25,
        progressions=CLASSICAL, guest_chance=0.0, looseness=0.02,
        layers=(
            Layer(programs=(40,), centre=80, level=92, density=1.4),
            Layer(programs=(40,), centre=69, level=76,
                  patterns=("2-1-2-1-2-1-2-1-", "..2-2-2-..2-2-2-", "2---1---2---")),
            Layer(programs=(41,), centre=60, level=76,
                  patterns=("c---------------", "1-1-1-1-2-2-2-2-", "..1-1-1-1-1-")),
            Layer(programs=(42,), centre=46, level=84,
                  patterns=("0---2---0---2---", "0---------------", "0-------1---")),
        ),
    ),
    Style(
        name="orchestra", tags=("classical",), weight=2.5, bpm=(56, 150), progressions=CLASSICAL,
        waltz_chance=0.2, guest_chance=0.0, looseness=0.02,
        layers=(
            Layer(programs=(73, 71, 68, 60, 56, 48), centre=74, level=96, density=1.2),
            Layer(programs=(48, 49, 44), centre=64, level=84, patterns=(*HELD, "c-c-c-c-c-c-c-c-", "cccccccccccccccc")),
            Layer(programs=(60, 61, 57), centre=55, level=80,
                  patterns=("c-------c-------", "..c-..c-..c-..c-"), chance=0.8),
            Layer(programs=(73, 71, 46), centre=76, level=76, patterns=ARPEGGIOS, chance=0.5),
            Layer(programs=(42, 43), centre=43, level=90,
                  patterns=("0-------2-------", "0---0---2---2---", "0-------1---")),
        ),
    ),
    Style(
        name="choral music", tags=("classical",), weight=2.5, bpm=(50, 90), progressions=CLASSICAL,
        guest_chance=0.0, unsure=("new age", "ambient", "baroque"),
        layers=(
            Layer(programs=(52, 53), centre=69, level=96, density=0.7),
            Layer(programs=(52, 53), centre=57, level=88, patterns=("c-------c-------", *HELD)),
            Layer(programs=(19,), centre=52, level=76, patterns=("c---------------", "c-------c---"), chance=0.35),
        ),
    ),
    Style(
        name="baroque", tags=("baroque", "classical"), weight=7.2, bpm=(66, 144), progressions=CLASSICAL,
        waltz_chance=0.25,
        guest_chance=0.0,
        layers=(
            Layer(programs=(6, 19, 40, 73, 74, 68, 59), centre=74, level=92, density=2.4),
            Layer(programs=(6, 6, 6, 19), centre=58, level=86,
                  patterns=("0123432101234321", "0-1-2-1-3-2-1-2-", "c---c---c---c---", "0-1-2-3-2-1-")),
            Layer(programs=(42,), centre=45, level=84, patterns=("0-1-2-1-0-2-1-w-", *WALKING), chance=0.6),
        ),
    ),
    Style(
        name="rock", tags=("rock",), bpm=(96, 164), groove="rock",
        unsure=("metal", "blues", "dance", "country", "funk"),
        progressions={"major": ("I IV V IV", "I VII IV I", *MAJOR[:3]), "minor": MINOR, "mixolydian": ("I VII IV I",)},
        layers=(
            Layer(programs=(29, 29, 30, 27, 18, 81), centre=74, level=100, density=1.3),
            Layer(programs=(29, 29, 30), centre=50, level=86,
                  patterns=("P-p-p-p-p-p-p-p-", "P-----p-P---p-p-", "P---..p-..p-P---")),
            Layer(programs=(27, 25, 18, 0), centre=62, level=76, patterns=(*STRUMS, *HELD), chance=0.6),
            Layer(programs=BASS_GUITARS, centre=38, level=92, patterns=ROOTS),
        ),
    ),
    Style(
        name="metal", tags=("metal",), bpm=(110, 190), groove="metal", unsure=("rock",), looseness=0.006,
        guest_chance=0.12,
        progressions={"minor": ("i i VI VII", "i VI i VII", "i i iv VI"), "phrygian": ("i II i VII", "i i II i")},
        layers=(
            Layer(programs=(30,), centre=76, level=98, density=2.4),
            Layer(programs=(30,), centre=45, level=104, patterns=CHUGS, gate=0.8),
            Layer(programs=(30, 29), centre=48, level=98, patterns=CHUGS, gate=0.9, chance=0.7),
            Layer(programs=(34,), centre=36, level=96, patterns=("0000000000000000", "0-0-0-0-0-0-0-0-")),
        ),
    ),
    Style(
        name="blues", tags=("blues",), bpm=(60, 136), groove="shuffle", swing=0.65, unplugged_chance=0.35,
        unsure=("jazz", "rock", "folk", "country"),
        progressions={"blues": ("I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7", "I7 I7 IV7 I7 V7 IV7 I7 V7")},
        layers=(
            Layer(programs=(26, 27, 29, 22, 25, 66, 0), centre=70, level=98, density=1.5),
            Layer(programs=(0, 3, 16, 27, 25), centre=58, level=80,
                  patterns=("c-c-c-c-c-c-c-c-", "b-2-b-3-b-2-b-3-", "..c-..c-..c-..c-", "c-----c-....c---")),
            Layer(programs=(33, 32), centre=38, level=90,
                  patterns=("0---1---2---3---", "0-0-1-1-2-2-3-2-", *WALKING[:2])),
        ),
    ),
    Style(
        name="jazz", tags=("jazz",), bpm=(66, 220), groove="swing", swing=0.64, waltz_chance=0.15, looseness=0.018,
        unplugged_chance=0.35, unsure=("blues", "latin"), progressions=JAZZ,
        layers=(
            Layer(programs=(66, 65, 64, 59, 56, 11, 26, 71, 0, 57), centre=70, level=96, density=1.7),
            Layer(programs=(0, 0, 26, 16), centre=60, level=76,
                  patterns=("c-----c.........", "....c.....c-....", "......c-......c-",
                            "c---..c-....", "..c-......c-..c.")),
            Layer(programs=(32,), centre=41, level=92, patterns=WALKING),
        ),
    ),
    Style(
        name="bossa nova", tags=("latin",), weight=3.3, bpm=(100, 150), groove="bossa", unplugged_chance=0.3,
        unsure=("jazz", "dance", "folk"), progressions=JAZZ,
        layers=(
            Layer(programs=(73, 65, 24, 0, 11, 56), centre=72, level=92, density=1.2),
            Layer(programs=(24, 24, 26), centre=58, level=84, patterns=("c--c--c---c--c--", "b-c-..c-b-.c..c-")),
            Layer(programs=(32, 33), centre=40, level=88, patterns=("0-----2-2-----0-", "0-----2-2-----2-")),
        ),
    ),
    Style(
        name="salsa", tags=("latin", "dance"), weight=3.3, bpm=(90, 110), groove="salsa",
        unsure=("jazz", "folk", "funk"),
        progressions={"minor": ("i iv V V", "i VII VI V"), "major": ("I IV V IV", "I ii V I")},
        layers=(
            Layer(programs=(56, 57, 61, 73), centre=71, level=98, density=1.8),
            Layer(programs=(0, 0, 1, 12), centre=64, level=88,
                  patterns=("3-45.4-3.54-3-45", "0.3.43.3.43.4.3.", "c.c..c.c.c..c.c.")),
            Layer(programs=(61, 57, 56), centre=64, level=80,
                  patterns=("......c-......c.", "c..c............"), chance=0.6),
            Layer(programs=(33, 32), centre=40, level=94, patterns=("......0-....2---", "...0--2-...0--2-")),
        ),
    ),
    Style(
        name="reggae", tags=("reggae",), bpm=(66, 92), groove="reggae", unsure=("dance", "latin", "funk"),
        guest_chance=0.35,
        progressions={"major": ("I IV", "I V vi IV", "I IV V IV"), "minor": ("i iv", "i VII", "i VI VII i")},
        layers=(
            Layer(programs=(57, 56, 65, 22, 73, 27), centre=70, level=92, density=1.2),
            Layer(programs=(28, 27), centre=64, level=96, patterns=("..C...C...C...C.", "..Cc..Cc..Cc..Cc"), gate=0.6),
            Layer(programs=(16, 17, 0), centre=60, level=78,
                  patterns=(".cCc.cCc.cCc.cCc", "..c...c...c...c."), gate=0.7, chance=0.8),
            Layer(programs=(33, 34), centre=36, level=110,
                  patterns=("0-----0-..2-3-2-", "0--0..2-3-..2-0-", "..0-0-..2-..3---")),
        ),
    ),
    Style(
        name="funk", tags=("funk",), bpm=(92, 118), groove="funk", unsure=("dance", "jazz", "rock", "hip hop"),
        looseness=0.008,
        progressions={"dorian": ("i7 IV7", "i7 i7 IV7 i7"), "mixolydian": ("I7", "I7 I7 IV7 I7")},
        layers=(
            Layer(programs=(61, 65, 66, 56, 18, 81), centre=70, level=98, density=2.0),
            Layer(programs=(28, 27), centre=64, level=90,
                  patterns=("..c.c..c..c.c..c", ".cc..c.c.cc..c.c", "....C.......C.c."), gate=0.5),
            Layer(programs=(7, 16, 4), centre=60, level=84,
                  patterns=("0.3.4..3.0.3.4.3", "c..c....c..c..c."), gate=0.6, chance=0.7),
            Layer(programs=(61,), centre=68, level=80,
                  patterns=("C.............c.", "......C.....C..."), gate=0.6, chance=0.5),
            Layer(programs=(36, 33), centre=36, level=104,
                  patterns=("0..03.0...2.30..", "0.0...3.0..2..w.", "0...0.30..0.2.3."), gate=0.7),
        ),
    ),
    Style(
        name="techno", tags=("techno", "electronic", "dance"), bpm=(124, 148), groove="techno", looseness=0.0,
        unsure=("house",),
        guest_chance=0.2, progressions=LOOPS,
        layers=(
            Layer(programs=LEAD_SYNTHS, centre=67, level=90,
                  patterns=("0120312001203120", "0..3..0..3..0.3.", "0-0.3-0.0-0.5-3.", "0303040303050403"), gate=0.7),
            Layer(programs=(90, 62, 81), centre=62, level=80,
                  patterns=("...c..c....c..c.", "..c...c...c...c.", "c..c..c..c..c.c."), gate=0.5, chance=0.75),
            Layer(programs=PADS, centre=60, level=66, patterns=HELD, chance=0.5),
            Layer(programs=(38, 39), centre=36, level=104,
                  patterns=("..00..00..00..00", "0000000000000000", ".000.000.000.000"), gate=0.8),
        ),
    ),
    Style(
        name="house", tags=("house", "electronic", "dance"), bpm=(116, 128), groove="house", looseness=0.0,
        unsure=("techno", "funk"),
        guest_chance=0.35,
        progressions={"minor": ("i7 iv7 VII VI", "i7 VIM7", "i7 iv7"), "major": ("IM7 iii7 vi7 IV", "vi IV I V")},
        layers=(
            Layer(programs=(0, 0, 1, 17), centre=66, level=96,
                  patterns=("c..c..c...c..c..", "c..c..c..c..c.c.", "..c...c...c.c.c.")),
            Layer(programs=(81, 80, 11, 65, 50), centre=74, level=84, density=1.2, chance=0.7),
            Layer(programs=(50, 48, 89, 95), centre=64, level=70, patterns=HELD, chance=0.7),
            Layer(programs=(38, 39, 33), centre=36, level=104,
                  patterns=("..0...0...0...0.", "..0...0...0..00.", "0..0..0..0..0.0."), gate=0.8),
        ),
    ),
    Style(
        name="ambient", tags=("ambient",), bpm=(44, 76), unsure=("new age", "electronic", "classical"), looseness=0.03,
        progressions={"major": ("IM7", "IM7 IVM7", "I Isus"), "minor": ("i7", "i7 VIM7"), "dorian": ("i7", "i7 IV")},
        guest_chance=0.3,
        layers=(
            Layer(programs=PADS, centre=62, level=84, patterns=HELD, gate=1.3),
            Layer(programs=(91, 89, 88, 52, 49), centre=52, level=76, patterns=HELD, gate=1.3),
            Layer(programs=(4, 11, 88, 46, 0, 14, 73, 75), centre=74, level=84, density=0.35, gate=1.6, chance=0.7),
        ),
    ),
    Style(
        name="folk", tags=("folk",), bpm=(76, 150), waltz_chance=0.35, unplugged_chance=0.75, groove="country",
        unsure=("country", "classical", "new age"), progressions=FOLK, guest_chance=0.15,
        layers=(
            Layer(programs=(25, 24, 110, 73, 21, 22, 75, 105), centre=71, level=94, density=1.6),
            Layer(programs=(25, 25, 24), centre=56, level=86, patterns=(*STRUMS, *PICKING)),
            Layer(programs=(32,), centre=40, level=84, patterns=TWO_BEAT, chance=0.4),
        ),
    ),
    Style(
        name="country", tags=("country",), bpm=(92, 168), groove="country", unplugged_chance=0.4,
        unsure=("folk", "rock", "blues"),
        progressions={"major": ("I I IV V", "I IV I V", "I IV V I")}, guest_chance=0.15,
        layers=(
            Layer(programs=(105, 110, 110, 27, 25, 22), centre=71, level=96, density=2.0),
            Layer(programs=(25,), centre=56, level=88, patterns=BOOM_CHUCK),
            Layer(programs=(105, 105, 110, 0), centre=66, level=82,
                  patterns=("0232423202324232", "2-3-4-3-2-3-4-3-"), chance=0.7),
            Layer(programs=(32, 33), centre=40, level=90, patterns=TWO_BEAT),
        ),
    ),
    Style(
        name="Indian music", tags=("indian",), bpm=(60, 150), groove="tabla", unplugged_chance=0.35, looseness=0.02,
        progressions={"bhairav": ("I5",), "kafi": ("I5",), "phrygian": ("I5",)}, guest_chance=0.0,
        unsure=("folk", "new age"),
        layers=(
            Layer(programs=(104, 104, 104, 104, 75, 40), centre=66, level=98, density=2.0),
            Layer(programs=(104,), centre=50, level=70,
                  patterns=("2---3---3---b---", "b---2---3---3---", "2---3---b---"), gate=2.0),
        ),
    ),
    Style(
        name="new age", tags=("new age",), bpm=(54, 92), waltz_chance=0.2, unsure=("ambient", "classical", "folk"),
        looseness=0.025,
        progressions={"major": ("I V vi IV", "IM7 IVM7", "I iii IV I"), "dorian": ("i VII IV i",)}, guest_chance=0.15,
        layers=(
            Layer(programs=(73, 75, 46, 0, 24, 77), centre=74, level=90, density=0.9),
            Layer(programs=(46, 46, 0, 24), centre=60, level=80, patterns=ARPEGGIOS, gate=1.8),
            Layer(programs=(49, 89, 91, 52), centre=58, level=66, patterns=HELD, chance=0.75),
        ),
    ),
    Style(
        name="hip hop", tags=("hip hop",), bpm=(72, 100), groove="hip hop", swing=0.56,
        unsure=("electronic", "funk", "dance", "jazz"),
        guest_chance=0.45, progressions={"minor": ("i VI", "i iv", "i7 iv7 VIM7 V7"), "dorian": ("i7 IV7", "i7")},
        layers=(
            Layer(programs=(4, 0, 11, 45, 81, 73), centre=66, level=90,
                  patterns=("0.3.4...2.3.....", "c.....c...c.....", "0-..3-2-..0-..1-", "4.3.2...4.3.2.0.")),
            Layer(programs=(48, 50, 4, 89), centre=60, level=72, patterns=HELD, chance=0.7),
            Layer(programs=(38, 33, 35), centre=34, level=110,
                  patterns=("0-----0-..0-....", "0--0......0--2..", "0-------0-2-....")),
        ),
    ),
    Style(
        name="march", tags=("march",), bpm=(100, 128), groove="march", unsure=("classical", "folk"), guest_chance=0.1,
        progressions={"major": ("I I V I", "I IV V I", "I vi ii V")},
        layers=(
            Layer(programs=(56, 56, 61, 72, 71), centre=73, level=100, density=1.5),
            Layer(programs=(61, 57, 60), centre=60, level=88,
                  patterns=("..c...c...c...c.", "..c...c...c...cc"), gate=0.7),
            Layer(programs=(57, 60, 66), centre=57, level=84, density=0.8, chance=0.7),
            Layer(programs=(58,), centre=41, level=98, patterns=("0---....2---....", "0---2---0---2---"), gate=0.8),
        ),
    ),
)  # fmt: skip
