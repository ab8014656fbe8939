"""MTG-Jamendo's ragged tables. Run: pytest tests/data/datasets/test_jamendo.py."""

from pathlib import Path

import pytest

from data.datasets.jamendo import read_jamendo
from data.errors import ManifestError

AUDIO = Path("audio")
HEADING = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
ROWS = {
    "train": "track_0000948\tartist_000087\talbum_000149\t48/948.mp3\t212.7\tgenre---rock\tinstrument---drummachine\n",
    "validation": "track_0000950\tartist_000087\talbum_000149\t50/950.mp3\t200.1\tgenre---hiphop\n",
    "test": "track_1420554\tartist_497202\talbum_165686\t54/1420554.mp3\t194.5\tmood/theme---happy\tgenre---rock\n",
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "split-0"
    folder.mkdir()
    for part, rows in ROWS.items():
        (folder / f"autotagging_top50tags-{part}.tsv").write_text(HEADING + rows)
    return folder


def test_a_row_has_as_many_tags_as_it_likes_and_labels_are_in_published_order_as_people_say_them(tables):
    dataset = read_jamendo(AUDIO, tables, subset="top50tags")
    assert dataset.labels == ("hip hop", "rock", "drum machine", "happy")  # sorted as genre---hiphop, genre---rock, …
    assert [(track.id, track.split, track.tags, track.absent) for track in dataset.tracks] == [
        ("48/948.mp3", "train", ("rock", "drum machine"), ("hip hop", "happy")),
        ("50/950.mp3", "valid", ("hip hop",), ("rock", "drum machine", "happy")),
        ("54/1420554.mp3", "heldout", ("rock", "happy"), ("hip hop", "drum machine")),
    ]
    assert dataset.tracks[0].path == AUDIO / "48" / "948.mp3"
    assert dataset.tracks[0].facts == {"artist": "artist_000087", "album": "album_000149"}
    assert dataset.split == "split-0 top50tags"


def test_the_smaller_copy_has_its_own_ending_and_the_same_hash(tables):
    low = read_jamendo(AUDIO, tables, subset="top50tags", suffix=".low.mp3")
    assert low.tracks[2].path == AUDIO / "54" / "1420554.low.mp3"
    assert low.sha256 == read_jamendo(AUDIO, tables, subset="top50tags").sha256


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (HEADING + ROWS["train"], r"-test.tsv:2: '48/948.mp3' is already in the part 'train'"),
        (HEADING + ROWS["test"].replace("genre---rock", "rock"), r"-test.tsv:2: found the tag 'rock'; expected one"),
        (HEADING + "track_1\tartist_1\talbum_1\t1/1.mp3\n", r"-test.tsv:2: found 4 values; the header names 6"),
        (HEADING.replace("PATH", "FILE") + ROWS["test"], r"-test.tsv:1: lacks the column 'PATH'"),
        ("MOOD\t" + HEADING + "sad\t" + ROWS["test"], r"-test.tsv:1: found 7 columns: MOOD, TRACK_ID"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(tables, table, message):
    (tables / "autotagging_top50tags-test.tsv").write_text(table)
    with pytest.raises(ManifestError, match=message) as failure:
        read_jamendo(AUDIO, tables, subset="top50tags")
    assert "\n" not in str(failure.value)


def test_an_unknown_subset_is_refused(tables):
    with pytest.raises(ManifestError, match="subset is 'mood'; allowed are top50tags, genre, instrument, moodtheme"):
        read_jamendo(AUDIO, tables, subset="mood")
