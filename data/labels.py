"""Labels of every track at 25 a second, made by one model for the training of the next, in shards on disk.

A folder holds numbered shards and, written last, `index.json`. A shard is two files: `labels-PPP-NNNNN.npy`, int16
[rows, codebooks], tracks one after another, and `labels-PPP-NNNNN.json`, which names them. PPP is the part: each of
several writers has its own. Every file is written aside and renamed, a shard's names after its rows, so that what a
reader or a resumed writer finds is complete.

    writer = LabelWriter(folder, LabelFormat(codebooks=8, codebook_size=1024, source="muq-1, layer 6"))
    if track.id not in writer.finished:
        writer.add(track.id, codes)
    writer.close()
    write_index(folder)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, ValidationError

from data.config import StrictModel
from data.errors import StoreError
from data.files import json_text, written_aside

LABEL_RATE = 25  # a second
INDEX_FILE = "index.json"
_MOST_ROWS = 4_000_000  # a shard of eight codebooks has 64 MB; 44 hours of music
_GRID_TOLERANCE = 1e-3  # of a label; floating-point seconds are far closer to the grid than that


class LabelFormat(StrictModel):
    """What the labels of a folder are: `codebooks` numbers below `codebook_size` each; `source` says whose."""

    codebooks: int = Field(gt=0)
    codebook_size: int = Field(gt=1, le=2**15)
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Where the labels of a track lie: rows `start` to `start + rows` of the shard."""

    shard: str
    start: int
    rows: int


class LabelWriter:
    """Writes the labels of whole tracks; a writer opened again goes on after the last complete shard.

    Args:
        folder: is made; belongs to one extraction.
        part: number of this writer among those that write to the folder at the same time.
        rows_per_shard: a shard is closed once it holds as many.

    Attributes:
        finished: ids of the tracks whose labels are on disk, whichever part wrote them.

    Raises:
        StoreError: the folder holds labels of another format, or is damaged.
    """

    def __init__(
        self, folder: Path, label_format: LabelFormat, *, part: int = 0, rows_per_shard: int = _MOST_ROWS
    ) -> None:
        self._folder, self._format, self._part, self._rows_per_shard = folder, label_format, part, rows_per_shard
        folder.mkdir(parents=True, exist_ok=True)
        self.finished: set[str] = set()
        for name in _shard_names(folder):
            found, tracks = _read_names(folder, name)
            if found != label_format:
                remedy = f"need {label_format!r}; move the folder away"
                raise StoreError(f"{folder / name}.json: holds labels of {found!r}; {remedy}")
            self.finished.update(tracks)
        # Behind the last, not as many as there are: one may have been deleted.
        numbers = [int(name[-5:]) for name in _shard_names(folder) if name.startswith(f"labels-{part:03}-")]
        self._shard = max(numbers, default=-1) + 1
        self._waiting: dict[str, np.ndarray] = {}
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    def add(self, track_id: str, labels: np.ndarray) -> None:
        """Take the labels of a track: integers [t, codebooks] from its start to its end.

        Raises:
            ValueError: the track is there already, or the labels are not of the folder's format.
        """
        if track_id in self.finished or track_id in self._waiting:
            raise ValueError(f"track {track_id!r}: is labelled already")
        if labels.ndim != 2 or labels.shape[1] != self._format.codebooks or not len(labels):
            raise ValueError(f"labels of {track_id!r}: shape {labels.shape}; need [t, {self._format.codebooks}]")
        if labels.min() < 0 or labels.max() >= self._format.codebook_size:
            raise ValueError(
                f"labels of {track_id!r}: {labels.min()} to {labels.max()}; need 0 to {self._format.codebook_size - 1}"
            )
        self._waiting[track_id] = labels.astype(np.int16)
        self._rows += len(labels)
        if self._rows >= self._rows_per_shard:
            self.close()

    def close(self) -> None:
        """Put on disk what is not there yet; the writer can go on afterwards."""
        if not self._waiting:
            return
        path = self._folder / f"labels-{self._part:03}-{self._shard:05}"
        with written_aside(path.with_name(path.name + ".npy")) as aside, aside.open("wb") as file:
            np.save(file, np.concatenate(list(self._waiting.values())))
        lengths = {track_id: len(labels) for track_id, labels in self._waiting.items()}
        _write_json(path.with_name(path.name + ".json"), {"format": self._format.model_dump(), "tracks": lengths})
        self.finished.update(lengths)
        self._shard += 1
        self._waiting, self._rows = {}, 0


def write_index(folder: Path) -> None:
    """Declare a folder complete; to be called once, when every part's writer has been closed.

    Raises:
        StoreError: the folder holds no shard, shards of several formats, or a track twice.
    """
    names = _shard_names(folder)
    if not names:
        raise StoreError(f"{folder}: holds no labels")
    formats, tracks = zip(*(_read_names(folder, name) for name in names), strict=True)
    if any(label_format != formats[0] for label_format in formats):
        raise StoreError(f"{folder}: its shards are of several formats; extract the labels into an empty folder")
    if sum(map(len, tracks)) > len(set().union(*tracks)):
        raise StoreError(f"{folder}: a track is in two shards; extract the labels into an empty folder")
    _write_json(folder / INDEX_FILE, {"rate": LABEL_RATE, "format": formats[0].model_dump(), "shards": names})


class LabelStore:
    """Reads labels without holding them in memory; small to pickle, so data-loader workers may have it.

    Attributes:
        format: codebooks, their size and where the labels come from.
    """

    def __init__(self, folder: Path, label_format: LabelFormat, spans: Mapping[str, _Span]) -> None:
        self.format = label_format
        self._folder, self._spans = folder, spans

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a folder of labels.

        Raises:
            StoreError: there is no index, so that there are no labels or their extraction has not ended; or it is
                damaged.
        """
        path = folder / INDEX_FILE
        if not path.is_file():
            raise StoreError(f"{folder}: has no {INDEX_FILE}; the extraction of its labels has not ended")
        index = _read_json(path)
        try:
            label_format, names, rate = LabelFormat.model_validate(index["format"]), index["shards"], index["rate"]
        except (KeyError, ValidationError) as error:
            raise StoreError(f"{path}: is no index of labels: {error}") from error
        if rate != LABEL_RATE:
            raise StoreError(f"{path}: {rate} labels a second; this program reads {LABEL_RATE}")
        spans = {}
        for name in names:
            start = 0
            for track_id, rows in _read_names(folder, name)[1].items():
                spans[track_id] = _Span(shard=name, start=start, rows=rows)
                start += rows
        return cls(folder, label_format, spans)

    def __contains__(self, track_id: str) -> bool:
        return track_id in self._spans

    def tokens(self, track_id: str) -> int:
        """How many labels a track has, 25 a second.

        Raises:
            StoreError: the track has none.
        """
        return self._span(track_id).rows

    def labels(self, track_id: str, *, start_seconds: float, tokens: int) -> np.ndarray:
        """The labels of a crop, int16 [tokens, codebooks].

        Args:
            start_seconds: from the start of the track, a multiple of 1/25 s; label i is that of the audio from i / 25
                to (i + 1) / 25 s.

        Raises:
            ValueError: the start lies off the grid of labels, or before the track.
            StoreError: the track has no labels, the crop goes beyond them, or the shard is damaged.
        """
        first = round(start_seconds * LABEL_RATE)
        if abs(start_seconds * LABEL_RATE - first) > _GRID_TOLERANCE or first < 0:
            raise ValueError(f"start_seconds is {start_seconds}; must be a multiple of 1/{LABEL_RATE} s, at least 0")
        span = self._span(track_id)
        if first + tokens > span.rows:
            raise StoreError(
                f"{self._folder}: track {track_id!r} has {span.rows} labels; the crop needs {first} to {first + tokens}"
            )
        path = self._folder / f"{span.shard}.npy"
        try:
            # Opened for each crop: a map kept open would be copied into every worker.
            rows = np.load(path, mmap_mode="r")[span.start + first : span.start + first + tokens]
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error
        if rows.shape != (tokens, self.format.codebooks):
            raise StoreError(f"{path}: holds other rows than its names say; extract the labels again")
        return np.array(rows)

    def _span(self, track_id: str) -> _Span:
        try:
            return self._spans[track_id]
        except KeyError as error:
            raise StoreError(f"{self._folder}: has no labels of track {track_id!r}") from error


def _shard_names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("labels-*.json"))


def _read_names(folder: Path, shard: str) -> tuple[LabelFormat, dict[str, int]]:
    """Format of a shard, and its tracks with their numbers of rows in the order of the rows."""
    path = folder / f"{shard}.json"
    fields = _read_json(path)
    try:
        return LabelFormat.model_validate(fields["format"]), dict(fields["tracks"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: does not name the tracks of a shard: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise StoreError(f"{path}: holds {type(fields).__name__}; need an object")
    return fields


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(json_text(fields))
