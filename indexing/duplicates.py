"""Finds tracks that an index holds more than once: the same audio, and what sounds the same. It deletes nothing."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from indexing.catalogue import TrackEntry
from indexing.tracks import Floats, read_holdings

# Encoders pad, and copies are cut differently at their ends.
_SECONDS_APART, _SHARE_APART = 2.0, 0.01
_ROWS, _COLUMNS = 1024, 8192  # of a block of cosines: 34 MB

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A track of a group. `cosine` is to the first of the group; `is_same_audio`: differs from it in tags at most."""

    track: TrackEntry
    path: Path
    cosine: float
    is_same_audio: bool


def find_duplicates(index: Path, *, threshold: float) -> list[tuple[Duplicate, ...]]:
    """Groups of tracks that are probably the same recording, by the id of their first track, which is the oldest.

    Two tracks are duplicates if their files hold the same audio (only tags differ), or if their lengths differ by
    at most 2 s or 1 % and the cosine of their vectors, each the mean of the track's windows, is `threshold` or more.
    A group is all that hangs together so: two of its tracks may resemble each other by way of a third only, and
    `Duplicate.cosine` then says so.

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
    labels = label_near(vectors[firsts], seconds, threshold=threshold)
    groups: dict[int, list[int]] = defaultdict(list)
    for label, places in zip(labels.tolist(), recordings, strict=True):
        groups[label] += places

    def members(places: Sequence[int]) -> tuple[Duplicate, ...]:
        first = min(places)
        return tuple(
            Duplicate(
                track=(track := holdings.tracks[place]),
                path=holdings.path(track),
                cosine=float(vectors[place] @ vectors[first]),
                is_same_audio=track.content == holdings.tracks[first].content,
            )
            for place in sorted(places)
        )

    return sorted(
        (members(places) for places in groups.values() if len(places) > 1), key=lambda group: group[0].track.id
    )


def label_near(vectors: Floats, seconds: npt.NDArray[np.float64], *, threshold: float) -> Numbers:
    """Label recordings so that near ones, and what hangs together by them, have the same: int64 [n].

    Args:
        vectors: float32 [n, d], unit length.
        seconds: float64 [n].
        threshold: the cosine from which two recordings of similar length are near.
    """
    by_length = np.argsort(seconds, kind="stable")
    labels = np.arange(len(seconds))
    for left, right in _near_pairs(vectors[by_length], seconds[by_length], threshold):
        labels = _join(labels, by_length[left], by_length[right])
    return labels


def are_similar_lengths(one: float, other: float) -> bool:
    """Whether two lengths in seconds may be those of one recording."""
    return abs(one - other) <= max(_SECONDS_APART, _SHARE_APART * max(one, other))


def _near_pairs(
    vectors: Floats, seconds: npt.NDArray[np.float64], threshold: float
) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of near recordings, block by block; recordings are in the order of their lengths."""
    # Where those begin that are too long for each recording: all before them are similar.
    longest = np.maximum(seconds + _SECONDS_APART, seconds / (1 - _SHARE_APART))
    ends = np.searchsorted(seconds, longest, side="right")
    for row in range(0, len(vectors), _ROWS):
        rows = slice(row, row + _ROWS)
        for column in range(row, int(ends[rows][-1]), _COLUMNS):
            cosines = vectors[rows] @ vectors[column : column + _COLUMNS].T
            left, right = (found.astype(np.int64) for found in np.nonzero(cosines >= threshold))
            left, right = left + row, right + column
            is_pair = (left < right) & (right < ends[left])
            if is_pair.any():
                yield left[is_pair], right[is_pair]


def _join(labels: Numbers, left: Numbers, right: Numbers) -> Numbers:
    """Labels after pairs were found; a label is the smallest number of those that bear it."""
    numbers = np.arange(len(labels))
    edges = (np.concatenate([numbers, left]), np.concatenate([labels, right]))
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(len(labels), len(labels)))
    _, components = connected_components(graph, directed=False)
    _, smallest = np.unique(components, return_index=True)
    joined: Numbers = smallest[components]
    return joined
