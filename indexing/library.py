"""A music folder: which audio files lie in it."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from data.audio import AUDIO_SUFFIXES
from data.errors import StoreError

SkippedFile = tuple[Path, str]  # the path, and in one line why it is not in the index


@dataclass(frozen=True, kw_only=True)
class AudioFile:
    """An audio file as found on disk; the same size and mtime mean that it has not changed."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a walk found: audio files in the order of their paths, and what could not be looked at."""

    files: tuple[AudioFile, ...]
    skipped: tuple[SkippedFile, ...]


def scan_library(library: Path, *, exclude: Path) -> Scan:
    """Find the audio files below a folder, by suffix.

    Hidden files and folders are passed over, links to files followed, links to folders not (they may form
    a circle). Links that lead nowhere, folders that cannot be listed and things that are no regular file are
    reported, not raised.

    Args:
        library: absolute path of the folder.
        exclude: a folder that is not entered: the index, which may lie inside the library.

    Raises:
        StoreError: the folder does not exist, is not a folder, or holds no audio file.
    """
    if not library.is_dir():
        found = "not a folder" if library.exists() else "no such folder"
        raise StoreError(f"{library}: {found}; give the folder that holds your music")
    skipped: list[SkippedFile] = []
    files: list[AudioFile] = []
    for path in sorted(_audio_paths(library, exclude, skipped)):
        try:
            status = path.stat()
        except OSError as error:
            skipped.append((path, error.strerror or str(error)))
            continue
        if stat.S_ISREG(status.st_mode):
            files.append(AudioFile(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns))
        else:
            skipped.append((path, "not a regular file"))
    if not files:
        raise StoreError(_nothing_found(library, skipped))
    return Scan(files=tuple(files), skipped=tuple(sorted(skipped)))


def _audio_paths(library: Path, exclude: Path, skipped: list[SkippedFile]) -> list[Path]:
    def note(error: OSError) -> None:
        skipped.append((Path(error.filename), error.strerror or str(error)))

    paths = []
    excluded = exclude.resolve()
    for folder, subfolders, names in os.walk(library, onerror=note):
        here = Path(folder)
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and (here / name).resolve() != excluded
        ]
        paths += [
            here / name
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES
        ]
    return paths


def _nothing_found(library: Path, skipped: list[SkippedFile]) -> str:
    suffixes = " ".join(sorted(AUDIO_SUFFIXES))
    unreadable = f"; {len(skipped)} could not be read, first {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
    return f"{library}: no audio files in it or below it{unreadable}; looked for {suffixes}, hidden ones excepted"
