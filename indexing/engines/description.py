"""What an engine file says of itself: a JSON line behind FAISS's index, the line's length, and a mark.

It is read without the engine, and written anew where an engine is to be searched in another way.
"""

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from data.errors import StoreError
from data.files import written_aside
from indexing.engines.choice import EXACT_BELOW, IvfSettings

ENGINE_FILE = "engine.ivf"
FORMAT = 2

_TAIL = struct.Struct("<I8s")  # length of the JSON line, mark
_MARK = b"mulanivf"
_BLOCK_BYTES = 1 << 20
_REMEDY = "delete it: search is exact until it is built again"


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How an engine file fits the index: rows found by it, rows searched exactly beside it, and its rows now gone."""

    covered: int
    fresh: int
    gone: int

    @property
    def is_due(self) -> bool:
        """Whether building the engine again would pay: a tenth has changed, or exact search beside it takes long."""
        return self.fresh + self.gone >= min(EXACT_BELOW, (self.covered + self.fresh) / 10)


@dataclass(frozen=True, kw_only=True)
class Description:
    """Which shards were put in, by key and rows, how the engine was made and is searched, and its SHA-256."""

    shards: tuple[tuple[str, int], ...]
    settings: IvfSettings
    sha256: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """What stands behind FAISS's index; a file that was cut short has no mark at its end.

        Raises:
            StoreError: it is damaged, or a newer mulan wrote it.
        """
        try:
            line = json.loads(_read_line(path))
            found = line["format"]
            if found == FORMAT:
                shards = tuple((str(key), int(rows)) for key, rows in line["shards"])
                return cls(shards=shards, settings=IvfSettings(**line["settings"]), sha256=str(line["sha256"]))
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"its description: {error}") from error
        raise StoreError(f"{path}: engine format {found}; this mulan reads {FORMAT}; upgrade mulan, or {_REMEDY}")

    def append_to(self, path: Path) -> None:
        """Write it behind what is there."""
        line = json.dumps({"format": FORMAT, **asdict(self)}).encode()
        with path.open("ab") as file:
            file.write(line + _TAIL.pack(len(line), _MARK))

    def coverage(self, rows_of: Mapping[str, int]) -> Coverage:
        """How the file fits an index's shards: their rows by key."""
        covered = sum(rows for key, rows in self.shards if key in rows_of)
        gone = sum(rows for key, rows in self.shards if key not in rows_of)
        return Coverage(covered=covered, fresh=sum(rows_of.values()) - covered, gone=gone)


def store_tuned(path: Path, *, nprobe: int, candidates_per_row: int) -> IvfSettings:
    """Have an engine file searched in another way by all who open it from now on; gives its new settings.

    The file is copied aside, so that it is whole at any moment: it takes its size once more on disk for that long.

    Raises:
        StoreError: it is damaged, or a newer mulan wrote it.
    """
    described = Description.read(path)
    settings = replace(described.settings, nprobe=nprobe, candidates_per_row=candidates_per_row, is_tuned=True)
    with written_aside(path) as aside:
        shutil.copyfile(path, aside)
        os.truncate(aside, aside.stat().st_size - _TAIL.size - len(_read_line(path)))
        replace(described, settings=settings).append_to(aside)
    return settings


def check_engine(path: Path) -> None:
    """Read all of an engine file and compare FAISS's part of it with its SHA-256.

    Raises:
        StoreError: they differ, it is damaged otherwise, or a newer mulan wrote it.
    """
    described = Description.read(path)
    if engine_sha256(path, path.stat().st_size - _TAIL.size - len(_read_line(path))) != described.sha256:
        raise damaged(path, "SHA-256 differs: the disk may be failing")


def engine_sha256(path: Path, size: int) -> str:
    """SHA-256 of the first `size` bytes of a file, in hexadecimal digits.

    Raises:
        StoreError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(min(size, _BLOCK_BYTES)):
                digest.update(block)
                size -= len(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def damaged(path: Path, reason: str) -> StoreError:
    """What to say of a file that holds no engine."""
    return StoreError(f"{path}: the engine is damaged ({reason}); {_REMEDY}")


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: cannot read the engine: {error.strerror}")


def _read_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _TAIL.size))
            length, mark = _TAIL.unpack(file.read())
            if mark != _MARK:
                raise damaged(path, "its end is missing")
            file.seek(end - _TAIL.size - length)
            return file.read(length)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (struct.error, ValueError) as error:
        raise damaged(path, str(error)) from error
