"""Windows of many tracks share batches, and nothing leaks between tracks. Run: pytest tests/mulan/test_batching.py."""

import threading
import time

import numpy as np
import pytest

from data.clips import Window
from mulan import AudioError, ManifestError
from mulan.batching import embed_tracks


def windows(*values: float):
    for i, value in enumerate(values):
        yield Window(samples=np.full(4, value, np.float32), start=4 * i, end=4 * i + 4)


def failing(*values: float):
    yield from windows(*values)
    raise AudioError("x.wav: broken")


class Recorder:
    """Embeds a window as its mean and remembers the sizes of its batches."""

    def __init__(self):
        self.sizes = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.sizes.append(len(batch))
        return batch.mean(axis=1, keepdims=True)


def test_tracks_come_back_in_order_with_their_own_windows_and_full_batches():
    embed = Recorder()
    tracks = list(embed_tracks([windows(1, 2, 3), windows(4), windows(5, 6, 7, 8)], embed, batch_windows=3))
    assert [np.concatenate(track.vectors).tolist() for track in tracks] == [[1, 2, 3], [4], [5, 6, 7, 8]]
    assert tracks[2].spans == [(0, 4), (4, 8), (8, 12), (12, 16)]
    assert embed.sizes == [3, 3, 2]


def test_many_decoders_change_neither_the_order_of_tracks_nor_what_shares_a_batch():
    batches = []

    def embed(batch: np.ndarray) -> np.ndarray:
        batches.append(batch[:, 0].tolist())
        return batch[:, :1]

    def slow(*values: float):
        time.sleep(0.05)  # so that the tracks behind it are decoded first
        yield from windows(*values)

    tracks = list(embed_tracks([slow(1, 2), windows(3), failing(), windows(4, 5)], embed, batch_windows=2, decoders=3))

    assert batches == [[1, 2], [3, 4], [5]]
    assert [[float(vector[0]) for vector in track.vectors] for track in tracks] == [[1, 2], [3], [], [4, 5]]


def test_as_many_tracks_are_read_at_the_same_time_as_there_are_decoders():
    together = threading.Barrier(3, timeout=10)

    def meeting(value: float):
        together.wait()
        yield from windows(value)

    tracks = list(embed_tracks([meeting(i) for i in range(3)], Recorder(), batch_windows=1, decoders=3))

    assert [track.error for track in tracks] == [None] * 3


def test_a_track_that_fails_midway_is_reported_in_its_place_and_the_rest_goes_on():
    tracks = list(embed_tracks([windows(1), failing(2, 3), failing(), windows(4)], Recorder(), batch_windows=2))
    assert [str(track.error) if track.error else len(track.vectors) for track in tracks] == [
        1,
        "x.wav: broken",
        "x.wav: broken",
        1,
    ]


def test_the_decoder_runs_at_most_64_windows_ahead():
    produced = []

    def long_track():
        for window in windows(*range(1000)):
            produced.append(window.start)
            yield window

    lead = []
    consumed = 0

    def embed(batch: np.ndarray) -> np.ndarray:
        nonlocal consumed
        consumed += len(batch)
        lead.append(len(produced) - consumed)
        return batch[:, :1]

    list(embed_tracks([long_track()], embed, batch_windows=5))
    assert max(lead) <= 64 + 2  # the queue, one item waiting to enter it, one just taken out


def test_a_decoder_that_fails_in_an_unforeseen_way_costs_its_track_only(caplog):
    def broken():
        yield from windows(1)
        raise RuntimeError("a bug")

    first, second = embed_tracks([broken(), windows(2)], Recorder(), batch_windows=1)
    assert str(first.error) == "the decoder failed unexpectedly (RuntimeError: a bug)"
    assert second.error is None
    assert "a bug" in caplog.text  # with its traceback, for the report


def test_a_model_that_fails_stops_the_batch():
    def fail(batch):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(embed_tracks([windows(1)], fail, batch_windows=1))


def test_leaving_early_stops_the_decoding_thread():
    results = embed_tracks([windows(*range(100)) for _ in range(50)], Recorder(), batch_windows=2)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mulan-decode")]


def test_no_tracks_give_no_results():
    assert list(embed_tracks([], Recorder(), batch_windows=2)) == []


def test_a_place_that_is_gone_ends_the_work_instead_of_failing_every_track():
    def gone():
        raise ManifestError("shard-1.tar: cannot be fetched")
        yield

    with pytest.raises(ManifestError, match="cannot be fetched"):
        list(embed_tracks([gone()], lambda windows: windows, batch_windows=2))
