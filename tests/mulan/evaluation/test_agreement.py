"""A tagger's verdicts as truth. Run: pytest tests/mulan/evaluation/test_agreement.py."""

from pathlib import Path

import numpy as np
import pytest

from data.datasets.dataset import Dataset
from data.errors import ManifestError
from data.manifest import Track
from mulan.evaluation.agreement import agreement_set

BY = "MTT_vgg (0123)"
TAGS = ("piano", "drums", "flute", "opera")


def some(count: int) -> Dataset:
    tracks = tuple(Track(id=str(number), path=Path(f"{number}.ogg"), tags=("metal",)) for number in range(count))
    return Dataset(name="reserved", split="all packages", labels=("metal",), tracks=tracks, is_exclusive=True)


def test_tags_heard_in_five_tracks_are_the_labels_and_what_is_in_between_is_unknown():
    heard = np.array([[0.9, 0.31, 0.05, 0]] * 4 + [[0.5, 0.3, 0.2, 0], [0.01, 0.1, 0.9, 0]])
    dataset = agreement_set(some(6), heard, TAGS, heard_by=BY)
    assert dataset.labels == ("piano",)  # drums are heard 4 times, as 0.3 is not above 0.3
    assert [track.has("piano") for track in dataset.tracks] == [True] * 5 + [False]
    assert [track.has("flute") for track in dataset.tracks] == [False] * 4 + [None, True]
    assert dataset.tracks[5].has("drums") is None
    assert not dataset.is_exclusive
    assert dataset.split == "all packages, heard by MTT_vgg (0123)"


def test_what_was_true_by_other_lights_is_forgotten():
    heard = np.array([[0.9, 0.9, 0.9, 0.0]] * 5)
    assert agreement_set(some(5), heard, TAGS, heard_by=BY).tracks[0].tags == TAGS[:3]


def test_a_track_that_lacks_no_tag_is_refused_as_its_unknown_ones_would_count_as_false():
    heard = np.array([[0.9, 0.2, 0.0, 0.0]] * 5 + [[0.9, 0.2, 0.2, 0.1]])
    with pytest.raises(ManifestError, match=r"^track '5': every tag is given 0.1 or more, so none is false"):
        agreement_set(some(6), heard, TAGS, heard_by=BY)


def test_too_little_music_and_a_wrong_shape_are_refused():
    with pytest.raises(ManifestError, match="in 4 tracks no tag is heard 5 times"):
        agreement_set(some(4), np.full((4, 4), 0.9), TAGS, heard_by=BY)
    with pytest.raises(ValueError, match=r"must be \[4, 4\]"):
        agreement_set(some(4), np.zeros((4, 2)), TAGS, heard_by=BY)
