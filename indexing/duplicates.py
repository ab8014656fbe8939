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
from indexing.same_recording import SAME_RECORDING, is_same_recording, longest_alike
from indexing.tracks import Floats, read_holdings

_ROWS, _COLUMNS = 1024, 8192  # of a block of cosines: 34 MB

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A track of a group. `cosine` is to the first of the group; `is_same_audio`: differs from it in tags at most."""

    track: TrackEntry
    path: Path
    cosine: float
    is_same_audio: bool


def find_duplicates(index: Path, *, threshold: float = SAME_RECORDING) -> list[tuple[Duplicate, ...]]:
    """Groups of tracks that are probably the same recording, by the id of their first track, which is the oldest.

    Two tracks are duplicates if their files hold the same audio (only tags differ), or if `is_same_recording` says so.
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


def _near_pairs(
    vectors: Floats, seconds: npt.NDArray[np.float64], threshold: float
) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of near recordings, block by block; recordings are in the order of their lengths."""
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
