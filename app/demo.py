"""The demo library: clips of our own making, indexed on first use under $MULAN_HOME."""

import hashlib
import os
from pathlib import Path

from data.errors import StoreError
from indexing import Index, build_index
from indexing.library import scan_library
from mulan.encoding import Encoder
from mulan.runtime import mulan_home

DEMO_LIBRARY = Path(__file__).parent.parent / "data" / "demo"


def open_demo(encoder: Encoder) -> Index:
    """The demo library's index for this encoder; built, or brought up to date, when it is asked for.

    Each place of the library has its own, so that two checkouts do not quarrel over one.

    Raises:
        StoreError: it has to be built, and cannot be, or another process is building it.
    """
    library = DEMO_LIBRARY.resolve()
    place = hashlib.sha256(os.fsencode(library)).hexdigest()[:8]
    folder = mulan_home() / "demo" / f"{encoder.fingerprint[:12]}-{place}"
    if not _is_current(folder, library):
        build_index(encoder, library, folder)
    return Index.open(folder)


def _is_current(folder: Path, library: Path) -> bool:
    """Whether the index lists exactly the library's files as they are: then the writer's lock is not needed."""
    try:
        tracks = Index.open(folder).tracks
    except StoreError:
        return False
    files = scan_library(library, exclude=folder).files
    return {(one.path, one.size, one.mtime_ns) for one in tracks} == {
        (one.path, one.size, one.mtime_ns) for one in files
    }
