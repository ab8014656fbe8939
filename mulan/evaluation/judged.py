"""A supervised tagger beside a model: on the same tracks, is the model that never saw a label better than one that did?

The judge learned the labels it is asked for from tens of thousands of annotated clips; see `mulan.judge`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.dataset import Dataset
from data.errors import ManifestError
from data.manifest import Track
from mulan.encoding import Encoder, FailedFile
from mulan.evaluation.compare import Difference, compare_tagging
from mulan.evaluation.tagging import TaggingFigures, TaggingResult, evaluate_tagging
from mulan.evaluation.vectors import embed_kept
from mulan.judge import Judge


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A judge's figures and the model's on the same tracks; each difference is the model's minus the judge's.

    Attributes:
        judge: its name.
        judge_fingerprint: hash of its weights.
        differences: of the main figures, both resampled alike.
        per_tag: of each label's ROC-AUC.
        unknown: labels that the judge does not know; they are in no figure, neither of the model nor of the judge.
    """

    judge: str
    judge_fingerprint: str
    differences: tuple[Difference, ...]
    per_tag: tuple[Difference, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JudgedFigures(TaggingFigures):
    """The model's figures on the labels that the judge knows, and the judge's."""

    beside: Beside


def evaluate_beside(
    encoder: Encoder,
    dataset: Dataset,
    *,
    judge: Judge,
    cache: Path | None = None,
    on_track: Callable[[], None] = lambda: None,
    **options: Any,
) -> TaggingResult:
    """`evaluate_tagging` on those labels of a set that the judge knows, and the judge on the same audio.

    A judge's score is the mean probability over the windows of the track.

    Args:
        cache: as for `embed_set`; the judge's answers are kept there, too.
        on_track: called after each track, of the model and then of the judge.
        options: the others of `evaluate_tagging`.

    Raises:
        ManifestError: the judge knows none of the labels, cannot read a track that the model could read, or as for
            `evaluate_tagging`.
    """
    known = tuple(label for label in dataset.labels if label in judge.tags)
    if not known:
        raise ManifestError(f"{dataset.name}: {judge.name} knows none of its labels, such as {dataset.labels[:3]}")
    result = evaluate_tagging(encoder, replace(dataset, labels=known), cache=cache, on_track=on_track, **options)
    ids = set(result.witness["ids"].tolist())
    heard = judge_tracks(judge, [track for track in dataset.tracks if track.id in ids], cache=cache, on_track=on_track)
    scores = heard[:, [judge.tags.index(label) for label in known]]
    _, differences, per_tag = compare_tagging({**result.witness, "scores": scores}, result.witness)
    unknown = tuple(label for label in dataset.labels if label not in known)
    beside = Beside(
        judge=judge.name,
        judge_fingerprint=judge.fingerprint,
        differences=tuple(differences),
        per_tag=tuple(per_tag),
        unknown=unknown,
    )
    witness: Mapping[str, np.ndarray] = {**result.witness, "judge_scores": scores}
    return replace(result, figures=JudgedFigures(**vars(result.figures), beside=beside), witness=witness)


def judge_tracks(
    judge: Judge, tracks: Sequence[Track], *, cache: Path | None = None, on_track: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Probability of each of the judge's tags in each track, float32 [n, tags]: the mean over the track's windows.

    Args:
        cache: the folder to keep answers in, as a judge is slow; None keeps none.

    Raises:
        ManifestError: a file cannot be read.
        StoreError: the cache cannot be used.
    """
    rows = []
    for track, (outcome, _) in zip(tracks, embed_kept(judge, tracks, cache), strict=True):
        if isinstance(outcome, FailedFile):
            raise ManifestError(f"{track.source}: {judge.name} cannot hear it ({outcome.reason}); take the track out")
        rows.append(outcome.vectors.mean(axis=0))
        on_track()
    return np.array(rows, np.float32).reshape(len(rows), judge.dim)
