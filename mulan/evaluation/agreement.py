"""Whether a model hears in real music what a supervised tagger hears: agreement, for nobody vouches for the truth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.datasets.dataset import Dataset
from data.errors import ManifestError

PRESENT, ABSENT = 0.3, 0.1
"""Probabilities from which a tag counts as heard, and below which as not heard; between them nothing is known."""
FEWEST_TRACKS = 5
"""In fewer tracks than this a tag must be heard to be left out: its figure would be one of chance."""


def agreement_set(dataset: Dataset, probabilities: np.ndarray, tags: Sequence[str], *, heard_by: str) -> Dataset:
    """The tracks of a set with a tagger's verdicts as their truth; labels are the tags heard in at least five tracks.

    Args:
        dataset: what it holds of tags is replaced.
        probabilities: float [tracks, tags].
        tags: all that the tagger knows.
        heard_by: the tagger's name and fingerprint, which the split is then called by.

    Raises:
        ManifestError: no tag is heard in five tracks, or a track lacks none, so that its unknown ones would count as
            absent.
        ValueError: there is not one row for each track and one column for each tag.
    """
    if probabilities.shape != (len(dataset.tracks), len(tags)):
        raise ValueError(
            f"probabilities has shape {probabilities.shape}; must be [{len(dataset.tracks)}, {len(tags)}]: tracks, tags"
        )
    is_heard, is_missed = probabilities > PRESENT, probabilities < ABSENT
    labels = tuple(tag for tag, heard in zip(tags, is_heard.sum(axis=0), strict=True) if heard >= FEWEST_TRACKS)
    if not labels:
        raise ManifestError(
            f"{dataset.name}: in {len(dataset.tracks)} tracks no tag is heard {FEWEST_TRACKS} times; judge more music"
        )
    if not is_missed.any(axis=1).all():
        track = dataset.tracks[int(np.argmin(is_missed.any(axis=1)))]
        raise ManifestError(f"track {track.id!r}: every tag is given {ABSENT} or more, so none is false; take it out")
    tracks = tuple(
        replace(
            track,
            tags=tuple(tag for tag, is_true in zip(tags, heard, strict=True) if is_true),
            absent=tuple(tag for tag, is_false in zip(tags, missed, strict=True) if is_false),
        )
        for track, heard, missed in zip(dataset.tracks, is_heard, is_missed, strict=True)
    )
    split = f"{dataset.split}, heard by {heard_by}"
    return replace(dataset, name="agreement", split=split, labels=labels, tracks=tracks, is_exclusive=False)
