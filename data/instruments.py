"""The General MIDI instruments the composer plays, and which words are true of each.

A word stands in `tags` where anyone would say it of the instrument, in `unsure` where some would and some would
not (an electric piano is hardly a "piano", yet calling that false would teach an error), and is false otherwise.
"""

from dataclasses import dataclass

INSTRUMENT_TAGS = (
    "piano", "electric piano", "organ", "harpsichord", "accordion", "harmonica", "guitar", "acoustic guitar",
    "electric guitar", "distorted guitar", "banjo", "sitar", "koto", "harp", "violin", "fiddle", "viola", "cello",
    "strings", "pizzicato strings", "double bass", "bass guitar", "synth bass", "choir", "trumpet", "trombone", "tuba",
    "french horn", "brass", "saxophone", "clarinet", "oboe", "bassoon", "flute", "recorder", "pan flute", "bagpipes",
    "synth", "synth pad", "synth lead", "marimba", "xylophone", "vibraphone", "bells", "glockenspiel", "music box",
    "kalimba", "steel drums", "timpani",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One General MIDI program (from 0), its English name, its words and the MIDI pitches it plays.

    `is_chordal`: one player can sound a melody and its accompaniment at once.
    `fades`: a note dies away by itself, so a held chord would leave silence.
    """

    program: int
    name: str
    tags: tuple[str, ...]
    unsure: tuple[str, ...]
    low: int
    high: int
    is_chordal: bool
    fades: bool

    def fold(self, pitch: int) -> int:
        """The pitch, moved by octaves to where the instrument plays."""
        pitch += 12 * max(0, -(-(self.low - pitch) // 12))
        return pitch - 12 * max(0, -(-(pitch - self.high) // 12))


# program; name; tags; unsure; lowest and highest pitch; c = chordal, f = fades
_TABLE = """
0; piano; piano; ; 28 100; cf
1; piano; piano; ; 28 100; cf
2; electric grand piano; piano; electric piano; 28 96; cf
3; honky-tonk piano; piano; ; 36 96; cf
4; electric piano; electric piano; piano, bells, vibraphone; 36 92; cf
5; electric piano; electric piano; piano, bells, synth; 36 92; cf
6; harpsichord; harpsichord; ; 36 88; cf
7; clavinet; ; harpsichord, electric piano, piano, guitar; 36 84; cf
8; celesta; ; bells, vibraphone, music box, glockenspiel; 60 96; cf
9; glockenspiel; bells, glockenspiel; vibraphone, marimba, xylophone, music box; 72 100; f
10; music box; music box; bells, vibraphone, glockenspiel; 60 96; cf
11; vibraphone; vibraphone; bells, marimba, xylophone; 53 89; cf
12; marimba; marimba; vibraphone, xylophone; 45 91; cf
13; xylophone; xylophone; marimba, vibraphone; 65 96; f
14; tubular bells; bells; vibraphone; 55 79; f
15; dulcimer; ; harpsichord, harp, guitar, sitar, koto; 50 86; cf
16; Hammond organ; organ; ; 40 91; c
17; percussive organ; organ; ; 40 91; c
18; rock organ; organ; ; 40 91; c
19; church organ; organ; ; 36 91; c
20; reed organ; organ; accordion, harmonica; 40 86; c
21; accordion; accordion; organ, harmonica; 53 89; c
22; harmonica; harmonica; accordion, organ; 60 84;
23; bandoneon; accordion; organ, harmonica; 48 84; c
24; nylon-string guitar; guitar, acoustic guitar; ; 40 84; cf
25; steel-string guitar; guitar, acoustic guitar; ; 40 84; cf
26; jazz guitar; guitar, electric guitar; acoustic guitar; 40 84; cf
27; clean electric guitar; guitar, electric guitar; acoustic guitar; 40 86; cf
28; muted electric guitar; guitar, electric guitar; ; 40 79; cf
29; overdriven guitar; guitar, electric guitar, distorted guitar; ; 40 86;
30; distorted guitar; guitar, electric guitar, distorted guitar; ; 40 86;
31; guitar harmonics; guitar; electric guitar, acoustic guitar, bells; 52 88; f
32; double bass; double bass; strings, cello, bass guitar; 28 55; f
33; bass guitar; bass guitar; guitar, electric guitar, double bass; 28 55; f
34; bass guitar; bass guitar; guitar, electric guitar; 28 55; f
35; fretless bass; bass guitar; guitar, electric guitar, double bass; 28 55; f
36; slap bass; bass guitar; guitar, electric guitar; 28 55; f
37; slap bass; bass guitar; guitar, electric guitar; 28 55; f
38; synth bass; synth bass; synth, bass guitar; 28 55;
39; synth bass; synth bass; synth, bass guitar; 28 55;
40; violin; violin; strings, fiddle, viola; 55 96;
41; viola; viola; violin, cello, strings, fiddle; 48 84;
42; cello; cello; strings, viola, double bass; 36 72;
43; contrabass; double bass; cello, strings; 28 55;
44; tremolo strings; strings; violin, cello, viola, double bass, fiddle; 43 88; c
45; pizzicato strings; pizzicato strings; strings, violin, cello, viola, harp, double bass, fiddle; 43 84; cf
46; harp; harp; ; 36 96; cf
47; timpani; timpani; ; 36 57; f
48; string ensemble; strings; violin, cello, viola, double bass, fiddle; 40 91; c
49; string ensemble; strings; violin, cello, viola, double bass, fiddle, synth, synth pad; 40 91; c
50; synth strings; synth; strings, violin, cello, viola, synth pad; 40 91; c
51; synth strings; synth; strings, violin, cello, viola, synth pad; 40 91; c
52; choir; choir; ; 45 81; c
53; choir; choir; synth, synth pad; 45 79; c
54; synth voice; synth; choir, synth pad; 48 79; c
55; orchestra hit; ; strings, brass, synth, timpani, choir, trumpet, violin; 48 72; f
56; trumpet; trumpet, brass; ; 55 84;
57; trombone; trombone, brass; trumpet, french horn, tuba; 40 72;
58; tuba; tuba, brass; trombone, french horn; 29 57;
59; muted trumpet; trumpet, brass; ; 55 84;
60; French horn; french horn, brass; trumpet, trombone; 43 77;
61; brass section; brass; trumpet, saxophone, trombone, french horn, tuba; 45 82; c
62; synth brass; synth; brass, trumpet, synth lead, synth pad, trombone, french horn; 43 82; c
63; synth brass; synth; brass, trumpet, synth lead, synth pad, trombone, french horn; 43 82; c
64; soprano saxophone; saxophone; clarinet, oboe; 56 86;
65; alto saxophone; saxophone; clarinet; 50 81;
66; tenor saxophone; saxophone; clarinet; 44 76;
67; baritone saxophone; saxophone; ; 37 69;
68; oboe; oboe; clarinet, bassoon; 58 88;
69; English horn; ; clarinet, oboe, bassoon; 52 80;
70; bassoon; bassoon; clarinet, saxophone, oboe; 36 72;
71; clarinet; clarinet; ; 50 88;
72; piccolo; ; flute, recorder; 74 101;
73; flute; flute; recorder; 60 96;
74; recorder; recorder; flute, pan flute; 64 93;
75; pan flute; flute, pan flute; recorder; 60 93;
76; bottle blow; ; flute, pan flute, recorder; 60 91;
77; shakuhachi; ; flute, pan flute, recorder; 58 86;
78; whistle; ; flute, recorder, synth, synth lead; 60 91;
79; ocarina; ; flute, recorder, pan flute; 60 91;
80; square lead synth; synth, synth lead; ; 45 91; c
81; saw lead synth; synth, synth lead; ; 45 91; c
82; calliope synth; synth; flute, organ, synth lead, recorder, pan flute; 55 91; c
83; chiff lead synth; synth, synth lead; organ, flute; 50 91; c
84; charang synth; synth, synth lead; electric guitar, distorted guitar, guitar; 45 91; c
85; voice lead synth; synth; choir, synth lead, synth pad; 48 84; c
86; fifths lead synth; synth, synth lead; ; 45 84; c
87; bass-and-lead synth; synth, synth lead; synth bass; 40 84; c
88; new age pad; synth, synth pad; bells, choir; 45 86; c
89; warm synth pad; synth, synth pad; strings; 45 84; c
90; polysynth; synth; synth pad, synth lead; 45 86; c
91; choir pad; synth, synth pad; choir, strings; 45 84; c
92; bowed pad; synth, synth pad; strings, choir; 45 84; c
93; metallic pad; synth, synth pad; bells, strings; 45 84; c
94; halo pad; synth, synth pad; choir, strings; 45 84; c
95; sweep pad; synth, synth pad; strings, choir; 45 84; c
96; rain synth; synth; bells, synth pad, harp, music box; 50 86; c
97; soundtrack synth; synth, synth pad; strings, choir; 45 84; c
98; crystal synth; synth; bells, vibraphone, music box, glockenspiel; 55 91; cf
99; atmosphere synth; synth; guitar, harp, synth pad, acoustic guitar; 45 86; c
100; brightness synth; synth; bells, synth pad, electric piano; 48 88; c
101; goblin synth; synth; choir, synth pad; 45 84; c
102; echo synth; synth; synth pad, synth lead, strings; 48 86; c
103; science-fiction synth; synth; synth pad, strings, choir; 48 86; c
104; sitar; sitar; ; 48 84; cf
105; banjo; banjo; guitar; 48 86; cf
106; shamisen; ; banjo, sitar, guitar, koto; 50 79; f
107; koto; koto; harp, sitar, guitar; 50 86; cf
108; kalimba; kalimba; marimba, bells, vibraphone, xylophone, music box; 55 84; cf
109; bagpipes; bagpipes; oboe, accordion; 58 79;
110; fiddle; violin, fiddle; strings, viola; 55 91;
111; shanai; ; oboe, bagpipes, clarinet, saxophone, trumpet; 58 84;
112; tinkle bell; bells; glockenspiel; 72 96; f
113; agogo; ; bells; 60 84; f
114; steel drums; steel drums; marimba, bells, vibraphone, kalimba, xylophone; 55 84; cf
115; woodblock; ; marimba, xylophone; 55 79; f
116; taiko drum; ; timpani; 40 64; f
117; melodic tom; ; timpani; 40 72; f
118; synth drum; ; timpani, synth; 40 72; f
119; reverse cymbal; ; synth; 48 72;
120; fret noise; ; guitar, acoustic guitar, electric guitar; 48 72; f
121; breath noise; ; flute, synth, pan flute; 48 72; f
122; seashore; ; synth, synth pad; 48 72;
123; bird tweet; ; flute, synth; 48 72;
124; telephone ring; ; bells, synth; 48 72;
125; helicopter; ; synth; 48 72;
126; applause; ; synth; 48 72;
127; gunshot; ; synth, timpani; 48 72; f
"""

BASSES = frozenset({32, 33, 34, 35, 36, 37, 38, 39, 43})
# Played with sticks, or noise: whether a piece that has these and no kit has "drums" is a matter of opinion.
DRUMLIKE = frozenset({47, *range(113, 120)})
# What one hears of these is no music made on an instrument that has a name.
NOISES = frozenset({55, *range(119, 128)})
# Voices, or what imitates them: of the first nobody says "no vocals", of the second one may.
CHOIRS, VOICE_LIKE = frozenset({52, 53}), frozenset({54, 85, 91, 94, 101})
# Many players under one program: alone, such a part is neither a soloist nor a band.
SECTIONS = frozenset({44, 45, 48, 49, 50, 51, 52, 53, 61})


def _words(field: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in field.split(",") if word.strip())


def _parse(line: str) -> Instrument:
    program, name, tags, unsure, pitches, flags = line.split(";")
    low, high = map(int, pitches.split())
    return Instrument(
        program=int(program),
        name=name.strip(),
        tags=_words(tags),
        unsure=_words(unsure),
        low=low,
        high=high,
        is_chordal="c" in flags,
        fades="f" in flags,
    )


INSTRUMENTS = {entry.program: entry for entry in map(_parse, _TABLE.strip().splitlines())}


def programs_of(tag: str) -> tuple[int, ...]:
    """The programs of which an instrument word is true."""
    return tuple(program for program, entry in INSTRUMENTS.items() if tag in entry.tags)
