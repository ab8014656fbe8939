"""Styles played on the instruments of the orchestra, the church and the fireside."""

from data.composer.style import (
    ARPEGGIOS,
    CLASSICAL,
    EPIC,
    FOLK,
    HELD,
    PICKING,
    POP,
    STRUMS,
    TWO_BEAT,
    WALKING,
    Layer,
    Style,
)

ACOUSTIC = (
    Style(
        name="classical piano", tags=("classical",), slots=4, bpm=(46, 160), waltz_chance=0.3,
        progressions=CLASSICAL, accepts=0, looseness=0.02,
        layers=(
            Layer(programs=(0, 1), centre=76, level=86, density=1.6),
            Layer(programs=(0, 1), centre=52, level=66,
                  patterns=("0-2-1-2-0-2-1-2-", "0212021202120212", "b---c---b---c---", "b-2-3-2-4-3-2-1-",
                            "b---c---c---", "0-2-3-4-3-2-")),
        ),
    ),
    Style(
        name="string quartet", tags=("classical",), slots=4, bpm=(54, 150), waltz_chance=0.25,
        progressions=CLASSICAL, accepts=0, looseness=0.02,
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
        name="orchestra", tags=("classical", "orchestral"), slots=5, bpm=(56, 150), progressions=CLASSICAL,
        waltz_chance=0.2, accepts=0, looseness=0.02,
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
        name="choral music", tags=("classical",), slots=5, bpm=(50, 90), progressions=CLASSICAL,
        accepts=0,
        layers=(
            Layer(programs=(52, 53), centre=69, level=96, density=0.7),
            Layer(programs=(52, 53), centre=57, level=88, patterns=("c-------c-------", *HELD)),
            Layer(programs=(19,), centre=52, level=76, patterns=("c---------------", "c-------c---"), chance=0.35),
        ),
    ),
    Style(
        name="baroque", tags=("baroque", "classical"), slots=8, bpm=(66, 144), progressions=CLASSICAL,
        waltz_chance=0.25,
        accepts=0,
        layers=(
            Layer(programs=(6, 19, 40, 73, 74, 68, 59), centre=74, level=92, density=2.4),
            Layer(programs=(6, 6, 6, 19), centre=58, level=86,
                  patterns=("0123432101234321", "0-1-2-1-3-2-1-2-", "c---c---c---c---", "0-1-2-3-2-1-")),
            Layer(programs=(42,), centre=45, level=84, patterns=("0-1-2-1-0-2-1-w-", *WALKING), chance=0.6),
        ),
    ),
    Style(
        name="folk", tags=("folk",), slots=6, bpm=(76, 150), waltz_chance=0.35, unplugged_chance=0.75, groove="country",
         progressions=FOLK, accepts=0,
        layers=(
            Layer(programs=(25, 24, 110, 73, 21, 22, 75, 105), centre=71, level=94, density=1.6),
            Layer(programs=(25, 25, 24), centre=56, level=86, patterns=(*STRUMS, *PICKING)),
            Layer(programs=(32,), centre=40, level=84, patterns=TWO_BEAT, chance=0.4),
        ),
    ),
    Style(
        name="Indian music", tags=("indian",), slots=32, bpm=(60, 150), groove="tabla", unplugged_chance=0.35,
        looseness=0.02,
        progressions={"bhairav": ("I5",), "kafi": ("I5",), "phrygian": ("I5",)}, accepts=0,
        layers=(
            Layer(programs=(104, 104, 104, 104, 75, 40), centre=66, level=98, density=2.0),
            Layer(programs=(104,), centre=50, level=70,
                  patterns=("2---3---3---b---", "b---2---3---3---", "2---3---b---"), gate=2.0),
        ),
    ),
    Style(
        name="new age", tags=("new age",), slots=32, bpm=(54, 92), waltz_chance=0.2,
        looseness=0.025,
        progressions={"major": ("I V vi IV", "IM7 IVM7", "I iii IV I"), "dorian": ("i VII IV i",)}, accepts=0,
        layers=(
            Layer(programs=(73, 75, 46, 0, 24, 77), centre=74, level=90, density=0.9),
            Layer(programs=(46, 46, 0, 24), centre=60, level=80, patterns=ARPEGGIOS, gate=1.8),
            Layer(programs=(49, 89, 91, 52), centre=58, level=66, patterns=HELD, chance=0.75),
        ),
    ),
    Style(
        name="march", tags=("march",), slots=5, bpm=(100, 128), groove="march", accepts=0,
        progressions={"major": ("I I V I", "I IV V I", "I vi ii V")},
        layers=(
            Layer(programs=(56, 56, 61, 72, 71), centre=73, level=100, density=1.5),
            Layer(programs=(61, 57, 60), centre=60, level=88,
                  patterns=("..c...c...c...c.", "..c...c...c...cc"), gate=0.7),
            Layer(programs=(57, 60, 66), centre=57, level=84, density=0.8, chance=0.7),
            Layer(programs=(58,), centre=41, level=98, patterns=("0---....2---....", "0---2---0---2---"), gate=0.8),
        ),
    ),
    Style(
        name="church organ", tags=("classical",), slots=3, bpm=(50, 110), progressions=CLASSICAL, accepts=0,
        layers=(
            Layer(programs=(19,), centre=72, level=94, density=1.6),
            Layer(programs=(19,), centre=60, level=84, patterns=("c---c---c---c---", "0-1-2-3-2-1-0-1-", *HELD)),
            Layer(programs=(19,), centre=43, level=90, patterns=("0-------2-------", *TWO_BEAT)),
        ),
    ),
    Style(
        name="a cappella choir", tags=("classical",), slots=16, bpm=(48, 88), progressions=CLASSICAL, accepts=0,
        waltz_chance=0.2, looseness=0.025,
        layers=(
            Layer(programs=(52,), centre=71, level=98, density=0.8),
            Layer(programs=(52, 53), centre=62, level=86, patterns=("c-------c-------", "c---c---c---c---", *HELD)),
            Layer(programs=(52,), centre=49, level=90, density=0.6),
        ),
    ),
    Style(
        name="recorder consort", tags=("early music",), slots=3, bpm=(76, 132), accepts=0, waltz_chance=0.4,
        progressions={"dorian": ("i VII i v", "i VII III VII", "i IV i VII"),
                       "mixolydian": ("I VII I VII", "I IV I V")},
        layers=(
            Layer(programs=(74,), centre=76, level=96, density=1.4),
            Layer(programs=(74, 24, 46, 42), centre=67, level=84,
                  patterns=("0-2-3-2-0-2-3-2-", "c---c-c-c---c-c-", "c---c---c---")),
            Layer(programs=(42, 70, 20), centre=50, level=84,
                  patterns=("0---2---0---2---", "0-------2-------", "0-----------")),
        ),
    ),
    Style(
        name="symphonic drums", tags=("orchestral", "march"), slots=3, bpm=(84, 140), progressions=CLASSICAL, accepts=1,
        groove="orchestra", kit=48,
        layers=(
            Layer(programs=(56, 60, 61), centre=69, level=104, density=1.2),
            Layer(programs=(48, 44), centre=62, level=90,
                  patterns=("c-c-c-c-c-c-c-c-", "cccccccccccccccc", "C---c-c-C---c-c-")),
            Layer(programs=(57, 60), centre=52, level=92, patterns=("C-------C-------", "0---2---3---2---")),
            Layer(programs=(47,), centre=43, level=104, patterns=("0---....0-0-2---", "0-000...0-000...")),
            Layer(programs=(43, 58), centre=38, level=92, patterns=("0---0---2---2---", *TWO_BEAT)),
        ),
    ),
    Style(
        name="battle music", tags=("orchestral", "classical"), slots=12, bpm=(88, 164), progressions=EPIC, accepts=0,
        groove="orchestra", kit=48,
        layers=(
            Layer(programs=(60, 61, 56, 48), centre=66, level=104, density=1.0),
            Layer(programs=(48, 44, 45), centre=57, level=92,
                  patterns=("C-c-c-c-C-c-c-c-", "CcccCcccCcccCccc", "C--c--c-C--c--c-", "0-0-3-0-0-2-0-3-"),
                  gate=0.7),
            Layer(programs=(57, 61, 58), centre=48, level=98, patterns=("C---------------", "C-----C-C-------")),
            Layer(programs=(52, 53, 48), centre=67, level=84, patterns=HELD, chance=0.5),
            Layer(programs=(43, 42), centre=38, level=96,
                  patterns=("0-0-0-0-0-0-0-0-", "0---0-0-0---0-0-", "0--0--0-0--0--0-")),
            Layer(programs=(47,), centre=41, level=106, patterns=("0---....0-0-2---", "0-000...0-000...")),
        ),
    ),
    Style(
        name="film score", tags=("orchestral", "classical"), unsure=("ambient",),
        slots=10, bpm=(52, 120), progressions=EPIC, accepts=0,
        looseness=0.02, waltz_chance=0.2,
        layers=(
            Layer(programs=(60, 48, 68, 73, 42), centre=69, level=96, density=0.8),
            Layer(programs=(48, 49), centre=62, level=84,
                  patterns=(*HELD, "c-c-c-c-c-c-c-c-", "0-2-3-2-0-2-3-2-", "0-2-3-0-2-3-"), gate=1.1),
            Layer(programs=(61, 57, 60), centre=53, level=88,
                  patterns=("C---------------", "c-------c-------", "c-----------"),
                  chance=0.7),
            Layer(programs=(46, 45, 9), centre=74, level=74, patterns=ARPEGGIOS, chance=0.5),
            Layer(programs=(52,), centre=66, level=76, patterns=HELD, chance=0.35),
            Layer(programs=(43,), centre=40, level=90,
                  patterns=("0---------------", "0-------2-------", "0-----------")),
            Layer(programs=(47,), centre=43, level=98,
                  patterns=("0---....0---....", "0-000...0-000...", "0---..0---.."),
                  chance=0.5),
        ),
    ),
    Style(
        name="string adagio", tags=("orchestral", "classical"), unsure=("ambient",),
        slots=6, bpm=(44, 76), progressions=CLASSICAL,
        accepts=0, looseness=0.025, waltz_chance=0.2,
        layers=(
            Layer(programs=(40, 42, 48, 68), centre=72, level=92, density=0.7),
            Layer(programs=(48, 49), centre=63, level=80, patterns=(*HELD, "c-------c-------"), gate=1.15),
            Layer(programs=(48, 42), centre=54, level=78,
                  patterns=("0-------2-------", "0---2---3---2---", "0---2---3---")),
            Layer(programs=(43, 42), centre=41, level=84,
                  patterns=("0---------------", "0-------2-------", "0-----------")),
        ),
    ),
    Style(
        name="woodwind pastoral", tags=("classical",), slots=6, bpm=(60, 132), progressions=CLASSICAL,
        accepts=0, looseness=0.02, waltz_chance=0.35,
        layers=(
            Layer(programs=(73, 68, 71), centre=76, level=94, density=1.5),
            Layer(programs=(71, 70, 60), centre=62, level=80,
                  patterns=("c---c---c---c---", "..c-..c-..c-..c-", "0---2---3---")),
            Layer(programs=(48, 45, 46), centre=60, level=76, patterns=(*HELD, "c-..c-..c-..c-..", "....c---c---")),
            Layer(programs=(43, 42, 70), centre=43, level=84,
                  patterns=("0-------2-------", "0---....2---....", "0-----------")),
        ),
    ),
    Style(
        name="celtic", tags=("celtic", "folk"), slots=5, bpm=(96, 150), progressions=FOLK, waltz_chance=0.3, accepts=0,
        layers=(
            Layer(programs=(110, 109, 72, 73, 21, 78, 105), centre=74, level=100, density=2.6),
            Layer(programs=(25, 24, 46), centre=57, level=84, patterns=(*STRUMS, *PICKING)),
            Layer(programs=(109, 20), centre=60, level=66, patterns=("p---------------", "p-----------"), chance=0.3),
        ),
    ),
    Style(
        name="waltz", tags=("waltz",), slots=5, bpm=(90, 190), progressions=CLASSICAL, waltz_chance=1.0, accepts=1,
        layers=(
            Layer(programs=(48, 40, 21, 73, 0), centre=74, level=98, density=1.0),
            Layer(programs=(48, 45, 0, 21, 24), centre=61, level=82, patterns=("....c---c---", "....c-..c-..")),
            Layer(programs=(32, 43, 45), centre=41, level=92, patterns=("0---........", "0-----------")),
        ),
    ),
    Style(
        name="music box lullaby", tags=(), slots=3, bpm=(60, 96), progressions=POP, waltz_chance=0.5, accepts=1,
        layers=(
            Layer(programs=(10, 8, 9, 108), centre=79, level=84, density=1.2),
            Layer(programs=(10, 46, 24), centre=66, level=70, patterns=("0-2-3-2-4-2-3-2-", "0-2-3-4-3-2-")),
        ),
    ),
)  # fmt: skip
