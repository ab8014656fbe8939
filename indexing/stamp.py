"""Whether an index folder has changed since it was opened, at the price of a look at two files."""

import time
from pathlib import Path
from typing import TypeAlias

from indexing.catalogue import CATALOGUE
from indexing.engines import ENGINE_FILE

_SETTLED_SECONDS = 1.0  # the times of files are coarser than commits can be close together

Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""Inode, time of change in ns and bytes of the catalogue and of the engine file; None for one that is not there."""


def read_stamp(folder: Path) -> Stamp:
    """What an index folder's files are now; to be read before the index is opened."""
    return tuple(_stamp_of(folder / name) for name in (CATALOGUE, ENGINE_FILE))


def has_changed_since(folder: Path, stamp: Stamp) -> bool:
    """Whether a writer has changed an index folder, and has been quiet for a second."""
    found = read_stamp(folder)
    # A file whose time is not yet past could change once more without its stamp changing. In the future: a slow clock.
    is_settled = all(abs(time.time() - one[1] / 1e9) >= _SETTLED_SECONDS for one in found if one is not None)
    return found != stamp and is_settled


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
