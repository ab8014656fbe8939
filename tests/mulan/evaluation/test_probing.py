"""Linear probes read off what is there and nothing else. Run: pytest tests/mulan/evaluation/test_probing.py."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from data.compose import KEYS
from data.errors import ManifestError
from data.instruments import INSTRUMENT_TAGS
from data.manifest import Track
from mulan.evaluation.embeddings import Embeddings
from mulan.evaluation.probe_tasks import NumberTask, TagsTask, genre_task, key_of, key_score, key_task
from mulan.evaluation.probing import probe, probe_facts

GENRES = ("blues", "jazz", "metal")
TAGS = ("piano", "fast")
TAGGING = TagsTask(tags=TAGS)


def track(number: int, *, tags: tuple[str, ...] = (), among: tuple[str, ...] = INSTRUMENT_TAGS, **facts) -> Track:
    absent = tuple(tag for tag in among if tag not in tags)
    return Track(id=str(number), path=Path("x.wav"), tags=tags, absent=absent, facts=facts)


def of_tracks(values: np.ndarray, tracks: list[Track]) -> Embeddings:
    return Embeddings(values=values, layers=tuple(range(values.shape[1])), tracks=tuple(tracks))


def composed(count: int, *, seed: int) -> Embeddings:
    """Layer 0 is noise; layer 1 holds the answers, each on axes of its own."""
    rng = np.random.default_rng(seed)
    values, tracks = rng.standard_normal((count, 2, 40)).astype(np.float32), []
    for number in range(count):
        style, key, bpm, has_piano = rng.integers(3), rng.integers(12), rng.uniform(60, 180), rng.random() < 0.5
        values[number, 1] *= 0.1
        values[number, 1, style] += 3
        values[number, 1, 3 + key] += 3
        values[number, 1, 20] = np.log2(bpm)
        values[number, 1, 21] = 3.0 * has_piano
        facts = {"style": ("rock", "jazz", "folk")[style], "key": KEYS[key], "mode": "major", "bpm": bpm}
        tracks.append(track(number, tags=("piano",) if has_piano else ("flute",), **facts))
    return of_tracks(values, tracks)


def genres(count: int, *, seed: int, answer_in: int = 2) -> Embeddings:
    """Three layers of noise, of which one holds the genre in all its axes, a hundred deviations above the noise."""
    rng = np.random.default_rng(seed)
    values, kinds = rng.standard_normal((count, 3, 9)).astype(np.float32), np.arange(count) % 3
    values[:, answer_in] = 0.1 * values[:, answer_in] + 10 * np.tile(np.eye(3), 3)[kinds]
    return of_tracks(values, [track(n, tags=(GENRES[kind],), among=GENRES) for n, kind in enumerate(kinds)])


def tagged(count: int, *, seed: int, shift: float = 2.0) -> Embeddings:
    """One layer; each of two tags lies on an axis of its own, `shift` deviations of the noise above its absence."""
    rng = np.random.default_rng(seed)
    values, truth = rng.standard_normal((count, 1, 8)).astype(np.float32), rng.random((count, 2)) < 0.4
    values[:, 0, :2] += shift * truth
    named = [tuple(tag for tag, has in zip(TAGS, row, strict=True) if has) for row in truth]
    return of_tracks(values, [track(n, tags=tags, among=TAGS) for n, tags in enumerate(named)])


def relabelled(features: Embeddings, tags: list[tuple[str, ...]], among: tuple[str, ...]) -> Embeddings:
    tracks = [track(n, tags=words, among=among) for n, words in enumerate(tags)]
    return dataclasses.replace(features, tracks=tuple(tracks))


def with_word(features: Embeddings, word: str) -> list[tuple[str, ...]]:
    """The tags of each track, the first nine with one more."""
    return [(*each.tags, word) if n < 9 else each.tags for n, each in enumerate(features.tracks)]


def test_the_layer_that_holds_the_answer_is_chosen_and_no_other():
    for layer in range(3):
        parts = (genres(90, seed=seed, answer_in=layer) for seed in (0, 1, 2))
        train, valid, test = parts
        result = probe(genre_task(GENRES), train, test, valid=valid)
        assert (result.layer, result.value, result.figures) == (layer, 1.0, {"accuracy": 1.0})
        assert (result.train, result.valid, result.test) == (90, 90, 90)
        assert result.per_label == {genre: {"accuracy": 1.0, "tracks": 30} for genre in GENRES}
        assert result.ci95 == (1.0, 1.0)


def test_test_labels_change_the_score_and_never_the_choice():
    train, valid, test = (genres(90, seed=seed) for seed in (0, 1, 2))
    shifted = relabelled(test, [(GENRES[(number + 1) % 3],) for number in range(90)], GENRES)
    right, wrong = (probe(genre_task(GENRES), train, part, valid=valid) for part in (test, shifted))
    assert (right.layer, right.strength) == (wrong.layer, wrong.strength)
    assert (right.value, wrong.value) == (1.0, 0.0)
    np.testing.assert_array_equal(right.outputs, wrong.outputs)


def test_the_validation_part_chooses_and_nothing_is_learnt_from_it():
    train, test = genres(90, seed=0), genres(90, seed=2)
    # Layer 0 of the validation tracks holds the answer, as it does in half of the training tracks only.
    values = train.values.copy()
    values[:45, 0] = values[:45, 2]
    train = dataclasses.replace(train, values=values)
    valid = genres(90, seed=1, answer_in=0)
    result = probe(genre_task(GENRES), train, test, valid=valid)
    assert result.layer == 0
    assert result.value == pytest.approx(1 / 3, abs=0.2)  # 4 standard errors of 90 tracks: there it is noise


def test_without_a_validation_part_the_choice_is_made_inside_training():
    result = probe(genre_task(GENRES), genres(90, seed=0), genres(30, seed=2))
    assert (result.layer, result.train, result.valid, result.test) == (2, 90, 18, 30)


def test_of_equally_good_strengths_the_strongest_regularisation_is_taken():
    result = probe(genre_task(GENRES), genres(90, seed=0), genres(30, seed=2), strengths=(0.1, 1.0, 10.0))
    assert (result.value, result.strength) == (1.0, 0.1)


def test_one_shot_of_classes_far_apart_recognises_them_all():
    result = probe(genre_task(GENRES), genres(60, seed=0), genres(30, seed=2), shots=1)
    assert (result.layer, result.value, result.shots, result.draws) == (2, 1.0, 1, 5)
    assert result.deviations == {"accuracy": 0.0}


def test_more_shots_are_better_and_their_spread_is_that_over_draws():
    train, valid, test = tagged(400, seed=0), tagged(200, seed=1), tagged(300, seed=2)
    few, many = (probe(TAGGING, train, test, valid=valid, shots=shots, draws=4) for shots in (1, 50))
    assert few.value < many.value
    assert few.outputs.shape == (4, 300, 2)
    areas = [np.mean([roc_auc_score(few.answers[:, tag], draw[:, tag]) for tag in range(2)]) for draw in few.outputs]
    assert few.value == pytest.approx(np.mean(areas))
    assert few.deviations["roc_auc"] == pytest.approx(np.std(areas, ddof=1))
    again = probe(TAGGING, train, test, valid=valid, shots=1, draws=4)
    np.testing.assert_array_equal(few.outputs, again.outputs)


def test_a_draw_holds_as_many_tracks_with_a_tag_as_without():
    answers = np.array([[1, 0], [1, 0], [1, 1], [0, np.nan], [0, 0], [0, 0]])
    rows, kept = TAGGING.draw(answers, 2, np.random.default_rng(0))
    assert np.nansum(kept, axis=0).tolist() == [2, 1]  # of "fast" there is one
    assert (kept == 0).sum(axis=0).tolist() == [2, 2]
    known = ~np.isnan(kept)
    np.testing.assert_array_equal(kept[known], answers[rows][known])


def test_tags_are_fitted_as_by_a_logistic_regression_each():
    train, test = tagged(300, seed=0), tagged(200, seed=2)
    result = probe(TAGGING, train, test, strengths=(0.1,))
    scaler = StandardScaler().fit(train.values[:, 0])
    areas, precisions = [], []
    for column, tag in enumerate(TAGS):
        model = LogisticRegression(C=0.1).fit(
            scaler.transform(train.values[:, 0]), [track.has(tag) for track in train.tracks]
        )
        logits = model.decision_function(scaler.transform(test.values[:, 0]))
        np.testing.assert_allclose(result.outputs[0, :, column], logits, atol=0.01)  # both stop short of the minimum
        areas.append(roc_auc_score([track.has(tag) for track in test.tracks], logits))
        precisions.append(average_precision_score([track.has(tag) for track in test.tracks], logits))
    assert result.figures["roc_auc"] == pytest.approx(np.mean(areas), abs=1e-3)
    assert result.figures["pr_auc"] == pytest.approx(np.mean(precisions), abs=1e-3)
    assert result.ci95[0] < result.value < result.ci95[1]


def test_a_tag_counts_only_where_it_is_known():
    train, test = tagged(300, seed=0, shift=8), tagged(200, seed=2, shift=8)
    # Where a track says nothing of "fast", it would be wrong.
    unsure = [dataclasses.replace(track, absent=tuple(set(track.absent) - {"fast"})) for track in train.tracks[:150]]
    unsure = [dataclasses.replace(each, absent=each.absent or ("slow",)) for each in unsure]
    assert {each.has("fast") for each in unsure} == {True, None}
    values = train.values.copy()
    values[:150, 0, 1] *= [1.0 if each.has("fast") else -5.0 for each in unsure]
    train = dataclasses.replace(train, values=values, tracks=(*unsure, *train.tracks[150:]))
    result = probe(TAGGING, train, test)
    assert result.per_label["fast"]["roc_auc"] > 0.99
    assert result.per_label["piano"]["roc_auc"] > 0.99


def test_a_tag_without_examples_in_training_or_test_is_named_and_not_scored():
    train, test = tagged(300, seed=0), tagged(200, seed=2)
    task = TagsTask(tags=("opera", *TAGS, "choir"))
    train = relabelled(train, with_word(train, "choir"), task.tags)
    test = relabelled(test, with_word(test, "opera"), task.tags)
    result = probe(task, train, test)
    assert result.unscored == ("opera", "choir")
    assert set(result.per_label) == set(TAGS)
    assert np.isnan(result.outputs[0, :, 0]).all()  # never learnt
    assert result.value == pytest.approx(np.mean([result.per_label[tag]["roc_auc"] for tag in TAGS]))


def test_nothing_to_score_is_refused():
    train = tagged(30, seed=0)
    untagged, blues, both = (
        relabelled(train, [words] * 30, ("opera", *GENRES)) for words in ((), ("blues",), ("blues", "jazz"))
    )
    with pytest.raises(ManifestError, match="task 'tags': no label has enough examples in training and test"):
        probe(TagsTask(tags=("opera",)), untagged, untagged)
    with pytest.raises(ManifestError, match="none of the 30 training tracks has an answer"):
        probe(key_task(), train, train)
    with pytest.raises(ManifestError, match="training tracks are all 'blues'"):
        probe(genre_task(GENRES), blues, blues)
    with pytest.raises(ManifestError, match="has blues, jazz; task 'genre' allows one"):
        probe(genre_task(GENRES), both, both)


def test_of_test_tracks_only_those_with_an_answer_are_judged():
    test = genres(30, seed=2)
    words = [each.tags if n < 20 else () for n, each in enumerate(test.tracks)]
    result = probe(genre_task(GENRES), genres(90, seed=0), relabelled(test, words, GENRES))
    assert (result.test, result.outputs.shape, len(result.test_ids)) == (20, (1, 20), 20)


def test_the_interval_draws_recordings_as_a_whole():
    train, test = tagged(300, seed=0, shift=1), tagged(50, seed=2, shift=1)
    fourfold = Embeddings(
        values=np.repeat(test.values, 4, axis=0),
        layers=test.layers,
        tracks=tuple(dataclasses.replace(each, facts={"recording": each.id}) for each in test.tracks for _ in range(4)),
    )
    once, whole = probe(TAGGING, train, test), probe(TAGGING, train, fourfold)
    assert whole.ci95 == pytest.approx(once.ci95)  # clips of one recording are no further witnesses
    alone = dataclasses.replace(
        fourfold, tracks=tuple(track(n, tags=t.tags, among=TAGS) for n, t in enumerate(fourfold.tracks))
    )
    low, high = probe(TAGGING, train, alone).ci95
    assert high - low < 0.7 * (once.ci95[1] - once.ci95[0])  # half as wide, if they were


def test_shots_that_cannot_be_drawn_are_refused():
    train = genres(30, seed=0)
    with pytest.raises(ValueError, match="shots is 0 and draws is 5"):
        probe(genre_task(GENRES), train, train, shots=0)
    with pytest.raises(ValueError, match="task 'length' is a number"):
        probe(NumberTask(name="length", truth=lambda track: float(track.id)), train, train, shots=1)


def test_parts_of_other_layers_are_refused():
    train, test = genres(30, seed=0), tagged(20, seed=2)
    with pytest.raises(ValueError, match=r"train has the layers \(0, 1, 2\), test \(0,\); all parts"):
        probe(genre_task(GENRES), train, test)


def test_the_key_score_is_mirex_with_fifths_above():
    c_major, g_major, a_minor, c_minor, d_major = 0, 7, 21, 12, 2
    assert key_score(c_major, c_major) == 1.0
    assert (key_score(g_major, c_major), key_score(c_major, g_major)) == (0.5, 0.0)
    assert key_score(a_minor, c_major) == key_score(c_major, a_minor) == 0.3
    assert key_score(c_minor, c_major) == key_score(c_major, c_minor) == 0.2
    assert key_score(d_major, c_major) == 0.0


@pytest.mark.parametrize(
    ("facts", "key"),
    [
        ({"key": "D flat", "mode": "major"}, 1),
        ({"key": "E flat", "mode": "minor"}, 15),
        ({"key": "H", "mode": "minor"}, None),
        ({"key": "A", "mode": "dorian"}, None),
        ({"key": "A"}, None),
        ({}, None),
    ],
)
def test_a_key_is_a_number_from_c_major_to_b_minor(facts, key):
    assert key_of(track(0, **facts)) == key


def test_a_key_guessed_a_fifth_above_is_worth_a_half_and_a_fifth_below_nothing():
    keys = np.arange(240) % 12
    values = np.random.default_rng(0).standard_normal((240, 1, 12)).astype(np.float32) * 0.1
    values[np.arange(240), 0, keys] += 10

    def in_keys(shift: int) -> Embeddings:
        return of_tracks(values, [track(n, key=KEYS[(key + shift) % 12], mode="major") for n, key in enumerate(keys)])

    assert probe(key_task(), in_keys(0), in_keys(7)).value == 0  # the truth is seven semitones above the guess
    result = probe(key_task(), in_keys(0), in_keys(5))
    assert result.figures == {"weighted_score": 0.5, "accuracy": 0.0}
    assert (result.main, result.ci95) == ("weighted_score", (0.5, 0.5))


def test_the_resampled_variance_explained_is_that_of_the_tracks_drawn():
    rng = np.random.default_rng(0)
    outputs, answers = rng.standard_normal((2, 12))
    weights = rng.integers(0, 3, (3, 12)).astype(np.float32)
    expected = [r2_score(np.repeat(answers, row.astype(int)), np.repeat(outputs, row.astype(int))) for row in weights]
    task = NumberTask(name="length", truth=lambda track: None)
    np.testing.assert_allclose(task.resample(outputs, answers, weights), expected, rtol=1e-6)  # float32 weights


def test_what_our_composer_knows_is_found_in_the_layer_that_holds_it():
    results = {result.task: result for result in probe_facts(composed(400, seed=0), composed(200, seed=1))}
    assert {name: result.layer for name, result in results.items()} == dict.fromkeys(results, 1)
    assert set(results) == {"instrument", "style", "key", "tempo"}
    assert results["instrument"].value == pytest.approx(1.0, abs=0.01)
    assert results["style"].value > 0.98
    assert results["key"].value > 0.95
    assert results["tempo"].value > 0.95
    assert (results["key"].train, results["key"].test) == (400, 200)


def test_noise_gives_what_guessing_gives():
    parts = (composed(400, seed=seed) for seed in (0, 1))
    train, test = (dataclasses.replace(part, values=part.values[:, :1], layers=(0,)) for part in parts)
    values = {result.task: result.value for result in probe_facts(train, test)}
    assert values["instrument"] == pytest.approx(0.5, abs=0.1)  # 3 standard errors of 400 tracks are 0.09
    assert values["style"] == pytest.approx(1 / 3, abs=0.08)
    assert values["tempo"] < 0.05


def test_tracks_without_facts_are_refused():
    bare = of_tracks(np.zeros((4, 1, 2), np.float32), [Track(id=str(n), path=Path("x.wav")) for n in range(4)])
    with pytest.raises(ManifestError, match="none of the facts that are probed"):
        probe_facts(bare, bare)
