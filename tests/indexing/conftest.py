"""What tests of an index share: a toy library, its sync, all that an index holds, an index that may only be read.

And what tests of its migration share: an index to migrate, a model to migrate it to, and looks at what came of it.
"""

import os
import shutil
import signal
import sqlite3
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing import Index, Selection, SyncReport, care, embedding, sync_library
from indexing.embedding import Progress
from indexing.migrate import migrate_index
from indexing.tracks import read_holdings


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


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards have two tracks, and writes are not synced."""
    monkeypatch.setattr(embedding, "SHARD_TRACKS", 2)
    monkeypatch.setattr(care, "SHARD_TRACKS", 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def synced(toy_encoder: Any, library: Path, index: Path, write_track: Callable[..., Path]) -> Path:
    """An index of t0 to t6 and two copies of t5."""
    write_track(library / "copy of t5.wav", 60)
    write_track(library / "t5 again.wav", 60)
    sync_library(toy_encoder, library, index)
    return index


@pytest.fixture
def new(toy_encoder: Any) -> Any:
    """Another model, that sees every angle 90 degrees further on, and a text where it was."""
    encoder = type(toy_encoder)(name="new", fingerprint="new-1")
    see = encoder.encode_windows

    def see_turned(waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        vectors, spans = see(waveform, sample_rate)
        return np.stack([-vectors[:, 1], vectors[:, 0]], axis=1), spans

    encoder.encode_windows = see_turned
    return encoder


@pytest.fixture
def begin() -> Callable[..., None]:
    """begin(encoder, index, files=5): migrate, and be killed once so many files were embedded."""

    def run(encoder: Any, index: Path, *, files: int = 5) -> None:
        def kill(progress: Progress) -> None:
            if progress.done >= files:
                raise SystemExit  # which nobody catches, as KeyboardInterrupt is

        with pytest.raises(SystemExit):
            migrate_index(encoder, index, on_progress=kill)

    return run


@pytest.fixture
def best() -> Callable[[Path, float], str]:
    """best(index, degrees): the title that answers an angle."""

    def ask(index: Path, degrees: float) -> str:
        angle = np.deg2rad(degrees)
        return Index.open(index).search(np.array([np.cos(angle), np.sin(angle)], np.float32), k=1)[0].title

    return ask


@pytest.fixture
def stable_rows() -> Callable[[Path], list[object]]:
    """stable_rows(index): all of the catalogue that a migration has to keep: ids, files, tags, quarantine."""

    def read(index: Path) -> list[object]:
        connection = sqlite3.connect(index / "catalogue.sqlite")
        columns = "id, library, path, size, mtime_ns, content, title, artist, album, genre, year, bpm"
        queries = (f"SELECT {columns} FROM tracks", "SELECT * FROM libraries", "SELECT * FROM quarantine")
        found = [list(connection.execute(query)) for query in queries]
        connection.close()
        return found

    return read


@pytest.fixture
def vectors_of() -> Callable[[Path], dict[str, list[list[float]]]]:
    """vectors_of(index): the windows of every track by its path, in the order of ids."""

    def read(index: Path) -> dict[str, list[list[float]]]:
        held = read_holdings(index)
        return {track.path: held.windows(track).vectors.round(5).tolist() for track in held.tracks}

    return read


@pytest.fixture
def turned() -> Callable[[dict[str, list[list[float]]]], dict[str, list[list[float]]]]:
    """turned(vectors): what `vectors_of` gives of the old model, as the new one sees it."""
    return lambda vectors: {path: [[0.0 - y, x] for x, y in windows] for path, windows in vectors.items()}


@dataclass(frozen=True)
class Child:
    """Another process."""

    number: int

    def kill(self) -> None:
        os.kill(self.number, signal.SIGKILL)

    def status(self) -> int:
        """Its exit code once it has ended, minus the signal that killed it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])


@pytest.fixture
def forked() -> Callable[[Callable[[], object]], Child]:
    """forked(work): do some work in another process, a fork of this one."""

    def run(work: Callable[[], object]) -> Child:
        if child := os.fork():
            return Child(child)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    return run


@pytest.fixture
def dies_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """dies_at(call, name, ...): kill this process before the call of that number to any of these functions of `os`."""

    def run(call: int, *names: str) -> None:
        calls = count()

        def step(do: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **options: Any) -> Any:
                if next(calls) == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return do(*arguments, **options)

            return counted

        for name in names:
            monkeypatch.setattr(os, name, step(getattr(os, name)))

    return run
