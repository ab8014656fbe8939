"""Drum patterns of the composer, as data: one text line per drum, one character per step.

Four steps are a beat; 16 steps are a bar of four, 12 steps a bar of three. `X` is an accent, `x` a stroke,
`o` a ghost stroke, `.` nothing. Keys are General MIDI percussion notes.
"""

KICK, RIM, SNARE, CLAP, HAT, PEDAL_HAT, OPEN_HAT = 36, 37, 38, 39, 42, 44, 46
CRASH, RIDE, TAMBOURINE, COWBELL, SHAKER, CLAVES = 49, 51, 54, 56, 70, 75
LOW_TOM, MID_TOM, HIGH_TOM = 45, 47, 50
HIGH_BONGO, LOW_BONGO, OPEN_CONGA, LOW_CONGA, MUTE_CONGA = 60, 61, 63, 64, 62

Groove = dict[int, str]
HAND_DRUMS = ("tabla",)

GROOVES: dict[str, tuple[Groove, ...]] = {
    "rock": (
        {KICK: "X.....x.X.......", SNARE: "....X.......X...", HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X..x..x...x.....", SNARE: "....X.......X..o", HAT: "X.x.X.x.X.x.X.x."},
        {KICK: "X.....x.x.x.....", SNARE: "....X.......X...", RIDE: "X.x.X.x.X.x.X.x."},
        {KICK: "X.....x.....", SNARE: "....X...X...", HAT: "x.x.x.x.x.x."},
    ),
    "metal": (
        {KICK: "XxXxXxXxXxXxXxXx", SNARE: "....X.......X...", CRASH: "X.......X......."},
        {KICK: "XxXxXxXxXxXxXxXx", SNARE: "..X...X...X...X.", RIDE: "X.X.X.X.X.X.X.X."},
        {KICK: "X.xxX.xxX.xxX.xx", SNARE: "....X.......X...", OPEN_HAT: "X...X...X...X..."},
    ),
    "shuffle": (
        {KICK: "X.......X.......", SNARE: "....X.......X...", RIDE: "X.x.X.x.X.x.X.x."},
        {KICK: "X.....x.X.....x.", SNARE: "....X..o....X..o", HAT: "X.x.X.x.X.x.X.x."},
    ),
    "swing": (
        {RIDE: "X...X.x.X...X.x.", PEDAL_HAT: "....X.......X...", KICK: "o...o...o...o..."},
        {RIDE: "X...X.x.X...X.x.", PEDAL_HAT: "....X.......X...", SNARE: "......o.......o."},
        {RIDE: "X...X.x.X.x.", PEDAL_HAT: "....X...X...", KICK: "o..........."},
    ),
    "bossa": (
        {RIM: "x..x..x...x..x..", KICK: "X..xX..xX..xX..x", HAT: "xoxoxoxoxoxoxoxo"},
        {RIM: "..x...x..x..x...", KICK: "X..xX..xX..xX..x", SHAKER: "xoxoxoxoxoxoxoxo"},
    ),
    "salsa": (
        {CLAVES: "..X.X...X..X..X.", COWBELL: "X...x.x.X...x.x.", MUTE_CONGA: "..x...x...x...x.",
         OPEN_CONGA: "......xx......xx", KICK: "X.....x.X.....x."},
        {CLAVES: "X..X..X...X.X...", COWBELL: "x.x.X.x.x.x.X.x.", LOW_CONGA: "..x...x...x...xx",
         KICK: "...x..x....x..x."},
    ),
    "reggae": (
        {KICK: "........X.......", RIM: "........X.......", HAT: "x.x.x.x.x.x.x.xo"},
        {KICK: "X...x...X...x...", RIM: "........X.......", HAT: "xox.xox.xox.xox."},
    ),
    "funk": (
        {KICK: "X..x..x...x..x..", SNARE: "....X..o.o..X..o", HAT: "xxxxxxxxxxxxxxxx"},
        {KICK: "X.x.......xx....", SNARE: "....X..o.o.oX...", HAT: "x.xxx.x.x.xxx.x.", OPEN_HAT: "......x.......x."},
    ),
    "techno": (
        {KICK: "X...X...X...X...", HAT: "..X...X...X...X.", CLAP: "....x.......x..."},
        {KICK: "X...X...X...X...", OPEN_HAT: "..X...X...X...X.", HAT: "xxxxxxxxxxxxxxxx", COWBELL: "...o..o....o..o."},
        {KICK: "X...X...X...X.x.", HAT: "x.Xxx.Xxx.Xxx.Xx", LOW_TOM: "...x..x....x..x."},
    ),
    "house": (
        {KICK: "X...X...X...X...", OPEN_HAT: "..X...X...X...X.", CLAP: "....X.......X...", SHAKER: "xoxoxoxoxoxoxoxo"},
        {KICK: "X...X...X...X...", OPEN_HAT: "..X...X...X...X.", CLAP: "....X.......X..x",
         TAMBOURINE: "x.xxx.xxx.xxx.xx"},
    ),
    "hip hop": (
        {KICK: "X.....x...x.....", SNARE: "....X.......X...", HAT: "x.x.x.x.x.x.x.xx"},
        {KICK: "X..x......x..x..", SNARE: "....X.......X...", HAT: "x.x.xxx.x.x.x.x.", OPEN_HAT: "..............x."},
        {KICK: "X.......x.x.....", CLAP: "....X.......X...", HAT: "xxx.xxx.x.xxx.xx"},
    ),
    "country": (
        {KICK: "X.......X.......", SNARE: "....X.......X...", HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X...x...X...x...", SNARE: "o.o.X.o.o.o.X.o."},
        {KICK: "X...........", SNARE: "....x...x...", HAT: "x...x...x..."},
    ),
    "march": (
        {KICK: "X.......X.......", SNARE: "x.xxX.xxx.xxX.xx", CRASH: "X......."},
        {KICK: "X...x...X...x...", SNARE: "..x...x...x.xxxx"},
    ),
    "punk": (
        {KICK: "X...X...X...X...", SNARE: "..X...X...X...X.", HAT: "X.x.X.x.X.x.X.x."},
        {KICK: "X..xX...X..xX...", SNARE: "....X.......X...", OPEN_HAT: "X...X...X...X..."},
    ),
    "double bass drums": (
        {KICK: "XxXxXxXxXxXxXxXx", SNARE: "..X...X...X...X.", HAT: "X.X.X.X.X.X.X.X."},
        {KICK: "XxXxXxXxXxXxXxXx", SNARE: "....X.......X...", CRASH: "X...X...X...X..."},
        {KICK: "XxXxXxXxXxXxXxXx", SNARE: "x.x.x.x.x.x.x.x.", RIDE: "X.X.X.X.X.X.X.X."},
    ),
    "ballad": (
        {KICK: "X.......X.x.....", SNARE: "....X.......X...", HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X.....x.X.......", RIM: "....X.......X...", HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X...........", RIM: "....x...x...", HAT: "x.x.x.x.x.x."},
    ),
    "soul": (
        {KICK: "X..x..x.X..x....", SNARE: "....X..o....X...", HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X.......x.x.....", SNARE: "....X.......X..o", TAMBOURINE: "..x...x...x...x.", HAT: "x.x.x.x.x.x.x.x."},
    ),
    "disco": (
        {KICK: "X...X...X...X...", SNARE: "....X.......X...", OPEN_HAT: "..X...X...X...X.", HAT: "x...x...x...x..."},
        {KICK: "X...X...X...X...", CLAP: "....X.......X...", OPEN_HAT: "..X...X...X...X.",
         TAMBOURINE: "xxxxxxxxxxxxxxxx"},
    ),
    "ska": (
        {KICK: "X.......X.......", SNARE: "....X.......X...", HAT: "x.X.x.X.x.X.x.X."},
        {KICK: "X...X...X...X...", RIM: "....X.......X...", OPEN_HAT: "..X...X...X...X."},
    ),
    "polka": (
        {KICK: "X...X...X...X...", SNARE: "..X...X...X...X.", HAT: "..x...x...x...x."},
        {KICK: "X.......X.......", SNARE: "..x...xx..x...xx", PEDAL_HAT: "..x...x...x...x."},
    ),
    "orchestra": (
        {KICK: "X.......X.......", SNARE: "x..xx.x.x..xxxxx", CRASH: "X..............."},
        {KICK: "X...X...X.X.X...", SNARE: "..xx..xx..xxxxxx"},
    ),
    "breakbeat": (
        {KICK: "X.........X.....", SNARE: "....X..o.o..X..o", HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X.X.......XX....", SNARE: "....X..o.o..X...", RIDE: "X.x.X.x.X.x.X.x."},
    ),
    "trap": (
        {KICK: "X.....x...x.....", CLAP: "........X.......", HAT: "xxxxxxxxxxxxxxxx", OPEN_HAT: "..............x."},
        {KICK: "X..x......X..x..", SNARE: "........X.......", HAT: "x.xxx.x.xxxxx.xx"},
    ),
    "lofi": (
        {KICK: "X.......x.x.....", SNARE: "....x.......x...", HAT: "x.o.x.o.x.o.x.o."},
        {KICK: "X..x......x.....", RIM: "....x.......x..o", HAT: "o.x.o.x.o.x.o.x.", SHAKER: "o.o.o.o.o.o.o.o."},
    ),
    "chip": (
        {KICK: "X...x...X...x...", SNARE: "....X.......X...", HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X.x...x.X.x...x.", SNARE: "....X.......X.xx", HAT: "xxxxxxxxxxxxxxxx"},
    ),
    "tabla": (
        {HIGH_BONGO: "X..x..x.X.x.x.xx", LOW_CONGA: "X.....x...x.....", MUTE_CONGA: "..x.x..x.x..x..."},
        {HIGH_BONGO: "x.xxx.x.x.xxX.x.", LOW_BONGO: "X...x...........", LOW_CONGA: "........X..x...."},
        {HIGH_BONGO: "X.x.x.x.x.x.", LOW_CONGA: "X.....x....."},
    ),
}  # fmt: skip

FILLS: tuple[Groove, ...] = (
    {SNARE: "........xxxxXXXX", KICK: "X...X..........."},
    {HIGH_TOM: "........xx......", MID_TOM: "..........xx....", LOW_TOM: "............xxXX", KICK: "X...X..........."},
    {SNARE: "....X..x..x.X.xx", KICK: "X.....x.X......."},
)
