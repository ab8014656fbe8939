"""Syncing: make an index hold what a music folder holds, embedding only what is new or has other audio."""

import os
import time
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from data.audio import AUDIO_SUFFIXES
from data.audio_hash import hash_audio
from data.errors import StoreError
from data.file_tags import read_tags
from indexing.care import forget_files
from indexing.catalogue import CATALOGUE, Catalogue
from indexing.catalogue_writer import CatalogueWriter, FileUpdate, open_writer
from indexing.embedding import Intake, Progress
from indexing.model import model_record
from indexing.scan import AudioFile, Remark, Scan, scan_library
from indexing.selection import Selection, without_outsiders
from indexing.sync_plan import KeptTrack, SyncPlan, plan_sync
from mulan.encoding import Encoder


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What a sync did. Paths are relative to the library.

    Attributes:
        tracks: how many tracks of this library are in the index now.
        embedded: files whose audio is new, at new paths or at old ones.
        copied: files that share the vectors of another track with the same audio.
        moved: old and new path of tracks whose file was moved or renamed.
        retagged: tracks whose file was touched and has the same audio.
        removed: tracks whose file is gone.
        quarantined: files found unusable by this sync.
        still_quarantined: how many were known to be, and have not changed.
        skipped: files that could not be read or changed meanwhile; the next sync tries them.
        passed_over: what may be music and is not wanted: too short, too long, no regular file.
        unseen: what could not be looked at, and links to folders; their tracks stay.
        audio_seconds: how much was embedded.
        elapsed: seconds that all of it took.
    """

    tracks: int
    embedded: tuple[str, ...]
    copied: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]
    retagged: tuple[str, ...]
    removed: tuple[str, ...]
    quarantined: tuple[Remark, ...]
    still_quarantined: int
    skipped: tuple[Remark, ...]
    passed_over: tuple[Remark, ...]
    unseen: tuple[Remark, ...]
    audio_seconds: float
    elapsed: float


def sync_library(
    encoder: Encoder,
    library: str | Path,
    index: str | Path,
    *,
    selection: Selection | None = None,
    drop_missing: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> SyncReport:
    """Make an index hold a music folder as it is now; the index is created if there is none.

    An index may hold several libraries, none inside another: its files would be in the index twice. Libraries of which
    one is inside another already are synced with a warning. Interrupted work goes on after its last finished shard, and
    ends as if it had not been interrupted. Files that cannot be used are quarantined, and tried again once they change.

    Args:
        selection: which files are taken; a track whose file is no longer selected is dropped.
        drop_missing: take every track without a file for deleted, also of what could not be looked at.
        on_progress: called before the first file to take in, and after each.

    Raises:
        StoreError: no audio in the library; it lies inside another of the index, or around it; another process
            writes the index; this belongs to another model, is damaged or cannot be written.
    """
    started = time.perf_counter()
    root, folder = Path(os.path.abspath(library)), Path(os.path.abspath(index))
    selection = selection or Selection()
    if not (folder / CATALOGUE).exists():
        _require_music(scan(root, folder, selection))  # before anything is made for a slip of the hand
    with open_writer(folder, model=model_record(encoder)) as writer:
        forget_files(writer)  # a migration that was killed at its very end
        _check_nesting(root, folder, writer.libraries().values())
        found = scan(root, folder, selection, catalogue=writer)
        if root not in writer.libraries().values():
            _require_music(found)
        library_id = writer.add_library(root)
        found = without_outsiders(found, selection, catalogue=writer, library=library_id)
        plan = _plan(writer, library_id, found, drop_missing=drop_missing)
        _update_known(writer, library_id, root, plan)
        intake = Intake(writer, encoder, library=library_id, root=root)
        intake.run(sorted([*plan.new, *plan.changed, *plan.copies], key=lambda planned: planned.file), on_progress)
        tracks = len(writer.track_ids("library = ?", library_id))
    return _report(plan, intake, found, tracks=tracks, elapsed=time.perf_counter() - started)


def scan(root: Path, index: Path, selection: Selection, *, catalogue: Catalogue | None = None) -> Scan:
    """Walk a library, and remember the disks that the catalogue knows inside it."""
    libraries = catalogue.libraries() if catalogue else {}
    mounts = [path for key, known in libraries.items() if catalogue and known == root for path in catalogue.mounts(key)]
    return scan_library(root, index=index, include=selection.include, exclude=selection.exclude, mounts=mounts)


def _check_nesting(root: Path, index: Path, libraries: Collection[Path]) -> None:
    """Refuse a new library that shares files with another, and warn of one that is in the index already.

    Links are followed: two names of one folder are one place.

    Raises:
        StoreError: a library lies inside the new one, or around it.
    """
    here = os.path.realpath(root)
    for other in libraries:
        there = os.path.realpath(other)
        if other == root or (shared := os.path.commonpath([here, there])) not in (here, there):
            continue
        where = "the same folder as" if here == there else "inside" if shared == there else "around"
        found = f"{root}: {where} {other}, which is a library of {index}"
        forget = f"mulan index forget {other} --index {index}"
        if root not in libraries:
            raise StoreError(f"{found}: files would be in it twice; sync that one, or forget it first: {forget}")
        warnings.warn(f"{found}, too: files are in it twice; unless that is meant, {forget}", stacklevel=3)
        return


def _require_music(found: Scan) -> None:
    """Refuse a library in which nothing was found.

    Raises:
        StoreError: it holds no audio file.
    """
    if not found.files:
        suffixes = " ".join(sorted(AUDIO_SUFFIXES))
        unseen = "".join(f"; {path}: {reason}" for path, reason in found.unseen[:1])
        remedy = f"check the patterns; looked for {suffixes}, hidden ones excepted"
        raise StoreError(f"{found.root}: no audio files in it or below it{unseen}; {remedy}")


def _plan(writer: CatalogueWriter, library: int, found: Scan, *, drop_missing: bool) -> SyncPlan:
    return plan_sync(
        found,
        writer.known_files(library),
        quarantine=[AudioFile(file.path, file.size, file.mtime_ns) for file in writer.quarantine(library)],
        content_of=lambda file: hash_audio(found.root / file.path),
        elsewhere=[track for other in writer.libraries() if other != library for track in writer.known_files(other)],
        drop_missing=drop_missing,
    )


def _update_known(writer: CatalogueWriter, library: int, root: Path, plan: SyncPlan) -> None:
    """Carry out what needs no encoder. Disks are noted first: they may be gone when the sync is next run."""
    if list(plan.mounts) != writer.mounts(library):
        writer.set_mounts(library, plan.mounts)
    if plan.released:
        writer.release(library, plan.released)
    if plan.gone:
        writer.drop([track.id for track in plan.gone])
    if kept := [*plan.moved, *plan.retagged]:
        writer.update_files([_file_update(one, root) for one in kept])


def _file_update(kept: KeptTrack, root: Path) -> FileUpdate:
    file = kept.file
    tags = read_tags(root / file.path)
    return FileUpdate(track=kept.track.id, path=file.path, size=file.size, mtime_ns=file.mtime_ns, tags=tags)


def _report(plan: SyncPlan, intake: Intake, found: Scan, *, tracks: int, elapsed: float) -> SyncReport:
    return SyncReport(
        tracks=tracks,
        embedded=tuple(intake.embedded),
        copied=tuple(intake.copied),
        moved=tuple((track.path, file.path) for track, file in plan.moved),
        retagged=tuple(file.path for _, file in plan.retagged),
        removed=tuple(track.path for track in plan.gone),
        quarantined=tuple(sorted(intake.quarantined)),
        still_quarantined=len(plan.quarantined),
        skipped=tuple(sorted(intake.skipped)),
        passed_over=found.passed_over,
        unseen=found.unseen,
        audio_seconds=intake.audio_seconds,
        elapsed=elapsed,
    )
