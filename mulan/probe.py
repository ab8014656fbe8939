"""Linear probes: what of the music can be read off frozen hidden states by nothing but a linear model.

The tasks are those that our own composer's facts answer exactly: instruments, style, key and tempo.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.audio import load_audio
from data.clips import Window, split_windows
from data.compose import KEYS
from data.errors import ManifestError
from data.instruments import INSTRUMENT_TAGS
from data.manifest import Track
from mulan.audio_tower import Backbone
from mulan.batching import embed_tracks
from mulan.mel import SAMPLE_RATE

_BATCH_WINDOWS = 8
_VALIDATION_SHARE = 0.2  # of the training tracks, to choose the layer
_MIN_POSITIVES = 5  # of an instrument, in training and in test; fewer tell nothing


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """A task's score on the test tracks, from the layer that did best on tracks set aside from training."""

    task: str
    metric: str
    value: float
    layer: int
    train: int
    test: int


@dataclass(frozen=True, kw_only=True)
class _Task:
    """`truth` gives a track's answer, None where it has none; `score` fits on one part and judges on the other."""

    name: str
    metric: str
    truth: Callable[[Track], Any | None]
    score: Callable[[np.ndarray, list[Any], np.ndarray, list[Any]], float]


def layer_features(
    backbone: Backbone, tracks: Sequence[Track], *, clip_seconds: float, most_windows: int | None = None
) -> np.ndarray:
    """Mean over time, and over the windows of a track, of every hidden state; float32 [n, depth + 1, dim].

    Args:
        backbone: prepared for inference.
        clip_seconds: length of the windows.
        most_windows: of each track, from its beginning; None takes all.

    Raises:
        AudioError: a track cannot be read.
    """

    def embed(windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            hidden = backbone.hidden_states(torch.from_numpy(windows))
            return torch.stack([states.float().mean(dim=1) for states in hidden], dim=1).numpy()

    window_samples = round(clip_seconds * SAMPLE_RATE)

    def windows(track: Track) -> Iterable[Window]:
        waveform = load_audio(track.source, sample_rate=SAMPLE_RATE, start=track.start, seconds=track.length)
        return itertools.islice(split_windows([waveform], window_samples=window_samples), most_windows)

    embedded = embed_tracks(map(windows, tracks), embed, batch_windows=_BATCH_WINDOWS)
    return np.stack([track.stacked().mean(axis=0) for track in embedded])


def probe(
    train: tuple[np.ndarray, Sequence[Track]], test: tuple[np.ndarray, Sequence[Track]], *, seed: int = 0
) -> list[ProbeScore]:
    """Fit and judge a linear model for each task that the tracks' facts answer.

    Args:
        train, test: features [n, layers, dim] and the tracks they are of.

    Raises:
        ManifestError: the tracks carry no facts of our composer.
    """
    scores = [score for task in _TASKS if (score := _probe_task(task, train, test, seed=seed)) is not None]
    if not scores:
        raise ManifestError("the tracks have none of the facts that are probed: style, key, bpm and instrument tags")
    return scores


def _probe_task(
    task: _Task,
    train: tuple[np.ndarray, Sequence[Track]],
    test: tuple[np.ndarray, Sequence[Track]],
    *,
    seed: int,
) -> ProbeScore | None:
    features, truth = _answered(task, *train)
    test_features, test_truth = _answered(task, *test)
    if not truth or not test_truth:
        return None
    order = np.random.default_rng(seed).permutation(len(truth))
    aside, kept = np.split(order, [round(len(truth) * _VALIDATION_SHARE)])

    def tried(layer: int) -> float:
        parts = [truth[i] for i in kept], [truth[i] for i in aside]
        return task.score(features[kept, layer], parts[0], features[aside, layer], parts[1])

    layer = max(range(features.shape[1]), key=tried)
    value = task.score(features[:, layer], truth, test_features[:, layer], test_truth)
    return ProbeScore(
        task=task.name, metric=task.metric, value=value, layer=layer, train=len(truth), test=len(test_truth)
    )


def _answered(task: _Task, features: np.ndarray, tracks: Sequence[Track]) -> tuple[np.ndarray, list[Any]]:
    answers = [task.truth(track) for track in tracks]
    known = [number for number, answer in enumerate(answers) if answer is not None]
    return features[known], [answers[number] for number in known]


def _style(track: Track) -> Any | None:
    return track.facts.get("style")


def _key(track: Track) -> Any | None:
    """0 to 11 major, 12 to 23 minor; other modes have no such key."""
    tonic, mode = track.facts.get("key"), track.facts.get("mode")
    if tonic not in KEYS or mode not in ("major", "minor"):
        return None
    return KEYS.index(str(tonic)) + (12 if mode == "minor" else 0)


def _tempo(track: Track) -> Any | None:
    bpm = track.facts.get("bpm")
    return None if bpm is None else float(np.log2(float(str(bpm))))


def _instruments(track: Track) -> Any | None:
    """1, 0 or NaN for every instrument tag."""
    verdicts = [track.has(tag) for tag in INSTRUMENT_TAGS]
    return np.array(verdicts, np.float64) if any(verdicts) else None


def _accuracy(features: np.ndarray, truth: list[Any], test: np.ndarray, expected: list[Any]) -> float:
    return float(np.mean(_classify(features, truth, test) == np.array(expected)))


def _weighted_key_score(features: np.ndarray, truth: list[Any], test: np.ndarray, expected: list[Any]) -> float:
    """MIREX's: 1 for the key, 0.5 a fifth away, 0.3 its relative, 0.2 its parallel."""
    guesses = _classify(features, truth, test)
    return float(np.mean([key_score(int(guess), int(key)) for guess, key in zip(guesses, expected, strict=True)]))


def key_score(guess: int, key: int) -> float:
    """MIREX's score of a guessed key, both 0 to 11 major and 12 to 23 minor."""
    if guess == key:
        return 1.0
    (guess_minor, guess_tonic), (minor, tonic) = divmod(guess, 12), divmod(key, 12)
    if guess_minor == minor:
        return 0.5 if (guess_tonic - tonic) % 12 in (5, 7) else 0.0
    if guess_tonic == tonic:
        return 0.2
    relative = (tonic + (3 if minor else 9)) % 12
    return 0.3 if guess_tonic == relative else 0.0


def _r2(features: np.ndarray, truth: list[Any], test: np.ndarray, expected: list[Any]) -> float:
    model = make_pipeline(StandardScaler(), Ridge(alpha=10.0)).fit(features, np.array(truth, np.float64))
    return float(r2_score(np.array(expected, np.float64), model.predict(test)))


def _macro_roc_auc(features: np.ndarray, truth: list[Any], test: np.ndarray, expected: list[Any]) -> float:
    known, asked = np.stack(truth), np.stack(expected)
    areas = []
    for column in range(known.shape[1]):
        here, there = ~np.isnan(known[:, column]), ~np.isnan(asked[:, column])
        labels, answers = known[here, column], asked[there, column]
        if min(labels.sum(), answers.sum(), (labels == 0).sum(), (answers == 0).sum()) < _MIN_POSITIVES:
            continue
        model = _linear_classifier().fit(features[here], labels)
        areas.append(roc_auc_score(answers, model.decision_function(test[there])))
    return float(np.mean(areas)) if areas else float("nan")


def _classify(features: np.ndarray, truth: list[Any], test: np.ndarray) -> np.ndarray:
    return np.asarray(_linear_classifier().fit(features, np.array(truth)).predict(test))


def _linear_classifier() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


_TASKS = (
    _Task(name="instrument", metric="macro ROC-AUC", truth=_instruments, score=_macro_roc_auc),
    _Task(name="style", metric="accuracy", truth=_style, score=_accuracy),
    _Task(name="key", metric="MIREX score", truth=_key, score=_weighted_key_score),
    _Task(name="tempo", metric="R2 of log2 BPM", truth=_tempo, score=_r2),
)
