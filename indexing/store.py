"""The index folder: immutable shards of window vectors, and a manifest that says which of them count.

    INDEX/manifest.json             written last and atomically: the model, the shards, dropped tracks,
                                    skipped files. What it does not name does not exist.
    INDEX/shards/000000/vectors.npy float32 [w, d], memory-mapped by readers
    INDEX/shards/000000/spans.npy   float64 [w, 2], start and end of each window in seconds
    INDEX/shards/000000/tracks.jsonl one TrackRecord a line; a track's windows are consecutive rows
    INDEX/.lock                     held while a build runs; holds its process id

A shard is written aside, synced and renamed, and never changed again; then the manifest is replaced. So a
reader sees a finished state at every moment, and a killed writer loses only the shard it was writing.
Paths are stored relative to the library; JSON is ASCII, so names that are not UTF-8 survive as escapes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import StoreError

FORMAT = 1
MANIFEST, SHARDS = "manifest.json", "shards"


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What the vectors mean: the model that made them, and the length of the windows it heard, in seconds."""

    name: str
    fingerprint: str
    dim: int
    clip_seconds: float
    licence: str


@dataclass(frozen=True, kw_only=True)
class TrackRecord:
    """One track of the index. `id` is never used again, `path` is absolute, `seconds` is what was decoded."""

    id: int
    path: Path
    size: int
    mtime_ns: int
    title: str
    artist: str | None
    album: str | None
    genre: str | None
    year: int | None
    seconds: float
    windows: int


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What the manifest knows of a shard; `precision` is the one its vectors were computed in."""

    name: str
    tracks: int
    rows: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The state of an index. `dropped` are tracks whose rows remain in a shard but no longer count."""

    library: Path
    model: ModelRecord
    shards: tuple[ShardRecord, ...] = ()
    dropped: tuple[int, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()
    next_track: int = 0


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Tracks with their windows: vectors float32 [w, d] and spans float64 [w, 2] in the tracks' order."""

    tracks: tuple[TrackRecord, ...]
    vectors: npt.NDArray[np.float32]
    spans: npt.NDArray[np.float64]


def read_manifest(folder: Path) -> Manifest:
    """The state of the index in a folder.

    Raises:
        StoreError: there is no index, its manifest is damaged, or a newer mulan wrote it.
    """
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        found = content.pop("format")
        if found != FORMAT:
            raise StoreError(f"{folder}: index format {found}; this mulan reads {FORMAT}; upgrade mulan")
        library = Path(content["library"])
        return Manifest(
            library=library,
            model=ModelRecord(**content["model"]),
            shards=tuple(ShardRecord(**shard) for shard in content["shards"]),
            dropped=tuple(content["dropped"]),
            skipped=tuple((library / path, reason) for path, reason in content["skipped"]),
            next_track=content["next_track"],
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = f"make one: mulan index build LIBRARY --index {folder}"
        raise StoreError(f"{folder}: no index here; {remedy}") from error
    except OSError as error:
        raise StoreError(f"{folder}: cannot read {MANIFEST}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, MANIFEST, f"{type(error).__name__}: {error}") from error


def read_shard(folder: Path, record: ShardRecord, *, manifest: Manifest) -> Shard:
    """A shard with its arrays memory-mapped; shapes are checked, contents are not.

    Raises:
        StoreError: a file is missing or does not have the shape that the manifest says.
    """
    place = folder / SHARDS / record.name
    try:
        vectors = np.load(place / "vectors.npy", mmap_mode="r", allow_pickle=False)
        spans = np.load(place / "spans.npy", mmap_mode="r", allow_pickle=False)
        with (place / "tracks.jsonl").open("rb") as lines:
            tracks = tuple(_track(json.loads(line), manifest.library) for line in lines)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _damaged(folder, f"shard {record.name}", str(error)) from error
    found = (vectors.shape, vectors.dtype, spans.shape, len(tracks), sum(track.windows for track in tracks))
    rows = record.rows
    if found != ((rows, manifest.model.dim), np.float32, (rows, 2), record.tracks, rows):
        expected = f"{rows} windows of {record.tracks} tracks in {manifest.model.dim} dimensions"
        raise _damaged(folder, f"shard {record.name}", f"found {found}, expected {expected}")
    return Shard(tracks=tracks, vectors=vectors, spans=spans)


def check_model(folder: Path, model: ModelRecord, *, name: str, fingerprint: str) -> None:
    """Refuse a model other than the one that made the index's vectors.

    Raises:
        StoreError: the fingerprints differ.
    """
    if fingerprint != model.fingerprint:
        raise StoreError(
            f"{folder}: made with {model.name} (fingerprint {model.fingerprint[:12]}), not with {name} "
            f"(fingerprint {fingerprint[:12]}); use --model {model.name}, or make an index for the other: "
            f"mulan index build LIBRARY --index OTHER --model {name}"
        )


def _track(fields: dict[str, Any], library: Path) -> TrackRecord:
    return TrackRecord(**{**fields, "path": library / fields["path"]})


def _damaged(folder: Path, part: str, reason: str) -> StoreError:
    remedy = "restore it from a copy, or delete the folder and build again"
    return StoreError(f"{folder}: {part} is damaged ({reason}); {remedy}")
