"""Searching an index: windows are scored, tracks are answered, each with its best moment."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from data.clips import MIN_NORM, pool_windows
from data.errors import QueryError
from indexing.catalogue import Catalogue, TrackEntry
from indexing.engines import ENGINE_FILE, Engine, ExactEngine, ShardVectors, Vectors, open_engine
from indexing.engines.vectors import Floats
from indexing.finding import Answers, Finder
from indexing.model import ModelRecord, check_model
from indexing.same_recording import is_same_recording
from indexing.scoring import Recordings, Scores, Scoring, check_scoring, counted_mean, percentiles
from indexing.shards import Shard, read_shard
from indexing.stamp import Stamp, read_stamp
from mulan.encoding import Encoder


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
class Share:
    """What a term of a query, as `describe_term` writes it, adds to a score; the shares of a hit sum to its score."""

    term: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A track that answers a query. `rank` counts from 1; `score` is what the search was asked to rank by.

    `start` and `end` are its best moment in seconds: a window in which the model hears mostly that music. The
    last window of a longer track is completed with the track's start: where at least half of it is its own, the
    moment is the last `clip_seconds` of the track; where most of it is the start, the first.

    Attributes:
        percentile: how many percent of the library's recordings score no higher; 100 for the best. Where an engine is
            not exact it is estimated from 1,000 of them, with a standard error of up to 1.6 at 50 and 0.3 at 99.
        duplicates: ids of tracks that are not hits because they are near-duplicates of this one.
        shares: what each term of the query adds to the score, where that was asked for.
    """

    rank: int
    score: float
    percentile: float
    track: int
    path: Path
    title: str
    artist: str | None
    start: float
    end: float
    duplicates: tuple[int, ...] = ()
    shares: tuple[Share, ...] = ()


EngineMaker: TypeAlias = Callable[[Vectors, ModelRecord], Engine]
"""Makes the engine over an index's vectors; StoreError if what it asks holds those of another model."""


class Opening(NamedTuple):
    """How an index was opened: what its files were just before, and what opens it in the same way again."""

    stamp: Stamp
    again: Callable[[], "Index"]


class _Group(NamedTuple):
    """What becomes one hit: positions of tracks, the one that is shown first."""

    score: float
    row: int
    places: tuple[int, ...]


class Index:
    """An index as it was when it was opened; a sync that runs meanwhile does not disturb it.

    Tracks with the same audio share rows: what is searched are recordings, each of which is one or more tracks.
    Several threads may search it at once.

    Attributes:
        path: its folder.
        model: the model that made its vectors.
        tracks: every track that can be found, by id.
        engine: what finds the nearest windows.
        opening: how it was opened; None if it was made otherwise.
    """

    def __init__(
        self,
        path: Path,
        model: ModelRecord,
        *,
        shards: Mapping[int, Shard],
        tracks: Sequence[TrackEntry],
        roots: Mapping[int, Path],
        engine: Engine | None = None,
        opening: Opening | None = None,
    ) -> None:
        """Without an engine, search is exact; with one, its vectors are those of the shards, in their order."""
        self.path, self.model, self.opening = path, model, opening
        self.tracks: tuple[TrackRecord, ...] = tuple(_record(track, roots[track.library]) for track in tracks)
        self._ids = np.array([track.id for track in tracks], np.int64)
        self._spans = [shard.spans for shard in shards.values()]
        vectors = [ShardVectors(str(key), shard.vectors) for key, shard in shards.items()]
        self.engine: Engine = engine or ExactEngine(Vectors(vectors))
        self._offsets = self.engine.vectors.offsets
        offsets = dict(zip(shards, self._offsets.tolist(), strict=False))
        firsts = [offsets[track.shard] + track.first_row for track in tracks]
        numbers: dict[int, int] = {}  # of recordings, in the order of their first tracks, by first row
        for first in firsts:
            numbers.setdefault(first, len(numbers))
        self._recording_of = np.array([numbers[first] for first in firsts], np.int64)
        self._places: list[list[int]] = [[] for _ in numbers]  # in `tracks`, of a recording's tracks
        for place, recording in enumerate(self._recording_of.tolist()):
            self._places[recording].append(place)
        windows = np.array([tracks[places[0]].windows for places in self._places], np.int64)
        self._finder = Finder(self.engine, Recordings(np.array(list(numbers), np.int64), windows), path)

    @classmethod
    def open(cls, path: str | Path, *, engine: EngineMaker | None = None) -> "Index":
        """Open an index with the engine in its folder, or another over its vectors; these are memory-mapped.

        Raises:
            StoreError: no index there, a shard or the engine is damaged, or another version of mulan made it; and what
                `engine` raises.
        """
        folder = Path(path)
        opening = Opening(read_stamp(folder), partial(cls.open, folder, engine=engine))
        # Shards are opened inside: until then, no writer can forget and delete them.
        with Catalogue.open(folder) as catalogue, catalogue.snapshot():
            model, records = catalogue.model, catalogue.shards()
            shards = {key: read_shard(folder, one, dim=model.dim) for key, one in records.items()}
            tracks, roots = list(catalogue.tracks()), catalogue.libraries()
        vectors = Vectors([ShardVectors(one.key, shards[key].vectors) for key, one in records.items()])
        made = open_engine(folder / ENGINE_FILE, vectors) if engine is None else engine(vectors, model)
        return cls(folder, model, shards=shards, tracks=tracks, roots=roots, engine=made, opening=opening)

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuse an encoder whose vectors do not live in this index's space.

        Raises:
            StoreError: its fingerprint is not that of the model that made the index.
        """
        check_model(self.path, self.model, name=encoder.name, fingerprint=encoder.fingerprint)

    def track(self, track_id: int) -> TrackRecord | None:
        """The track with this id; None if there is none."""
        place = self._place(track_id)
        return None if place is None else self.tracks[place]

    def copies(self, track_id: int) -> list[int]:
        """The ids of the tracks with the same audio, itself included, ascending; KeyError if there is no such track."""
        return [self.tracks[place].id for place in self._places[self._recording(track_id)]]

    def vector(self, track_id: int) -> Floats:
        """The whole of a track, float32 [d] of unit length.

        Raises:
            KeyError: there is no such track.
            QueryError: its windows cancel each other out, so that it has no direction.
        """
        windows = self._finder.windows_of(self._recording(track_id))
        try:
            return pool_windows(windows)
        except ValueError as error:
            raise QueryError(f"track {track_id} has no vector of its own: its windows cancel each other out") from error

    def counted(self, track_id: int, vector: npt.ArrayLike, *, scoring: Scoring = "max") -> Scores:
        """The mean float64 [d] of the windows of a track that its score against a vector counts.

        Its inner product with the vector is the score, but for rounding. KeyError if there is no such track.
        """
        windows = self._finder.windows_of(self._recording(track_id))
        return counted_mean(windows, np.asarray(vector, np.float32), scoring)

    def search(
        self,
        vector: npt.ArrayLike,
        *,
        k: int,
        scoring: Scoring = "max",
        only: Collection[int] | None = None,
        unique: bool = False,
    ) -> list[Hit]:
        """The k tracks that score best against a vector, best first; all tracks if there are fewer.

        As exact as `Finder.find` is. Equal scores are ordered by track id, and within a track the earliest of its best
        windows is its moment.

        Args:
            vector: float32 [d] of unit length, so that scores are cosines.
            only: ids of the tracks that count, if not all do; ids of no track are passed over.
            unique: answer with the best track of each recording, see `is_same_recording`.

        Raises:
            ValueError: k < 1, an unknown scoring, or the vector is not a finite unit vector of the index's width.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 track")
        check_scoring(scoring)
        query, is_kept = _query(vector, self.model.dim), self._mask(only)
        first_places = np.full(len(self._places), len(self.tracks))
        np.minimum.at(first_places, self._recording_of[is_kept], np.flatnonzero(is_kept))
        wanted, recordings = k, first_places < len(self.tracks)
        if not recordings.any():
            return []
        while True:
            answers = self._finder.find(query, count=wanted, scoring=scoring, is_kept=recordings)
            groups = (self._unique if unique else self._each)(answers, is_kept, k)
            if len(groups) >= k or len(answers.recordings) == recordings.sum():
                break
            wanted *= 4
        places = percentiles(np.array([group.score for group in groups]), answers.library).tolist()
        ranked = enumerate(zip(groups, places, strict=True), 1)
        return [self._hit(rank, group, place) for rank, (group, place) in ranked]

    def _place(self, track_id: int) -> int | None:
        place = int(np.searchsorted(self._ids, track_id)) if abs(track_id) < 2**63 else len(self._ids)
        return place if place < len(self._ids) and self._ids[place] == track_id else None

    def _recording(self, track_id: int) -> int:
        place = self._place(track_id)
        if place is None:
            raise KeyError(track_id)
        return int(self._recording_of[place])

    def _mask(self, only: Collection[int] | None) -> npt.NDArray[np.bool_]:
        """Bool [tracks]: those that count."""
        if only is None:
            return np.ones(len(self.tracks), bool)
        return np.isin(self._ids, np.fromiter(only, np.int64, len(only)))

    def _each(self, answers: Answers, is_kept: npt.NDArray[np.bool_], k: int) -> list[_Group]:
        """The k best tracks."""
        groups = [
            _Group(score, row, (place,))
            for recording, score, row in _rows_of(answers)
            for place in self._places[recording]
            if is_kept[place]
        ]
        return sorted(groups, key=lambda group: (-group.score, group.places))[:k]

    def _unique(self, answers: Answers, is_kept: npt.NDArray[np.bool_], k: int) -> list[_Group]:
        """The best track of each of k groups; as long as there are not k, near-duplicates join a group."""
        kept = [
            (-score, tuple(place for place in self._places[recording] if is_kept[place]), recording, row)
            for recording, score, row in _rows_of(answers)
        ]
        groups: list[_Group] = []
        pooled, seconds = np.zeros((0, self.model.dim), np.float32), np.zeros(0)
        for loss, places, recording, row in sorted(kept):
            if len(groups) == k:
                break
            vector = self._finder.windows_of(recording).mean(axis=0, dtype=np.float64).astype(np.float32)
            vector /= max(float(np.linalg.norm(vector)), MIN_NORM)  # windows that cancel out are near to nothing
            length = self.tracks[places[0]].seconds
            near = np.flatnonzero(is_same_recording(pooled @ vector, seconds, length))
            if len(near):
                groups[near[0]] = groups[near[0]]._replace(places=groups[near[0]].places + places)
            else:
                groups.append(_Group(-loss, row, places))
                pooled, seconds = np.vstack([pooled, vector]), np.append(seconds, length)
        return groups

    def _hit(self, rank: int, group: _Group, percentile: float) -> Hit:
        shard = int(np.searchsorted(self._offsets, group.row, side="right")) - 1
        start, end = map(float, self._spans[shard][group.row - self._offsets[shard]])
        track = self.tracks[group.places[0]]
        if track.windows > 1:
            start, end = _moment(start, end, self.model.clip_seconds)
        return Hit(
            rank=rank,
            score=group.score,
            percentile=percentile,
            track=track.id,
            path=track.path,
            title=track.title,
            artist=track.artist,
            start=start,
            end=end,
            duplicates=tuple(self.tracks[place].id for place in group.places[1:]),
        )


def _rows_of(answers: Answers) -> Iterator[tuple[int, float, int]]:
    """Number, score and best row of each recording."""
    return zip(answers.recordings.tolist(), answers.scores.tolist(), answers.rows.tolist(), strict=True)


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
