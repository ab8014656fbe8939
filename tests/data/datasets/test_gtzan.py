"""GTZAN's fault-filtered lists. Run: pytest tests/data/datasets/test_gtzan.py."""

from pathlib import Path

import pytest

from data.datasets.gtzan import read_gtzan
from data.errors import ManifestError

AUDIO = Path("genres")
LISTS = {
    "train": "blues/blues.00029.wav\nhiphop/hiphop.00002.wav\njazz/jazz.00054.wav\n",
    "valid": "disco/disco.00000.wav\r\n",
    "test": "rock/rock.00010.wav\n\n",
}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    for name, text in LISTS.items():
        (tmp_path / f"{name}_filtered.txt").write_text(text, newline="")
    return tmp_path


def test_each_excerpt_has_one_of_ten_genres_as_people_say_them(lists):
    dataset = read_gtzan(AUDIO, lists)
    assert dataset.is_exclusive
    assert dataset.labels == tuple(
        ["blues", "classical", "country", "disco", "hip hop", "jazz", "metal", "pop", "reggae", "rock"]
    )
    assert {track.id: (track.split, track.tags) for track in dataset.tracks} == {
        "blues/blues.00029": ("train", ("blues",)),
        "hiphop/hiphop.00002": ("train", ("hip hop",)),
        "disco/disco.00000": ("valid", ("disco",)),
        "rock/rock.00010": ("heldout", ("rock",)),
    }
    assert all(len(track.absent) == 9 and track.tags[0] not in track.absent for track in dataset.tracks)
    assert dataset.tracks[1].path == AUDIO / "hiphop" / "hiphop.00002.wav"


def test_the_wav_that_nobody_can_decode_is_left_out_but_its_first_edition_is_not(lists):
    assert [track.id for track in read_gtzan(AUDIO, lists).broken] == ["jazz/jazz.00054"]
    first = read_gtzan(AUDIO, lists, suffix=".au")
    assert first.broken == ()
    assert AUDIO / "jazz" / "jazz.00054.au" in [track.path for track in first.tracks]


def test_lists_that_name_files_in_another_format_or_without_folder_are_the_same_lists(lists):
    expected = read_gtzan(AUDIO, lists)
    text = "blues/blues.00029.au\nhiphop.00002.au\njazz/jazz.00054.au\n"
    (lists / "train_filtered.txt").write_text(text)
    assert read_gtzan(AUDIO, lists) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tango/tango.00001.wav", r"valid_filtered.txt:1: found 'tango/tango.00001.wav'; expected a file such as"),
        ("blues/blues.00029.wav", r"valid_filtered.txt:1: 'blues/blues.00029' is already in the part 'train'"),
    ],
)
def test_a_line_that_names_no_excerpt_or_one_named_before_is_refused(lists, line, message):
    (lists / "valid_filtered.txt").write_text(line)
    with pytest.raises(ManifestError, match=message):
        read_gtzan(AUDIO, lists)


def test_a_missing_list_is_named(lists):
    (lists / "test_filtered.txt").unlink()
    with pytest.raises(ManifestError, match=r"test_filtered.txt: cannot be read"):
        read_gtzan(AUDIO, lists)
