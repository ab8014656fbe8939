"""data/clips.py: the window rule and pooling, at a toy rate of 100 Hz where every number can be counted.

Alone: pytest tests/data/test_clips.py
"""

import numpy as np
import pytest

from data.clips import Window, pool_windows, split_windows

RATE = 100
WINDOW = 10 * RATE


def ramp(seconds: float) -> np.ndarray:
    """A track whose samples are their own positions: 0, 1, 2 …"""
    return np.arange(round(seconds * RATE), dtype=np.float32)


def windows_of(track: np.ndarray, *, block_samples: int = 370) -> list[Window]:
    blocks = (track[at : at + block_samples] for at in range(0, len(track), block_samples))
    return list(split_windows(blocks, window_samples=WINDOW))


@pytest.mark.parametrize(
    ("seconds", "spans"),
    [
        (0.1, [(0, 10)]),
        (3, [(0, 300)]),
        (10, [(0, 1000)]),
        (10.01, [(0, 1000), (1000, 1001)]),
        (25, [(0, 1000), (1000, 2000), (2000, 2500)]),
        (30, [(0, 1000), (1000, 2000), (2000, 3000)]),
    ],
)
def test_windows_follow_each_other_and_end_with_the_track(seconds, spans):
    windows = windows_of(ramp(seconds))
    assert [(window.start, window.end) for window in windows] == spans
    for window in windows:
        assert window.samples.shape == (WINDOW,)
        assert window.samples.dtype == np.float32
        own = np.arange(window.start, window.end)
        np.testing.assert_array_equal(window.samples[: len(own)], own)


def test_the_last_window_goes_on_with_the_start_of_the_track():
    last = windows_of(ramp(25))[-1].samples
    np.testing.assert_array_equal(last, [*range(2000, 2500), *range(500)])
    almost_all = windows_of(ramp(10.01))[-1].samples
    np.testing.assert_array_equal(almost_all, [1000, *range(999)])


def test_a_short_track_is_repeated_as_often_as_needed():
    [window] = windows_of(ramp(3))
    np.testing.assert_array_equal(window.samples, [*range(300)] * 3 + [*range(100)])
    [window] = windows_of(ramp(0.1))
    np.testing.assert_array_equal(window.samples, [*range(10)] * 100)


@pytest.mark.parametrize("block_samples", [1, 7, 999, 1000, 1001, 2000, 10_000])
def test_windows_do_not_depend_on_how_the_track_was_cut_into_blocks(block_samples):
    expected = windows_of(ramp(25))
    found = windows_of(ramp(25), block_samples=block_samples)
    assert [(window.start, window.end) for window in found] == [(window.start, window.end) for window in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)


def test_empty_blocks_change_nothing():
    nothing = np.zeros(0, np.float32)
    [window] = split_windows([nothing, ramp(10), nothing], window_samples=WINDOW)
    assert (window.start, window.end) == (0, 1000)


def test_a_window_is_yielded_as_soon_as_it_is_full():
    taken = []

    def blocks():
        for second in range(30):
            taken.append(second)
            yield ramp(1)

    next(split_windows(blocks(), window_samples=WINDOW))
    assert taken == list(range(10))


def test_changing_one_window_changes_no_other():
    windows = split_windows([ramp(15)], window_samples=WINDOW)
    first = next(windows)
    assert first.samples.base is None
    last = next(windows)
    last.samples[:] = -1
    np.testing.assert_array_equal(first.samples, range(1000))


def test_no_samples_and_no_window_length_are_refused():
    with pytest.raises(ValueError, match=r"found no samples; a track needs at least one"):
        list(split_windows([], window_samples=WINDOW))
    with pytest.raises(ValueError, match=r"window_samples is 0; must be at least 1"):
        list(split_windows([ramp(1)], window_samples=0))


def test_pooling_gives_the_unit_vector_between():
    pooled = pool_windows(np.array([[1, 0], [0, 1]], np.float32))
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)  # float32 rounding


def test_pooling_one_window_gives_its_vector():
    np.testing.assert_array_equal(pool_windows(np.array([[0.6, 0.8]], np.float32)), np.float32([0.6, 0.8]))


def test_every_window_counts_the_same():
    pooled = pool_windows(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    np.testing.assert_allclose(pooled, np.array([2, 1]) / np.sqrt(5), rtol=1e-6)  # float32 rounding


def test_a_mean_without_direction_is_refused():
    with pytest.raises(ValueError, match=r"mean of 2 vectors has length 0\.0e\+00; it has no direction"):
        pool_windows(np.array([[1, 0], [-1, 0]], np.float32))
    with pytest.raises(ValueError, match=r"no direction"):
        pool_windows(np.array([[np.nan, 0]], np.float32))


@pytest.mark.parametrize("shape", [(0, 4), (4,)])
def test_pooling_needs_at_least_one_window(shape):
    with pytest.raises(ValueError, match=r"must be \[w, d\] with w >= 1"):
        pool_windows(np.zeros(shape, np.float32))
