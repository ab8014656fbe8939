"""Cuts a track into windows of one length, and pools their vectors into one.

The rule is MuQ-MuLan's: windows follow each other without overlap, and the last one, if it is not full, is
completed with the beginning of the track. A track shorter than a window is repeated until the window is full,
also where the released code would leave it short.

Source: MuQ-MuLan, arXiv:2501.01108, `extract_audio_latents` of the released code.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

MIN_NORM = 1e-6
"""Below this length a mean of unit vectors is rounding error, and its direction means nothing."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A fixed-length excerpt of a track: `samples`, float32 [window_samples].

    `start` and `end` are positions in the track, in samples. `end` never lies beyond the track, although the
    samples of its last window go on with the track's beginning.
    """

    samples: np.ndarray
    start: int
    end: int


def split_windows(blocks: Iterable[np.ndarray], *, window_samples: int) -> Iterator[Window]:
    """Yield a track's windows, in order, from its blocks of float32 [s], however these are cut.

    A track of an exact number of windows gets exactly those. Memory: two windows and a block.

    Raises:
        ValueError: window_samples is below 1, or the blocks hold no samples.
    """
    if window_samples < 1:
        raise ValueError(f"window_samples is {window_samples}; must be at least 1")
    first: np.ndarray | None = None
    rest = np.zeros(0, np.float32)
    start = 0
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= window_samples:
            samples, rest = rest[:window_samples].copy(), rest[window_samples:]
            first = samples if first is None else first
            yield Window(samples=samples, start=start, end=start + window_samples)
            start += window_samples
    if len(rest):
        yield Window(samples=_completed(rest, first, window_samples), start=start, end=start + len(rest))
    elif first is None:
        raise ValueError("found no samples; a track needs at least one")


def pool_windows(vectors: np.ndarray) -> np.ndarray:
    """The track's unit vector, float32 [d]: the direction of the mean of its windows' vectors [w, d].

    Raises:
        ValueError: there is no window, or the mean has no direction.
    """
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(f"vectors has shape {vectors.shape}; must be [w, d] with w >= 1")
    mean = vectors.mean(axis=0, dtype=np.float64)
    norm = float(np.linalg.norm(mean))
    if not norm >= MIN_NORM:  # also refuses NaN
        raise ValueError(f"the mean of {len(vectors)} vectors has length {norm:.1e}; it has no direction")
    pooled: np.ndarray = (mean / norm).astype(np.float32)
    return pooled


def _completed(rest: np.ndarray, first: np.ndarray | None, window_samples: int) -> np.ndarray:
    """`rest`, filled up with the start of the track: its first window or, if there is none, `rest` itself."""
    if first is None:
        return np.resize(rest, window_samples)
    return np.concatenate([rest, first[: window_samples - len(rest)]])
