"""Finding the recordings whose windows answer a query, all of them or those that a filter keeps."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data.errors import StoreError
from indexing.engines import Engine, ExactEngine, ShardVectors, Vectors
from indexing.engines.vectors import NO_ROW, Floats, Rows
from indexing.scoring import Recordings, Scores, Scoring, score_all, score_recordings

NARROW_ROWS = 50_000
"""Where the engine is not exact, a filter that keeps at most so many rows is answered by scoring each of them."""
SAMPLE = 1000
"""Recordings that stand for the library where not all of them are scored."""

_MOST = 1.01  # cosines, and numbers in unit vectors, end at 1; queries and models that round to bfloat16 go beyond
_NOBODY = -1  # owner of the rows of dropped tracks
_WINDOWS_PER_HIT = 16  # first guess of how many of the best windows hold one recording; changes speed, not answers

Mask = npt.NDArray[np.bool_]


class Answers(NamedTuple):
    """Recordings that answer a query, in no order: numbers int64 [n], scores float64 [n], rows of their best windows.

    `library` is what scores are compared with: those of all recordings or of a sample, in ascending order.
    """

    recordings: Rows
    scores: Scores
    rows: Rows
    library: Scores


class Finder:
    """Recordings over an engine. Safe to share between threads.

    Opening an index does not read its vectors, so damage shows here, if at all: what no unit vector gives is refused.
    """

    def __init__(self, engine: Engine, blocks: Recordings, folder: Path) -> None:
        """With the folder of the index, for what is said of damage."""
        self.engine, self.blocks, self._folder = engine, blocks, folder
        self._vectors = engine.vectors
        self._owners = np.full(len(self._vectors), _NOBODY, np.int64)
        self._owners[blocks.rows()] = np.repeat(np.arange(len(blocks.firsts)), blocks.windows)

    def find(self, query: Floats, *, count: int, scoring: Scoring, is_kept: Mask) -> Answers:
        """The `count` best of the kept recordings, and whatever ties with the last; all if there are fewer.

        By "max", as exact as the engine; by other scorings exact, and every vector is read. Filters that keep few rows
        are exact, too.

        Args:
            query: float32 [d] of unit length.
            is_kept: bool [recordings].

        Raises:
            StoreError: a score is none that unit vectors give, or Milvus does not answer.
        """
        answers = self._find(query, count, scoring, is_kept)
        # Where all recordings were scored, every score lies between the ends of the library's; NaN is the last of them.
        self._refuse_damage("a score", np.concatenate([answers.scores, answers.library[:1], answers.library[-1:]]))
        return answers

    def windows_of(self, recording: int) -> Floats:
        """The vectors of a recording, float32 [w, d].

        Raises:
            StoreError: one of them is no unit vector.
        """
        first = int(self.blocks.firsts[recording])
        windows = self._vectors.take(np.arange(first, first + int(self.blocks.windows[recording])))
        self._refuse_damage("a number in a vector", windows)
        return windows

    def _refuse_damage(self, what: str, numbers: npt.NDArray[np.floating[Any]]) -> None:
        most = float(np.abs(numbers).max(initial=0))
        if not most <= _MOST:  # also refuses NaN
            verify, repair = (f"mulan index {verb} --index {self._folder}" for verb in ("verify", "repair"))
            raise StoreError(
                f"{self._folder}: a shard is damaged ({what} is {most:.3g}, must be within 1); {verify} finds it, "
                f"{repair} drops its tracks, and the next sync embeds them anew"
            )

    def _find(self, query: Floats, count: int, scoring: Scoring, is_kept: Mask) -> Answers:
        if isinstance(self.engine, ExactEngine) or scoring != "max":
            scores, best = score_recordings(score_all(self._vectors, query), self.blocks, scoring)
            kept = _best(np.flatnonzero(is_kept), scores[is_kept], count)
            return Answers(kept, scores[kept], self.blocks.firsts[kept] + best[kept], np.sort(scores))
        library = self._sample(query)
        # Without a filter it is the engine's to answer, however small the index: who chose it has a reason.
        if not is_kept.all() and int(self.blocks.windows[is_kept].sum()) <= NARROW_ROWS:
            return Answers(*self._score_each(query, np.flatnonzero(is_kept), count), library)
        return Answers(*self._by_engine(query, count, is_kept), library)

    def _score_each(self, query: Floats, recordings: Rows, count: int) -> tuple[Rows, Scores, Rows]:
        blocks = Recordings(self.blocks.firsts[recordings], self.blocks.windows[recordings])
        rows = np.sort(blocks.rows())
        inside = Recordings(np.searchsorted(rows, blocks.firsts), blocks.windows)
        scores, best = score_recordings(self._vectors.score(query, rows), inside, "max")
        chosen = _best(np.arange(len(recordings)), scores, count)
        return recordings[chosen], scores[chosen], (blocks.firsts + best)[chosen]

    def _by_engine(self, query: Floats, count: int, is_kept: Mask) -> tuple[Rows, Scores, Rows]:
        """Fetches ever more windows until enough kept recordings are among them and no window left out can tie."""
        share = self.blocks.windows[is_kept].sum() / max(len(self._owners), 1)
        fetched = int(min(_WINDOWS_PER_HIT * count / share, len(self._owners)))
        while True:
            found = self.engine.search(query[np.newaxis], count=fetched)
            is_found = found.rows[0] != NO_ROW
            scores, rows = found.scores[0][is_found], found.rows[0][is_found]
            owners = self._owners[rows]
            recordings, first = np.unique(owners, return_index=True)
            first = first[(recordings != _NOBODY) & is_kept[recordings]]
            best = _best(first, scores[first], count)
            is_settled = len(best) >= count and scores[-1] < scores[best].min()
            if is_settled or fetched == len(self._owners):
                return owners[best], scores[best].astype(np.float64), rows[best]
            fetched = min(4 * fetched, len(self._owners))

    def _sample(self, query: Floats) -> Scores:
        inside, vectors = self._sampled
        return np.sort(score_recordings(score_all(vectors, query), inside, "max")[0])

    @cached_property
    def _sampled(self) -> tuple[Recordings, Vectors]:
        """Recordings spread evenly over the library, as blocks of the rows that are copied for them."""
        chosen = np.unique(np.linspace(0, len(self.blocks.firsts) - 1, SAMPLE, dtype=np.int64))
        blocks = Recordings(self.blocks.firsts[chosen], self.blocks.windows[chosen])
        rows = np.sort(blocks.rows())
        copies = Vectors([ShardVectors("sample", self._vectors.take(rows))])
        return Recordings(np.searchsorted(rows, blocks.firsts), blocks.windows), copies


def _best(recordings: Rows, scores: npt.NDArray[np.floating[Any]], count: int) -> Rows:
    """Those with the `count` best scores, and whatever ties with the last of them."""
    if len(recordings) <= count:
        return recordings
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    best: Rows = recordings[scores >= least]
    return best
