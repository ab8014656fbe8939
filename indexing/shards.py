"""Shards: folders of window vectors, written once, read by memory mapping, and never changed.

    INDEX/shards/000001/vectors.npy float32 [w, d]
    INDEX/shards/000001/spans.npy   float64 [w, 2], start and end of each window in seconds

A shard is written aside, synced and renamed; it counts once the catalogue names it. What the catalogue does not name
was left by a killed writer, or by one who could not delete it.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.errors import StoreError
from indexing.catalogue import RowBlock, ShardRecord, reaching
from indexing.mapping import map_npy
from indexing.model import ModelRecord

SHARDS = "shards"
_VECTORS, _SPANS = "vectors.npy", "spans.npy"
_PARTIAL = ".partial"
# What failing disks and file systems answer, and what is no error of the system at all; any other passes.
_LOST = {None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EIO, errno.EBADMSG}
_LOST.add(getattr(errno, "EUCLEAN", None))  # Linux alone has it


class DamagedShardError(StoreError):
    """A shard is not what was written, so that its tracks have to be embedded again."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The windows of some tracks: vectors float32 [w, d] of unit length, and spans float64 [w, 2] in seconds."""

    vectors: npt.NDArray[np.float32]
    spans: npt.NDArray[np.float64]


def write_shard(folder: Path, name: str, shard: Shard) -> str:
    """Write a shard of an index folder; after this it outlives a power cut. Gives its SHA-256, see `shard_sha256`.

    Raises:
        StoreError: it could not be written; nothing of that name is there.
    """
    shards = folder / SHARDS
    aside = shards / _PARTIAL
    with reaching(folder):
        shards.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)  # what was left there when the disk was full
        aside.mkdir()
        for file, array in ((_VECTORS, shard.vectors), (_SPANS, shard.spans)):
            with (aside / file).open("wb") as out:
                np.save(out, array, allow_pickle=False)
                out.flush()
                os.fsync(out.fileno())
        sha256 = _sha256(aside)
        sync_folder(aside)
        os.replace(aside, shards / name)
        sync_folder(shards)
        sync_folder(folder)
    return sha256


def read_shard(folder: Path, record: ShardRecord, *, dim: int) -> Shard:
    """A shard with its vectors memory-mapped; shapes are checked, contents are not.

    Raises:
        DamagedShardError: a file is missing or does not have the shape that the catalogue says.
        StoreError: it cannot be read now, which says nothing about what is in it.
    """
    place = folder / SHARDS / record.name
    try:
        vectors = map_npy(place / _VECTORS)
        spans = np.load(place / _SPANS, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unusable(folder, record, error) from error
    found = (vectors.shape, vectors.dtype, spans.shape, spans.dtype)
    if found != ((record.rows, dim), np.dtype(np.float32), (record.rows, 2), np.dtype(np.float64)):
        raise _damaged(folder, record, f"found {found}, expected {record.rows} windows in {dim} dimensions")
    return Shard(vectors=vectors, spans=spans)


def shard_sha256(folder: Path, record: ShardRecord) -> str:
    """SHA-256 of a shard's vectors.npy followed by its spans.npy, in hexadecimal digits; reads both.

    Raises:
        DamagedShardError: a file is missing, or its disk fails.
        StoreError: it cannot be read now, which says nothing about what is in it.
    """
    try:
        return _sha256(folder / SHARDS / record.name)
    except OSError as error:
        raise _unusable(folder, record, error) from error


def shard_problems(folder: Path, model: ModelRecord, record: ShardRecord, blocks: Sequence[RowBlock]) -> Iterator[str]:
    """What is wrong with a shard; reads all of it, and stops at the first thing that makes the rest meaningless.

    Raises:
        StoreError: it cannot be read now, which says nothing about what is in it.
    """
    try:
        shard = read_shard(folder, record, dim=model.dim)
        if shard_sha256(folder, record) != record.sha256:
            yield f"{folder}: shard {record.name} is not what was written (SHA-256 differs): the disk may be failing"
    except DamagedShardError as error:
        yield str(error)
        return
    if record.fingerprint != model.fingerprint:
        yield f"{folder}: shard {record.name} was made with another model ({record.fingerprint[:12]})"
    if any(block.first_row < 0 or block.first_row + block.windows > len(shard.vectors) for block in blocks):
        yield f"{folder}: shard {record.name} has {len(shard.vectors)} rows, and tracks that lie beyond them"


def leftovers(folder: Path, names: Collection[str]) -> list[Path]:
    """What lies among the shards of an index folder and is none of those named, by name."""
    shards = folder / SHARDS
    return sorted(path for path in shards.iterdir() if path.name not in names) if shards.is_dir() else []


def remove_leftovers(folder: Path, names: Collection[str]) -> int:
    """Delete what is none of the shards named; gives how many there were. Whoever has them mapped keeps them.

    Raises:
        StoreError: they could not be deleted.
    """
    found = leftovers(folder, names)
    with reaching(folder):
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return len(found)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(place: Path) -> str:
    digest = hashlib.sha256()
    for file in (_VECTORS, _SPANS):
        with (place / file).open("rb") as content:
            hashlib.file_digest(content, lambda: digest)  # updates it, piece by piece
    return digest.hexdigest()


def _unusable(folder: Path, record: ShardRecord, error: Exception) -> StoreError:
    """Damage, unless another user, or a machine that is less busy, might read the very same files."""
    if isinstance(error, OSError) and error.errno not in _LOST:
        remedy = "give its owner's permissions, or try again later"
        return StoreError(f"{folder}: shard {record.name} cannot be read ({error.strerror or error}); {remedy}")
    return _damaged(folder, record, str(error))


def _damaged(folder: Path, record: ShardRecord, reason: str) -> DamagedShardError:
    remedy = f"mulan index repair --index {folder}, then sync again: its tracks are embedded anew"
    return DamagedShardError(f"{folder}: shard {record.name} is damaged ({reason}); {remedy}")
