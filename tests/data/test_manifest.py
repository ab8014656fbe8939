"""The manifest of tracks. Alone: pytest tests/data/test_manifest.py"""

import json
from pathlib import Path

import pytest

from data.errors import ManifestError
from data.manifest import Track, read_manifest, write_manifest

RECORD = {
    "id": "a",
    "path": "audio/a.flac",
    "seconds": 17.5,
    "split": "train",
    "captions": ["slow solo piano"],
    "tags": ["piano"],
    "absent": ["drums"],
}


def _track(path: Path) -> Track:
    return Track(
        id="ä",
        path=path,
        seconds=17.5,
        captions=("slow solo piano",),
        tags=("piano", "solo"),
        absent=("drums",),
        split="heldout",
        facts={"bpm": 60.0},
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    tracks = [_track(tmp_path / "audio" / "a.flac"), _track(Path("/elsewhere/b.flac"))]
    write_manifest(tmp_path / "manifest.jsonl", tracks)
    assert read_manifest(tmp_path / "manifest.jsonl") == tracks
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


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
        (json.dumps({"id": "a"}), r"m.jsonl:2: lacks path, seconds, split, captions, tags, absent"),
        (json.dumps(RECORD | {"tags": "piano"}), r"m.jsonl:2: tags is 'piano'; expected a list of strings"),
        (json.dumps(RECORD | {"split": "test"}), r"split is 'test'; allowed are train, heldout"),
        (json.dumps(RECORD | {"absent": ["piano"]}), r"both true and absent: piano"),
        (json.dumps(RECORD | {"seconds": 0}), r"seconds is 0; expected a number above 0"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps(RECORD) + "\n" + line + "\n")
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "m.jsonl")


def test_a_missing_manifest_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.jsonl: cannot be read as a manifest"):
        read_manifest(tmp_path / "none.jsonl")
