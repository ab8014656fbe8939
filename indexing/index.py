"""Searching an index: exact inner products over all windows, answered as tracks with their best moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from indexing.store import Manifest, Shard, TrackRecord, check_model, read_manifest, read_shard
from mulan.encoding import Encoder

WINDOWS_PER_HIT = 16  # first guess of how many of the best windows hold k tracks; changes speed, not answers
NO_TRACK = -1  # owner of a dropped track's rows


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A track that answers a query. `rank` counts from 1.

    `start` and `end` are its best moment in seconds: a window in which the model hears mostly that music. The
    last window of a longer track is completed with the track's start: where at least half of it is its own, the
    moment is the last `clip_seconds` of the track; where most of it is the start, the first.
    """

    rank: int
    score: float
    track: int
    path: Path
    title: str
    artist: str | None
    start: float
    end: float


class Index:
    """An index as it was when it was opened; a build that runs meanwhile does not disturb it.

    Attributes:
        path: its folder.
        model: the model that made its vectors.
        tracks: every track that can be found, by id.
    """

    def __init__(self, path: Path, manifest: Manifest, shards: Sequence[Shard]) -> None:
        self.path, self.model = path, manifest.model
        self._shards = shards
        dropped = frozenset(manifest.dropped)
        everything = [track for shard in shards for track in shard.tracks]
        self.tracks: tuple[TrackRecord, ...] = tuple(track for track in everything if track.id not in dropped)
        place_of = {track.id: place for place, track in enumerate(self.tracks)}
        places = [place_of.get(track.id, NO_TRACK) for track in everything]
        windows = [track.windows for track in everything]
        self._owners = np.repeat(np.array(places, np.int64), np.array(windows, np.int64))
        self._offsets = np.cumsum([0, *(len(shard.vectors) for shard in shards)])

    @classmethod
    def open(cls, path: str | Path) -> "Index":
        """Open an index; vectors stay on disk and are memory-mapped.

        Raises:
            StoreError: no index there, a shard is missing or misshapen, or a newer mulan wrote it.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        return cls(folder, manifest, [read_shard(folder, record, manifest=manifest) for record in manifest.shards])

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuse an encoder whose vectors do not live in this index's space.

        Raises:
            StoreError: its fingerprint is not that of the model that made the index.
        """
        check_model(self.path, self.model, name=encoder.name, fingerprint=encoder.fingerprint)

    def search(self, vector: npt.ArrayLike, *, k: int) -> list[Hit]:
        """The k tracks whose best window is nearest to a vector, best first; all tracks if there are fewer.

        Exact. Equal scores are ordered by track id, and within a track the earliest window counts.

        Args:
            vector: float32 [d] of unit length, so that scores are cosines.

        Raises:
            ValueError: k < 1, or the vector is not a finite unit vector of the index's width.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 track")
        scores, rows = self._best_windows(_query(vector, self.model.dim), k)
        return [
            self._hit(rank, float(score), int(row))
            for rank, (score, row) in enumerate(zip(scores, rows, strict=True), 1)
        ]

    def _best_windows(
        self, query: npt.NDArray[np.float32], k: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scores and rows of the best window of each of the k best tracks.

        Fetches ever more windows until k tracks are among them and no window left out can tie with the last.
        """
        count = min(WINDOWS_PER_HIT * k, len(self._owners))
        while True:
            scores, rows = self._nearest(query, count)
            owners = self._owners[rows]
            tracks, first = np.unique(owners, return_index=True)
            first = first[tracks != NO_TRACK]
            best = first[np.lexsort((owners[first], -scores[first]))][:k]
            is_settled = len(best) == k and scores[-1] < scores[best[-1]]
            if is_settled or count == len(self._owners):
                return scores[best], rows[best]
            count = min(4 * count, len(self._owners))

    def _nearest(
        self, query: npt.NDArray[np.float32], count: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scores and rows of the `count` nearest windows, best first, equal scores by row.

        `faiss.knn` is the exact search of IndexFlatIP without its copy of the vectors in memory.
        """
        scores, rows = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
        for shard, offset in zip(self._shards, self._offsets, strict=False):
            here = min(count, len(shard.vectors))
            found = faiss.knn(query[np.newaxis], shard.vectors, here, metric=faiss.METRIC_INNER_PRODUCT)
            scores.append(found[0][0])
            rows.append(found[1][0] + offset)
        all_scores, all_rows = np.concatenate(scores), np.concatenate(rows)
        order = np.lexsort((all_rows, -all_scores))[:count]
        return all_scores[order], all_rows[order]

    def _hit(self, rank: int, score: float, row: int) -> Hit:
        shard = int(np.searchsorted(self._offsets, row, side="right")) - 1
        start, end = map(float, self._shards[shard].spans[row - self._offsets[shard]])
        track = self.tracks[self._owners[row]]
        if track.windows > 1:
            start, end = _moment(start, end, self.model.clip_seconds)
        return Hit(
            rank=rank,
            score=score,
            track=track.id,
            path=track.path,
            title=track.title,
            artist=track.artist,
            start=start,
            end=end,
        )


def _moment(start: float, end: float, clip_seconds: float) -> tuple[float, float]:
    """The stretch of a track's audio that fills most of a window; a short window is the last of several."""
    own = end - start
    if own >= clip_seconds:
        return start, end
    return (end - clip_seconds, end) if own >= clip_seconds / 2 else (0.0, clip_seconds)


def _query(vector: npt.ArrayLike, dim: int) -> npt.NDArray[np.float32]:
    query = np.ascontiguousarray(vector, np.float32)
    if query.shape != (dim,):
        raise ValueError(f"vector has shape {query.shape}; the index needs ({dim},)")
    length = float(np.linalg.norm(query))
    if not abs(length - 1) < 1e-3:  # also refuses NaN; bfloat16 rounding stays well below
        raise ValueError(f"vector has length {length:.4g}; the index needs unit length")
    return query
