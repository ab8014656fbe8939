"""A score as notes: MusicXML and ABC notation, as far as the repertoire needs them."""

import re
import zipfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

from data.midi import Note

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ABC_MODES = {
    "": 0, "maj": 0, "ion": 0, "mix": -1, "dor": -2, "m": -3, "min": -3, "aeo": -3, "phr": -4, "lyd": 1,
}  # fmt: skip
_MODE_NAMES = {0: "major", -1: "mixolydian", -2: "dorian", -3: "minor"}
_SHARPS = "FCGDAEB"
_LEVEL = 84
_COMPOUND = ("6/8", "9/8", "12/8")


@dataclass(frozen=True, kw_only=True)
class Score:
    """A piece on paper: the notes of each voice, the highest first.

    Beats are quarter notes, or what a tune is tapped to.

    `tonic` counts from C as 0; `mode` is empty where the score does not say.
    """

    title: str
    voices: tuple[tuple[Note, ...], ...]
    beats_per_bar: Fraction
    tonic: int
    mode: str


def read_musicxml(path: Path) -> Score:
    """Read a score (.xml, .musicxml, or .mxl compressed). One voice for each part; chords and repeats are not followed.

    Raises:
        ValueError: it is not a partwise score.
    """
    root = ElementTree.fromstring(_musicxml(path))
    if root.tag != "score-partwise":
        raise ValueError(f"{path}: {root.tag}; only score-partwise is read")
    voices = tuple(voice for part in root.findall("part") if (voice := _read_part(part)))
    beats = _number(root, ".//time/beats", 4) * Fraction(4, int(_number(root, ".//time/beat-type", 4)))
    fifths, mode = int(_number(root, ".//key/fifths", 0)), (root.findtext(".//key/mode") or "").strip()
    tonic = fifths * 7 % 12 if mode == "major" else (fifths * 7 + 9) % 12 if mode == "minor" else 0
    named = mode if mode in ("major", "minor") else ""
    ordered = sorted(voices, key=lambda voice: -sum(note.pitch for note in voice) / len(voice))
    return Score(title=path.stem, voices=tuple(ordered), beats_per_bar=beats, tonic=tonic, mode=named)


def _musicxml(path: Path) -> bytes:
    if path.suffix != ".mxl":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.startswith("META-INF") and name.endswith("xml")]
        return archive.read(names[0])


def _number(element: ElementTree.Element, path: str, otherwise: int) -> Fraction:
    text = (element.findtext(path) or "").strip()
    return Fraction(text) if text.isdigit() or text.removeprefix("-").isdigit() else Fraction(otherwise)


def _read_part(part: ElementTree.Element) -> tuple[Note, ...]:
    divisions, shift, now, last_start = Fraction(1), 0, Fraction(0), Fraction(0)
    notes: list[Note] = []
    for measure in part.findall("measure"):
        start, longest = now, now
        for element in measure:
            if element.tag == "attributes":
                divisions = _number(element, "divisions", 0) or divisions
                shift = int(_number(element, "transpose/chromatic", shift))
            length = _number(element, "duration", 0) / divisions
            if element.tag == "backup":
                now -= length
            elif element.tag == "forward":
                now += length
            elif element.tag == "note" and element.find("grace") is None:
                begin = last_start if element.find("chord") is not None else now
                if element.find("pitch") is not None:
                    _append(notes, element, begin, length, shift)
                last_start, now = begin, max(now, begin + length)
            longest = max(longest, now)
        now = max(longest, start)
    return tuple(sorted(notes, key=lambda note: note.start))


def _append(notes: list[Note], element: ElementTree.Element, start: Fraction, length: Fraction, shift: int) -> None:
    step, octave = element.findtext("pitch/step", "C"), int(element.findtext("pitch/octave", "4"))
    alter = round(float(element.findtext("pitch/alter") or 0))
    pitch = 12 * (octave + 1) + _SEMITONES[step] + alter + shift
    is_tied = any(tie.get("type") == "stop" for tie in element.findall("tie"))
    for index in range(len(notes) - 1, max(-1, len(notes) - 8), -1):
        held = notes[index]
        if is_tied and held.pitch == pitch and abs(held.start + held.beats - float(start)) < 0.01:
            notes[index] = replace(held, beats=held.beats + float(length))
            return
    notes.append(Note(start=float(start), beats=float(length), pitch=pitch, velocity=_LEVEL))


def read_abc(path: Path) -> list[Score]:
    """The tunes of an ABC file that can be read: one voice, repeats played once, ornaments left out.

    Raises:
        OSError: there is no such file.
        ValueError, ZeroDivisionError: a metre or a length in it is no fraction.
    """
    tunes = re.split(r"(?m)^(?=X:)", path.read_text(encoding="utf-8", errors="replace"))
    return [score for tune in tunes if (score := _read_tune(tune)) is not None]


def _read_tune(tune: str) -> Score | None:
    headers = dict(re.findall(r"(?m)^([A-Z]):\s*(.*?)\s*(?:%.*)?$", tune)[::-1])
    key = re.match(r"([A-G])([#b]?)\s*([A-Za-z]{0,3})", headers.get("K", ""))
    metre = str(headers.get("M", "")).replace("C|", "4/4").replace("C", "4/4")
    if key is None or not re.fullmatch(r"\d+/\d+", metre):
        return None
    mode = _ABC_MODES.get(key.group(3).lower())
    if mode is None:
        return None
    tonic = (_SEMITONES[key.group(1)] + {"#": 1, "b": -1, "": 0}[key.group(2)]) % 12
    fifths = (tonic * 7 + 5) % 12 - 5 + mode
    bar = Fraction(metre) * 4
    unit = Fraction(headers.get("L", "1/8" if bar >= 3 else "1/16")) * 4
    # What one taps to: half notes in cut time, three eighths in 6/8, 9/8 and 12/8.
    beat = Fraction(2) if headers["M"] == "C|" else Fraction(3, 2) if metre in _COMPOUND else Fraction(1)
    bar, unit = bar / beat, unit / beat
    body = re.split(r"(?m)^K:.*$", tune, maxsplit=1)[-1]
    notes = _abc_notes(body, unit, _signature(fifths))
    if len(notes) < 16:
        return None
    return Score(
        title=headers.get("T", "untitled"),
        voices=(tuple(notes),),
        beats_per_bar=bar,
        tonic=tonic,
        mode=_MODE_NAMES.get(mode, ""),
    )


def _signature(fifths: int) -> dict[str, int]:
    letters = _SHARPS[:fifths] if fifths > 0 else _SHARPS[::-1][:-fifths]
    return dict.fromkeys(letters, 1 if fifths > 0 else -1)


_ABC_TOKEN = re.compile(
    r"(?P<accidental>\^\^?|__?|=)?(?P<letter>[A-Ga-gz])(?P<octave>[,']*)(?P<length>\d*/*\d*)|(?P<bar>[|:\]\[]+[12]?)"
    r"|(?P<dots>[<>]+)|\((?P<tuplet>\d)|(?P<tie>-)"
)


def _abc_notes(body: str, unit: Fraction, signature: dict[str, int]) -> list[Note]:
    body = re.sub(r"(?m)%.*$|^[A-Za-z]:.*$|\\$", "", body)
    body = re.sub(r'"[^"]*"|\{[^}]*\}|![^!]*!|\[[A-Z]:[^\]]*\]', "", body)
    line, in_bar = _AbcLine(), dict(signature)
    for token in _ABC_TOKEN.finditer(body):
        if token["bar"]:
            in_bar = dict(signature)
        elif token["tuplet"]:
            line.begin_tuplet(int(token["tuplet"]))
        elif token["tie"]:
            line.is_tied = True
        elif token["dots"]:
            line.break_rhythm(token["dots"][0])
        else:
            pitch = None if token["letter"] == "z" else _abc_pitch(token, in_bar)
            line.add(pitch, unit * _abc_length(token["length"]))
    return line.notes


class _AbcLine:
    """A line of notes as it is read, and what has been said of the notes to come."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.is_tied = False
        self._now = Fraction(0)
        self._left_of_tuplet = 0
        self._tuplet = Fraction(1)
        self._next = Fraction(1)
        self._last = Fraction(0)

    def begin_tuplet(self, count: int) -> None:
        """The next `count` notes are played in the time of fewer or more."""
        self._left_of_tuplet = count
        self._tuplet = {2: Fraction(3, 2), 3: Fraction(2, 3), 4: Fraction(3, 4)}.get(count, Fraction(1))

    def break_rhythm(self, sign: str) -> None:
        """`>` takes half of the next note and gives it to the one before; `<` does the reverse."""
        change = Fraction(1, 2) if sign == ">" else Fraction(-1, 2)
        self._next = 1 - change
        if self.notes:
            self._now += self._last * change
            self.notes[-1] = replace(self.notes[-1], beats=self.notes[-1].beats + float(self._last * change))

    def add(self, pitch: int | None, length: Fraction) -> None:
        """A note, a rest where `pitch` is None, or where it is tied more of the note before."""
        length *= self._next * (self._tuplet if self._left_of_tuplet else 1)
        self._next = Fraction(1)
        self._left_of_tuplet = max(0, self._left_of_tuplet - 1)
        if pitch is not None:
            if self.is_tied and self.notes and self.notes[-1].pitch == pitch:
                self.notes[-1] = replace(self.notes[-1], beats=self.notes[-1].beats + float(length))
            else:
                self.notes.append(Note(start=float(self._now), beats=float(length), pitch=pitch, velocity=_LEVEL))
            self.is_tied = False
            self._last = length
        self._now += length


def _abc_length(text: str) -> Fraction:
    if "/" not in text:
        return Fraction(int(text or 1))
    above, _, below = text.partition("/")
    halvings = below.count("/")
    below = below.replace("/", "")
    return Fraction(int(above or 1), int(below or 2) * 2**halvings)


def _abc_pitch(token: re.Match[str], in_bar: dict[str, int]) -> int:
    letter = token["letter"].upper()
    if token["accidental"]:
        in_bar[letter] = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}[token["accidental"]]
    octave = (5 if token["letter"].islower() else 4) + token["octave"].count("'") - token["octave"].count(",")
    return 12 * (octave + 1) + _SEMITONES[letter] + in_bar.get(letter, 0)
