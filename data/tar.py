"""Files inside a tar, read where they lie: nothing is unpacked."""

import functools
import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast


@dataclass(frozen=True)
class TarMember:
    """A file inside an uncompressed tar; as text, the tar's path and the member's name."""

    path: Path
    name: str

    def __str__(self) -> str:
        return f"{self.path}/{self.name}"


class Extent(NamedTuple):
    """Where a member's bytes lie in its tar."""

    offset: int
    size: int


def list_members(path: str | PathLike[str]) -> Mapping[str, Extent]:
    """The files of a tar by name, in the order of the tar; its headers are scanned once while it does not change.

    Raises:
        OSError: the tar cannot be opened.
        tarfile.TarError: it is compressed, cut short or no tar.
    """
    status = os.stat(path)
    return _scan(os.fspath(path), status.st_mtime_ns, status.st_size)


def open_member(member: TarMember) -> BinaryIO:
    """A member, opened for reading and seeking.

    Raises:
        OSError: the tar cannot be opened.
        tarfile.TarError: it is no tar that can be read in place.
        KeyError: it holds no such member.
    """
    extent = list_members(member.path)[member.name]
    return cast(BinaryIO, _MemberFile(member.path, extent))


@functools.lru_cache(maxsize=256)
def _scan(path: str, _modified_ns: int, _size: int) -> Mapping[str, Extent]:
    with tarfile.open(path, "r:") as tar:
        return {info.name: Extent(info.offset_data, info.size) for info in tar if info.isreg()}


class _MemberFile(io.RawIOBase):
    """A window onto an open tar. It has no descriptor, because what reads from that would see the whole tar."""

    def __init__(self, path: Path, extent: Extent) -> None:
        self._file = path.open("rb", buffering=0)
        self._extent = extent
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._extent.size}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(0, self._extent.size - self._place))
        self._file.seek(self._extent.offset + self._place)
        read = self._file.readinto(view[:count]) or 0
        self._place += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
