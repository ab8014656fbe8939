"""Search: exact, ranked, tied and refused: `pytest tests/indexing/test_index.py`."""

import math
from pathlib import Path

import numpy as np
import pytest

from data.errors import StoreError
from indexing import Index, build_index
from indexing.store import Manifest, ModelRecord, Shard, TrackRecord


@pytest.fixture
def index(tmp_path, toy_encoder, write_track):
    """Tracks at 0°; at 90° then 40°; at 60°, 60° and 180°."""
    write_track(tmp_path / "music" / "a.wav", 0)
    write_track(tmp_path / "music" / "b.wav", 90, 40)
    write_track(tmp_path / "music" / "c.wav", 60, 60, 180)
    build_index(toy_encoder, tmp_path / "music", tmp_path / "index")
    return Index.open(tmp_path / "index")


def direction(degrees):
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)


def test_hits_are_tracks_with_their_best_window_best_first(index):
    hits = index.search(direction(45), k=3)

    assert [(hit.rank, hit.title, hit.start, hit.end) for hit in hits] == [
        (1, "b", 1.0, 2.0),
        (2, "c", 0.0, 1.0),
        (3, "a", 0.0, 1.0),
    ]
    cosines = [math.cos(math.radians(degrees)) for degrees in (5, 15, 45)]
    assert [hit.score for hit in hits] == pytest.approx(cosines, abs=1e-6)  # float32 products of two terms


def test_the_toy_encoder_of_a_text_finds_the_track_meant(index, toy_encoder):
    (vector,) = toy_encoder.encode_text(["about 170 degrees"])

    assert [(hit.title, hit.start) for hit in index.search(vector, k=1)] == [("c", 2.0)]


def test_fewer_tracks_than_asked_for_are_all_returned(index):
    assert [hit.title for hit in index.search(direction(0), k=1000)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("last_ms", "windows", "moment"),
    [
        (1000, 2, (1.0, 2.0)),  # full: itself
        (600, 2, (0.6, 1.6)),  # mostly its own: the last second
        (500, 2, (0.5, 1.5)),
        (499, 2, (0.0, 1.0)),  # mostly the start, with which it was completed
        (3, 2, (0.0, 1.0)),
        (600, 1, (0.0, 0.6)),  # a track shorter than a window is heard whole
    ],
)
def test_the_moment_of_a_window_completed_with_the_start_is_what_fills_most_of_it(
    tmp_path, toy_encoder, write_track, last_ms, windows, moment
):
    write_track(tmp_path / "music" / "a.wav", *(0, 90)[-windows:], last_ms=last_ms)
    build_index(toy_encoder, tmp_path / "music", tmp_path / "index")

    (hit,) = Index.open(tmp_path / "index").search(direction(90), k=1)

    assert (hit.start, hit.end) == pytest.approx(moment, abs=1e-9)  # differences of float64 seconds


def test_a_search_for_less_than_one_track_is_an_error(index):
    with pytest.raises(ValueError, match="k is 0; ask for at least 1 track"):
        index.search(direction(0), k=0)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1, 0, 0], r"shape \(3,\); the index needs \(2,\)"),
        ([[1, 0]], r"shape \(1, 2\)"),
        ([3, 4], "length 5; the index needs unit length"),
        ([math.nan, 0], "length nan"),
    ],
)
def test_a_vector_that_is_no_unit_vector_of_the_index_is_an_error(index, vector, message):
    with pytest.raises(ValueError, match=message):
        index.search(vector, k=1)


def test_tracks_are_listed_by_id(index):
    assert [(track.id, track.title, track.seconds) for track in index.tracks] == [
        (0, "a", 1.0),
        (1, "b", 2.0),
        (2, "c", 3.0),
    ]


def test_an_encoder_of_another_fingerprint_is_refused_with_the_remedy(index, toy_encoder):
    index.check_encoder(toy_encoder)
    other = type(toy_encoder)(name="local:better", fingerprint="better-2")

    with pytest.raises(
        StoreError,
        match=r"made with toy \(fingerprint toy-1\), not with local:better \(fingerprint better-2\); use --model toy"
        r".*mulan index build LIBRARY --index OTHER --model local:better",
    ):
        index.check_encoder(other)


def made_index(vectors_by_track, *, shard_tracks, dropped=()):
    """An index in memory; each track is an array float32 [w, d], its id its position."""
    dim = vectors_by_track[0].shape[1]
    shards = []
    for start in range(0, len(vectors_by_track), shard_tracks):
        members = vectors_by_track[start : start + shard_tracks]
        tracks = tuple(
            TrackRecord(
                id=start + place,
                path=Path(f"/music/{start + place}.wav"),
                size=0,
                mtime_ns=0,
                title=str(start + place),
                artist=None,
                album=None,
                genre=None,
                year=None,
                seconds=float(len(vectors)),
                windows=len(vectors),
            )
            for place, vectors in enumerate(members)
        )
        spans = [np.stack([np.arange(len(one)), np.arange(len(one)) + 1.0], axis=1) for one in members]
        shards.append(Shard(tracks=tracks, vectors=np.concatenate(members), spans=np.concatenate(spans)))
    model = ModelRecord(name="m", fingerprint="f", dim=dim, clip_seconds=1.0, licence="")
    return Index(Path("/index"), Manifest(library=Path("/music"), model=model, dropped=tuple(dropped)), shards)


def unit_rows(generator, rows, dim):
    vectors = generator.standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 7, 60, 200])
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_search_equals_numpy(seed, k):
    generator = np.random.default_rng(seed)
    # tracks of 1 to 80 windows, so that the best windows are often many of the same few tracks
    library = [unit_rows(generator, int(generator.integers(1, 80)), 32) for _ in range(200)]
    centre = unit_rows(generator, 1, 32)
    library[13] = unit_rows(generator, 400, 32) * 0.1 + centre
    library[13] /= np.linalg.norm(library[13], axis=1, keepdims=True)
    dropped = {3, 50, 51}
    index = made_index(library, shard_tracks=17, dropped=dropped)

    hits = index.search(centre[0], k=k)

    scores = {number: vectors @ centre[0] for number, vectors in enumerate(library) if number not in dropped}
    best = sorted(scores, key=lambda number: (-scores[number].max(), number))[:k]
    assert [hit.track for hit in hits] == best
    assert [hit.start for hit in hits] == [float(scores[number].argmax()) for number in best]
    # sums of 32 float32 products in another order
    assert [hit.score for hit in hits] == pytest.approx([scores[number].max() for number in best], abs=1e-6)
    assert [hit.rank for hit in hits] == list(range(1, len(best) + 1))


def test_equal_scores_are_ordered_by_track_id_also_beyond_the_first_fetch_and_across_shards():
    same = [np.array([[1, 0], [1, 0]], np.float32) for _ in range(300)]
    index = made_index(same, shard_tracks=100, dropped=[1])

    hits = index.search([1, 0], k=3)

    assert [(hit.track, hit.start) for hit in hits] == [(0, 0.0), (2, 0.0), (3, 0.0)]


def test_a_track_whose_windows_fill_every_first_place_does_not_hide_the_others():
    crowd = np.tile(np.array([[1, 0]], np.float32), (5000, 1))
    index = made_index([crowd, direction(30)[np.newaxis], direction(20)[np.newaxis]], shard_tracks=2)

    assert [hit.track for hit in index.search([1, 0], k=2)] == [0, 2]


def test_an_index_whose_every_track_was_dropped_answers_with_nothing():
    assert made_index([direction(0)[np.newaxis]], shard_tracks=1, dropped=[0]).search([1, 0], k=5) == []
    model = ModelRecord(name="m", fingerprint="f", dim=2, clip_seconds=1.0, licence="")
    nothing = Index(Path("/index"), Manifest(library=Path("/music"), model=model), [])
    assert nothing.search([1, 0], k=5) == []
