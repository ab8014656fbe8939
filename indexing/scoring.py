"""From the scores of windows to the scores of recordings, and to their place among a library's."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from indexing.engines.vectors import Floats, Rows, Vectors

Scoring = Literal["max", "mean", "top3"]
"""What a track's score is: that of its best window, the mean of all, or of its three best (of all, if fewer)."""

Scores = npt.NDArray[np.float64]

# float32 [n, w], the scores of the windows of n recordings -> float64 [n], the scores of the recordings
_SCORINGS: Mapping[Scoring, Callable[[Floats], Scores]] = {
    "max": lambda windows: windows.max(axis=1).astype(np.float64),
    "mean": lambda windows: windows.mean(axis=1, dtype=np.float64),
    "top3": lambda windows: np.sort(windows, axis=1)[:, -3:].mean(axis=1, dtype=np.float64),
}


class Recordings(NamedTuple):
    """Recordings as blocks of rows: the first row and the number of windows of each, int64 [n]."""

    firsts: Rows
    windows: Rows

    def rows(self) -> Rows:
        """All of their rows, one recording after the other."""
        ends = np.cumsum(self.windows)
        starts = self.firsts - (ends - self.windows)
        rows: Rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts, self.windows)
        return rows


def check_scoring(scoring: str) -> None:
    """Refuse what is no scoring.

    Raises:
        ValueError: it is none.
    """
    if scoring not in _SCORINGS:
        raise ValueError(f"scoring is {scoring!r}; must be one of {', '.join(_SCORINGS)}")


def score_all(vectors: Vectors, query: Floats) -> Floats:
    """Inner products float32 [rows] of every row with a query float32 [d]; the same bits as `Vectors.score`."""
    scores, query = np.empty(len(vectors), np.float32), np.ascontiguousarray(query, np.float32)
    for shard, start in zip(vectors.shards, vectors.offsets.tolist(), strict=False):
        block = np.ascontiguousarray(shard.vectors)
        pointers = [faiss.swig_ptr(array) for array in (scores[start : start + len(block)], query, block)]
        if len(block):
            faiss.fvec_inner_products_ny(*pointers, vectors.dim, len(block))  # type: ignore[attr-defined]
    return scores


def score_recordings(of_windows: Floats, blocks: Recordings, scoring: Scoring) -> tuple[Scores, Rows]:
    """The score of each recording, and where in its block its first best window is; those of equally many at once.

    Args:
        of_windows: scores of windows float32 [w].
        blocks: where in `of_windows` each recording's are.
    """
    scores, best = np.zeros(len(blocks.firsts)), np.zeros(len(blocks.firsts), np.int64)
    for windows in np.unique(blocks.windows):
        alike = np.flatnonzero(blocks.windows == windows)
        table = of_windows[blocks.firsts[alike, np.newaxis] + np.arange(windows)]
        scores[alike] = _SCORINGS[scoring](table)
        best[alike] = table.argmax(axis=1)
    return scores, best


def counted_mean(vectors: Floats, query: Floats, scoring: Scoring) -> Scores:
    """The mean float64 [d] of those of a recording's windows [w, d] that its score counts.

    Its inner product with the query is the score, but for rounding.
    """
    order = np.argsort(-(vectors @ query), kind="stable")
    count = {"max": 1, "mean": len(vectors), "top3": 3}[scoring]
    mean: Scores = vectors[order[:count]].mean(axis=0, dtype=np.float64)
    return mean


def percentiles(scores: Scores, library: Scores) -> Scores:
    """How many percent of the library's scores, which are in ascending order, are no higher than each score."""
    return 100.0 * np.searchsorted(library, scores, side="right") / max(len(library), 1)
