"""The demo library: clips of our own making, indexed on first use under $MULAN_HOME."""

import hashlib
import os
from pathlib import Path

from data.errors import StoreError
from indexing import Index, sync_library
from indexing.catalogue import FORMAT, Catalogue
from indexing.scan import AudioFile, scan_library
from mulan.encoding import Encoder
from mulan.runtime import mulan_home

DEMO_LIBRARY = Path(__file__).parent.parent / "data" / "demo"


def open_demo(encoder: Encoder) -> Index:
    """The demo library's index for this encoder; made, or brought up to date, when it is asked for.

    Each place of the library has its own, so that two checkouts do not quarrel over one.

    Raises:
        StoreError: it has to be made, and cannot be, or another process is making it.
    """
    library = DEMO_LIBRARY.resolve()
    place = hashlib.sha256(os.fsencode(library)).hexdigest()[:8]
    folder = mulan_home() / "demo" / f"{encoder.fingerprint[:12]}-{place}-{FORMAT}"
    if not _is_current(folder, library):
        sync_library(encoder, library, folder)
    return Index.open(folder)


def _is_current(folder: Path, library: Path) -> bool:
    """Whether the index lists exactly the library's files as they are: then the writer's lock is not needed."""
    try:
        with Catalogue.open(folder) as catalogue:
            known = [track for key in catalogue.libraries() for track in catalogue.known_files(key)]
    except StoreError:
        return False
    files = scan_library(library, index=folder).files
    return set(files) == {AudioFile(one.path, one.size, one.mtime_ns) for one in known}
