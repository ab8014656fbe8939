"""What an index holds at one moment, and whole tracks as vectors: for all that compares, lists or exports tracks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.clips import MIN_NORM
from indexing.catalogue import Catalogue, RowBlock, TrackEntry
from indexing.model import ModelRecord
from indexing.shards import Shard, read_shard

Floats = npt.NDArray[np.float32]

_ROWS_PER_BLOCK = 16_384  # 67 MB of float64 at 512 dimensions


class Windows(NamedTuple):
    """A track's windows: vectors float32 [w, d], and spans float64 [w, 2], start and end in seconds."""

    vectors: Floats
    spans: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What an index held when it was read; a sync that runs meanwhile does not disturb it.

    Attributes:
        model: the model that made its vectors.
        tracks: by id.
        roots: of the libraries, by id.
        shards: by id, their vectors memory-mapped.
    """

    model: ModelRecord
    tracks: tuple[TrackEntry, ...]
    roots: Mapping[int, Path]
    shards: Mapping[int, Shard]

    def path(self, track: TrackEntry) -> Path:
        """Where a track's file is."""
        return self.roots[track.library] / track.path

    def windows(self, track: TrackEntry) -> Windows:
        """The windows of a track, in their order."""
        shard, rows = self.shards[track.shard], slice(track.first_row, track.first_row + track.windows)
        return Windows(shard.vectors[rows], shard.spans[rows])

    def track_vectors(self) -> Floats:
        """A vector of each track, float32 [len(tracks), d]: the direction of the mean of its windows' vectors.

        Zeros where that mean has no direction. Vectors are read block by block; those of copies once.
        """
        recordings: dict[RowBlock, int] = {}
        numbers = [
            recordings.setdefault(RowBlock(one.shard, one.first_row, one.windows), len(recordings))
            for one in self.tracks
        ]
        pooled = np.zeros((len(recordings), self.model.dim), np.float32)
        for some in _blocks(sorted(recordings)):
            pooled[[recordings[one] for one in some]] = _pool(self.shards[some[0].shard].vectors, some)
        return pooled[numbers]


def read_holdings(index: Path) -> Holdings:
    """What an index holds now.

    Raises:
        StoreError: no index there, a shard is missing or misshapen, or another version of mulan made it.
    """
    # Shards are opened inside: until then, no writer can forget and delete them.
    with Catalogue.open(index) as catalogue, catalogue.snapshot():
        model = catalogue.model
        return Holdings(
            model=model,
            tracks=tuple(catalogue.tracks()),
            roots=catalogue.libraries(),
            shards={key: read_shard(index, one, dim=model.dim) for key, one in catalogue.shards().items()},
        )


def _blocks(recordings: list[RowBlock]) -> Iterator[list[RowBlock]]:
    """Recordings of one shard that lie within a block's rows; a longer recording is a block of its own."""
    some: list[RowBlock] = []
    for one in recordings:
        end = one.first_row + one.windows
        if some and (one.shard != some[0].shard or end - some[0].first_row > _ROWS_PER_BLOCK):
            yield some
            some = []
        some.append(one)
    if some:
        yield some


def _pool(vectors: Floats, recordings: list[RowBlock]) -> Floats:
    """Float32 [len(recordings), d]; rows of dropped tracks may lie between them."""
    first = recordings[0].first_row
    edges = [edge - first for one in recordings for edge in (one.first_row, one.first_row + one.windows)]
    block = vectors[first : first + edges[-1]]
    # Sums from each edge to the next: every second is of what lies between two recordings.
    sums = np.add.reduceat(block, edges[:-1], axis=0, dtype=np.float64)[::2]
    means = sums / np.array([one.windows for one in recordings])[:, np.newaxis]
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    pooled: Floats = np.where(norms >= MIN_NORM, means / np.maximum(norms, MIN_NORM), 0).astype(np.float32)
    return pooled
