"""The lock of an index folder: one process writes it, and who looks for what belongs to nobody can know that none does.

The kernel frees it when the process that held it ends, however that ends.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO

from data.errors import StoreError
from indexing.catalogue import reaching

LOCK = ".lock"  # holds the process id of the writer
_PATIENCE_SECONDS = 0.3  # with who only looks: that takes milliseconds
_RETRY_SECONDS = 0.02


class BusyError(StoreError):
    """Another process is writing the index."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the one who writes an index folder, which must exist.

    Raises:
        BusyError: another process is.
        StoreError: the lock could not be written.
    """
    with reaching(folder):
        lock = (folder / LOCK).open("a+b", buffering=0)  # closing it writes nothing more
    with lock:
        with reaching(folder):
            _take(lock, folder)
        yield


@contextmanager
def looking(folder: Path) -> Iterator[bool]:
    """Whether nobody writes an index folder; if so, nobody begins before the block ends, which has to be short."""
    try:
        lock = (folder / LOCK).open("rb")
    except OSError:  # nobody ever wrote it here, or it is another user's
        yield True
        return
    with lock:
        yield _is_free(lock)


def is_written(folder: Path) -> bool:
    """Whether a process writes an index folder at this moment."""
    with looking(folder) as is_idle:
        return not is_idle


def _is_free(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks: nobody can write an index there
        pass
    return True


def _take(lock: FileIO, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                lock.seek(0)
                owner = lock.read().decode(errors="replace").strip() or "unknown"
                raise BusyError(f"{folder}: process {owner} is writing this index; wait for it or end it") from error
            time.sleep(_RETRY_SECONDS)
    lock.truncate(0)
    lock.write(str(os.getpid()).encode())
