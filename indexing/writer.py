"""Writing the index folder: one writer at a time, every change atomic, nothing finished ever lost."""

import fcntl
import io
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import StoreError
from indexing.store import (
    FORMAT,
    MANIFEST,
    SHARDS,
    Manifest,
    ModelRecord,
    Shard,
    ShardRecord,
    check_model,
    read_manifest,
)

LOCK, PARTIAL_MANIFEST, PARTIAL_SHARD = ".lock", "manifest.json.partial", ".partial"


class StoreWriter:
    """The one writer of an index folder; made by `open_writer`. Each method is one atomic change of state."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def append(self, shard: Shard, *, precision: str, replaces: Collection[int]) -> None:
        """Add a shard, and drop the tracks that its tracks replace.

        Raises:
            StoreError: it could not be written; the index is as it was before.
        """
        last = self.manifest.shards[-1].name if self.manifest.shards else "-1"
        name = f"{int(last) + 1:06d}"
        with _writing(self.folder):
            _write_shard(self.folder / SHARDS, name, _shard_files(shard, self.manifest.library))
        record = ShardRecord(name=name, tracks=len(shard.tracks), rows=len(shard.vectors), precision=precision)
        self._commit(
            replace(
                self.manifest,
                shards=(*self.manifest.shards, record),
                dropped=tuple(sorted({*self.manifest.dropped, *replaces})),
                next_track=shard.tracks[-1].id + 1,
            )
        )

    def settle(self, *, drop: Collection[int], skipped: Collection[tuple[Path, str]]) -> None:
        """Drop the tracks that are gone and record the files that were skipped; writes only what is new."""
        dropped = tuple(sorted({*self.manifest.dropped, *drop}))
        settled = replace(self.manifest, dropped=dropped, skipped=tuple(skipped))
        if settled != self.manifest:
            self._commit(settled)

    def _commit(self, manifest: Manifest) -> None:
        write_manifest(self.folder, manifest)
        self.manifest = manifest


@contextmanager
def open_writer(folder: Path, *, library: Path, model: ModelRecord) -> Iterator[StoreWriter]:
    """Open an index for writing, or create it; nobody else can until the block ends.

    Whatever a killed writer left behind is cleared away.

    Raises:
        StoreError: another process is writing; the folder holds something else, another library's index or
            another model's; or it cannot be written.
    """
    with _writing(folder):
        _check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    with lock:
        _take(lock, folder)
        if not (folder / MANIFEST).exists():
            write_manifest(folder, Manifest(library=library, model=model))
        manifest = read_manifest(folder)
        if manifest.library != library:
            remedy = "give each library its own --index"
            raise StoreError(f"{folder}: index of {manifest.library}, not of {library}; {remedy}")
        check_model(folder, manifest.model, name=model.name, fingerprint=model.fingerprint)
        with _writing(folder):
            _clear_remains(folder / SHARDS, {shard.name for shard in manifest.shards})
        yield StoreWriter(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest: readers see the old one or the new one, also after a power cut.

    Raises:
        StoreError: it could not be written; the old one is in place.
    """
    content = {"format": FORMAT, **asdict(manifest), "library": str(manifest.library)}
    content["skipped"] = [(_relative(path, manifest.library), reason) for path, reason in manifest.skipped]
    with _writing(folder):
        _write_synced(folder / PARTIAL_MANIFEST, json.dumps(content, indent=1).encode())
        os.replace(folder / PARTIAL_MANIFEST, folder / MANIFEST)
        _sync_folder(folder)


def _shard_files(shard: Shard, library: Path) -> dict[str, bytes]:
    lines = [json.dumps({**asdict(track), "path": _relative(track.path, library)}) + "\n" for track in shard.tracks]
    return {
        "vectors.npy": _npy(shard.vectors),
        "spans.npy": _npy(shard.spans),
        "tracks.jsonl": "".join(lines).encode(),
    }


def _write_shard(shards: Path, name: str, files: dict[str, bytes]) -> None:
    aside = shards / PARTIAL_SHARD
    aside.mkdir()
    for file, content in files.items():
        _write_synced(aside / file, content)
    _sync_folder(aside)
    os.replace(aside, shards / name)
    _sync_folder(shards)


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _relative(path: Path, library: Path) -> str:
    return str(path.relative_to(library))


def _check_folder(folder: Path) -> None:
    """Never write among files that are not ours: `--index ~/Music` is a slip of the hand."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: a file, not a folder; choose a new folder for the index")
    if folder.is_dir() and not (folder / MANIFEST).exists():
        others = sorted({path.name for path in folder.iterdir()} - {LOCK, PARTIAL_MANIFEST})
        if others:
            raise StoreError(f"{folder}: holds {others[0]!r} and no index; choose a new folder for the index")


def _take(lock: io.TextIOWrapper, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        raise StoreError(f"{folder}: process {owner} is building this index; wait for it or end it") from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _clear_remains(shards: Path, finished: Collection[str]) -> None:
    shards.mkdir(exist_ok=True)
    for path in shards.iterdir():
        if path.name not in finished:
            shutil.rmtree(path)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot write: {error.strerror or error}; finished shards are kept: free space or "
            f"permit writing, and build again"
        ) from error


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
