"""Styles of bands, with and without amplifiers."""

from data.composer.style import (
    BASS_GUITARS,
    BOOM_CHUCK,
    CHUGS,
    HELD,
    JAZZ,
    MAJOR,
    MINOR,
    PICKING,
    POP,
    ROOTS,
    STRUMS,
    TWO_BEAT,
    WALKING,
    Layer,
    Style,
)

POPULAR = (
    Style(
        name="rock", tags=("rock",), slots=12, bpm=(96, 164), groove="rock",
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
        name="metal", tags=("metal",), slots=20, bpm=(110, 190), groove="metal", looseness=0.006,
        accepts=0,
        progressions={"minor": ("i i VI VII", "i VI i VII", "i i iv VI"), "phrygian": ("i II i VII", "i i II i")},
        layers=(
            Layer(programs=(30,), centre=76, level=98, density=2.4),
            Layer(programs=(30,), centre=45, level=104, patterns=CHUGS, gate=0.8),
            Layer(programs=(30, 29), centre=48, level=98, patterns=CHUGS, gate=0.9, chance=0.7),
            Layer(programs=(34,), centre=36, level=96, patterns=("0000000000000000", "0-0-0-0-0-0-0-0-")),
        ),
    ),
    Style(
        name="blues", tags=("blues",), slots=5, bpm=(60, 136), groove="shuffle", swing=0.65, unplugged_chance=0.35,
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
        name="jazz", tags=("jazz",), slots=6, bpm=(66, 220), groove="swing", swing=0.64, waltz_chance=0.15,
        looseness=0.018,
        unplugged_chance=0.35, progressions=JAZZ,
        layers=(
            Layer(programs=(66, 65, 64, 59, 56, 11, 26, 71, 0, 57), centre=70, level=96, density=1.7),
            Layer(programs=(0, 0, 26, 16), centre=60, level=76,
                  patterns=("c-----c.........", "....c.....c-....", "......c-......c-",
                            "c---..c-....", "..c-......c-..c.")),
            Layer(programs=(32,), centre=41, level=92, patterns=WALKING),
        ),
    ),
    Style(
        name="bossa nova", tags=("latin",), slots=4, bpm=(100, 150), groove="bossa", unplugged_chance=0.3,
         progressions=JAZZ,
        layers=(
            Layer(programs=(73, 65, 24, 0, 11, 56), centre=72, level=92, density=1.2),
            Layer(programs=(24, 24, 26), centre=58, level=84, patterns=("c--c--c---c--c--", "b-c-..c-b-.c..c-")),
            Layer(programs=(32, 33), centre=40, level=88, patterns=("0-----2-2-----0-", "0-----2-2-----2-")),
        ),
    ),
    Style(
        name="salsa", tags=("latin", "dance"), slots=4, bpm=(90, 110), groove="salsa",
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
        name="reggae", tags=("reggae",), slots=10, bpm=(66, 92), groove="reggae",
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
        name="funk", tags=("funk",), slots=6, bpm=(92, 118), groove="funk",
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
        name="country", tags=("country",), slots=13, bpm=(92, 168), groove="country", unplugged_chance=0.4,
        progressions={"major": ("I I IV V", "I IV I V", "I IV V I")}, accepts=0,
        layers=(
            Layer(programs=(105, 110, 110, 27, 25, 22), centre=71, level=96, density=2.0),
            Layer(programs=(25,), centre=56, level=88, patterns=BOOM_CHUCK),
            Layer(programs=(105, 105, 110, 0), centre=66, level=82,
                  patterns=("0232423202324232", "2-3-4-3-2-3-4-3-"), chance=0.7),
            Layer(programs=(32, 33), centre=40, level=90, patterns=TWO_BEAT),
        ),
    ),
    Style(
        name="pop", tags=("pop",), slots=14, bpm=(88, 128), groove="rock", progressions=POP,
        layers=(
            Layer(programs=(80, 0, 27, 73, 65, 81, 54), centre=72, level=98, density=1.4),
            Layer(programs=(0, 0, 4, 25, 27), centre=60, level=84,
                  patterns=("C---c-c-..c-c-c-", "c-c-c-c-c-c-c-c-", *PICKING[:2])),
            Layer(programs=(48, 50, 89), centre=64, level=64, patterns=HELD, chance=0.7),
            Layer(programs=(33, 38), centre=38, level=94, patterns=ROOTS),
        ),
    ),
    Style(
        name="pop ballad", tags=("pop",), slots=8, bpm=(60, 80), groove="ballad", progressions=POP, waltz_chance=0.1,
        layers=(
            Layer(programs=(0, 73, 65, 25, 40, 4), centre=72, level=94, density=0.9),
            Layer(programs=(0, 0, 4, 25), centre=58, level=82,
                  patterns=("0-2-3-2-4-2-3-2-", "c---c---c---c---", "0-2-3-4-3-2-")),
            Layer(programs=(48, 50, 89), centre=64, level=68, patterns=HELD),
            Layer(programs=(33, 35), centre=38, level=90,
                  patterns=("0-------0---2---", "0-----0-0-------", "0-------2---")),
        ),
    ),
    Style(
        name="thrash metal", tags=("metal",), slots=10, bpm=(150, 210), groove="double bass drums", looseness=0.005,
        accepts=0, kit=16,
        progressions={"phrygian": ("i i II i", "i II i VII"), "minor": ("i i VI VII", "i i i VII")},
        layers=(
            Layer(programs=(30,), centre=76, level=98, density=3.2, chance=0.8),
            Layer(programs=(30,), centre=44, level=108, patterns=CHUGS, gate=0.75),
            Layer(programs=(29, 30), centre=51, level=96,
                  patterns=("P---------------", "P-------P-------", *CHUGS[1:3])),
            Layer(programs=(34,), centre=35, level=98, patterns=("0000000000000000", "0-0-0-0-0-0-0-0-")),
        ),
    ),
    Style(
        name="punk", tags=("punk", "rock"), slots=7, bpm=(156, 208), groove="punk", accepts=0, kit=16,
        progressions={"major": ("I IV V IV", "I V vi IV", "I I IV V")},
        layers=(
            Layer(programs=(29,), centre=71, level=98, density=1.8, chance=0.6),
            Layer(programs=(29, 30), centre=50, level=104, patterns=("P-p-p-p-p-p-p-p-", "pppppppppppppppp")),
            Layer(programs=(34,), centre=37, level=100, patterns=("0-0-0-0-0-0-0-0-",)),
        ),
    ),
    Style(
        name="ska", tags=("ska",), slots=4, bpm=(124, 168), groove="ska",
        progressions={"major": ("I IV V IV", "I vi IV V"), "minor": ("i iv V i", "i VII VI V")},
        layers=(
            Layer(programs=(61, 66, 57, 56), centre=69, level=102, density=1.8),
            Layer(programs=(28, 27), centre=64, level=96, patterns=("..C...C...C...C.", "..C.c.C...C.c.C."), gate=0.5),
            Layer(programs=(16, 0), centre=60, level=78, patterns=("..c...c...c...c.",), gate=0.6, chance=0.6),
            Layer(programs=(33,), centre=38, level=100, patterns=(*WALKING[:3], "0-0-2-2-3-3-2-2-")),
        ),
    ),
    Style(
        name="soul", tags=("soul",), slots=4, bpm=(72, 116), groove="soul", swing=0.54,
        progressions={"major": ("IM7 vi7 ii7 V7", "I IV I V", "IM7 IVM7"), "minor": ("i7 iv7", "i7 VIM7 iv7 V7")},
        layers=(
            Layer(programs=(66, 65, 16, 4, 56), centre=69, level=98, density=1.4),
            Layer(programs=(4, 16, 0), centre=60, level=84, patterns=("c--c..c...c-..c.", "c-----c-..c-c---", *HELD)),
            Layer(programs=(28, 27), centre=65, level=78, patterns=("....C.......C...", "....C.......C.c."), gate=0.5),
            Layer(programs=(61,), centre=67, level=78, patterns=("C-..........c-c-", "......C-........"), chance=0.5),
            Layer(programs=(33,), centre=37, level=100, patterns=("0--0..2-0---..w-", "0-..0-3-2-..0-..")),
        ),
    ),
    Style(
        name="disco", tags=("disco", "dance"), slots=5, bpm=(110, 128), groove="disco", looseness=0.004,
        progressions={"minor": ("i7 iv7 VII III", "i7 VII VI V"), "major": ("vi IV I V", "IM7 vi7 ii7 V7")},
        layers=(
            Layer(programs=(48, 81, 61, 65), centre=74, level=94, density=1.6),
            Layer(programs=(28, 27), centre=65, level=90, patterns=("c.cc.c.cc.cc.c.c", "..c...c...c.c.c."), gate=0.5),
            Layer(programs=(0, 4, 7), centre=60, level=80, patterns=("c..c..c...c..c..", "..c-..c-..c-..c-")),
            Layer(programs=(48, 51), centre=67, level=72, patterns=HELD, chance=0.7),
            Layer(programs=(33, 36), centre=37, level=104, patterns=("0-3-0-3-0-3-0-3-", "0.3.0.3.0.3.0.33"), gate=0.8),
        ),
    ),
    Style(
        name="polka", tags=("polka",), slots=3, bpm=(104, 132), groove="polka", accepts=0,
        progressions={"major": ("I I V V", "I V V I", "I IV V I")},
        layers=(
            Layer(programs=(21, 71, 56), centre=74, level=102, density=2.4),
            Layer(programs=(21, 21, 23), centre=62, level=86, patterns=("..c-..c-..c-..c-",), gate=0.7),
            Layer(programs=(58, 58, 32), centre=40, level=98, patterns=("0---....2---....",), gate=0.8),
        ),
    ),
    Style(
        name="tango", tags=("tango", "latin"), slots=4, bpm=(108, 132), accepts=0, looseness=0.015,
        progressions={"minor": ("i V i V", "i iv V i", "i VII VI V")},
        layers=(
            Layer(programs=(23, 40, 21), centre=73, level=102, density=1.7),
            Layer(programs=(0, 23), centre=60, level=92,
                  patterns=("C---C---C---C-c-", "C-..C-..C-..C-c-", "C-----c-C---C---")),
            Layer(programs=(40, 48), centre=67, level=78, patterns=("......c-........", *HELD[:1]), chance=0.5),
            Layer(programs=(32,), centre=40, level=98, patterns=("0---2---0---2---", "0-----0-2---w---")),
        ),
    ),
    Style(
        name="bluegrass", tags=("bluegrass", "country"), slots=4, bpm=(112, 164), accepts=0,
        progressions={"major": ("I I IV V", "I IV I V", "I I V I")},
        layers=(
            Layer(programs=(105, 110, 25), centre=72, level=100, density=3.0),
            Layer(programs=(105,), centre=65, level=84, patterns=("0232423202324232", "0123412301234123")),
            Layer(programs=(25,), centre=56, level=88, patterns=BOOM_CHUCK),
            Layer(programs=(32,), centre=39, level=94, patterns=TWO_BEAT),
        ),
    ),
    Style(
        name="ragtime", tags=("ragtime",), slots=3, bpm=(84, 120), accepts=0,
        progressions={"major": ("I VI7 II7 V7", "I I V7 I", "I IV I V7")},
        layers=(
            Layer(programs=(0, 3), centre=74, level=96, density=3.0),
            Layer(programs=(3, 0), centre=54, level=80, patterns=("b---c---b---c---",), gate=0.8),
        ),
    ),
)  # fmt: skip
