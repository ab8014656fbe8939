"""A set of tracks as a matrix, with an account of what is in it and what is not."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from data.datasets.dataset import MISSING_ALLOWED
from data.errors import ManifestError
from data.files import remedy_of_missing
from data.manifest import Track

_REMEDY = (
    f"at most {MISSING_ALLOWED:.0%} may be, as figures on the rest would be of another set: fetch them again, or say"
    " --allow-missing"
)

Layer = int | Literal["vectors"]
"""A hidden state by its number, or the model's own vector."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a model makes of a track: float32 [layers, d]; `is_new` if it was computed now, not kept from before."""

    values: np.ndarray
    windows: int
    seconds: float
    is_new: bool = True


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The tracks of a set that could be embedded, beside those that could not.

    Attributes:
        values: float32 [n, layers, d].
        layers: what the second axis holds.
        tracks: those of the rows, in the set's order.
        missing: ids of tracks without a file.
        failed: path and reason of the files that could not be used.
        pooling: how a track's windows became its row.
        windows: of all tracks together.
        lengths: seconds of each track, float64 [n].
        embedded: how many tracks were embedded now; the others' vectors were kept from before.
        seconds: that took, decoding included.
    """

    values: np.ndarray
    layers: tuple[Layer, ...]
    tracks: tuple[Track, ...]
    missing: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    pooling: str = ""
    windows: int = 0
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0))
    embedded: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.values.shape[:2] != (len(self.tracks), len(self.layers)):
            wanted = f"[{len(self.tracks)}, {len(self.layers)}, d]"
            raise ValueError(f"values has shape {self.values.shape}; must be {wanted}")

    @property
    def short(self) -> tuple[str, ...]:
        """Ids of tracks shorter than half of the set's median; among clips of one length, files that were cut."""
        rows = np.flatnonzero(self.lengths < np.median(self.lengths) / 2)
        return tuple(self.tracks[row].id for row in rows)

    @property
    def vectors(self) -> np.ndarray:
        """float32 [n, d], unit rows: the model's own vectors.

        Raises:
            ValueError: these are of other layers.
        """
        return self.values[:, self._place("vectors")]

    def layer(self, layer: Layer) -> "Embeddings":
        """The same with one layer only.

        Raises:
            ValueError: it is not among these.
        """
        return replace(self, values=self.values[:, [self._place(layer)]], layers=(layer,))

    def part(self, split: str) -> "Embeddings":
        """The rows of one part, `train`, `valid` or `heldout`, in memory of their own."""
        rows = [row for row, track in enumerate(self.tracks) if track.split == split]
        return replace(self, values=self.values[rows], tracks=tuple(self.tracks[row] for row in rows))

    def _place(self, layer: Layer) -> int:
        if layer not in self.layers:
            raise ValueError(f"layer is {layer!r}; allowed are {', '.join(map(str, self.layers))}")
        return self.layers.index(layer)


def present(tracks: Sequence[Track], *, allow_missing: bool = False) -> tuple[list[Track], tuple[str, ...]]:
    """The tracks whose files are on this disk, and the ids of the others.

    Args:
        allow_missing: go on although more than 1 % of the files are missing.

    Raises:
        ManifestError: there are no tracks, none is here, or too many are missing.
    """
    if not tracks:
        raise ManifestError("there are no tracks to judge by; check the split, and the subset if one was asked for")
    there: list[Track] = []
    missing: list[Track] = []
    for track in tracks:
        (there if track.path.is_file() else missing).append(track)
    found = f"{len(missing):,} of {len(tracks):,} files are missing, the first is {missing[0].path}" if missing else ""
    if not there:
        raise ManifestError(f"{found}; {remedy_of_missing(missing[0].path)}")
    if len(missing) > MISSING_ALLOWED * len(tracks) and not allow_missing:
        raise ManifestError(f"{found}; {_REMEDY}")
    return there, tuple(track.id for track in missing)


def gather(
    tracks: Sequence[Track],
    rows: Iterable[Row | str],
    *,
    layers: tuple[Layer, ...],
    pooling: str,
    missing: tuple[str, ...],
    allow_missing: bool,
    on_track: Callable[[], None],
) -> Embeddings:
    """Put rows together, and count; embedding happens while `rows` is read, so that is what `seconds` measures.

    Args:
        rows: one for each track, or the reason why there is none.
        allow_missing: go on although more than 1 % of the files are missing or cannot be used.

    Raises:
        ManifestError: too many files are missing or cannot be used.
    """
    started = time.perf_counter()
    values: np.ndarray | None = None
    used: list[Row] = []
    kept: list[Track] = []
    failed: list[tuple[str, str]] = []
    for track, row in zip(tracks, rows, strict=True):
        if isinstance(row, str):
            failed.append((str(track.source), row))
        else:
            if values is None:  # once and for all: a list of rows and their stack would be twice the memory
                values = np.empty((len(tracks), *row.values.shape), np.float32)
            values[len(kept)] = row.values
            used.append(replace(row, values=values[:0]))
            kept.append(track)
        on_track()
    first = ": ".join(failed[0]) if failed else ""
    if values is None:
        raise ManifestError(f"none of {len(tracks):,} files could be embedded; the first: {first}")
    if failed and len(failed) + len(missing) > MISSING_ALLOWED * (len(tracks) + len(missing)) and not allow_missing:
        found = f"{len(failed):,} of {len(tracks):,} files cannot be used, {len(missing):,} more are missing"
        raise ManifestError(f"{found}; the first: {first}; {_REMEDY}")
    return Embeddings(
        values=values[: len(kept)],
        layers=layers,
        tracks=tuple(kept),
        missing=missing,
        failed=tuple(failed),
        pooling=pooling,
        windows=sum(row.windows for row in used),
        lengths=np.array([row.seconds for row in used]),
        embedded=sum(row.is_new for row in used),
        seconds=time.perf_counter() - started,
    )
