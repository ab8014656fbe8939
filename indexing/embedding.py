"""Taking files into an index, shard by shard: embed new audio once, let copies share its vectors.

What a shard holds depends on nothing but the catalogue and the files: so work that was interrupted goes on after the
last finished shard, and ends as if it had not been.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.audio_hash import hash_audio
from data.errors import AudioError
from data.file_tags import read_tags
from indexing.catalogue import NewTrack, ShardRecord
from indexing.catalogue_writer import CatalogueWriter, Failure
from indexing.model import window_rule
from indexing.scan import AudioFile, Remark
from indexing.shards import Shard, write_shard
from indexing.sync_plan import PlannedFile
from mulan.encoding import EmbeddedFile, Encoder, FailedFile

# Killed work loses at most one shard's: of songs this many tracks, about 12 MB; of long mixes fewer, by their files.
SHARD_TRACKS = 256
_SHARD_BYTES = 1_000_000_000

_CHANGED = "changed while it was read; the next sync takes it"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the work is. `total` counts the files to take in, `done` those handled, skipped ones included."""

    done: int
    total: int
    skipped: int
    audio_seconds: float
    elapsed: float


class _Hashed(NamedTuple):
    planned: PlannedFile
    content: str


class Intake:
    """The files of one library on their way into an index.

    Attributes:
        embedded: paths of files whose audio was embedded.
        copied: paths of files that share the vectors of another track.
        quarantined: files whose content cannot be used.
        skipped: files that could not be read, or changed meanwhile: their content is not to blame.
        audio_seconds: how much was embedded.
    """

    def __init__(self, writer: CatalogueWriter, encoder: Encoder, *, library: int, root: Path) -> None:
        self.embedded: list[str] = []
        self.copied: list[str] = []
        self.quarantined: list[Remark] = []
        self.skipped: list[Remark] = []
        self.audio_seconds = 0.0
        self._writer, self._encoder, self._library, self._root = writer, encoder, library, root
        self._left: deque[PlannedFile] = deque()
        self._copies: list[_Hashed] = []
        self._contents: set[str] = set()  # of the tracks that lend their vectors
        self._failures: list[Failure] = []  # not yet in the catalogue

    def run(self, files: Sequence[PlannedFile], on_progress: Callable[[Progress], None] | None = None) -> None:
        """Take files in, in their order; each ends as a track, in quarantine or skipped.

        Args:
            on_progress: called before the first file and after each.
        """
        if not files:
            return
        started = time.perf_counter()
        replaced = {one.replaces.id for one in files if one.replaces}
        libraries = self._writer.libraries()
        known = (track for library in libraries for track in self._writer.known_files(library))
        self._contents = {track.content for track in known if track.id not in replaced}
        self._left.extend(files)

        def tell() -> None:
            if on_progress:
                skipped = len(self.quarantined) + len(self.skipped)
                on_progress(
                    Progress(
                        done=len(self.embedded) + len(self.copied) + skipped,
                        total=len(files),
                        skipped=skipped,
                        audio_seconds=self.audio_seconds,
                        elapsed=time.perf_counter() - started,
                    )
                )

        tell()
        while self._left:
            self._embed(self._next_batch(tell), tell)
            self._take_back_orphans()
        self._add_copies(tell)

    def _next_batch(self, tell: Callable[[], None]) -> list[_Hashed]:
        """The next files whose audio is neither in the index nor in an earlier file."""
        batch: dict[str, _Hashed] = {}
        size = 0
        while self._left and len(batch) < SHARD_TRACKS and size < _SHARD_BYTES:
            planned = self._left.popleft()
            path = self._root / planned.file.path
            try:
                content = planned.content or hash_audio(path)
            except AudioError as error:
                self._fail(planned.file, str(error).removeprefix(f"{path}: "))
                tell()
                continue
            hashed = _Hashed(planned, content)
            if content in self._contents or content in batch:
                self._copies.append(hashed)
            else:
                batch[content] = hashed
                size += planned.file.size
        return list(batch.values())

    def _embed(self, batch: Sequence[_Hashed], tell: Callable[[], None]) -> None:
        """Make a shard of files; a user's interrupt ends it early, with those that are finished."""
        taken: list[tuple[NewTrack, EmbeddedFile, PlannedFile]] = []
        paths = [self._root / one.planned.file.path for one in batch]
        try:
            for (planned, content), outcome in zip(batch, self._encoder.embed_files(paths), strict=True):
                if isinstance(outcome, FailedFile):
                    self._fail(planned.file, outcome.reason)
                elif has_changed(self._root / planned.file.path, planned.file):
                    self.skipped.append(Remark(planned.file.path, _CHANGED))
                else:
                    windows, seconds = len(outcome.vectors), float(outcome.spans[-1, 1])
                    track = self._track(planned.file, content, windows=windows, seconds=seconds)
                    taken.append((track, outcome, planned))
                    self.embedded.append(planned.file.path)
                    self.audio_seconds += seconds
                tell()
        except KeyboardInterrupt:
            self._register(taken)
            raise
        self._register(taken)

    def _register(self, taken: Sequence[tuple[NewTrack, EmbeddedFile, PlannedFile]]) -> None:
        """Write a shard of what was embedded, and register it together with what cannot be used."""
        if taken:
            tracks, outcomes, planned = zip(*taken, strict=True)
            shard = Shard(
                vectors=np.concatenate([one.vectors for one in outcomes]).astype(np.float32, copy=False),
                spans=np.concatenate([one.spans for one in outcomes]).astype(np.float64, copy=False),
            )
            record = write_next_shard(self._writer, shard, precision=self._encoder.precision)
            replaces = [one.replaces.id for one in planned if one.replaces]
            self._writer.register(record, tracks, replaces=replaces, failures=self._failures)
        elif self._failures:
            self._writer.add_quarantine(self._failures)
        self._failures.clear()
        self._contents.update(track.content for track, *_ in taken)

    def _take_back_orphans(self) -> None:
        """What has the audio of a file that could not be used has to be tried itself, before what lies behind it."""
        orphans = [one for one in self._copies if one.content not in self._contents]
        self._copies = [one for one in self._copies if one.content in self._contents]
        self._left.extendleft(PlannedFile(one.planned.file, one.content, one.planned.replaces) for one in orphans[::-1])

    def _add_copies(self, tell: Callable[[], None]) -> None:
        """Last of all, so that ids do not depend on which originals an interrupted sync had already taken in."""
        whole = []
        for one in self._copies:
            file = one.planned.file
            if has_changed(self._root / file.path, file):
                self.skipped.append(Remark(file.path, _CHANGED))
            else:
                whole.append(one)
                self.copied.append(file.path)
            tell()
        replaces = {planned.replaces.id for planned, _ in whole if planned.replaces}
        copies = []
        for planned, content in whole:
            lender = next(one for one in self._writer.tracks("content = ?", content) if one.id not in replaces)
            track = self._track(planned.file, content, windows=lender.windows, seconds=lender.seconds)
            copies.append((lender.id, track))
        if copies:
            self._writer.add_copies(copies, replaces=replaces)

    def _track(self, file: AudioFile, content: str, *, windows: int, seconds: float) -> NewTrack:
        tags = asdict(read_tags(self._root / file.path))
        stamps = file._asdict()
        return NewTrack(library=self._library, **stamps, content=content, windows=windows, seconds=seconds, **tags)

    def _fail(self, file: AudioFile, reason: str) -> None:
        """Quarantine a file, unless something else than its content is to blame."""
        if obstacle := _obstacle(self._root / file.path, file):
            self.skipped.append(Remark(file.path, obstacle))
        else:
            self.quarantined.append(Remark(file.path, reason))
            self._failures.append(Failure(self._library, file, reason))


def write_next_shard(writer: CatalogueWriter, shard: Shard, *, precision: str) -> ShardRecord:
    """Write a shard of an index under the next free name; gives what is to be registered of it.

    Args:
        precision: in which its vectors were computed.

    Raises:
        StoreError: it could not be written.
    """
    name, model = writer.next_shard(), writer.model
    return ShardRecord(
        name=name,
        rows=len(shard.vectors),
        precision=precision,
        fingerprint=model.fingerprint,
        window_rule=window_rule(model),
        licence=model.licence,
        sha256=write_shard(writer.folder, name, shard),
    )


def _obstacle(path: Path, file: AudioFile) -> str | None:
    """Why a file cannot be read to its end as the scan saw it; None if it can."""
    try:
        with path.open("rb") as content:
            while content.read(1 << 20):
                pass
    except OSError as error:
        return error.strerror or str(error)
    return _CHANGED if has_changed(path, file) else None


def has_changed(path: Path, file: AudioFile) -> bool:
    """Whether a file is gone, or not of the size and time that are known of it."""
    try:
        status = path.stat()
    except OSError:
        return True
    return (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns)
