"""What tests of an index share: a toy library, its sync, all that an index holds, an index that may only be read."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from indexing import Selection, SyncReport, sync_library


@pytest.fixture
def library(tmp_path: Path, write_track: Callable[..., Path]) -> Path:
    """Seven tracks, t0 at 10° to t6 at 70°; t3 has a second window at 130°; between them a file that is no audio."""
    folder = tmp_path / "music"
    for number in range(7):
        write_track(folder / f"t{number}.wav", 10 * number + 10, *([130] if number == 3 else []))
    (folder / "t2-broken.wav").write_bytes(b"this is text")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Where the index is to be."""
    return tmp_path / "index"


@pytest.fixture
def sync(toy_encoder: Any, library: Path, index: Path) -> Callable[..., SyncReport]:
    """sync(): the report; `toy_encoder.embedded` then lists what this sync gave to the encoder."""

    def run(root: Path = library, **selection: Any) -> SyncReport:
        toy_encoder.embedded.clear()
        return sync_library(toy_encoder, root, index, selection=Selection(**selection))

    return run


def _everything_in(index: Path) -> dict[str, object]:
    connection = sqlite3.connect(index / "catalogue.sqlite")
    rows = list(connection.iterdump())
    connection.close()
    shards = {str(path.relative_to(index)): path.read_bytes() for path in index.glob("shards/*/*")}
    return {"catalogue": rows, **shards}


@pytest.fixture
def everything_in() -> Callable[[Path], dict[str, object]]:
    """everything_in(index): every row of its catalogue, ids included, and every byte of its shards."""
    return _everything_in


@pytest.fixture
def made_read_only() -> Iterator[Callable[[Path], Path]]:
    """made_read_only(index): a copy of it that this process may read and not write, even if it is root's."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    is_root = os.geteuid() == 0

    def copy(folder: Path) -> Path:
        index = Path(shutil.copytree(folder, place / "index"))
        for path in (index, *index.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        if is_root:
            os.seteuid(65534)
        return index

    yield copy
    if is_root:
        os.seteuid(0)
    for path in (place / "index", *(place / "index").rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(place)
