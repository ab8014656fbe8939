"""Zero-shot tagging: how well a model ranks tracks by nothing but the words of a tag."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.datasets.dataset import Dataset, recording_of
from data.errors import ManifestError
from data.manifest import Track
from mulan.encoding import Encoder, TextRegime
from mulan.evaluation.bootstrap import RESAMPLES, interval, macro, per_tag, resample_weights
from mulan.evaluation.collapse import warn_if_collapsed
from mulan.evaluation.prompts import BARE, PromptSet, label_vectors
from mulan.evaluation.record import Record, record_of
from mulan.evaluation.vectors import embed_set
from mulan.metrics import TagScores, tag_scores

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class TagFigures(TagScores):
    """One tag's figures with their 95 % bootstrap intervals."""

    roc_auc_ci95: Interval
    pr_auc_ci95: Interval


@dataclass(frozen=True, kw_only=True)
class Averages:
    """Macro averages over the tags that have positives and negatives, with 95 % bootstrap intervals.

    Attributes:
        accuracy: of the tracks that have a label, the share whose best-scored label is theirs; None unless none has
            more than one.
    """

    roc_auc: float
    roc_auc_ci95: Interval
    pr_auc: float
    pr_auc_ci95: Interval
    accuracy: float | None
    accuracy_ci95: Interval | None


@dataclass(frozen=True, kw_only=True)
class PromptFigures(Averages):
    """What another way of saying the labels gives, on the same vectors of the same tracks."""

    prompts: str
    text_regime: TextRegime


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How the intervals were drawn. `unit` is what is drawn: recordings, where clips are known to share them."""

    unit: Literal["track", "recording"]
    units: int
    resamples: int = RESAMPLES


@dataclass(frozen=True, kw_only=True)
class TaggingFigures(Averages):
    """The averages of the first prompt set, each text alone, and everything beside them.

    Attributes:
        unscored_tags: labels without positives or without negatives; they are in no average.
        prompts: the name of that prompt set.
        texts: what each label was said as.
        prompt_sets: all that were tried; each with its templates, and whole texts of single labels.
        sensitivity: every prompt set under every text regime that the model has.
    """

    task: Literal["tagging"] = "tagging"
    per_tag: Mapping[str, TagFigures]
    unscored_tags: tuple[str, ...]
    prompts: str
    text_regime: TextRegime
    texts: Mapping[str, tuple[str, ...]]
    prompt_sets: Mapping[str, Mapping[str, Any]]
    sensitivity: tuple[PromptFigures, ...]
    bootstrap: Bootstrap


@dataclass(frozen=True, kw_only=True)
class TaggingResult:
    """Figures, how they were made, and the scores they rest on (for `compare`)."""

    figures: TaggingFigures
    record: Record
    witness: Mapping[str, np.ndarray] = field(repr=False)


def evaluate_tagging(
    encoder: Encoder,
    dataset: Dataset,
    *,
    prompts: Mapping[str, PromptSet] = BARE,
    cache: Path | None = None,
    allow_missing: bool = False,
    on_track: Callable[[], None] = lambda: None,
) -> TaggingResult:
    """Score each label's text against each track of a set; a track counts for a label only where its truth is known.

    Args:
        dataset: all its tracks are judged; take a part of it first.
        prompts: by name; the first gives the figures, all of them the sensitivity.
        cache, allow_missing, on_track: as for `embed_set`.

    Raises:
        ManifestError: as for `embed_set`, or no label is present in some tracks and absent in others.
    """
    collapse = warn_if_collapsed(encoder)
    for name, said in prompts.items():
        said.warn_of_unknown(dataset.labels, name=name)
    embeddings = embed_set(encoder, dataset.tracks, cache=cache, allow_missing=allow_missing, on_track=on_track)
    truth = truth_of(embeddings.tracks, dataset.labels)
    groups = [recording_of(track) for track in embeddings.tracks]
    judge = _Judge(truth=truth, weights=resample_weights(groups), is_exclusive=dataset.is_exclusive)

    def scores(name: str, regime: TextRegime) -> np.ndarray:
        return embeddings.vectors @ label_vectors(encoder, dataset.labels, prompts[name], regime=regime).T

    first = next(iter(prompts))
    chosen = scores(first, "alone")
    averages, per_tag, unscored = judge.judge(chosen, dataset.labels)
    units = len(set(groups))
    figures = TaggingFigures(
        **averages,
        per_tag=per_tag,
        unscored_tags=unscored,
        prompts=first,
        text_regime="alone",
        texts={label: prompts[first].said(label) for label in dataset.labels},
        prompt_sets={name: said.model_dump() for name, said in prompts.items()},
        sensitivity=tuple(
            PromptFigures(
                **(averages if (name, regime) == (first, "alone") else judge.averages(scores(name, regime))),
                prompts=name,
                text_regime=regime,
            )
            for name in prompts
            for regime in encoder.text_regimes
        ),
        bootstrap=Bootstrap(unit="recording" if units < len(groups) else "track", units=units),
    )
    witness = {
        "ids": np.array([track.id for track in embeddings.tracks]),
        "groups": np.array(groups),
        "labels": np.array(dataset.labels),
        "scores": chosen,
        "truth": truth,
        "is_exclusive": np.array(dataset.is_exclusive),
    }
    record = record_of(encoder, dataset, embeddings, collapse=collapse)
    return TaggingResult(figures=figures, record=record, witness=witness)


def truth_of(tracks: Sequence[Track], labels: Sequence[str]) -> np.ndarray:
    """float64 [n, labels]: 1 has the label, 0 has it not, NaN unknown."""
    return np.array([[track.has(label) for label in labels] for track in tracks], np.float64)  # None becomes NaN


def draws_of(
    scores: np.ndarray, truth: np.ndarray, weights: np.ndarray, *, is_exclusive: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Macro figures [r] by name, and the same of every tag [r, tags], in each resample.

    Args:
        scores, truth: float [n, tags].
        weights: float32 [r, n], as from `resample_weights`; a row of ones gives the figures themselves.
    """
    areas, precisions = per_tag(scores, truth, weights)
    whole = {"roc_auc": macro(areas), "pr_auc": macro(precisions)}
    if is_exclusive:
        of_a_class = weights * (truth == 1).any(axis=1)
        with np.errstate(invalid="ignore"):  # a draw may miss all of them
            whole["accuracy"] = (of_a_class @ _is_right(scores, truth)) / of_a_class.sum(axis=1)
    return whole, {"roc_auc": areas, "pr_auc": precisions}


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """The truth that scores [n, tags] of the same tracks are held against, and the resamples that they share."""

    truth: np.ndarray
    weights: np.ndarray
    is_exclusive: bool

    def judge(
        self, scores: np.ndarray, labels: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, TagFigures], tuple[str, ...]]:
        """What `Averages` holds, the figures of each label, and the labels that have none, from the same resamples."""
        whole, single = self._draws(scores)
        figures = {}
        for column, label in enumerate(labels):
            if found := self._tag(scores, column):
                figures[label] = TagFigures(
                    **asdict(found),
                    roc_auc_ci95=interval(single["roc_auc"][:, column]),
                    pr_auc_ci95=interval(single["pr_auc"][:, column]),
                )
        return self._averages(scores, whole), figures, tuple(label for label in labels if label not in figures)

    def averages(self, scores: np.ndarray) -> dict[str, Any]:
        """What `Averages` holds."""
        return self._averages(scores, self._draws(scores)[0])

    def _averages(self, scores: np.ndarray, draws: Mapping[str, np.ndarray]) -> dict[str, Any]:
        by_tag = [found for column in range(self.truth.shape[1]) if (found := self._tag(scores, column))]
        if not by_tag:
            raise ManifestError("no tag is present in some tracks and absent in others, so nothing can be ranked")
        return dict(
            roc_auc=float(np.mean([found.roc_auc for found in by_tag])),
            roc_auc_ci95=interval(draws["roc_auc"]),
            pr_auc=float(np.mean([found.pr_auc for found in by_tag])),
            pr_auc_ci95=interval(draws["pr_auc"]),
            accuracy=self._accuracy(scores) if self.is_exclusive else None,
            accuracy_ci95=interval(draws["accuracy"]) if self.is_exclusive else None,
        )

    def _accuracy(self, scores: np.ndarray) -> float:
        return float(_is_right(scores, self.truth)[(self.truth == 1).any(axis=1)].mean())

    def _tag(self, scores: np.ndarray, column: int) -> TagScores | None:
        return tag_scores(scores[:, column], self.truth[:, column])

    def _draws(self, scores: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return draws_of(scores, self.truth, self.weights, is_exclusive=self.is_exclusive)


def _is_right(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float32 [n]: whether the best score is that of a true label; a tie with a false one is no success."""
    best_true = np.where(truth == 1, scores, -np.inf).max(axis=1)
    best_false = np.where(truth == 1, -np.inf, scores).max(axis=1)
    return (best_true > best_false).astype(np.float32)
