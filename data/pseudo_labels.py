"""What a teacher thinks of every few seconds of every track: its logits, in one file beside the manifest.

They are pseudo-labels: a network's opinion, which may be wrong, and never to be taken for what a person said.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import StoreError
from data.files import written_aside

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class TagStatistics:
    """Mean and standard deviation of each tag's logit over windows, float32 [tags]."""

    mean: np.ndarray
    std: np.ndarray

    def standardise(self, logits: np.ndarray) -> np.ndarray:
        """Logits [..., tags] as distances from the mean in standard deviations, float32.

        A teacher that was trained on songs gives "rock" more than "ambient" whatever it hears; this takes that away.
        """
        distances: np.ndarray = (logits - self.mean) / np.maximum(self.std, 1e-6)
        return distances.astype(np.float32)


# What NumPy and zipfile raise of a damaged file.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """The logits of one teacher for each window of each track.

    Attributes:
        teacher: its name, such as "MSD_musicnn".
        tags: what its logits stand for.
        window_seconds: length of a window; window i starts at i times it, and what is left at the end is in none.
        logits: float16 [windows, tags] for each track's id, at least one window each.
    """

    teacher: str
    tags: tuple[str, ...]
    window_seconds: float
    logits: Mapping[str, np.ndarray]

    def of_crop(self, track_id: str, *, start: float, seconds: float) -> np.ndarray:
        """Mean logits of a part of a track, each window counting by how much of it is in there: float32 [tags].

        A part behind the last window is given that window's logits.

        Args:
            start: seconds from the beginning of the track.

        Raises:
            StoreError: the track has none.
        """
        rows = self._rows(track_id).astype(np.float32)
        begins = np.arange(len(rows)) * self.window_seconds
        inside = np.minimum(begins + self.window_seconds, start + seconds) - np.maximum(begins, start)
        weights = np.maximum(inside, 0.0)
        if weights.sum() == 0:
            weights[-1] = 1.0
        mean: np.ndarray = np.average(rows, axis=0, weights=weights).astype(np.float32)
        return mean

    def of_track(self, track_id: str) -> np.ndarray:
        """Mean logits of all windows of a track: float32 [tags].

        Raises:
            StoreError: the track has none.
        """
        mean: np.ndarray = self._rows(track_id).mean(axis=0, dtype=np.float32)
        return mean

    def statistics(self, track_ids: Iterable[str]) -> TagStatistics:
        """Over all windows of some tracks; they should be those of the training.

        Raises:
            StoreError: a track has no labels, or there is no track.
        """
        rows = [self._rows(track_id).astype(np.float64) for track_id in track_ids]
        if not rows:
            raise StoreError(f"pseudo-labels of {self.teacher}: no tracks; give those of the training")
        windows = np.concatenate(rows)
        return TagStatistics(mean=windows.mean(axis=0).astype(np.float32), std=windows.std(axis=0).astype(np.float32))

    def _rows(self, track_id: str) -> np.ndarray:
        try:
            return self.logits[track_id]
        except KeyError as error:
            raise StoreError(f"pseudo-labels of {self.teacher}: none of track {track_id!r}; label it first") from error


def write_pseudo_labels(path: Path, labels: PseudoLabels) -> None:
    """Write labels as one .npz in one step: a reader finds the old file or the new one, never half of it."""
    empty = np.zeros((0, len(labels.tags)), np.float16)
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez_compressed(
            file,
            format=np.array(_FORMAT),
            teacher=np.array(labels.teacher),
            tags=np.array(labels.tags),
            window_seconds=np.array(labels.window_seconds),
            ids=np.array(list(labels.logits), dtype=np.str_),
            windows=np.array([len(rows) for rows in labels.logits.values()], np.int64),
            logits=np.concatenate([empty, *labels.logits.values()]).astype(np.float16),
        )


def read_pseudo_labels(path: Path) -> PseudoLabels:
    """Read what `write_pseudo_labels` wrote.

    Raises:
        StoreError: the file is missing, damaged, or of another format.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        if int(found["format"]) != _FORMAT:
            raise ValueError(f"format {found['format']}; this program reads {_FORMAT}")
        ends = np.cumsum(found["windows"])
        if len(found["ids"]) != len(ends) or (len(ends) and ends[-1] != len(found["logits"])):
            raise ValueError("its ids, lengths and logits do not fit")
        tracks = np.split(found["logits"], ends[:-1]) if len(ends) else []
        return PseudoLabels(
            teacher=str(found["teacher"]),
            tags=tuple(str(tag) for tag in found["tags"]),
            window_seconds=float(found["window_seconds"]),
            logits={str(track_id): rows for track_id, rows in zip(found["ids"], tracks, strict=True)},
        )
    except _UNREADABLE as error:
        raise StoreError(f"{path}: cannot be read as pseudo-labels: {error}") from error
