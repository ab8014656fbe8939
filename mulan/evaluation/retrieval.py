"""Retrieval: how early a caption meets its track, and a track its captions, among all of a set."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from data.datasets.dataset import Dataset
from mulan.encoding import Encoder, TextRegime
from mulan.evaluation.bootstrap import RESAMPLES, interval, resample_weights
from mulan.evaluation.collapse import warn_if_collapsed
from mulan.evaluation.record import Record, record_of
from mulan.evaluation.tagging import Interval
from mulan.evaluation.vectors import embed_set
from mulan.metrics import RetrievalScores, retrieval_per_query, summary_of

PerQuery = dict[str, np.ndarray]

TIES = "pessimistic: among equal scores the relevant item comes last"


@dataclass(frozen=True, kw_only=True)
class DirectionFigures(RetrievalScores):
    """Means over queries among `items`; `ci95`, by name, are bootstrap intervals over tracks."""

    items: int
    ci95: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Both directions. Relevant to a caption is its track, or all that share it; to a track, each of its captions."""

    text_to_audio: DirectionFigures
    audio_to_text: DirectionFigures


@dataclass(frozen=True, kw_only=True)
class RetrievalFigures(Directions):
    """Each caption by itself; `padded_batch`, of a model that has it, as the released MuQ-MuLan was measured.

    Attributes:
        complete: of the tracks that were named complete and their captions, among the same items as the others; None
            where none was named.
    """

    task: Literal["retrieval"] = "retrieval"
    complete: Directions | None = None
    padded_batch: Directions | None
    ties: str = TIES
    resamples: int = RESAMPLES


@dataclass(frozen=True, kw_only=True)
class RetrievalResult:
    """Figures, how they were made, and each query's own figures (for `compare`)."""

    figures: RetrievalFigures
    record: Record
    witness: Mapping[str, np.ndarray] = field(repr=False)


def evaluate_retrieval(
    encoder: Encoder,
    dataset: Dataset,
    *,
    share_captions: bool = False,
    complete: Collection[str] = (),
    cache: Path | None = None,
    allow_missing: bool = False,
    on_track: Callable[[], None] = lambda: None,
) -> RetrievalResult:
    """Rank tracks for each caption, and captions for each track, by cosine.

    Args:
        dataset: tracks with captions; all of them are judged.
        share_captions: of tracks that have the same caption, word for word, each is right. Published figures are of
            one right track, even where people wrote the same of two.
        complete: ids of tracks whose captions say all that is asked of a caption; their figures are given apart, too.
        cache, allow_missing, on_track: as for `embed_set`.

    Raises:
        ManifestError: as for `embed_set`.
        ValueError: a track has no caption.
    """
    collapse = warn_if_collapsed(encoder)
    embeddings = embed_set(encoder, dataset.tracks, cache=cache, allow_missing=allow_missing, on_track=on_track)
    captions = [caption for track in embeddings.tracks for caption in track.captions]
    owners = np.repeat(np.arange(len(embeddings.tracks)), [len(track.captions) for track in embeddings.tracks])
    is_own = owners[:, None] == np.arange(len(embeddings.tracks))  # [captions, tracks]
    if share_captions:
        wordings, wording = np.unique(captions, return_inverse=True)
        is_own = np.stack([is_own[wording == number].any(axis=0) for number in range(len(wordings))])[wording]
    ids = np.array([track.id for track in embeddings.tracks])

    def rank(regime: TextRegime) -> tuple[PerQuery, PerQuery]:
        texts = encoder.encode_text(captions, regime=regime)
        forward = retrieval_per_query(texts, embeddings.vectors, relevant=is_own)
        return forward, retrieval_per_query(embeddings.vectors, texts, relevant=is_own.T)

    def directions(ranked: tuple[PerQuery, PerQuery], counts: np.ndarray) -> Directions:
        """Of the tracks that count, bool [tracks], and their captions."""
        return Directions(
            text_to_audio=_direction(_those(ranked[0], counts[owners]), ids[owners][counts[owners]], items=len(ids)),
            audio_to_text=_direction(_those(ranked[1], counts), ids[counts], items=len(captions)),
        )

    alone = rank("alone")
    everything, is_complete = np.ones(len(ids), bool), np.isin(ids, list(complete))
    has_padded = "padded-batch" in encoder.text_regimes
    return RetrievalResult(
        figures=RetrievalFigures(
            **vars(directions(alone, everything)),
            complete=directions(alone, is_complete) if is_complete.any() else None,
            padded_batch=directions(rank("padded-batch"), everything) if has_padded else None,
        ),
        record=record_of(encoder, dataset, embeddings, collapse=collapse),
        witness={
            "ids": ids[owners],
            "captions": np.array(captions),
            **{f"text_to_audio {name}": values for name, values in alone[0].items()},
            "track_ids": ids,
            **{f"audio_to_text {name}": values for name, values in alone[1].items()},
        },
    )


def draws_of(per_query: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Figures [r] by name in each resample; of ranks, the median.

    Args:
        per_query: as from `retrieval_per_query`.
        weights: float32 [r, q], as from `resample_weights`; a row of ones gives the figures themselves.
    """
    totals = weights.sum(axis=1)
    draws = {name: (weights @ values) / totals for name, values in per_query.items() if name != "rank"}
    return {**draws, "median_rank": _weighted_median(per_query["rank"], weights)}


def _those(per_query: PerQuery, chosen: np.ndarray) -> PerQuery:
    return {name: values[chosen] for name, values in per_query.items()}


def _direction(per_query: Mapping[str, np.ndarray], owners: np.ndarray, *, items: int) -> DirectionFigures:
    draws = draws_of(per_query, resample_weights(owners.tolist()))
    return DirectionFigures(
        **asdict(summary_of(per_query)), items=items, ci95={name: interval(drawn) for name, drawn in draws.items()}
    )


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of values [q], each as often as its weight [r, q] says; between two middle ones, their mean."""
    order = np.argsort(values)
    reached = np.cumsum(weights[:, order], axis=1)
    half = reached[:, -1:] / 2
    lower = values[order][np.argmax(reached >= half, axis=1)]
    upper = values[order][np.argmax(reached > half, axis=1)]
    middle: np.ndarray = (lower + upper) / 2
    return middle
