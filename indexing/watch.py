"""Watching a library: sync it whenever its files have changed."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from data.errors import StoreError
from indexing.scan import Scan
from indexing.selection import Selection
from indexing.sync import SyncReport, scan, sync_library
from mulan.encoding import Encoder

POLL_SECONDS = 5.0


def watch_library(
    encoder: Encoder, library: str | Path, index: str | Path, *, selection: Selection | None = None
) -> Iterator[SyncReport | StoreError]:
    """Sync a library again and again, each time that it has changed and then stood still for one look.

    So a file that is being copied in is left alone until it is whole. What keeps a sync from being done, such as a
    disk that is away, is given once and tried until it passes.

    Yields:
        what each sync did, or why it could not; never ends.
    """
    root, folder = Path(os.path.abspath(library)), Path(os.path.abspath(index))
    selection = selection or Selection()
    synced: Scan | str | None = None
    complaint = ""
    seen = _look(root, folder, selection)
    while True:
        before, seen = seen, _look(root, folder, selection)
        if seen == synced:
            complaint = ""
        elif seen == before:
            try:
                yield sync_library(encoder, root, folder, selection=selection)
                synced, complaint = seen, ""
            except StoreError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    yield error
        time.sleep(POLL_SECONDS)


def _look(root: Path, index: Path, selection: Selection) -> Scan | str:
    try:
        return scan(root, index, selection)
    except StoreError as error:
        return str(error)
