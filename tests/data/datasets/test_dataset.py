"""The hash of what a set is judged by. Run: pytest tests/data/datasets/test_dataset.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.datasets.dataset import Dataset
from data.manifest import Track

TRACK = Track(
    id="a.mp3",
    path=Path("here/a.mp3"),
    tags=("rock", "slow"),
    absent=("jazz", "loud"),
    captions=("Loud", "Fast"),
    split="heldout",
    facts={"key": "D", "mode": "major", "artist": "someone"},
)
OTHER = Track(id="b.mp3", path=Path("here/b.mp3"), split="heldout")


def hash_of(*tracks: Track, labels: tuple[str, ...] = ("rock", "jazz")) -> str:
    return Dataset(name="own", split="full", labels=labels, tracks=tracks).sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "c.mp3"},
        {"split": "train"},
        {"tags": ("rock",)},
        {"absent": ("jazz",)},
        {"absent": (), "tags": ("rock", "slow", "jazz", "loud")},
        {"captions": ("Loud",)},
        {"captions": ("Loud|Fast",)},  # one caption, not two
        {"facts": {"key": "E", "mode": "major"}},
        {"facts": {"key": "D", "mode": "minor"}},
    ],
)
def test_another_truth_has_another_hash(changes):
    assert hash_of(replace(TRACK, **changes)) != hash_of(TRACK)


@pytest.mark.parametrize(
    "changes",
    [
        {"path": Path("there/a.au"), "start": 30.0, "end": 40.0},
        {"tags": ("slow", "rock"), "absent": ("loud", "jazz"), "captions": ("Fast", "Loud")},
        {"facts": {"mode": "major", "key": "D"}},
    ],
)
def test_where_the_audio_lies_and_the_order_of_words_do_not_matter(changes):
    assert hash_of(replace(TRACK, **changes)) == hash_of(TRACK)


def test_the_order_of_tracks_does_not_matter_but_the_labels_do():
    assert hash_of(TRACK, OTHER) == hash_of(OTHER, TRACK)
    assert hash_of(TRACK, labels=("rock",)) != hash_of(TRACK)
