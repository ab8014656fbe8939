"""Finds tracks that an index holds more than once: the same audio, and what sounds the same. It deletes nothing."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from indexing.catalogue import TrackEntry
from indexing.same_recording import SAME_RECORDING, is_same_recording, longest_alike
from indexing.tracks import Floats, read_holdings

_ROWS, _COLUMNS = 1024, 8192  # of a block of cosines: 34 MB

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A track of a group.

    Attributes:
        cosine: to the nearest of the others that it is a duplicate of, so at least the threshold; 1 for the same audio.
        is_same_audio: one of the others differs from it in tags at most.
    """

    track: TrackEntry
    path: Path
    cosine: float
    is_same_audio: bool


class Near(NamedTuple):
    """Which of n recordings hang together: labels int64 [n], and cosines float32 [n] to the nearest near one.

    Cosines are minus infinity where none is near.
    """

    labels: Numbers
    cosines: Floats


def find_duplicates(index: Path, *, threshold: float = SAME_RECORDING) -> list[tuple[Duplicate, ...]]:
    """Groups of tracks that are probably the same recording, by the id of their first track, which is the oldest.

    Two tracks are duplicates if their files hold the same audio (only tags differ), or if `is_same_recording` says so.
    A group is all that hangs together so: two of its tracks may resemble each other by way of a third only.

    Exact. Time grows with the pairs of similar length, memory with the tracks.

    Args:
        index: the index folder.
        threshold: above 1, only the same audio counts.

    Raises:
        StoreError: no index there, or it cannot be read.
    """
    holdings = read_holdings(index)
    vectors = holdings.track_vectors()
    copies: dict[str, list[int]] = defaultdict(list)  # places in tracks, by content
    for place, track in enumerate(holdings.tracks):
        copies[track.content].append(place)
    recordings = list(copies.values())
    firsts = [places[0] for places in recordings]
    seconds = np.array([holdings.tracks[place].seconds for place in firsts])
    near = label_near(vectors[firsts], seconds, threshold=threshold)
    groups: dict[int, list[Duplicate]] = defaultdict(list)
    for label, cosine, places in zip(near.labels.tolist(), near.cosines.tolist(), recordings, strict=True):
        again = len(places) > 1
        for track in (holdings.tracks[place] for place in places):
            one = Duplicate(
                track=track, path=holdings.path(track), cosine=1.0 if again else cosine, is_same_audio=again
            )
            groups[label].append(one)
    found = (tuple(sorted(group, key=_id)) for group in groups.values() if len(group) > 1)
    return sorted(found, key=lambda group: _id(group[0]))


def label_near(vectors: Floats, seconds: npt.NDArray[np.float64], *, threshold: float) -> Near:
    """Label recordings so that near ones, and what hangs together by them, have the same label.

    Args:
        vectors: float32 [n, d], unit length.
        seconds: float64 [n].
        threshold: the cosine from which two recordings of similar length are near.
    """
    by_length = np.argsort(seconds, kind="stable")
    labels, nearest = np.arange(len(seconds)), np.full(len(seconds), -np.inf, np.float32)
    for left, right, cosines in _near_pairs(vectors[by_length], seconds[by_length], threshold):
        labels = _join(labels, by_length[left], by_length[right])
        for ends in (left, right):
            np.maximum.at(nearest, by_length[ends], cosines)
    return Near(labels, nearest)


def _id(one: Duplicate) -> int:
    return one.track.id


def _near_pairs(
    vectors: Floats, seconds: npt.NDArray[np.float64], threshold: float
) -> Iterator[tuple[Numbers, Numbers, Floats]]:
    """Pairs of near recordings and their cosines, block by block; recordings are in the order of their lengths."""
    # Where those begin that are too long for each recording: no block has to reach beyond them.
    ends = np.searchsorted(seconds, longest_alike(seconds), side="right")
    for row in range(0, len(vectors), _ROWS):
        rows = slice(row, row + _ROWS)
        for column in range(row, int(ends[rows][-1]), _COLUMNS):
            cosines = vectors[rows] @ vectors[column : column + _COLUMNS].T
            near = np.nonzero(cosines >= threshold)  # a few: what follows takes longer than the product, for all
            left, right = near[0].astype(np.int64) + row, near[1].astype(np.int64) + column
            is_same = is_same_recording(cosines[near], seconds[left], seconds[right], threshold=threshold)
            is_pair = (left < right) & is_same
            if is_pair.any():
                yield left[is_pair], right[is_pair], cosines[near][is_pair]


def _join(labels: Numbers, left: Numbers, right: Numbers) -> Numbers:
    """Labels after pairs were found; a label is the smallest number of those that bear it."""
    numbers = np.arange(len(labels))
    edges = (np.concatenate([numbers, left]), np.concatenate([labels, right]))
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(len(labels), len(labels)))
    _, components = connected_components(graph, directed=False)
    _, smallest = np.unique(components, return_index=True)
    joined: Numbers = smallest[components]
    return joined
