"""What probes are asked for: tags, one class of several, the key, a number; how each is fitted and judged.

All are linear models of scikit-learn, whose strength C is the inverse of the regularisation; they are given features
that are standardised already.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPClassifier

from data.compose import KEYS
from data.errors import ManifestError
from data.manifest import Track
from mulan.evaluation.bootstrap import macro, per_tag
from mulan.metrics import tag_scores

_MOST_STEPS = 2000


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How right a probe's outputs are: `figures` over all tracks, the same or others for each label."""

    figures: Mapping[str, float]
    per_label: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unscored: tuple[str, ...] = ()


class Task(Protocol):
    """A question that tracks answer; `main` is the figure that it is chosen and known by."""

    @property
    def name(self) -> str:
        """Of the task, as in a result."""

    @property
    def main(self) -> str:
        """The key of `Judgement.figures` that layers are chosen by and the interval is of."""

    def truth(self, track: Track) -> Any | None:
        """A track's answer; None where it has none. An array of the answers is what all other methods take."""

    def draw(self, answers: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a few tracks and what may be known of them."""

    def fit(self, features: np.ndarray, answers: np.ndarray, asked: np.ndarray, *, strength: float) -> np.ndarray:
        """Outputs for the features [m, d] `asked`, from what is learnt of `features` [n, d]."""

    def judge(self, outputs: np.ndarray, answers: np.ndarray) -> Judgement:
        """Compare outputs with answers."""

    def resample(self, outputs: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The main figure, float64 [r], under weights [r, m] of the tracks; NaN where it has no value."""


@dataclass(frozen=True, kw_only=True)
class TagsTask:
    """Which of several tags a track has: macro ROC-AUC and macro average precision, as MARBLE judges MTT and Jamendo.

    A track counts for a tag only where its truth is known.

    Attributes:
        least: tracks with the tag and without it that training and test must each have for it to be scored.
    """

    name: str = "tags"
    tags: tuple[str, ...]
    least: int = 1

    @property
    def main(self) -> str:
        """See `Task`."""
        return "roc_auc"

    def truth(self, track: Track) -> np.ndarray | None:
        """1, 0 or NaN (not known) for each tag."""
        verdicts = np.array([track.has(tag) for tag in self.tags], np.float64)
        return None if np.isnan(verdicts).all() else verdicts

    def draw(self, answers: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For each tag so many tracks that have it and so many that do not, or all where there are fewer."""
        kept = np.full_like(answers, np.nan)
        for tag in range(answers.shape[1]):
            for verdict in (1.0, 0.0):
                rows = _some(np.flatnonzero(answers[:, tag] == verdict), shots, rng)
                kept[rows, tag] = verdict
        drawn = np.flatnonzero(~np.isnan(kept).all(axis=1))
        return drawn, kept[drawn]

    def fit(self, features: np.ndarray, answers: np.ndarray, asked: np.ndarray, *, strength: float) -> np.ndarray:
        """Logits [m, tags]; NaN for a tag with too few examples. Tags known of the same tracks are fitted in one go."""
        logits = np.full((len(asked), answers.shape[1]), np.nan)
        groups: dict[bytes, list[int]] = {}
        for tag in range(answers.shape[1]):
            if self._has_enough(answers[:, tag]):
                groups.setdefault(np.isnan(answers[:, tag]).tobytes(), []).append(tag)
        for columns in groups.values():
            rows = ~np.isnan(answers[:, columns[0]])
            logits[:, columns] = _logits(features[rows], answers[np.ix_(rows, columns)], asked, strength=strength)
        return logits

    def judge(self, outputs: np.ndarray, answers: np.ndarray) -> Judgement:
        """Both figures of every tag that can be scored, and their means; those of none are NaN."""
        scored: dict[str, Mapping[str, float]] = {}
        for tag, name in enumerate(self.tags):
            if self._is_scored(outputs[:, tag], answers[:, tag]):
                scores = tag_scores(outputs[:, tag], answers[:, tag])
                assert scores is not None
                scored[name] = vars(scores)
        means = {
            figure: float(np.mean([scores[figure] for scores in scored.values()])) if scored else float("nan")
            for figure in ("roc_auc", "pr_auc")
        }
        unscored = tuple(tag for tag in self.tags if tag not in scored)
        return Judgement(figures=means, per_label=scored, unscored=unscored)

    def resample(self, outputs: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """See `Task`."""
        scored = [tag for tag in range(len(self.tags)) if self._is_scored(outputs[:, tag], answers[:, tag])]
        return macro(per_tag(outputs[:, scored], answers[:, scored], weights)[0])

    def _is_scored(self, outputs: np.ndarray, answers: np.ndarray) -> bool:
        return not np.isnan(outputs).any() and self._has_enough(answers)

    def _has_enough(self, answers: np.ndarray) -> bool:
        return bool(min((answers == 1).sum(), (answers == 0).sum()) >= self.least)


@dataclass(frozen=True, kw_only=True)
class ClassTask:
    """Which one of several classes a track belongs to: accuracy, as MARBLE judges GTZAN.

    Attributes:
        truth: of a track, its class; None where that is not known.
        credit: of a guess against the truth, 0 to 1, where some mistakes count less than others; its mean is then the
            main figure, "weighted_score", beside the accuracy.
    """

    name: str
    truth: Callable[[Track], Any | None]
    credit: Callable[[Any, Any], float] | None = None

    @property
    def main(self) -> str:
        """See `Task`."""
        return "weighted_score" if self.credit else "accuracy"

    def draw(self, answers: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """So many tracks of each class, or all where there are fewer."""
        drawn = np.concatenate([_some(np.flatnonzero(answers == kind), shots, rng) for kind in np.unique(answers)])
        return drawn, answers[drawn]

    def fit(self, features: np.ndarray, answers: np.ndarray, asked: np.ndarray, *, strength: float) -> np.ndarray:
        """Guessed classes [m].

        Raises:
            ManifestError: there is but one class to learn.
        """
        if len(kinds := np.unique(answers)) < 2:
            raise ManifestError(
                f"task {self.name!r}: training tracks are all {str(kinds[0])!r}; need two classes or more"
            )
        model = LogisticRegression(C=strength, max_iter=_MOST_STEPS)
        return np.asarray(model.fit(features, answers).predict(asked))

    def judge(self, outputs: np.ndarray, answers: np.ndarray) -> Judgement:
        """Figures over all tracks, of classes unseen in training too; of each class, how much of it is recognised."""
        right = outputs == answers
        per_class = {
            str(kind): {"accuracy": float(right[answers == kind].mean()), "tracks": int((answers == kind).sum())}
            for kind in np.unique(answers)
        }
        figures = {"accuracy": float(right.mean()), self.main: float(self._credits(outputs, answers).mean())}
        return Judgement(figures=figures, per_label=per_class)

    def resample(self, outputs: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """See `Task`."""
        return weights @ self._credits(outputs, answers) / weights.sum(axis=1, dtype=np.float64)

    def _credits(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        if self.credit is None:
            return (outputs == answers).astype(np.float64)
        return np.array([self.credit(guess, truth) for guess, truth in zip(outputs, answers, strict=True)], np.float64)


@dataclass(frozen=True, kw_only=True)
class NumberTask:
    """How much of a number's variance over tracks is explained: R2 of a ridge regression."""

    name: str
    truth: Callable[[Track], float | None]

    @property
    def main(self) -> str:
        """See `Task`."""
        return "r2"

    def draw(self, answers: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Raise ValueError: a number has no labels to draw examples of."""
        raise ValueError(f"shots: task {self.name!r} is a number, which has no labels; draw shots of tags or classes")

    def fit(self, features: np.ndarray, answers: np.ndarray, asked: np.ndarray, *, strength: float) -> np.ndarray:
        """Guessed numbers [m]."""
        return np.asarray(Ridge(alpha=1 / strength).fit(features, answers).predict(asked))

    def judge(self, outputs: np.ndarray, answers: np.ndarray) -> Judgement:
        """R2 over all tracks."""
        return Judgement(figures={"r2": float(r2_score(answers, outputs))})

    def resample(self, outputs: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """See `Task`."""
        shares = weights / weights.sum(axis=1, keepdims=True, dtype=np.float64)
        means = shares @ answers
        variance = np.square(answers - means[:, None]) * shares
        total = variance.sum(axis=1)
        return 1 - shares @ np.square(answers - outputs) / np.where(total > 0, total, np.nan)


def genre_task(labels: Sequence[str], *, name: str = "genre") -> ClassTask:
    """The one of the labels that is among a track's tags."""
    known = frozenset(labels)

    def truth(track: Track) -> str | None:
        found = [tag for tag in track.tags if tag in known]
        if len(found) > 1:
            raise ManifestError(f"track {track.id!r}: has {', '.join(found)}; task {name!r} allows one of its labels")
        return found[0] if found else None

    return ClassTask(name=name, truth=truth)


def key_task() -> ClassTask:
    """The key of 24: MIREX's weighted score, as MARBLE judges GiantSteps, and plain accuracy.

    A track's facts hold `key`, one of `data.compose.KEYS`, and `mode`; our composer and `data.datasets` write them so.
    """
    return ClassTask(name="key", truth=key_of, credit=key_score)


def task_of(labels: Sequence[str], *, is_exclusive: bool) -> Task:
    """What a set with these labels asks for; without labels, the key."""
    if not labels:
        return key_task()
    return genre_task(labels) if is_exclusive else TagsTask(tags=tuple(labels))


def key_of(track: Track) -> int | None:
    """0 to 11 major, 12 to 23 minor, from C; None for other modes and where the key is not known."""
    tonic, mode = track.facts.get("key"), track.facts.get("mode")
    if tonic not in KEYS or mode not in ("major", "minor"):
        return None
    return KEYS.index(str(tonic)) + (12 if mode == "minor" else 0)


def key_score(guess: int, key: int) -> float:
    """MIREX's weighted score of a guessed key, both 0 to 11 major and 12 to 23 minor.

    1 for the key, 0.5 a fifth above it, 0.3 its relative, 0.2 its parallel: mir_eval's default, which GiantSteps
    figures are commonly computed with. MIREX's text can be read so that a fifth below counts, too.
    """
    if guess == key:
        return 1.0
    (guess_minor, guess_tonic), (minor, tonic) = divmod(guess, 12), divmod(key, 12)
    if guess_minor == minor:
        return 0.5 if (guess_tonic - tonic) % 12 == 7 else 0.0
    if guess_tonic == tonic:
        return 0.2
    relative = (tonic + (3 if minor else 9)) % 12
    return 0.3 if guess_tonic == relative else 0.0


def _some(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.choice(rows, min(count, len(rows)), replace=False))


def _logits(train: np.ndarray, answers: np.ndarray, asked: np.ndarray, *, strength: float) -> np.ndarray:
    """Logits [m, tags] of one logistic regression a tag, all minimised at once."""
    if answers.shape[1] == 1:  # the network would take a lone tag for two classes
        lone = LogisticRegression(C=strength, max_iter=_MOST_STEPS).fit(train, answers[:, 0])
        return np.asarray(lone.decision_function(asked))[:, None]
    # A network without hidden layers has the loss of a LogisticRegression(C) for each tag, but passes over the features
    # once for all of them. In float64, because its minimiser is, and would convert the features in every step.
    network = MLPClassifier(
        hidden_layer_sizes=(), solver="lbfgs", alpha=1 / strength, max_iter=_MOST_STEPS, random_state=0
    ).fit(train.astype(np.float64), answers.astype(np.int64))
    return np.asarray(asked @ network.coefs_[0] + network.intercepts_[0])
