"""Building an index: embed what is new or changed in a music folder, drop what is gone, keep the rest."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from data.file_tags import read_tags
from indexing.library import AudioFile, Scan, SkippedFile, scan_library
from indexing.store import ModelRecord, Shard, TrackRecord, read_shard
from indexing.writer import StoreWriter, open_writer
from mulan.encoding import EmbeddedFile, Encoder, FailedFile

_EmbeddedTrack = tuple[TrackRecord, EmbeddedFile]

SHARD_TRACKS = 64  # a killed build loses at most this many tracks' work; a shard of songs is about 3 MB


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a build is. `total` counts the files to embed, `done` those handled, skipped ones included."""

    done: int
    total: int
    skipped: int
    audio_seconds: float
    elapsed: float


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did: tracks now in the index, how they came there, and what was left out and why."""

    tracks: int
    embedded: int
    unchanged: int
    removed: int
    skipped: tuple[SkippedFile, ...]
    audio_seconds: float
    elapsed: float


@dataclass(kw_only=True)
class _Tally:
    """The running counts of a build."""

    total: int
    on_progress: Callable[[Progress], None] | None
    embedded: int = 0
    audio_seconds: float = 0.0
    skipped: list[SkippedFile] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def tell(self) -> None:
        if self.on_progress:
            self.on_progress(
                Progress(
                    done=self.embedded + len(self.skipped),
                    total=self.total,
                    skipped=len(self.skipped),
                    audio_seconds=self.audio_seconds,
                    elapsed=self.elapsed(),
                )
            )


def build_index(
    encoder: Encoder,
    library: str | Path,
    index: str | Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """Make the index of a music folder, or bring it up to date.

    Files whose path, size and modification time are unchanged keep their vectors. So an interrupted build
    goes on after its last finished shard and ends byte for byte as if it had not been interrupted. Files that
    cannot be used are skipped, listed with a reason, and tried again by the next build.

    Args:
        on_progress: called before the first file and after each.

    Raises:
        StoreError: no audio in the library; another build is running; the index belongs to another model
            or library, is damaged, or cannot be written.
    """
    library, index = Path(os.path.abspath(library)), Path(os.path.abspath(index))
    scan = scan_library(library, exclude=index)
    with open_writer(index, library=library, model=_model_record(encoder)) as writer:
        present = _present(writer)
        wanted = [file for file in scan.files if not _is_unchanged(file, present)]
        tally = _Tally(total=len(wanted), on_progress=on_progress)
        embedded = _embed(encoder, wanted, first_track=writer.manifest.next_track, tally=tally)
        while batch := list(islice(embedded, SHARD_TRACKS)):
            replaced = [present[track.path].id for track, _ in batch if track.path in present]
            writer.append(_shard(batch), precision=encoder.precision, replaces=replaced)
        return _settle(writer, scan, present=present, tally=tally)


def _model_record(encoder: Encoder) -> ModelRecord:
    return ModelRecord(
        name=encoder.name,
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        clip_seconds=encoder.clip_seconds,
        licence=encoder.licence,
    )


def _present(writer: StoreWriter) -> dict[Path, TrackRecord]:
    """The tracks that count, by path."""
    manifest = writer.manifest
    dropped = frozenset(manifest.dropped)
    shards = (read_shard(writer.folder, record, manifest=manifest) for record in manifest.shards)
    return {track.path: track for shard in shards for track in shard.tracks if track.id not in dropped}


def _is_unchanged(file: AudioFile, present: dict[Path, TrackRecord]) -> bool:
    track = present.get(file.path)
    return track is not None and (track.size, track.mtime_ns) == (file.size, file.mtime_ns)


def _embed(
    encoder: Encoder, files: Sequence[AudioFile], *, first_track: int, tally: _Tally
) -> Iterator[_EmbeddedTrack]:
    """The files that could be embedded, in order; the others go to the tally."""
    tally.tell()
    for file, outcome in zip(files, encoder.embed_files([file.path for file in files]), strict=True):
        if isinstance(outcome, FailedFile):
            tally.skipped.append((file.path, outcome.reason))
        else:
            track = _track_record(file, outcome, track=first_track + tally.embedded)
            tally.embedded += 1
            tally.audio_seconds += track.seconds
            yield track, outcome
        tally.tell()


def _track_record(file: AudioFile, outcome: EmbeddedFile, *, track: int) -> TrackRecord:
    return TrackRecord(
        id=track,
        path=file.path,
        size=file.size,
        mtime_ns=file.mtime_ns,
        **asdict(read_tags(file.path)),
        seconds=float(outcome.spans[-1, 1]),
        windows=len(outcome.vectors),
    )


def _shard(batch: Sequence[_EmbeddedTrack]) -> Shard:
    return Shard(
        tracks=tuple(track for track, _ in batch),
        vectors=np.concatenate([outcome.vectors for _, outcome in batch]).astype(np.float32, copy=False),
        spans=np.concatenate([outcome.spans for _, outcome in batch]).astype(np.float64, copy=False),
    )


def _settle(writer: StoreWriter, scan: Scan, *, present: dict[Path, TrackRecord], tally: _Tally) -> BuildReport:
    """Drop the tracks whose files are gone or have become unusable, and say what was done."""
    skipped = tuple(sorted([*scan.skipped, *tally.skipped]))
    found = {file.path for file in scan.files} - {path for path, _ in skipped}
    gone = [track.id for path, track in present.items() if path not in found]
    writer.settle(drop=gone, skipped=skipped)
    tracks = len(found)
    return BuildReport(
        tracks=tracks,
        embedded=tally.embedded,
        unchanged=tracks - tally.embedded,
        removed=len(gone),
        skipped=skipped,
        audio_seconds=tally.audio_seconds,
        elapsed=tally.elapsed(),
    )
