"""The General MIDI instruments the composer plays, and which words are true of each.

A word stands in `tags` where anyone would say it of the instrument, in `unsure` where some would and some would
not (an electric piano is hardly a "piano", yet calling that false would teach an error), and is false otherwise.
"""

from dataclasses import dataclass

INSTRUMENT_TAGS = (
    "piano", "organ", "harpsichord", "accordion", "harmonica", "guitar", "acoustic guitar", "electric guitar",
    "distorted guitar", "banjo", "sitar", "harp", "violin", "cello", "strings", "choir", "trumpet", "brass",
    "saxophone", "clarinet", "flute", "synth", "marimba", "vibraphone", "bells",
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


# program; name; tags; unsure; lowest and highest pitch; c = chordal, f = fades
_TABLE = """
0; piano; piano; ; 28 100; cf
1; piano; piano; ; 28 100; cf
2; electric grand piano; piano; ; 28 96; cf
3; honky-tonk piano; piano; ; 36 96; cf
4; electric piano; ; piano, bells, vibraphone; 36 92; cf
5; electric piano; ; piano, bells, synth; 36 92; cf
6; harpsichord; harpsichord; ; 36 88; cf
7; clavinet; ; harpsichord, piano, guitar; 36 84; cf
8; celesta; ; bells, vibraphone; 60 96; cf
9; glockenspiel; bells; vibraphone, marimba; 72 100; f
10; music box; ; bells, vibraphone; 60 96; cf
11; vibraphone; vibraphone; bells, marimba; 53 89; cf
12; marimba; marimba; vibraphone; 45 91; cf
13; xylophone; ; marimba, vibraphone; 65 96; f
14; tubular bells; bells; vibraphone; 55 79; f
15; dulcimer; ; harpsichord, harp, guitar, sitar; 50 86; cf
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
32; double bass; ; strings, cello; 28 55; f
33; bass guitar; ; guitar, electric guitar; 28 55; f
34; bass guitar; ; guitar, electric guitar; 28 55; f
35; fretless bass; ; guitar, electric guitar; 28 55; f
36; slap bass; ; guitar, electric guitar; 28 55; f
38; synth bass; ; synth; 28 55;
39; synth bass; ; synth; 28 55;
40; violin; violin; strings; 55 96;
41; viola; ; violin, cello, strings; 48 84;
42; cello; cello; strings; 36 72;
43; contrabass; ; cello, strings; 28 55;
44; tremolo strings; strings; violin, cello; 43 88; c
45; pizzicato strings; ; strings, violin, cello, harp; 43 84; cf
46; harp; harp; ; 36 96; cf
48; string ensemble; strings; violin, cello; 40 91; c
49; string ensemble; strings; violin, cello, synth; 40 91; c
50; synth strings; synth; strings, violin, cello; 40 91; c
52; choir; choir; ; 45 81; c
53; choir; choir; synth; 45 79; c
54; synth voice; synth; choir; 48 79; c
56; trumpet; trumpet, brass; ; 55 84;
57; trombone; brass; trumpet; 40 72;
58; tuba; brass; ; 29 57;
59; muted trumpet; trumpet, brass; ; 55 84;
60; French horn; brass; trumpet; 43 77;
61; brass section; brass; trumpet, saxophone; 45 82; c
62; synth brass; synth; brass, trumpet; 43 82; c
64; soprano saxophone; saxophone; clarinet; 56 86;
65; alto saxophone; saxophone; clarinet; 50 81;
66; tenor saxophone; saxophone; clarinet; 44 76;
67; baritone saxophone; saxophone; ; 37 69;
68; oboe; ; clarinet; 58 88;
69; English horn; ; clarinet; 52 80;
70; bassoon; ; clarinet, saxophone; 36 72;
71; clarinet; clarinet; ; 50 88;
72; piccolo; ; flute; 74 101;
73; flute; flute; ; 60 96;
74; recorder; ; flute; 64 93;
75; pan flute; flute; ; 60 93;
77; shakuhachi; ; flute; 58 86;
80; square lead synth; synth; ; 45 91; c
81; saw lead synth; synth; ; 45 91; c
82; calliope synth; synth; flute, organ; 55 91; c
87; bass-and-lead synth; synth; ; 40 84; c
88; new age pad; synth; bells, choir; 45 86; c
89; warm synth pad; synth; strings; 45 84; c
90; polysynth; synth; ; 45 86; c
91; choir pad; synth; choir, strings; 45 84; c
95; sweep pad; synth; strings, choir; 45 84; c
104; sitar; sitar; ; 48 84; cf
105; banjo; banjo; guitar; 48 86; cf
106; shamisen; ; banjo, sitar, guitar; 50 79; f
107; koto; ; harp, sitar, guitar; 50 86; cf
108; kalimba; ; marimba, bells, vibraphone; 55 84; cf
110; fiddle; violin; strings; 55 91;
114; steel drums; ; marimba, bells, vibraphone; 55 84; cf
"""

BASSES = frozenset({32, 33, 34, 35, 36, 38, 39, 43})
# Many players under one program: alone, such a part is neither a soloist nor a band.
SECTIONS = frozenset({44, 45, 48, 49, 50, 52, 53, 61})


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
