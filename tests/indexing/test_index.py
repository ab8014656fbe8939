"""Search: exact, ranked, tied and refused: `pytest tests/indexing/test_index.py`."""

import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import QueryError, StoreError
from indexing import Index, sync_library
from indexing.care import compact
from indexing.catalogue import TrackEntry
from indexing.engines import ExactEngine, ShardVectors, Vectors
from indexing.model import ModelRecord
from indexing.shards import Shard


@pytest.fixture
def index(tmp_path, toy_encoder, write_track):
    """Tracks at 0°; at 90° then 40°; at 60°, 60° and 180°."""
    write_track(tmp_path / "music" / "a.wav", 0)
    write_track(tmp_path / "music" / "b.wav", 90, 40)
    write_track(tmp_path / "music" / "c.wav", 60, 60, 180)
    sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")
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
    sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")

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
        (1, "a", 1.0),
        (2, "b", 2.0),
        (3, "c", 3.0),
    ]


def test_an_encoder_of_another_fingerprint_is_refused_with_the_remedy(index, toy_encoder):
    index.check_encoder(toy_encoder)
    other = type(toy_encoder)(name="local:better", fingerprint="better-2")

    with pytest.raises(
        StoreError,
        match=r"made with toy \(fingerprint toy-1\), not with local:better \(fingerprint better-2\); use --model toy"
        r".*mulan index sync LIBRARY --index OTHER --model local:better",
    ):
        index.check_encoder(other)


MODEL = {"name": "m", "fingerprint": "f", "clip_seconds": 1.0, "licence": ""}
BARE = {"size": 0, "mtime_ns": 0, "artist": None, "album": None, "genre": None, "year": None, "bpm": None}


def made_index(vectors_by_track, *, shard_tracks, dropped=(), copies=None, dim=2, engine=None):
    """An index in memory; each track is an array float32 [w, d], its id its position; copies: {id: id of original}.

    `engine` makes an engine of the vectors.
    """
    shards, tracks = {}, {}
    for start in range(0, len(vectors_by_track), shard_tracks):
        members = vectors_by_track[start : start + shard_tracks]
        spans = [np.stack([np.arange(len(one)), np.arange(len(one)) + 1.0], axis=1) for one in members]
        shard = 10 + start
        shards[shard] = Shard(vectors=np.concatenate(members), spans=np.concatenate(spans))
        row = 0
        for number, vectors in enumerate(members, start):
            tracks[number] = TrackEntry(
                id=number,
                library=1,
                path=f"{number}.wav",
                content=str(number),
                shard=shard,
                first_row=row,
                windows=len(vectors),
                seconds=float(len(vectors)),
                title=str(number),
                **BARE,
            )
            row += len(vectors)
    for copy, original in (copies or {}).items():
        tracks[copy] = replace(tracks[original], id=copy, path=f"{copy}.wav")
    left = [tracks[number] for number in sorted(tracks) if number not in dropped]
    model = ModelRecord(dim=vectors_by_track[0].shape[1] if vectors_by_track else dim, **MODEL)
    made = engine and engine(Vectors([ShardVectors(str(key), shard.vectors) for key, shard in shards.items()]))
    return Index(Path("/index"), model, shards=shards, tracks=left, roots={1: Path("/music")}, engine=made)


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


@pytest.mark.parametrize("scoring", ["max", "mean", "top3"])
def test_an_index_whose_every_track_was_dropped_answers_with_nothing(scoring):
    dropped = made_index([direction(0)[np.newaxis]], shard_tracks=1, dropped=[0])
    assert dropped.search([1, 0], k=5, scoring=scoring) == []
    assert made_index([], shard_tracks=1).search([1, 0], k=5, scoring=scoring) == []


@pytest.mark.parametrize(
    ("scoring", "order", "scores"),
    [
        # cosines with 0 degrees: of track 0 1 and -1; of track 1 0.5, 0.5, 0.5, -1
        ("max", [0, 1], [1, 0.5]),
        ("mean", [1, 0], [0.125, 0]),
        ("top3", [1, 0], [0.5, 0]),
    ],
)
def test_a_track_is_scored_by_its_best_window_by_all_or_by_its_best_three(scoring, order, scores):
    tracks = [[0, 180], [60, 60, -60, 180]]
    index = made_index([np.stack([direction(angle) for angle in track]) for track in tracks], shard_tracks=1)

    hits = index.search([1, 0], k=2, scoring=scoring)

    assert [hit.track for hit in hits] == order
    assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-6)  # float32 cosines
    assert {hit.start for hit in hits} == {0.0}  # the moment is the earliest of the best windows


@pytest.mark.parametrize("scoring", ["max", "mean", "top3"])
def test_every_scoring_equals_numpy_also_with_dropped_tracks_and_copies(scoring):
    generator = np.random.default_rng(3)
    library = [unit_rows(generator, int(generator.integers(1, 9)), 16) for _ in range(60)]
    query = unit_rows(generator, 1, 16)[0]
    dropped, copies = {2, 7, 59}, {60: 5, 61: 2, 62: 5}
    index = made_index(library, shard_tracks=7, dropped=dropped, copies=copies)

    hits = index.search(query, k=20, scoring=scoring)

    rule = {"max": np.max, "mean": np.mean, "top3": lambda scores: np.mean(np.sort(scores)[-3:])}[scoring]
    windows = {number: library[copies.get(number, number)] @ query for number in {*range(60), *copies} - dropped}
    scores = {number: float(rule(of_windows)) for number, of_windows in windows.items()}
    best = sorted(scores, key=lambda number: (-scores[number], number))[:20]
    assert [hit.track for hit in hits] == best
    # sums of 16 float32 products in another order
    assert [hit.score for hit in hits] == pytest.approx([scores[number] for number in best], abs=1e-6)
    assert [hit.start for hit in hits] == [float(windows[number].argmax()) for number in best]


def test_copies_are_hits_of_their_own_also_where_only_some_fit():
    index = made_index([direction(angle)[np.newaxis] for angle in (40, 0, 20)], shard_tracks=2, copies={3: 1, 4: 2})

    assert [hit.track for hit in index.search([1, 0], k=3)] == [1, 3, 2]
    assert [hit.path.name for hit in index.search([1, 0], k=9)] == ["1.wav", "3.wav", "2.wav", "4.wav", "0.wav"]


def test_an_unknown_scoring_is_an_error(index):
    with pytest.raises(ValueError, match="scoring is 'best'; must be one of max, mean, top3"):
        index.search(direction(0), k=1, scoring="best")


def test_an_index_keeps_answering_as_it_was_opened_while_it_is_synced_and_compacted(
    index, tmp_path, toy_encoder, write_track
):
    before = index.search(direction(45), k=9)
    write_track(tmp_path / "music" / "b.wav", 180)
    (tmp_path / "music" / "a.wav").unlink()
    sync_library(toy_encoder, tmp_path / "music", index.path)
    compact(index.path)

    assert index.search(direction(45), k=9) == before
    assert [hit.title for hit in Index.open(index.path).search(direction(45), k=9)] == ["c", "b"]


def test_an_index_on_a_read_only_disk_can_be_searched(index, made_read_only):
    assert [hit.title for hit in Index.open(made_read_only(index.path)).search(direction(0), k=1)] == ["a"]


def test_an_index_from_a_newer_version_is_refused(index):
    connection = sqlite3.connect(index.path / "catalogue.sqlite")
    connection.execute("UPDATE meta SET format = 3")
    connection.commit()
    connection.close()

    with pytest.raises(StoreError, match="index format 3; this mulan reads 2; upgrade mulan"):
        Index.open(index.path)


def test_only_the_tracks_that_count_are_answered_and_ranked_in_the_whole_library():
    tracks = [direction(angle)[np.newaxis] for angle in (0, 10, 20, 30)]
    index = made_index(tracks, shard_tracks=2, copies={4: 1})

    hits = index.search([1, 0], k=5, only=[4, 3, 99])

    assert [(hit.track, hit.rank) for hit in hits] == [(4, 1), (3, 2)]
    assert [hit.percentile for hit in hits] == [75.0, 25.0]  # of four recordings three, and one, score no higher
    assert index.search([1, 0], k=5, only=[]) == index.search([1, 0], k=5, only=[99]) == []


def test_near_duplicates_and_copies_become_one_hit_unless_their_lengths_differ():
    # cosines with 0 degrees: 1; 0.9998 is a near-duplicate; 0.94 is not; 2,000 windows are no track of one
    tracks = [*(direction(angle)[np.newaxis] for angle in (0, 1, 20)), np.tile(direction(0), (2000, 1))]
    index = made_index(tracks, shard_tracks=2, copies={4: 0})

    assert [hit.track for hit in index.search([1, 0], k=9)] == [0, 3, 4, 1, 2]
    hits = index.search([1, 0], k=9, unique=True)
    assert [(hit.track, hit.rank, hit.duplicates) for hit in hits] == [(0, 1, (4, 1)), (3, 2, ()), (2, 3, ())]
    assert [hit.track for hit in index.search([1, 0], k=9, unique=True, only=[1, 4])] == [4]


def test_enough_unique_tracks_are_found_behind_a_crowd_of_duplicates():
    index = made_index([direction(0)[np.newaxis]] * 300 + [direction(40)[np.newaxis]], shard_tracks=100)

    hits = index.search([1, 0], k=2, unique=True)

    assert [hit.track for hit in hits] == [0, 300]
    assert len(hits[0].duplicates) == 299


class Other:
    """The exact engine by another name, so that it is asked as one that is not exact."""

    def __init__(self, vectors):
        self.vectors, self._exact = vectors, ExactEngine(vectors)

    def search(self, queries, *, count):
        return self._exact.search(queries, count=count)


@pytest.mark.parametrize("narrow", [0, 50_000])
@pytest.mark.parametrize("scoring", ["max", "mean"])
def test_an_engine_answers_as_the_exact_one_does_filtered_or_not(monkeypatch, narrow, scoring):
    monkeypatch.setattr("indexing.finding.NARROW_ROWS", narrow)
    generator = np.random.default_rng(5)
    library = [unit_rows(generator, int(generator.integers(1, 9)), 16) for _ in range(80)]
    query = unit_rows(generator, 1, 16)[0]
    exact = made_index(library, shard_tracks=9, dropped={3}, copies={80: 5})
    other = made_index(library, shard_tracks=9, dropped={3}, copies={80: 5}, engine=Other)

    for only in (None, range(10, 30), [4], [5, 80]):
        for unique in (False, True):
            found = other.search(query, k=7, scoring=scoring, only=only, unique=unique)
            assert found == exact.search(query, k=7, scoring=scoring, only=only, unique=unique)


def test_what_a_score_counts_sums_to_it_with_every_scoring():
    generator = np.random.default_rng(6)
    library = [unit_rows(generator, 5, 16), unit_rows(generator, 2, 16)]
    query = unit_rows(generator, 1, 16)[0]
    index = made_index(library, shard_tracks=1)

    for scoring in ("max", "mean", "top3"):
        for hit in index.search(query, k=2, scoring=scoring):
            assert index.counted(hit.track, query, scoring=scoring) @ query == pytest.approx(hit.score, abs=1e-6)


def test_a_track_whose_windows_cancel_out_has_no_vector_and_no_duplicates():
    opposite = np.stack([direction(0), direction(180)])
    index = made_index([opposite, opposite.copy()], shard_tracks=1)

    with pytest.raises(QueryError, match="track 1 has no vector of its own"):
        index.vector(1)
    assert len(index.search([1, 0], k=5, unique=True)) == 2


def test_a_track_has_its_record_its_copies_and_one_vector():
    index = made_index(
        [np.stack([direction(0), direction(90)]), direction(5)[np.newaxis]], shard_tracks=1, copies={7: 0}
    )

    assert index.track(7).id == 7
    assert index.track(6) is index.track(2**70) is index.track(-1) is None
    assert index.copies(7) == [0, 7]
    assert index.vector(7) == pytest.approx(direction(45), abs=1e-6)
    with pytest.raises(KeyError):
        index.vector(6)
