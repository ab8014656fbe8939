"""Probes: what of the music can be read off frozen features by nothing but a linear model, from all labels or from few.

Source: MARBLE, reference.md §5.2. Its metrics, and its parts as a dataset gives them; but it trains one hidden layer of
512 by gradient descent, where a linear model here can only find what is there in plain sight. Figures are therefore
not to be compared with its tables.
"""

import functools
import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from data.datasets.dataset import Dataset, recording_of
from data.errors import ManifestError
from data.instruments import INSTRUMENT_TAGS
from mulan.evaluation.bootstrap import interval, resample_weights
from mulan.evaluation.embeddings import Embeddings, Layer, present
from mulan.evaluation.probe_tasks import ClassTask, Judgement, NumberTask, TagsTask, Task, key_task, task_of

logger = logging.getLogger(__name__)

STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
_FACTS_STRENGTH = 0.1
_ASIDE_SHARE = 0.2  # of the training tracks, to choose by where there is no validation part
_LEAST_WITH_INSTRUMENT = 5  # and without it, in training and in test; fewer tell nothing


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a probe scores on the test tracks.

    Attributes:
        main: the key of `figures` that layer and strength were chosen by.
        figures: over test tracks; means over draws.
        deviations: sample standard deviations over draws; empty for a single one.
        ci95: 95 % bootstrap interval of the main figure over test tracks, recordings drawn as a whole. It knows nothing
            of other training tracks: that is what the draws are for.
        layer: the chosen one; strength: the chosen C.
        train, valid, test: tracks that have an answer; of `train`, few-shot draws take their shots.
        shots, draws: examples of each label, and how often drawn; None and 1 with all labels.
        per_label: figures of each label that could be scored in every draw; means over draws.
        unscored: tags with too few examples in training or test.
        outputs: [draws, test, ...], logits of tags, guessed classes or numbers; answers: [test, ...].
        test_ids: of the tracks in the same order.
    """

    task: str
    main: str
    figures: Mapping[str, float]
    deviations: Mapping[str, float]
    ci95: tuple[float, float]
    layer: Layer
    strength: float
    train: int
    valid: int
    test: int
    shots: int | None
    draws: int
    per_label: Mapping[str, Mapping[str, float]]
    unscored: tuple[str, ...]
    outputs: np.ndarray = field(repr=False)
    answers: np.ndarray = field(repr=False)
    test_ids: tuple[str, ...] = field(repr=False)

    @property
    def value(self) -> float:
        """The main figure."""
        return self.figures[self.main]

    def summary(self) -> dict[str, Any]:
        """All but the outputs, for a result file."""
        arrays = ("task", "outputs", "answers", "test_ids")
        kept = {name: value for name, value in vars(self).items() if name not in arrays}
        return {"task": "probe", "probe": self.task, **kept}

    def witness(self, dataset: Dataset) -> dict[str, np.ndarray]:
        """The outputs, for `compare`."""
        groups = {track.id: recording_of(track) for track in dataset.tracks}
        return {
            "ids": np.array(self.test_ids),
            "groups": np.array([groups[track] for track in self.test_ids]),
            "labels": np.array(dataset.labels),
            "is_exclusive": np.array(dataset.is_exclusive),
            "outputs": self.outputs,
            "answers": self.answers,
        }


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Tracks that have an answer: where they stand in the values [n, layers, d], which are not copied."""

    values: np.ndarray
    rows: np.ndarray
    answers: np.ndarray
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def some(self, numbers: np.ndarray) -> "_Part":
        groups = tuple(self.groups[number] for number in numbers)
        return replace(self, rows=self.rows[numbers], answers=self.answers[numbers], groups=groups)

    def features(self, layer: int) -> np.ndarray:
        return self.values[self.rows, layer]


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What a model is fitted to, once or in several draws.

    Embeddings are standardised by all of `pool`: that takes no labels, and over a few shots it would be by chance.
    """

    pool: _Part
    draws: tuple[_Part, ...]

    def fit(self, task: Task, asked: _Part, *, layer: int, strength: float) -> np.ndarray:
        scaler = StandardScaler().fit(self.pool.features(layer))
        features = scaler.transform(asked.features(layer))
        return np.stack(
            [
                task.fit(scaler.transform(draw.features(layer)), draw.answers, features, strength=strength)
                for draw in self.draws
            ]
        )


def probe(
    task: Task,
    train: Embeddings,
    test: Embeddings,
    *,
    valid: Embeddings | None = None,
    shots: int | None = None,
    draws: int = 5,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> ProbeResult:
    """Fit a linear model to all labels, or to a few examples of each several times over, and judge it.

    First the layer is chosen, at the middle strength, then the strength on that layer (17 fits for 13 layers, not 65);
    of equals the first. Both are chosen by the main figure on `valid`, which the model does not learn from in the end
    either; without it, on a seeded fifth of `train`, which the model of all labels does learn from in the end, and
    shots are never taken from. Few-shot draws share one choice, by their mean: it is made on more tracks than they
    have shots, so the result is that of a choice well made. Test tracks are looked at once, after it.

    Args:
        shots: tracks of each class, or of each tag as many that have it as do not, fewer where there are fewer.
        draws: of shots, each from its own seed.
        strengths: values of C to choose from, ascending.

    Raises:
        ManifestError: a part has no answers, or too few of them for a score.
        ValueError: shots or draws is below 1, shots are asked of a number, or the parts have other layers.
    """
    if draws < 1 or (shots is not None and shots < 1):
        raise ValueError(f"shots is {shots} and draws is {draws}; both must be at least 1")
    if len({part.layers for part in (train, valid or train, test)}) > 1:
        raise ValueError(f"train has the layers {train.layers}, test {test.layers}; all parts must have the same")
    known, asked = _answered(task, train, "training"), _answered(task, test, "test")
    kept, chosen_on = _set_aside(known, seed) if valid is None else (known, _answered(task, valid, "validation"))
    if shots is None:
        tried, final = _Training(pool=kept, draws=(kept,)), _Training(pool=known, draws=(known,))
    else:
        drawn = (_draw(task, kept, shots, seed=(seed, number)) for number in range(draws))
        tried = final = _Training(pool=kept, draws=tuple(drawn))
    layer, strength = _choose(task, tried, chosen_on, strengths)
    outputs = final.fit(task, asked, layer=layer, strength=strength)
    judgements = [task.judge(rows, asked.answers) for rows in outputs]
    figures = [judgement.figures for judgement in judgements]
    if np.isnan([each[task.main] for each in figures]).any():
        raise ManifestError(f"task {task.name!r}: no label has enough examples in training and test to be scored")
    return ProbeResult(
        task=task.name,
        main=task.main,
        figures=_over(np.mean, figures),
        deviations=_over(statistics.stdev, figures) if len(figures) > 1 else {},
        ci95=_interval(task, outputs, asked),
        layer=train.layers[layer],
        strength=strength,
        train=len(known),
        valid=len(chosen_on),
        test=len(asked),
        shots=shots,
        draws=len(outputs),
        per_label=_mean_per_label(judgements),
        unscored=tuple(dict.fromkeys(label for judgement in judgements for label in judgement.unscored)),
        outputs=outputs,
        answers=asked.answers,
        test_ids=tuple(test.tracks[row].id for row in asked.rows),
    )


def check_probe(dataset: Dataset, *, allow_missing: bool = False) -> None:
    """Refuse, before hours of embedding, a set that cannot be probed in the end.

    Raises:
        ManifestError: training or test part has no track with an answer, or too many files of a part are missing.
    """
    task = task_of(dataset.labels, is_exclusive=dataset.is_exclusive)
    for split, noun in (("train", "training"), ("valid", "validation"), ("heldout", "test")):
        tracks = dataset.part(split).tracks
        if split != "valid" and not any(task.truth(track) is not None for track in tracks):
            remedy = "let its lists name some, or a manifest's `split`; GiantSteps has --training"
            raise ManifestError(f"{dataset.name}: none of {len(tracks)} {noun} tracks tells its {task.name}; {remedy}")
        if tracks:
            present(tracks, allow_missing=allow_missing)


def probe_dataset(embeddings: Embeddings, dataset: Dataset, **options: Any) -> ProbeResult:
    """Probe what a published set asks for: its one label, its tags, or, if it has no labels, the key.

    Args:
        embeddings: of all parts of the set.
        options: as for `probe`.

    Raises:
        ManifestError: as for `probe`.
    """
    task = task_of(dataset.labels, is_exclusive=dataset.is_exclusive)
    train, valid, test = (embeddings.part(split) for split in ("train", "valid", "heldout"))
    return probe(task, train, test, valid=valid if valid.tracks else None, **options)


def probe_facts(train: Embeddings, test: Embeddings, *, seed: int = 0) -> list[ProbeResult]:
    """Probe for what our own composer's facts answer exactly: instruments, style, key and tempo.

    C is 0.1, the layer is chosen. A task that the tracks do not answer, or too seldom, is left out.

    Raises:
        ManifestError: they answer none.
    """
    results: list[ProbeResult] = []
    for task in _FACTS:
        try:
            results.append(probe(task, train, test, strengths=(_FACTS_STRENGTH,), seed=seed))
        except ManifestError as error:
            logger.info("not probed: %s", error)
    if not results:
        raise ManifestError("the tracks have none of the facts that are probed: style, key, bpm and instrument tags")
    return results


def _answered(task: Task, features: Embeddings, part: str) -> _Part:
    answers = [task.truth(track) for track in features.tracks]
    rows = [row for row, answer in enumerate(answers) if answer is not None]
    if not rows:
        raise ManifestError(f"task {task.name!r}: none of the {len(answers)} {part} tracks has an answer to it")
    return _Part(
        values=features.values,
        rows=np.array(rows),
        answers=np.array([answers[row] for row in rows]),
        groups=tuple(recording_of(features.tracks[row]) for row in rows),
    )


def _set_aside(known: _Part, seed: int) -> tuple[_Part, _Part]:
    """What remains and what is set aside, each at least one recording; clips of one stay together.

    Raises:
        ManifestError: there is but one.
    """
    recordings = list(dict.fromkeys(known.groups))
    if len(recordings) < 2:
        raise ManifestError("found 1 training recording with an answer and no validation part; need two or more")
    order = np.random.default_rng(seed).permutation(len(recordings))
    aside = {recordings[number] for number in order[: max(1, round(len(recordings) * _ASIDE_SHARE))]}
    is_aside = np.array([group in aside for group in known.groups])
    return known.some(np.flatnonzero(~is_aside)), known.some(np.flatnonzero(is_aside))


def _draw(task: Task, kept: _Part, shots: int, *, seed: tuple[int, int]) -> _Part:
    numbers, answers = task.draw(kept.answers, shots, np.random.default_rng(seed))
    return replace(kept.some(numbers), answers=answers)


def _choose(task: Task, training: _Training, valid: _Part, strengths: Sequence[float]) -> tuple[int, float]:
    """Number of the layer and strength that do best on average over draws; what has no score comes last."""

    @functools.cache
    def value(layer: int, strength: float) -> float:
        outputs = training.fit(task, valid, layer=layer, strength=strength)
        mean = float(np.mean([task.judge(rows, valid.answers).figures[task.main] for rows in outputs]))
        return -np.inf if np.isnan(mean) else mean

    layers, middle = range(valid.values.shape[1]), strengths[len(strengths) // 2]
    layer = max(layers, key=lambda layer: value(layer, middle)) if len(layers) > 1 else 0
    if len(strengths) == 1:
        return layer, middle
    return layer, max(strengths, key=lambda strength: value(layer, strength))


def _interval(task: Task, outputs: np.ndarray, asked: _Part) -> tuple[float, float]:
    weights = resample_weights(asked.groups)
    return interval(np.mean([task.resample(rows, asked.answers, weights) for rows in outputs], axis=0))


def _over(statistic: Callable[[list[float]], Any], figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(statistic([each[name] for each in figures])) for name in figures[0]}


def _mean_per_label(judgements: Sequence[Judgement]) -> dict[str, dict[str, float]]:
    scored = [label for label in judgements[0].per_label if all(label in each.per_label for each in judgements)]
    return {label: _over(np.mean, [judgement.per_label[label] for judgement in judgements]) for label in scored}


def _log2(bpm: object) -> float | None:
    return None if bpm is None else math.log2(float(str(bpm)))


_FACTS: tuple[Task, ...] = (
    TagsTask(name="instrument", tags=INSTRUMENT_TAGS, least=_LEAST_WITH_INSTRUMENT),
    ClassTask(name="style", truth=lambda track: track.facts.get("style")),
    key_task(),
    NumberTask(name="tempo", truth=lambda track: _log2(track.facts.get("bpm"))),
)
