"""Searching an index: exact inner products over all windows, answered as tracks with their best moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from indexing.catalogue import Catalogue, TrackEntry
from indexing.model import ModelRecord, check_model
from indexing.shards import Shard, read_shard
from mulan.encoding import Encoder

Scoring = Literal["max", "mean", "top3"]
"""What a track's score is: that of its best window, the mean of all, or of its three best (of all, if fewer)."""

WINDOWS_PER_HIT = 16  # first guess of how many of the best windows hold k tracks; changes speed, not answers
NOBODY = -1  # owner of the rows of dropped tracks

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TrackRecord:
    """One track of the index. `id` is never used again, `name` is its path below `root`, `seconds` what was decoded."""

    id: int
    root: Path
    name: str
    title: str
    artist: str | None
    album: str | None
    genre: str | None
    year: int | None
    bpm: float | None
    seconds: float
    windows: int

    @property
    def path(self) -> Path:
        """Where its file is."""
        return self.root / self.name  # not stored: making 100,000 paths takes longer than the rest of opening an index


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A track that answers a query. `rank` counts from 1; `score` is what the search was asked to rank by.

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


# float32 [n, w], the scores of the windows of n recordings -> float64 [n], the scores of the recordings
_SCORINGS: Mapping[Scoring, Callable[[Floats], npt.NDArray[np.float64]]] = {
    "max": lambda windows: windows.max(axis=1).astype(np.float64),
    "mean": lambda windows: windows.mean(axis=1, dtype=np.float64),
    "top3": lambda windows: np.sort(windows, axis=1)[:, -3:].mean(axis=1, dtype=np.float64),
}


class _Answers(NamedTuple):
    """Recordings that answer a query, best first: their numbers, scores, and the rows of their best windows."""

    recordings: npt.NDArray[np.int64]
    scores: npt.NDArray[np.floating[Any]]
    rows: npt.NDArray[np.int64]


class Index:
    """An index as it was when it was opened; a sync that runs meanwhile does not disturb it.

    Tracks with the same audio share rows: what is searched are recordings, each of which is one or more tracks.

    Attributes:
        path: its folder.
        model: the model that made its vectors.
        tracks: every track that can be found, by id.
    """

    def __init__(
        self,
        path: Path,
        model: ModelRecord,
        *,
        shards: Mapping[int, Shard],
        tracks: Sequence[TrackEntry],
        roots: Mapping[int, Path],
    ) -> None:
        self.path, self.model = path, model
        self.tracks: tuple[TrackRecord, ...] = tuple(_record(track, roots[track.library]) for track in tracks)
        self._shards = tuple(shards.values())
        self._offsets = np.cumsum([0, *(len(shard.vectors) for shard in self._shards)])
        offsets = dict(zip(shards, self._offsets.tolist(), strict=False))
        numbers: dict[int, int] = {}  # of recordings, in the order of their first tracks, by first row
        for track in tracks:
            numbers.setdefault(offsets[track.shard] + track.first_row, len(numbers))
        self._firsts = np.array(list(numbers), np.int64)
        self._windows = np.zeros(len(numbers), np.int64)
        self._places: list[list[int]] = [[] for _ in numbers]  # in `tracks`, of a recording's tracks
        self._owners = np.full(self._offsets[-1], NOBODY, np.int64)
        for place, track in enumerate(tracks):
            first = offsets[track.shard] + track.first_row
            recording = numbers[first]
            self._places[recording].append(place)
            self._windows[recording] = track.windows
            self._owners[first : first + track.windows] = recording

    @classmethod
    def open(cls, path: str | Path) -> "Index":
        """Open an index; vectors stay on disk and are memory-mapped.

        Raises:
            StoreError: no index there, a shard is missing or misshapen, or another version of mulan made it.
        """
        folder = Path(path)
        # Shards are opened inside: until then, no writer can forget and delete them.
        with Catalogue.open(folder) as catalogue, catalogue.snapshot():
            model = catalogue.model
            shards = {key: read_shard(folder, one, dim=model.dim) for key, one in catalogue.shards().items()}
            return cls(folder, model, shards=shards, tracks=list(catalogue.tracks()), roots=catalogue.libraries())

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuse an encoder whose vectors do not live in this index's space.

        Raises:
            StoreError: its fingerprint is not that of the model that made the index.
        """
        check_model(self.path, self.model, name=encoder.name, fingerprint=encoder.fingerprint)

    def search(self, vector: npt.ArrayLike, *, k: int, scoring: Scoring = "max") -> list[Hit]:
        """The k tracks that score best against a vector, best first; all tracks if there are fewer.

        Exact, whatever the scoring. Equal scores are ordered by track id, and within a track the earliest of its
        best windows is its moment.

        Args:
            vector: float32 [d] of unit length, so that scores are cosines.

        Raises:
            ValueError: k < 1, an unknown scoring, or the vector is not a finite unit vector of the index's width.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 track")
        if scoring not in _SCORINGS:
            raise ValueError(f"scoring is {scoring!r}; must be one of {', '.join(_SCORINGS)}")
        query = _query(vector, self.model.dim)
        found = self._by_best_window(query, k) if scoring == "max" else self._by_all_windows(query, k, scoring)
        answers = sorted(
            (-score, place, row)
            for recording, score, row in zip(*(column.tolist() for column in found), strict=True)
            for place in self._places[recording]
        )
        return [self._hit(rank, -loss, place, row) for rank, (loss, place, row) in enumerate(answers[:k], 1)]

    def _by_best_window(self, query: Floats, k: int) -> _Answers:
        """The k best recordings by their best window.

        Fetches ever more windows until k recordings are among them and no window left out can tie with the last.
        """
        count = min(WINDOWS_PER_HIT * k, len(self._owners))
        while True:
            scores, rows = self._nearest(query, count)
            owners = self._owners[rows]
            recordings, first = np.unique(owners, return_index=True)
            first = first[recordings != NOBODY]
            best = first[np.lexsort((owners[first], -scores[first]))][:k]
            is_settled = len(best) == k and scores[-1] < scores[best[-1]]
            if is_settled or count == len(self._owners):
                return _Answers(owners[best], scores[best], rows[best])
            count = min(4 * count, len(self._owners))

    def _nearest(self, query: Floats, count: int) -> tuple[Floats, npt.NDArray[np.int64]]:
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

    def _by_all_windows(self, query: Floats, k: int, scoring: Scoring) -> _Answers:
        """The k best recordings by all of their windows, recordings of equally many at once."""
        of_windows = np.concatenate([np.zeros(0, np.float32), *(shard.vectors @ query for shard in self._shards)])
        scores, best_rows = np.zeros(len(self._firsts)), self._firsts.copy()
        for windows in np.unique(self._windows):
            alike = np.flatnonzero(self._windows == windows)
            table = of_windows[self._firsts[alike, np.newaxis] + np.arange(windows)]
            scores[alike] = _SCORINGS[scoring](table)
            best_rows[alike] += table.argmax(axis=1)
        best = np.lexsort((np.arange(len(scores)), -scores))[:k]
        return _Answers(best, scores[best], best_rows[best])

    def _hit(self, rank: int, score: float, place: int, row: int) -> Hit:
        shard = int(np.searchsorted(self._offsets, row, side="right")) - 1
        start, end = map(float, self._shards[shard].spans[row - self._offsets[shard]])
        track = self.tracks[place]
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


def _record(track: TrackEntry, root: Path) -> TrackRecord:
    return TrackRecord(
        id=track.id,
        root=root,
        name=track.path,
        title=track.title,
        artist=track.artist,
        album=track.album,
        genre=track.genre,
        year=track.year,
        bpm=track.bpm,
        seconds=track.seconds,
        windows=track.windows,
    )


def _moment(start: float, end: float, clip_seconds: float) -> tuple[float, float]:
    """The stretch of a track's audio that fills most of a window; a short window is the last of several."""
    own = end - start
    if own >= clip_seconds:
        return start, end
    return (end - clip_seconds, end) if own >= clip_seconds / 2 else (0.0, clip_seconds)


def _query(vector: npt.ArrayLike, dim: int) -> Floats:
    query = np.ascontiguousarray(vector, np.float32)
    if query.shape != (dim,):
        raise ValueError(f"vector has shape {query.shape}; the index needs ({dim},)")
    length = float(np.linalg.norm(query))
    if not abs(length - 1) < 1e-3:  # also refuses NaN; bfloat16 rounding stays well below
        raise ValueError(f"vector has length {length:.4g}; the index needs unit length")
    return query
