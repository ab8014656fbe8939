"""Zero-shot tagging: how well a model ranks tracks by nothing but the words of a tag."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import ManifestError
from data.manifest import Track
from mulan.encoding import EmbeddedFile, Encoder
from mulan.metrics import TagScores, macro_roc_auc_interval, tag_scores

BOOTSTRAP_RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class TagEvaluation:
    """Macro averages over the tags that have both positives and negatives, and what is needed to repeat them."""

    roc_auc: float
    roc_auc_ci95: tuple[float, float]
    pr_auc: float
    per_tag: dict[str, TagScores]
    tracks: int
    failed: list[tuple[str, str]]
    splits: list[str]
    unscored_tags: list[str]
    model: str
    fingerprint: str
    precision: str
    prompts: str = "bare tag"
    pooling: str = "renormalised mean of window vectors"


def evaluate_tags(encoder: Encoder, tracks: Sequence[Track], *, seed: int = 0) -> TagEvaluation:
    """Score each tag's text against each track; a track counts for a tag only where its truth is known.

    Raises:
        ManifestError: a track is not a file of its own, none could be embedded, or no tag has both classes.
    """
    parts = [track.id for track in tracks if track.member or track.start or track.end]
    if parts:
        raise ManifestError(f"track {parts[0]!r}: is a part of a file or lies in a shard; only whole files are judged")
    usable: list[tuple[Track, np.ndarray]] = []
    failed: list[tuple[str, str]] = []
    for track, file in zip(tracks, encoder.embed_files([track.path for track in tracks]), strict=True):
        if isinstance(file, EmbeddedFile):
            usable.append((track, file.vector))
        else:
            failed.append((str(file.path), file.reason))
    if not usable:
        raise ManifestError(f"none of the {len(tracks)} tracks could be embedded; check the manifest's paths")
    tags = sorted({tag for track, _ in usable for tag in track.tags})
    vectors = np.stack([vector for _, vector in usable])
    scores = vectors @ encoder.encode_text(tags).T  # [n, tags]
    truth = np.array([[track.has(tag) for tag in tags] for track, _ in usable], np.float64)  # None becomes NaN
    per_tag = {tag: tag_scores(scores[:, column], truth[:, column]) for column, tag in enumerate(tags)}
    scored = {tag: result for tag, result in per_tag.items() if result is not None}
    if not scored:
        raise ManifestError("no tag is present in some tracks and absent in others, so nothing can be ranked")
    rng = np.random.default_rng(seed)
    return TagEvaluation(
        roc_auc=float(np.mean([result.roc_auc for result in scored.values()])),
        roc_auc_ci95=macro_roc_auc_interval(scores, truth, resamples=BOOTSTRAP_RESAMPLES, rng=rng),
        pr_auc=float(np.mean([result.pr_auc for result in scored.values()])),
        per_tag=scored,
        tracks=len(usable),
        failed=failed,
        splits=sorted({track.split for track, _ in usable}),
        unscored_tags=[tag for tag in tags if tag not in scored],
        model=encoder.name,
        fingerprint=encoder.fingerprint,
        precision=encoder.precision,
    )
