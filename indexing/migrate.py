"""Migrating: embed an index anew with another model, while the old space goes on serving, and being synced.

INDEX/migrating is an index of its own, with a lock of its own. It is synced, not with a walk of the disk but with the
tracks of INDEX, and so goes on after its last finished shard when it was killed. Its one library is the whole file
system. Whoever syncs INDEX meanwhile is followed, round after round, until a round finds nothing to embed; only then,
and once nobody else writes INDEX, does the migration lock it. What was synced since that round, which took no time, is
taken in; then the shards get a second place among those of INDEX, by hard links: who clears those away as unregistered
takes nothing from the space. One transaction makes them, and the new model, what counts; tracks, with their ids, files
and tags, are those of INDEX at that moment. Until then no reader sees anything of it; who opened the index before keeps
what was mapped.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from data.errors import StoreError
from data.file_tags import read_tags
from indexing.care import MIGRATING, begun_migration, forget_files, repair
from indexing.catalogue import CATALOGUE, Catalogue, ShardRecord, TrackEntry, reaching
from indexing.catalogue_writer import CatalogueWriter, Failure, FileUpdate, open_writer
from indexing.embedding import Intake, Progress, has_changed
from indexing.lock import BusyError, writing
from indexing.model import ModelRecord, check_model, model_record
from indexing.scan import AudioFile, Scan
from indexing.shards import SHARDS, sync_folder
from indexing.sync_plan import plan_sync
from mulan.encoding import Encoder

logger = logging.getLogger(__name__)

_ROOT = Path("/")
_POLL_SECONDS = 5.0  # while another process writes the index
_NOT_AS_KNOWN = "gone, or changed since the last sync"


class LeftOut(NamedTuple):
    """A track that has no vectors of the new model, where its file is, and why."""

    track: TrackEntry
    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class MigrateReport:
    """What a migration did.

    Attributes:
        model: the one that the index has now.
        tracks: how many tracks are in it.
        embedded: how many recordings this run embedded; what killed runs did is not counted.
        quarantined: tracks whose files cannot be used any more.
        dropped: tracks whose files could not be read.
        elapsed: seconds that all of it took.
    """

    model: ModelRecord
    tracks: int
    embedded: int
    quarantined: tuple[LeftOut, ...]
    dropped: tuple[LeftOut, ...]
    elapsed: float


def migrate_index(
    encoder: Encoder,
    index: str | Path,
    *,
    drop_missing: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> MigrateReport | None:
    """Give an index the vectors of another model; None if it has them already.

    Tracks keep their ids, files and tags, each recording is embedded once, interrupted work goes on after its last
    finished shard. Others may write the index meanwhile, but for the last moments; one who is at it then is waited for.

    Args:
        drop_missing: drop the tracks whose files cannot be read, and quarantine those whose files are refused now.
        on_progress: called before the first file to embed, and after each; counts anew for what was synced meanwhile.

    Raises:
        StoreError: files cannot be used now; a migration to another model is begun, or another process is at one;
            the index was given another model meanwhile; it is damaged or cannot be written. It is then as it was.
    """
    started = time.perf_counter()
    folder, model = Path(os.path.abspath(index)), model_record(encoder)
    with Catalogue.open(folder) as catalogue:
        old, begun = catalogue.model, begun_migration(catalogue)
    if begun is None and (folder / MIGRATING / CATALOGUE).exists():
        with open_writer(folder, model=old) as writer:
            forget_files(writer)  # of one killed after its switch
    if old.fingerprint == model.fingerprint:
        return None
    if begun is not None:
        _check_begun(folder, begun.model, model)
        with writing(folder / MIGRATING):
            pass  # BusyError at once, and not after all has been read
        repair(folder / MIGRATING)  # the old vectors will be given up for these
    with open_writer(folder / MIGRATING, model=model) as space:
        follower = _Follower(space, encoder, on_progress)
        with _caught_up(folder, old, follower) as writer:
            refused, missing = _left_out(writer, space, follower.unreadable)
            _check_left_out(writer, refused, missing, drop_missing=drop_missing)
            _switch(writer, space, refused=refused, missing=missing)
            forget_files(writer)  # while the space is locked: nobody takes it for one to go on with
            tracks = writer.count().tracks
    return MigrateReport(
        model=model,
        tracks=tracks,
        embedded=follower.embedded,
        quarantined=tuple(refused),
        dropped=tuple(missing),
        elapsed=time.perf_counter() - started,
    )


def _check_begun(folder: Path, begun: ModelRecord, model: ModelRecord) -> None:
    if begun.fingerprint != model.fingerprint:
        found = f"{begun.name} (fingerprint {begun.fingerprint[:12]}) is begun, not to {model.name}"
        remedy = f"go on with --model {begun.name}, or delete {folder / MIGRATING} to give it up"
        raise StoreError(f"{folder}: a migration to {found} (fingerprint {model.fingerprint[:12]}); {remedy}")


class _Follower:
    """Makes the space hold what the index holds, as often as it is asked to.

    Attributes:
        embedded: how many recordings were embedded.
        unreadable: why files could not be read when that was last tried, by path.
    """

    def __init__(
        self, space: CatalogueWriter, encoder: Encoder, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self.embedded = 0
        self.unreadable: dict[str, str] = {}
        self._space, self._encoder, self._on_progress = space, encoder, on_progress
        self._library = space.add_library(_ROOT)
        self._files: Mapping[AudioFile, str] | None = None
        # What an earlier run was refused is tried again: the decoder may have been put right.
        space.release(self._library, [file.path for file in space.quarantine(self._library)])

    def follow(self, files: Mapping[AudioFile, str]) -> bool:
        """Take in files as the index has them, with their contents; whether any of them had to be embedded."""
        if files == self._files:
            return False
        library, space = self._library, self._space
        plan = plan_sync(
            Scan(root=_ROOT, files=tuple(sorted(files)), passed_over=(), unseen=(), mounts=()),
            space.known_files(library),
            quarantine=[AudioFile(*file[:3]) for file in space.quarantine(library)],
            content_of=files.__getitem__,
            drop_missing=True,
        )
        space.release(library, plan.released)
        space.drop([track.id for track in plan.gone])
        kept = [(track.id, file, read_tags(_ROOT / file.path)) for track, file in [*plan.moved, *plan.retagged]]
        space.update_files([FileUpdate(track=track, **file._asdict(), tags=tags) for track, file, tags in kept])
        planned = sorted([*plan.new, *plan.changed, *plan.copies], key=lambda one: one.file)
        absent = {one.file.path: _NOT_AS_KNOWN for one in planned if has_changed(_ROOT / one.file.path, one.file)}
        present = [one._replace(content=files[one.file]) for one in planned if one.file.path not in absent]
        intake = Intake(space, self._encoder, library=library, root=_ROOT)
        intake.run(present, self._on_progress)
        self._files, self.unreadable = files, absent | dict(intake.skipped)
        self.embedded += len(intake.embedded)
        return bool(intake.embedded)


@contextmanager
def _caught_up(folder: Path, old: ModelRecord, follower: _Follower) -> Iterator[CatalogueWriter]:
    """The index, locked for writing once it has nothing more to embed, and followed to its last change."""
    with ExitStack() as stack:
        complaint = ""
        while True:
            with Catalogue.open(folder) as index:
                files = _files(index)
                check_model(folder, index.model, name=old.name, fingerprint=old.fingerprint)
            if follower.follow(files):
                continue  # what was synced meanwhile may take as long again
            try:
                writer = stack.enter_context(open_writer(folder, model=old))
                break
            except BusyError as busy:
                if str(busy) != complaint:
                    complaint = str(busy)
                    logger.warning("%s; all is embedded, and the switch waits until it ends", busy)
                time.sleep(_POLL_SECONDS)
        follower.follow(_files(writer))
        yield writer


def _files(index: Catalogue) -> dict[AudioFile, str]:
    """The files of an index's tracks, by their paths below the root of the file system, with their contents."""
    with index.snapshot():
        tracks, roots = list(index.tracks()), index.libraries()
    found: dict[str, tuple[AudioFile, str]] = {}
    for track in tracks:
        file = _file(track, roots)
        # A folder may be a library inside another; which of them was synced last, the disk knows.
        if file.path not in found or not has_changed(_ROOT / file.path, file):
            found[file.path] = file, track.content
    return dict(found.values())


def _file(track: TrackEntry, roots: Mapping[int, Path]) -> AudioFile:
    return AudioFile(str(roots[track.library] / track.path).lstrip("/"), track.size, track.mtime_ns)


def _left_out(index: Catalogue, space: Catalogue, unreadable: Mapping[str, str]) -> tuple[list[LeftOut], list[LeftOut]]:
    """The tracks that cannot be taken over: those whose files were refused, and those that could not be read."""
    (library,), roots = space.libraries(), index.libraries()
    contents = {file.content for file in space.known_files(library)}
    reasons = {AudioFile(*file[:3]): file.reason for file in space.quarantine(library)}
    refused, missing = [], []
    for track in index.tracks():
        file = _file(track, roots)
        if file in reasons:
            refused.append(LeftOut(track, _ROOT / file.path, reasons[file]))
        elif track.content not in contents:
            missing.append(LeftOut(track, _ROOT / file.path, unreadable.get(file.path, _NOT_AS_KNOWN)))
    return refused, missing


def _check_left_out(
    index: Catalogue, refused: Sequence[LeftOut], missing: Sequence[LeftOut], *, drop_missing: bool
) -> None:
    tracks = index.count().tracks
    if not (left_out := (*missing, *refused)):
        return
    first = f"first {left_out[0].path} ({left_out[0].reason})"
    if len(left_out) == tracks:
        found = f"none of {tracks:,} files can be used, {first}"
        raise StoreError(f"{index.folder}: {found}; the index stays as it was; check the model and the disk")
    if not drop_missing:
        found = f"{len(left_out):,} of {tracks:,} files cannot be used, {first}"
        remedy = "plug in their disk or mulan index sync first, then migrate again; --drop-missing goes without them"
        raise StoreError(f"{index.folder}: {found}; the old model goes on serving, the others are embedded: {remedy}")


def _switch(
    index: CatalogueWriter, space: CatalogueWriter, *, refused: Sequence[LeftOut], missing: Sequence[LeftOut]
) -> None:
    """Let an index have the model and the vectors of the space, in one transaction."""
    recordings = {track.content: track for track in space.tracks()}
    shards = _linked_shards(index, space, {track.shard for track in recordings.values()})
    index.change_model(
        space.model,
        shards,
        recordings.values(),
        failures=[
            Failure(track.library, AudioFile(track.path, track.size, track.mtime_ns), reason)
            for track, _, reason in refused
        ],
        dropped=[one.track.id for one in missing],
    )


def _linked_shards(index: CatalogueWriter, space: Catalogue, used: Collection[int]) -> dict[int, ShardRecord]:
    """Give shards of the space, by their ids there, a second place and their names in the index."""
    records, first, place = space.shards(), int(index.next_shard()), index.folder / SHARDS
    shards = {key: replace(records[key], name=f"{number:06d}") for number, key in enumerate(sorted(used), first)}
    with reaching(index.folder):
        for key, shard in shards.items():
            _link_files(space.folder / SHARDS / records[key].name, place / shard.name)
        if shards:
            sync_folder(place)
    return shards


def _link_files(place: Path, other: Path) -> None:
    """Give the files of a shard a second place; they are copied where the disk knows no links."""
    other.mkdir()
    for file in place.iterdir():
        try:
            os.link(file, other / file.name)
        except OSError:
            with file.open("rb") as source, (other / file.name).open("wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
    sync_folder(other)
