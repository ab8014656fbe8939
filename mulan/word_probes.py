"""What a tagger's logits say of words that it never learned: a linear probe for each, fitted to music that is known.

A tagger of the Million Song Dataset has no "classical". But how much it hears of rock, of ambience, of instrumentals
tells classical music from other, and renders and packages whose music is known say how. It has listened to a million
songs, so its opinion of real music is worth more than that of a model that has heard renders.

    mulan data label real/manifest.jsonl real/probed.jsonl --logits real/musicnn.npz --known corpus/manifest.jsonl

Source: ours; linear probes of what a network holds are arXiv:1610.01644.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.errors import ManifestError
from data.manifest import Track, measured
from data.pseudo_labels import PseudoLabels, TagStatistics
from data.pseudo_tags import parts_of

logger = logging.getLogger(__name__)

LEAST_ROC_AUC = 0.85
"""What a probe must reach on known music that it was not fitted to, of other packages, for its word to be taught."""

FARTHEST = 2.0
"""Standard deviations from the mean to which scores are held, since a linear model knows no bounds."""

_FEWEST = 30  # of tracks with a word, and without it
_C = 0.1  # the inverse of the regularisation, as scikit-learn has it
_FOLDS = 5
_EXCERPTS = 2400
_EXCERPT_SECONDS = 9.0  # three windows
# Augmentation makes them untrue: another level, another speed, a second track; so it does what is denied, "no drums".
_UNSTABLE = frozenset(("loud", "quiet", "soft", "fast", "slow", "solo"))
_DENIAL = "no "


@dataclass(frozen=True, kw_only=True)
class WordProbe:
    """What tells music with a word from music without it.

    Attributes:
        roc_auc: on known music that it was not fitted to, in five folds; a Debian package is in one of them.
        decision_function: logits [n, tags] to float64 [n], above 0 where the word is likelier.
    """

    word: str
    roc_auc: float
    decision_function: Callable[[np.ndarray], np.ndarray]


def excerpts_of(tracks: Iterable[Track], *, but: Iterable[Track] = ()) -> list[Track]:
    """The middles, of 9 s, of at most 2,400 of the training tracks of which some words are known; their ids are new.

    A file that cannot be read is left out, with a warning; what is in `but`, in silence.

    Raises:
        ManifestError: two tracks have the same id.
    """
    others = {(track.source, track.start) for track in but}
    known = [track for track in _described(tracks) if (track.source, track.start) not in others]
    (often, count), *_ = Counter(track.id for track in known).most_common(1) or [("", 0)]
    if count > 1:
        raise ManifestError(f"known music: {count} tracks have the id {often!r}; give each its own")
    chosen = (known[number] for number in np.random.default_rng(0).permutation(len(known))[:_EXCERPTS])
    return [middle for track in chosen if (middle := _middle(measured(track))) is not None]


def words_to_probe(tracks: Iterable[Track]) -> list[str]:
    """Words that enough of the training tracks have, and enough others are known not to have.

    Raises:
        ManifestError: there are none.
    """
    tracks = _described(tracks)
    words = sorted({word for track in tracks for word in (*track.tags, *track.absent)} - _UNSTABLE)
    asked = [word for word in words if not word.startswith(_DENIAL) and min(_counts(word, tracks)) >= _FEWEST]
    if not asked:
        raise ManifestError(
            f"known music: found {len(tracks)} tracks for training with tags or absent, and no word that {_FEWEST} of"
            f" them have and {_FEWEST} have not; of more than {_EXCERPTS:,} tracks so many are drawn"
        )
    return asked


def fit_probes(tracks: Sequence[Track], labels: PseudoLabels) -> list[WordProbe]:
    """Probes of those words that a tagger's mean logits of the training tracks among these tell; the surest first.

    Raises:
        ManifestError: there are none.
        StoreError: the teacher was not asked about a track.
    """
    tracks = _described(tracks)
    words = words_to_probe(tracks)
    logits = np.stack([labels.of_track(track.id) for track in tracks])
    probes = sorted((_fit(word, tracks, logits) for word in words), key=lambda probe: -probe.roc_auc)
    if probes[0].roc_auc < LEAST_ROC_AUC:
        best = f"the best is {probes[0].word!r} with {probes[0].roc_auc:.3f}"
        raise ManifestError(f"known music: {labels.teacher} tells no word with a ROC-AUC of {LEAST_ROC_AUC}; {best}")
    return [probe for probe in probes if probe.roc_auc >= LEAST_ROC_AUC]


def probe_parts(tracks: Sequence[Track], labels: PseudoLabels, probes: Sequence[WordProbe]) -> list[Track]:
    """Parts of tracks with what probes say of them as `scores`, and with no words but those that were known.

    A score is the distance from the mean over the parts of the training tracks in standard deviations, at most
    `FARTHEST`. Of words that are known of a track there is none.

    Raises:
        ManifestError: the length of a track is not known, or none is for training.
        StoreError: the teacher was not asked about a track.
    """
    cut = [part for track in tracks for part in parts_of(track, labels)]
    is_training = np.array([part.split == "train" for part, _ in cut], dtype=bool)
    if not is_training.any():
        raise ManifestError(f"found {len(tracks)} tracks to label, none of the split 'train'; scores count from theirs")
    logits = np.stack([heard for _, heard in cut])
    scores = np.stack([probe.decision_function(logits) for probe in probes], axis=1)  # [parts, words]
    statistics = TagStatistics(mean=scores[is_training].mean(axis=0), std=scores[is_training].std(axis=0))
    distances = statistics.standardise(scores).clip(-FARTHEST, FARTHEST)
    words = [probe.word for probe in probes]
    return [
        replace(
            part,
            scores={
                word: round(float(distance), 3)
                for word, distance in zip(words, row, strict=True)
                if word not in part.tags and word not in part.absent
            },
        )
        for (part, _), row in zip(cut, distances, strict=True)
    ]


def _described(tracks: Iterable[Track]) -> list[Track]:
    """Those for training of which some words are known."""
    return [track for track in tracks if track.split == "train" and (track.tags or track.absent)]


def _middle(track: Track) -> Track | None:
    if track.length is None:
        logger.warning("leaving out %s: it cannot be read", track.source)
        return None
    seconds = min(_EXCERPT_SECONDS, track.length)
    start = track.start + (track.length - seconds) / 2
    return replace(track, id=f"{track.id}#middle", start=start, end=start + seconds)


def _counts(word: str, tracks: Iterable[Track]) -> tuple[int, int]:
    """How many tracks have a word, and of how many it is known that they have not."""
    found = Counter(track.has(word) for track in tracks)
    return found[True], found[False]


def _fit(word: str, tracks: Sequence[Track], logits: np.ndarray) -> WordProbe:
    known = [number for number, track in enumerate(tracks) if track.has(word) is not None]
    truth = np.array([tracks[number].has(word) for number in known], dtype=bool)
    # Recordings of a package are alike, which would be learnt in place of the word.
    groups = np.array([str(tracks[number].facts.get("package") or tracks[number].id) for number in known])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_C, class_weight="balanced", max_iter=2000))
    heard = logits[known]
    guessed = np.full(len(known), np.nan)
    for learnt, asked in StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0).split(heard, truth, groups):
        if len(asked) and 0 < truth[learnt].sum() < len(learnt):  # else all that has the word is asked
            guessed[asked] = model.fit(heard[learnt], truth[learnt]).decision_function(heard[asked])
    judged = ~np.isnan(guessed)
    is_told = 0 < truth[judged].sum() < judged.sum()
    roc_auc = float(roc_auc_score(truth[judged], guessed[judged])) if is_told else 0.5
    return WordProbe(word=word, roc_auc=roc_auc, decision_function=model.fit(heard, truth).decision_function)
