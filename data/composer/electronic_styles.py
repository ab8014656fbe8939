"""Styles made with machines."""

from data.composer.style import HELD, LEAD_SYNTHS, LOOPS, OFF_BEATS, PADS, POP, Layer, Style

ELECTRONIC = (
    Style(
        name="techno", tags=("techno", "electronic", "dance"), slots=11, bpm=(124, 148), groove="techno", looseness=0.0,
         progressions=LOOPS,
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
        name="house", tags=("house", "electronic", "dance"), slots=8, bpm=(116, 128), groove="house", looseness=0.0,
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
        name="ambient", tags=("ambient",), slots=15, bpm=(44, 76), looseness=0.03,
        progressions={"major": ("IM7", "IM7 IVM7", "I Isus"), "minor": ("i7", "i7 VIM7"), "dorian": ("i7", "i7 IV")},
        layers=(
            Layer(programs=PADS, centre=62, level=84, patterns=HELD, gate=1.3),
            Layer(programs=(91, 89, 88, 52, 49), centre=52, level=76, patterns=HELD, gate=1.3),
            Layer(programs=(4, 11, 88, 46, 0, 14, 73, 75), centre=74, level=84, density=0.35, gate=1.6, chance=0.7),
        ),
    ),
    Style(
        name="hip hop", tags=("hip hop",), slots=8, bpm=(72, 100), groove="hip hop", swing=0.56,
         progressions={"minor": ("i VI", "i iv", "i7 iv7 VIM7 V7"), "dorian": ("i7 IV7", "i7")},
        layers=(
            Layer(programs=(4, 0, 11, 45, 81, 73), centre=66, level=90,
                  patterns=("0.3.4...2.3.....", "c.....c...c.....", "0-..3-2-..0-..1-", "4.3.2...4.3.2.0.")),
            Layer(programs=(48, 50, 4, 89), centre=60, level=72, patterns=HELD, chance=0.7),
            Layer(programs=(38, 33, 35), centre=34, level=110,
                  patterns=("0-----0-..0-....", "0--0......0--2..", "0-------0-2-....")),
        ),
    ),
    Style(
        name="trance", tags=("trance", "electronic", "dance"), slots=6, bpm=(130, 144), groove="house", looseness=0.0,
        kit=24, progressions={"minor": ("i VI III VII", "i VII VI VII", "VI VII i i")},
        layers=(
            Layer(programs=(81, 90, 86), centre=74, level=96,
                  patterns=("0.2.3.4.3.2.3.4.", "0340340340340340", "0..3..4..3..4.3."), gate=0.7),
            Layer(programs=(81, 80), centre=76, level=90, density=1.0, chance=0.7),
            Layer(programs=PADS, centre=62, level=76, patterns=HELD),
            Layer(programs=(38, 39), centre=36, level=106, patterns=OFF_BEATS, gate=0.8),
        ),
    ),
    Style(
        name="acid", tags=("acid", "electronic", "dance"), slots=8, bpm=(118, 138), groove="techno", looseness=0.0,
        accepts=0, kit=25, progressions={"minor": ("i", "i i i VII"), "phrygian": ("i", "i II")},
        layers=(
            Layer(programs=(38, 39, 87, 84), centre=48, level=108,
                  patterns=("0030b02003010b30", "00.30.0b00.32.03", "0b03001b0b23003b", "0.0030b0.02003b0"), gate=0.6),
            Layer(programs=(81, 62, 90), centre=64, level=82,
                  patterns=("......c.......c.", "..c.......c.c..."), gate=0.5, chance=0.5),
        ),
    ),
    Style(
        name="minimal techno", tags=("techno", "electronic", "dance"), slots=11, bpm=(120, 136), groove="techno",
        looseness=0.0, accepts=0, kit=25, progressions={"minor": ("i", "i i i iv"), "dorian": ("i", "i i IV i")},
        layers=(
            Layer(programs=(80, 87, 98, 62), centre=66, level=88,
                  patterns=("0.....3.....0...", "...2......3.....", "0..0..0.....3..."), gate=0.5),
            Layer(programs=PADS, centre=58, level=62, patterns=HELD, chance=0.5),
            Layer(programs=(38, 39), centre=36, level=108,
                  patterns=("..0...0...0...0.", "0..0..0.0..0..0.", "..00..00..00..00"), gate=0.7),
        ),
    ),
    Style(
        name="drum and bass", tags=("drum and bass", "electronic"), slots=8, bpm=(164, 178), groove="breakbeat",
        looseness=0.002, progressions=LOOPS,
        layers=(
            Layer(programs=(81, 4, 80, 11), centre=70, level=84,
                  patterns=("0-----3-----2---", "0.3.....4.3.....", "c-----......c-..")),
            Layer(programs=PADS, centre=62, level=72, patterns=HELD),
            Layer(programs=(38, 39), centre=33, level=114,
                  patterns=("0-----0-....0---", "0--0--..2---0---", "0-------..0-w---")),
        ),
    ),
    Style(
        name="big beat", tags=("electronic", "dance"),
        unsure=("techno", "house", "trance", "acid", "drum and bass", "hip hop", "rock", "funk"),
        slots=8, bpm=(100, 146), groove="breakbeat", looseness=0.0,
        kit=24, progressions=LOOPS,
        layers=(
            Layer(programs=(81, 87, 84, 90), centre=62, level=98,
                  patterns=("0-00..3-0-00..5-", "0..0..3.0..0..2.", "0303040303050403"), gate=0.7),
            Layer(programs=(62, 63, 90), centre=58, level=90,
                  patterns=("C-....C-......C-", "..C...C...C...C."), gate=0.6,
                  chance=0.6),
            Layer(programs=PADS, centre=60, level=70, patterns=HELD, chance=0.5),
            Layer(programs=(38, 39, 87), centre=35, level=108,
                  patterns=("0-00..0-0-00..2-", "0000000000000000", "0--0--0-0--0--2-")),
        ),
    ),
    Style(
        name="synthwave", tags=("electronic",), unsure=("disco", "house", "techno", "trance", "rock", "chiptune"),
        slots=8, bpm=(76, 124), groove="disco", looseness=0.0, kit=24,
        progressions=POP,
        layers=(
            Layer(programs=LEAD_SYNTHS, centre=73, level=94, density=1.1),
            Layer(programs=(81, 90, 50, 62), centre=62, level=80,
                  patterns=(*HELD[:1], "0123432101234321", "0-2-3-2-0-2-3-2-")),
            Layer(programs=PADS, centre=60, level=74, patterns=HELD[:1]),
            Layer(programs=(38, 39), centre=36, level=104,
                  patterns=("0-0-0-0-0-0-0-0-", "0000000000000000", "0---0-0-0---0-2-")),
        ),
    ),
    Style(
        name="trap", tags=("trap",), slots=8, bpm=(66, 80), groove="trap", looseness=0.002, kit=25,
        progressions={"minor": ("i VI", "i iv", "i"), "phrygian": ("i II", "i")},
        layers=(
            Layer(programs=(14, 10, 73, 46, 81, 98), centre=74, level=88,
                  patterns=("0...3...2...3...", "0.3.4.3.2.3.1.3.", "4-..3-..2-..0-..")),
            Layer(programs=(89, 52, 50, 95), centre=58, level=66, patterns=HELD, chance=0.6),
            Layer(programs=(39, 38), centre=30, level=118,
                  patterns=("0-----0---------", "0---------0-0---", "0--0----..0-----"), gate=1.0),
        ),
    ),
    Style(
        name="lofi beats", tags=("lofi",), slots=9, bpm=(66, 86), groove="lofi", swing=0.58, looseness=0.018,
        progressions={"major": ("ii7 V7 IM7 vi7", "IM7 vi7", "IVM7 iii7 ii7 IM7"),
                       "minor": ("i7 iv7 VIM7 V7", "i7 VIM7")},
        layers=(
            Layer(programs=(4, 11, 26, 0, 73), centre=70, level=82, density=0.8),
            Layer(programs=(4, 4, 0, 26), centre=60, level=80,
                  patterns=("c-------..c-----", "c-----c-........", "c-------c-----c-")),
            Layer(programs=(33, 35, 32), centre=36, level=96, patterns=("0-----0---2-----", "0---------0-w---")),
        ),
    ),
    Style(
        name="chiptune", tags=("chiptune", "electronic"), slots=6, bpm=(120, 168), groove="chip", looseness=0.0,
        accepts=0, kit=24, progressions=POP,
        layers=(
            Layer(programs=(80,), centre=76, level=92, density=2.6, gate=0.7),
            Layer(programs=(80, 86), centre=69, level=76, patterns=("0123012301230123", "0240240240240240"), gate=0.7),
            Layer(programs=(80, 38), centre=40, level=94, patterns=("0.0.3.0.0.0.3.0.", "0.3.0.3.0.3.0.3."), gate=0.6),
        ),
    ),
    Style(
        name="drone", tags=("drone", "ambient"), slots=11, bpm=(44, 66), looseness=0.04, accepts=0,
        progressions={"minor": ("i5",), "dorian": ("i5",), "major": ("I5", "Isus")},
        layers=(
            Layer(programs=(89, 92, 95, 20, 49, 94), centre=50, level=86, patterns=("p---------------",), gate=1.05),
            Layer(programs=(43, 89, 38, 42), centre=36, level=84, patterns=("0---------------",), gate=1.05),
            Layer(programs=(91, 93, 97, 52), centre=64, level=72,
                  patterns=("2---------------", "3---------------"), gate=1.05),
        ),
    ),
)  # fmt: skip
