"""One vector from the vectors of a query's terms, and each term's part in a score."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data.errors import QueryError

_CANCELLED = 1e-3  # of the sum of all weights; what is left of it points where rounding happens to leave it


def combine(vectors: npt.ArrayLike, weights: Sequence[float]) -> npt.NDArray[np.float32]:
    """The direction of a weighted sum, float32 [d] of unit length.

    Args:
        vectors: [n, d] of unit length, one row a term.
        weights: n; below 0 for what the music should not be like.

    Raises:
        ValueError: there are none, shapes do not fit, or a number is not finite.
        QueryError: the terms cancel each other out, so the sum has no direction.
    """
    total, length = _weighted_sum(*_checked(vectors, weights))
    return (total / length).astype(np.float32)


def explain(vectors: npt.ArrayLike, weights: Sequence[float], hit: npt.ArrayLike) -> tuple[float, ...]:
    """Each term's share of a hit's score; the shares sum to the score, the cosine of `combine` and the hit.

    With s = sum of w_i v_i, the score is s·h / |s|, so term i has the share w_i (v_i·h) / |s|. Shares are computed in
    float64: their sum differs from a score that was computed in float32 by its rounding, some 1e-7.

    Args:
        vectors, weights: as given to `combine`.
        hit: [d] of unit length, the vector that was found.

    Raises:
        ValueError, QueryError: as `combine`; ValueError if the hit has another width.
    """
    rows, factors = _checked(vectors, weights)
    found = np.asarray(hit, np.float64)
    if found.shape != rows.shape[1:]:
        raise ValueError(f"hit has shape {found.shape}; the terms' vectors need {rows.shape[1:]}")
    _, length = _weighted_sum(rows, factors)
    return tuple((factors * (rows @ found) / length).tolist())


def _checked(
    vectors: npt.ArrayLike, weights: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rows, factors = np.asarray(vectors, np.float64), np.asarray(weights, np.float64)
    if rows.ndim != 2 or not len(rows) or factors.shape != rows.shape[:1]:
        raise ValueError(f"vectors {rows.shape}, weights {factors.shape}: must be [n, d] and [n] with n > 0")
    if not (np.isfinite(rows).all() and np.isfinite(factors).all()):
        raise ValueError("vectors, weights: hold numbers that are not finite")
    return rows, factors


def _weighted_sum(
    rows: npt.NDArray[np.float64], factors: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    total = factors @ rows  # [d]
    length = float(np.linalg.norm(total))
    if length <= _CANCELLED * float(np.abs(factors).sum()):
        raise QueryError("the terms cancel each other out, so nothing is left to look for; change a weight or a term")
    return total, length
