"""Keys of GiantSteps as the composer's facts. Run: pytest tests/data/datasets/test_giantsteps.py."""

from pathlib import Path

import pytest

from data.compose import KEYS
from data.datasets.giantsteps import parse_key, read_giantsteps_key
from data.errors import ManifestError

AUDIO = Path("audio")
MTG = """ID\tMANUAL KEY\tC
5061\tD# minor\t2
10981\t-\t0
16484\tA minor\t1
61578\tC minor / F# minor\t2
32715\tB major\t2
"""


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    for name, key in (("10089", "D major"), ("1234749", "Bb minor\n")):
        (tmp_path / f"{name}.LOFI.key").write_text(key)
    (tmp_path / "._10089.LOFI.key").write_bytes(b"\x00\x05\x16\x07")  # what macOS leaves
    return tmp_path


def test_every_excerpt_is_of_the_test_part_with_key_and_mode(annotations):
    dataset = read_giantsteps_key(AUDIO, annotations)
    assert [(track.id, track.split, track.facts) for track in dataset.tracks] == [
        ("10089.LOFI.mp3", "heldout", {"key": "D", "mode": "major"}),
        ("1234749.LOFI.mp3", "heldout", {"key": "B flat", "mode": "minor"}),
    ]
    assert dataset.tracks[0].path == AUDIO / "10089.LOFI.mp3"
    assert dataset.labels == ()


def test_the_training_part_is_of_excerpts_with_one_key_that_the_annotator_was_sure_of(annotations, tmp_path):
    (tmp_path / "mtg" / "annotations").mkdir(parents=True)
    (tmp_path / "mtg" / "annotations" / "annotations.txt").write_text(MTG)
    dataset = read_giantsteps_key(AUDIO, annotations, training=tmp_path / "mtg")
    assert [(track.id, track.facts) for track in dataset.tracks if track.split == "train"] == [
        ("5061.LOFI.mp3", {"key": "E flat", "mode": "minor"}),
        ("32715.LOFI.mp3", {"key": "B", "mode": "major"}),
    ]


def test_all_names_of_the_twelve_tonics_are_known():
    sharps = [parse_key(f"{name} minor") for name in ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]]
    flats = [parse_key(f"{name}  Minor") for name in ["C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"]]
    assert sharps == flats == [{"key": key, "mode": "minor"} for key in KEYS]
    assert parse_key("Cb major") == {"key": "B", "mode": "major"}


@pytest.mark.parametrize("text", ["", "-", "D", "H major", "A-A# minor", "E major / minor", "G minor/major"])
def test_what_is_not_one_key_is_none(text):
    assert parse_key(text) is None


def test_a_file_without_a_key_is_refused_by_name(annotations):
    (annotations / "10089.LOFI.key").write_text("unknown")
    with pytest.raises(ManifestError, match=r"10089.LOFI.key: reads 'unknown'; expected a key such as"):
        read_giantsteps_key(AUDIO, annotations)


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"holds no file NAME.key"):
        read_giantsteps_key(AUDIO, tmp_path)
