"""The manifest of tracks. Alone: pytest tests/data/test_manifest.py"""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.errors import ManifestError
from data.manifest import Track, measured, read_manifest, scan_folder, write_manifest
from data.tar import TarMember

RECORD = {
    "id": "a",
    "path": "audio/a.flac",
    "seconds": 17.5,
    "split": "train",
    "captions": ["slow solo piano"],
    "tags": ["piano"],
    "absent": ["drums"],
}


def _track(path: Path, **changes: object) -> Track:
    track = Track(
        id="ä",
        path=path,
        seconds=17.5,
        captions=("slow solo piano",),
        tags=("piano", "solo"),
        absent=("drums",),
        split="heldout",
        facts={"bpm": 60.0},
    )
    return dataclasses.replace(track, **changes)


def _tracks_of(tmp_path: Path, name: str, content: str) -> list[Track]:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return read_manifest(tmp_path / name)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    tracks = [
        _track(tmp_path / "audio" / "a.flac"),
        _track(Path("/elsewhere/b.flac"), id="b", start=1.5, end=9.25, split="valid"),
        _track(tmp_path / "shard.tar", id="two\u2028lines", member="0.flac", seconds=None),
        Track(id="c", path=tmp_path / "c.mp3"),
    ]
    write_manifest(tmp_path / "manifest.jsonl", tracks)
    assert read_manifest(tmp_path / "manifest.jsonl") == tracks
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_a_length_that_is_not_known_is_measured_where_the_file_can_be_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(12_000, 0.1), 8_000)
    assert measured(Track(id="a", path=tmp_path / "a.wav", start=0.5)).length == 1.0
    gone = Track(id="b", path=tmp_path / "gone.wav")
    assert measured(gone) == gone
    known = dataclasses.replace(gone, end=3.0)
    assert measured(known) == known


def test_a_folder_can_move_with_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old" / "manifest.jsonl", [_track(tmp_path / "old" / "a.flac")])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "manifest.jsonl")[0].path == tmp_path / "new" / "a.flac"


def test_facts_may_be_missing_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps(RECORD) + "\n\n")
    (track,) = read_manifest(tmp_path / "m.jsonl")
    assert track.facts == {}
    assert track.path == tmp_path / "audio/a.flac"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"m.jsonl:2: not JSON"),
        ("[]", r"m.jsonl:2: found list; each line is one JSON object"),
        (json.dumps({"id": "b"}), r"m.jsonl:2: path is None; expected the path of an audio file"),
        (json.dumps(RECORD), r"m.jsonl:2: id 'a' is already that of line 1; give each track its own"),
        (json.dumps(RECORD | {"caption": "x"}), r"m.jsonl:2: unknown key 'caption'; did you mean 'captions'\?"),
        (json.dumps(RECORD | {"member": 1}), r"member is 1; expected a string"),
        (json.dumps(RECORD | {"facts": []}), r"facts is \[\]; expected an object"),
        (json.dumps(RECORD | {"start": -1}), r"start is -1; expected a number, 0 or above"),
        (json.dumps(RECORD | {"end": "9"}), r"end is '9'; expected a number above 0"),
        (json.dumps(RECORD | {"start": 5, "end": 4}), r"start is 5; expected less than its end, 4 s"),
        (json.dumps(RECORD | {"start": 20}), r"start is 20; expected less than its end, 17.5 s"),
        (json.dumps(RECORD | {"tags": "piano"}), r"m.jsonl:2: tags is 'piano'; expected a list of strings"),
        (json.dumps(RECORD | {"split": "test"}), r"split is 'test'; allowed are train, valid, heldout"),
        (json.dumps(RECORD | {"absent": ["piano"]}), r"both true and absent: piano"),
        (json.dumps(RECORD | {"seconds": 0}), r"seconds is 0; expected a number above 0"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps(RECORD) + "\n" + line + "\n")
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "m.jsonl")


def test_only_the_path_must_be_given(tmp_path: Path) -> None:
    lines = [{"path": "x/a.mp3"}, {"path": "x/a.mp3", "start": 30, "end": 40.5}, {"path": "s.tar", "member": "k.ogg"}]
    whole, part, member = _tracks_of(tmp_path, "m.jsonl", "\n".join(map(json.dumps, lines)))
    assert (whole.id, whole.split, whole.captions, whole.tags, whole.absent) == ("x/a.mp3", "train", (), (), ())
    assert whole.length is None
    assert (part.id, part.length) == ("x/a.mp3#30", 10.5)
    assert (member.id, member.source) == ("s.tar/k.ogg", TarMember(tmp_path / "s.tar", "k.ogg"))


def test_a_track_is_no_longer_than_its_file() -> None:
    assert Track(id="a", path=Path("a"), start=2.0, end=9.0, seconds=8.0).length == 6.0


def test_what_is_false_of_a_track_follows_from_what_it_lists() -> None:
    def has(tags: tuple[str, ...], absent: tuple[str, ...]) -> list[bool | None]:
        track = Track(id="a", path=Path("a"), tags=tags, absent=absent)
        return [track.has(tag) for tag in ("piano", "drums", "choir")]

    assert has(("piano",), ("drums",)) == [True, False, None]
    assert has(("piano",), ()) == [True, False, False]
    assert has((), ()) == [None, None, None]


def test_csv_has_the_same_columns(tmp_path: Path) -> None:
    tracks = _tracks_of(
        tmp_path,
        "m.csv",
        "\ufeffpath,captions,tags,start,end,split\r\n"
        'a.mp3,"slow, solo ""piano""|a waltz","piano | solo",1.5,10,valid\r\n'
        "\r\n"
        '"b, c.mp3",,drums,,,\r\n',
    )
    assert tracks == [
        Track(
            id="a.mp3#1.5",
            path=tmp_path / "a.mp3",
            captions=('slow, solo "piano"', "a waltz"),
            tags=("piano", "solo"),
            start=1.5,
            end=10.0,
            split="valid",
        ),
        Track(id="b, c.mp3", path=tmp_path / "b, c.mp3", tags=("drums",)),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,tags\na.mp3,x\n", r"m.csv:1: found the columns \['file', 'tags'\]; expected 'path' and others"),
        ("path,tag\na.mp3,x\n", r"m.csv:2: unknown key 'tag'; did you mean 'tags'\?"),
        (
            "path,tags\na.mp3,x,y\n",
            r"m.csv:2: found 3 values; the header names 2 columns; put values that hold",
        ),
        ('path,captions\na,"two\nlines"\nb,c,d\n', r"m.csv:4: found 3 values"),
        ("path,seconds\na.mp3,long\n", r"m.csv:2: seconds is 'long'; expected a number above 0"),
        ('path\n"a.mp3\n', r"m.csv:2: not CSV: unexpected end of data"),
        ("", r"m.csv:1: found the columns \[\]"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        _tracks_of(tmp_path, "m.csv", content)


def test_a_folder_is_a_corpus_whatever_its_layout(tmp_path: Path) -> None:
    for name in ("b.mp3", "rock/live/a.FLAC", "rock/a.ogg", "rock/cover.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b.txt").write_text("a caption\n\nanother one\n")
    (tmp_path / "rock/a.json").write_text(
        '{"caption": "loud", "tags": ["rock"], "absent": null, "end": 9, "artist": "X"}'
    )
    first, other, live = scan_folder(tmp_path)
    assert first == Track(id="b.mp3", path=tmp_path / "b.mp3", captions=("a caption", "another one"))
    assert other == Track(
        id="rock/a.ogg",
        path=tmp_path / "rock/a.ogg",
        end=9.0,
        captions=("loud",),
        tags=("rock",),
        facts={"artist": "X"},
    )
    assert live == Track(id="rock/live/a.FLAC", path=tmp_path / "rock/live/a.FLAC")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", r"a\.json: found list; give one JSON object"),
        (b"{", r"a\.json: cannot be read \(Expecting .*; give UTF-8 text, or JSON"),
        (b"\xff", r"a\.json: cannot be read \('utf-8' codec"),
        (b'{"tags": [1]}', r"a\.mp3: tags is \[1\]; expected a list of strings"),
    ],
)
def test_a_bad_file_beside_the_audio_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mp3").touch()
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        scan_folder(tmp_path)


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"found no audio file; known are \.aac"):
        scan_folder(tmp_path)


def test_a_hundred_thousand_tracks_are_read_in_seconds(tmp_path: Path) -> None:
    lines = (json.dumps(RECORD | {"id": str(number)}) for number in range(100_000))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    started = time.process_time()
    assert len(read_manifest(tmp_path / "m.jsonl")) == 100_000
    assert time.process_time() - started < 10  # 2 s on the machine this was written on


def test_a_missing_manifest_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.jsonl: cannot be read as a manifest"):
        read_manifest(tmp_path / "none.jsonl")
