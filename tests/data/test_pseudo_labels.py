"""Logits of a teacher by track: stored, averaged over crops, standardised.

Run: pytest tests/data/test_pseudo_labels.py
"""

import dataclasses

import numpy as np
import pytest

from data.errors import StoreError
from data.pseudo_labels import PseudoLabels, read_pseudo_labels, write_pseudo_labels

LABELS = PseudoLabels(
    teacher="MSD_musicnn",
    tags=("rock", "ambient"),
    window_seconds=3.0,
    logits={
        "a": np.array([[0, -1], [2, -3], [4, -5]], np.float16),
        "b/ü": np.array([[-2, 1]], np.float16),
    },
)


def test_labels_come_back_as_they_were_written(tmp_path):
    write_pseudo_labels(tmp_path / "labels.npz", LABELS)
    found = read_pseudo_labels(tmp_path / "labels.npz")
    assert (found.teacher, found.tags, found.window_seconds) == ("MSD_musicnn", ("rock", "ambient"), 3.0)
    assert list(found.logits) == ["a", "b/ü"]
    np.testing.assert_array_equal(found.logits["a"], LABELS.logits["a"])
    assert found.logits["b/ü"].dtype == np.float16


def test_a_file_without_any_track_can_be_read(tmp_path):
    write_pseudo_labels(tmp_path / "labels.npz", dataclasses.replace(LABELS, logits={}))
    assert read_pseudo_labels(tmp_path / "labels.npz").logits == {}


@pytest.mark.parametrize(
    ("start", "seconds", "expected"),
    [
        (0.0, 9.0, [2.0, -3.0]),  # all three windows
        (3.0, 3.0, [2.0, -3.0]),  # the second
        (0.0, 4.0, [0.5, -1.5]),  # three seconds of the first and one of the second
        (8.0, 10.0, [4.0, -5.0]),  # the last second of the third, and what no window covers
        (9.5, 1.0, [4.0, -5.0]),  # behind the last window
    ],
)
def test_windows_count_by_how_much_of_them_a_crop_holds(start, seconds, expected):
    np.testing.assert_allclose(LABELS.of_crop("a", start=start, seconds=seconds), expected, rtol=1e-6)


def test_standardised_logits_have_mean_zero_and_deviation_one_over_the_tracks_they_were_measured_on():
    statistics = LABELS.statistics(["a", "b/ü"])
    np.testing.assert_allclose(statistics.mean, [1.0, -2.0])
    np.testing.assert_allclose(statistics.std, [np.sqrt(5), np.sqrt(5)], rtol=1e-6)
    np.testing.assert_allclose(statistics.standardise(np.array([1.0 + np.sqrt(5), -2.0])), [1.0, 0.0], atol=1e-6)


def test_what_is_missing_or_damaged_is_said_in_one_line(tmp_path):
    with pytest.raises(StoreError, match=r"^pseudo-labels of MSD_musicnn: none of track 'c'; label it first$"):
        LABELS.of_crop("c", start=0.0, seconds=1.0)
    with pytest.raises(StoreError, match="no tracks"):
        LABELS.statistics([])
    with pytest.raises(StoreError, match="cannot be read as pseudo-labels"):
        read_pseudo_labels(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(StoreError, match="cannot be read as pseudo-labels"):
        read_pseudo_labels(tmp_path / "one.npy")
    with pytest.raises(StoreError, match="cannot be read as pseudo-labels"):
        read_pseudo_labels(tmp_path / "cut.npz")
