"""Captions to tracks and back, against a brute-force ranking. Run: pytest tests/mulan/evaluation/test_retrieval.py."""

from dataclasses import replace

import numpy as np
import pytest

from data.datasets.dataset import Dataset
from data.manifest import Track
from mulan.evaluation.bootstrap import resample_weights
from mulan.evaluation.retrieval import draws_of, evaluate_retrieval

pytestmark = pytest.mark.filterwarnings("ignore::mulan.evaluation.collapse.TextCollapseWarning")


@pytest.fixture
def dataset(tmp_path, write_track) -> Dataset:
    """Sixty tracks at random angles, each with one to three captions some degrees away from it."""
    rng = np.random.default_rng(5)
    tracks = []
    for number, angle in enumerate(rng.choice(359, 60, replace=False)):
        captions = tuple(f"{angle + rng.integers(-9, 10)} degrees" for _ in range(rng.integers(1, 4)))
        path = write_track(tmp_path / f"{number}.wav", int(angle))
        tracks.append(Track(id=f"track {number}", path=path, captions=captions, split="heldout"))
    return Dataset(name="pairs", split="all", labels=(), tracks=tuple(tracks))


def brute_force(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """One query at a time, from a full sort in which, among equals, what is not relevant comes first."""
    firsts, precisions = [], []
    for row, truth in zip(scores, relevant, strict=True):
        order = sorted(range(len(row)), key=lambda item: (-row[item], truth[item]))
        hits = [bool(truth[item]) for item in order]
        firsts.append(hits.index(True) + 1)
        found = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(10) if hits[rank]]
        precisions.append(sum(found) / min(truth.sum(), 10))
    return {
        **{f"r_at_{k}": np.mean([first <= k for first in firsts]) for k in (1, 5, 10)},
        "map_at_10": np.mean(precisions),
        "mrr": np.mean([1 / first for first in firsts]),
        "median_rank": np.median(firsts),
    }


def test_both_directions_equal_a_brute_force_ranking(dataset, toy_encoder):
    figures = evaluate_retrieval(toy_encoder, dataset).figures
    tracks = toy_encoder.encode_files([track.path for track in dataset.tracks])
    texts = toy_encoder.encode_text([caption for track in dataset.tracks for caption in track.captions])
    owner = [number for number, track in enumerate(dataset.tracks) for _ in track.captions]
    relevant = np.array(owner)[:, None] == np.arange(60)
    for direction, expected in (
        (figures.text_to_audio, brute_force(texts @ tracks.T, relevant)),
        (figures.audio_to_text, brute_force(tracks @ texts.T, relevant.T)),
    ):
        assert {name: getattr(direction, name) for name in expected} == pytest.approx(expected)
        for name, (low, high) in direction.ci95.items():
            assert low <= expected[name] <= high
    assert (figures.text_to_audio.queries, figures.text_to_audio.items) == (len(owner), 60)
    assert (figures.audio_to_text.queries, figures.audio_to_text.items) == (60, len(owner))


def test_a_model_that_has_the_padded_batch_is_ranked_by_it_too(dataset, toy_encoder):
    assert evaluate_retrieval(toy_encoder, dataset).figures.padded_batch is None
    turned = type(toy_encoder)()
    turned.text_regimes = ("alone", "padded-batch")
    turned.encode_text = lambda texts, *, regime="alone": (
        toy_encoder.encode_text(texts) * (-1 if regime == "padded-batch" else 1)
    )
    figures = evaluate_retrieval(turned, dataset).figures
    assert figures.text_to_audio.median_rank < 10
    assert figures.padded_batch.text_to_audio.median_rank > 50


def test_a_model_with_one_vector_for_all_is_last_not_first(dataset, toy_encoder):
    toy_encoder.encode_text = lambda texts, *, regime="alone": np.tile([[1, 0]], (len(texts), 1)).astype(np.float32)
    toy_encoder.embed_tracks = lambda tracks: (
        type(found)(path=found.path, vectors=np.array([[1, 0]], np.float32), spans=found.spans)
        for found in type(toy_encoder).embed_tracks(toy_encoder, tracks)
    )
    figures = evaluate_retrieval(toy_encoder, dataset).figures
    assert figures.text_to_audio.median_rank == 60
    assert figures.text_to_audio.r_at_10 == 0


def test_a_resample_counts_a_query_as_often_as_it_was_drawn():
    per_query = {"r_at_1": np.array([1.0, 0.0, 0.0]), "rank": np.array([1.0, 4.0, 9.0])}
    weights = np.array([[1, 1, 1], [2, 1, 0], [1, 1, 0], [0, 0, 3]], np.float32)
    draws = draws_of(per_query, weights)
    assert draws["r_at_1"].tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 2, 0])
    assert draws["median_rank"].tolist() == [4, 1, 2.5, 9]  # of 1 4 9, 1 1 4, 1 4, 9 9 9


def test_the_median_of_a_resample_is_that_of_the_repeated_ranks():
    ranks = np.random.default_rng(0).integers(1, 50, 21).astype(float)
    weights = resample_weights(range(21), resamples=40, seed=2)
    expected = [np.median(np.repeat(ranks, row.astype(int))) for row in weights]
    assert draws_of({"rank": ranks}, weights)["median_rank"].tolist() == expected


def test_complete_captions_are_judged_apart_among_the_same_items(dataset, toy_encoder):
    chosen = dataset.tracks[0]
    figures = evaluate_retrieval(toy_encoder, dataset, complete=[chosen.id]).figures
    whole, apart = figures.text_to_audio, figures.complete.text_to_audio
    assert apart.items == whole.items == len(dataset.tracks)
    assert apart.queries == len(chosen.captions) < whole.queries
    assert figures.complete.audio_to_text.queries == 1
    assert figures.complete.audio_to_text.items == whole.queries
    assert evaluate_retrieval(toy_encoder, dataset).figures.complete is None


def test_where_tracks_share_a_caption_each_of_them_is_right_if_that_is_asked_for(dataset, toy_encoder):
    first, second, *_ = dataset.tracks
    both = tuple(replace(track, captions=("90 degrees",)) for track in (first, second))
    pair = replace(dataset, tracks=both)
    one_right = evaluate_retrieval(toy_encoder, pair).figures
    assert one_right.text_to_audio.r_at_1 == 0.5  # one of the two is nearer, and it belongs to one of the captions
    assert one_right.audio_to_text.r_at_1 == 0  # between equal captions the right one is last
    each_right = evaluate_retrieval(toy_encoder, pair, share_captions=True).figures
    assert each_right.text_to_audio.r_at_1 == each_right.audio_to_text.r_at_1 == 1
    assert each_right.text_to_audio.queries == 2
