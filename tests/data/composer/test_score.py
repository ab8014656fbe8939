"""Scores in ABC and MusicXML, read into notes. Alone: pytest tests/data/composer/test_score.py"""

import zipfile
from pathlib import Path

import pytest

from data.composer.score import read_abc, read_musicxml

TUNE = """X: 1
T: The Test
M: {metre}
L: 1/8
K: {key}
{body}
"""
XML = """<score-partwise><part id="P1">
<measure><attributes><divisions>2</divisions><key><fifths>-1</fifths><mode>minor</mode></key>
<time><beats>3</beats><beat-type>4</beat-type></time></attributes>
<note><pitch><step>D</step><octave>4</octave></pitch><duration>4</duration></note>
<note><pitch><step>C</step><alter>1</alter><octave>5</octave></pitch><duration>2</duration><tie type="start"/></note>
</measure><measure>
<note><pitch><step>C</step><alter>1</alter><octave>5</octave></pitch><duration>2</duration><tie type="stop"/></note>
<note><rest/><duration>2</duration></note>
<note><pitch><step>E</step><octave>4</octave></pitch><duration>2</duration></note>
<note><chord/><pitch><step>G</step><octave>4</octave></pitch><duration>2</duration></note>
</measure></part></score-partwise>"""


def _tune(tmp_path: Path, body: str, *, metre: str = "4/4", key: str = "C") -> list[tuple[float, float, int]]:
    path = tmp_path / "tune.abc"
    filler = "C8|" * 20  # a tune of fewer than sixteen notes is none
    path.write_text(TUNE.format(metre=metre, key=key, body=body + "|" + filler), encoding="utf-8")
    (score,) = read_abc(path)
    return [(note.start, note.beats, note.pitch) for note in score.voices[0]]


def test_letters_octaves_and_lengths_become_notes(tmp_path: Path) -> None:
    notes = _tune(tmp_path, "C c c' C, z2 G/ G/ A3")
    assert notes[:7] == [
        (0, 0.5, 60), (0.5, 0.5, 72), (1, 0.5, 84), (1.5, 0.5, 48), (3, 0.25, 67), (3.25, 0.25, 67), (3.5, 1.5, 69),
    ]  # fmt: skip


def test_key_signature_and_accidentals_hold_until_the_bar_ends(tmp_path: Path) -> None:
    assert [pitch for *_, pitch in _tune(tmp_path, "F =F F | F", key="D")[:4]] == [66, 65, 65, 66]
    assert [pitch for *_, pitch in _tune(tmp_path, "B E", key="Gm")[:2]] == [70, 63]
    assert [pitch for *_, pitch in _tune(tmp_path, "F C", key="Ador")[:2]] == [66, 60]


def test_broken_rhythms_triplets_and_ties_keep_their_time(tmp_path: Path) -> None:
    assert _tune(tmp_path, "C>D E<F")[:4] == [(0, 0.75, 60), (0.75, 0.25, 62), (1, 0.25, 64), (1.25, 0.75, 65)]
    assert [start for start, *_ in _tune(tmp_path, "(3CDE F")[:4]] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert _tune(tmp_path, "C2-C2 D")[:2] == [(0, 2, 60), (2, 0.5, 62)]


def test_a_beat_is_what_one_taps_to(tmp_path: Path) -> None:
    assert _tune(tmp_path, "CDE FGA", metre="6/8")[3][0] == pytest.approx(1)  # three eighths
    assert _tune(tmp_path, "CDEF GABc", metre="C|")[4][0] == pytest.approx(1)  # a half note


def test_musicxml_is_read_with_ties_rests_and_chords(tmp_path: Path) -> None:
    path = tmp_path / "score.xml"
    path.write_text(XML, encoding="utf-8")
    score = read_musicxml(path)
    assert [(n.start, n.beats, n.pitch) for n in score.voices[0]] == [(0, 2, 62), (2, 2, 73), (5, 1, 64), (5, 1, 67)]
    assert (score.beats_per_bar, score.tonic, score.mode) == (3, 2, "minor")
    with zipfile.ZipFile(tmp_path / "score.mxl", "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr("score.xml", XML)
    assert read_musicxml(tmp_path / "score.mxl").voices == score.voices


def test_what_is_no_partwise_score_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<opus/>", encoding="utf-8")
    with pytest.raises(ValueError, match="opus; only score-partwise"):
        read_musicxml(tmp_path / "a.xml")
