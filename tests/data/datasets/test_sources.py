"""What is on disk of a set, counted. Run: pytest tests/data/datasets/test_sources.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.datasets.dataset import Dataset
from data.datasets.sources import SOURCES, check_dataset
from data.manifest import Track


def dataset_of(folder: Path, *, present: int, empty: int, missing: int, split: str = "lists") -> Dataset:
    """A test part of GTZAN with so many files; every second one is of jazz, beginning with the first."""
    tracks = []
    for number in range(present + empty + missing):
        path = folder / f"{number}.wav"
        if number < present:
            path.write_bytes(b"RIFF")
        elif number < present + empty:
            path.touch()
        tags = ("jazz", "rock") if number % 2 == 0 else ("rock", "jazz")
        tracks.append(Track(id=path.name, path=path, tags=tags[:1], absent=tags[1:], split="heldout"))
    broken = Track(id="x", path=folder / "x.wav", split="heldout")
    return Dataset(name="gtzan", split=split, labels=("jazz", "rock"), tracks=tuple(tracks), broken=(broken,))


def test_present_missing_and_empty_files_are_counted_against_what_is_published(tmp_path):
    report = check_dataset(dataset_of(tmp_path, present=5, empty=2, missing=1, split="fault-filtered"))
    part = report.parts[-1]
    assert (part.part, part.expected, part.listed) == ("heldout", 290, 8)
    assert (part.present, part.empty, part.missing) == (5, 2, 1)
    assert part.tags == {"jazz": 3, "rock": 2}  # of the five with audio
    assert report.broken == ("x",)


@pytest.mark.parametrize(("missing", "is_complete"), [(0, True), (1, True), (2, False)])
def test_at_most_one_track_in_a_hundred_may_lack_its_audio(tmp_path, missing, is_complete):
    report = check_dataset(dataset_of(tmp_path, present=100 - missing, empty=0, missing=missing))
    assert report.lacking == (() if is_complete else ("heldout",))


def test_a_part_that_was_not_fetched_at_all_is_no_fault_unless_it_is_the_test_part(tmp_path):
    there = dataset_of(tmp_path, present=5, empty=0, missing=0)
    absent = tuple(replace(track, split="train", path=tmp_path / "gone.wav") for track in there.tracks)
    assert check_dataset(replace(there, tracks=there.tracks + absent)).lacking == ()
    turned = tuple(
        replace(track, split="heldout" if track.split == "train" else "train") for track in there.tracks + absent
    )
    assert check_dataset(replace(there, tracks=turned)).lacking == ("heldout",)
    assert check_dataset(replace(there, tracks=absent)).lacking == ("train",)  # there is nothing else


@pytest.mark.parametrize(("listed", "is_complete"), [(290, True), (288, True), (287, False), (0, False)])
def test_a_table_that_was_cut_short_is_lacking_although_all_it_lists_is_there(tmp_path, listed, is_complete):
    report = check_dataset(dataset_of(tmp_path, present=listed, empty=0, missing=0, split="fault-filtered"))
    assert report.lacking == (() if is_complete else ("heldout",))  # 1 % of the 290 published are 2.9


def test_every_source_says_what_must_be_given(tmp_path):
    for name, source in SOURCES.items():
        assert name == source.name
        assert source.title
        assert source.licence
        assert [line.split()[0] for line in source.layout][:2] == ["--audio", "--annotations"]


def test_the_published_counts_are_those_of_the_whole_sets():
    clips = {split: sum(counts.values()) for split, counts in SOURCES["mtt"].counts.items()}
    assert clips == {"full": 25_863 - 4, "minz": 21_108 - 4}  # three of zero bytes, and one that some cannot decode
    assert sum(SOURCES["gtzan"].counts["fault-filtered"].values()) == 930 - 1
    assert sum(SOURCES["jamendo"].counts["split-0 top50tags"].values()) == 54_380
