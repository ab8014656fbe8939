"""A music folder: which audio files lie in it, which are left out by wish, and which could not be looked at.

What cannot be looked at is never taken for deleted: a folder without permission, a file on a disk that fails, a
link whose target is away, and a disk that was mounted inside the library and is not now.

Patterns are lines of a .gitignore file, read by pathspec: `*.wav` anywhere below, `/live/` the folder beside the
pattern, `**` any number of folders, `!` takes back, `#` a comment; letters match in their case. They stand in
`include` and `exclude`, which speak of the library's root, and in `.mulanignore` files, which speak of the folder
that they lie in; the deepest file with an opinion wins. As in git, what lies in an ignored folder cannot be taken
back.
"""

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from data.audio import AUDIO_SUFFIXES
from data.errors import StoreError

IGNORE_FILE = ".mulanignore"

NOT_MOUNTED = "a disk was mounted here and is not now"
_LINK = "a link to a folder, which is not followed"
_LINK_TO_NOWHERE = "a link to what is not there"
_CHECK_ROOT = "check its name, its permissions and whether its disk is mounted"


class AudioFile(NamedTuple):
    """An audio file as found on disk, by its path below the library's root; equal stamps mean an unchanged file."""

    path: str
    size: int
    mtime_ns: int


class Remark(NamedTuple):
    """Why a file or folder, by its path below the root, was passed over; the root itself is ''."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a walk found, everything in the order of paths.

    Attributes:
        root: absolute path of the library.
        files: the audio files.
        passed_over: what may be music and is not taken: things that are no regular file.
        unseen: what was not looked at: it could not be, or is a link to a folder; nothing is known of what lies below.
        mounts: folders that are on another disk than their parent, those of `unseen` included.
        links: to folders, or to nothing; they are among `unseen`.
    """

    root: Path
    files: tuple[AudioFile, ...]
    passed_over: tuple[Remark, ...]
    unseen: tuple[Remark, ...]
    mounts: tuple[str, ...]
    links: tuple[str, ...] = ()


def scan_library(
    root: Path,
    *,
    index: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    mounts: Collection[str] = (),
) -> Scan:
    """Find the audio files below a folder, by suffix.

    Hidden files and folders are passed over, links to files followed, links to folders not (they may form a circle).

    Args:
        root: absolute path of the library.
        index: the index folder, which is not entered should it lie inside the library.
        include: patterns; a file is taken if one matches it or a folder above it. All files if there are none.
        exclude: patterns of what is left out; no `.mulanignore` can take it back.
        mounts: `Scan.mounts` of the last scan.

    Raises:
        StoreError: the root is missing, no folder or cannot be listed, or a pattern is malformed.
        ValueError: the root is not absolute.
    """
    if not root.is_absolute():
        raise ValueError(f"library root {root} is relative; must be absolute")
    walk = _Walk(
        root=root,
        index=_identity(index),
        include=_spec(include, "--include") if include else None,
        exclude=_spec(exclude, "--exclude") if exclude else None,
    )
    walk.run(_disk(root))
    if walk.unseen and walk.unseen[0].path == "":
        raise StoreError(f"{root}: cannot be listed ({walk.unseen[0].reason}); {_CHECK_ROOT}")
    away = {path for path in mounts if path not in walk.mounts and not lies_in(path, walk.left_out)}
    return Scan(
        root=root,
        files=tuple(sorted(walk.files)),
        passed_over=tuple(sorted(walk.passed_over)),
        unseen=tuple(sorted([*walk.unseen, *(Remark(path, NOT_MOUNTED) for path in away)])),
        mounts=tuple(sorted(away.union(walk.mounts))),
        links=tuple(sorted(walk.links)),
    )


def lies_in(path: str, folders: Collection[str]) -> bool:
    """Whether a path is one of these folders or below one of them."""
    return any(path[:end] in folders for end, letter in enumerate(f"{path}/") if letter == "/")


class _Rules(NamedTuple):
    """The patterns of one .mulanignore, and where in a path the part begins that they speak of."""

    start: int
    spec: GitIgnoreSpec


class _Folder(NamedTuple):
    """A folder to be listed: its path below the root, '' or ending in '/', its disk, and the rules from above."""

    path: str
    disk: int
    rules: tuple[_Rules, ...]


@dataclass(kw_only=True)
class _Walk:
    """A walk under way. A stack and not recursion: trees may be deeper than Python's."""

    root: Path
    index: tuple[int, int] | None
    include: GitIgnoreSpec | None
    exclude: GitIgnoreSpec | None
    files: list[AudioFile] = field(default_factory=list)
    passed_over: list[Remark] = field(default_factory=list)
    unseen: list[Remark] = field(default_factory=list)
    mounts: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)

    def run(self, disk: int) -> None:
        folders = [_Folder("", disk, ())]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder.path) as listing:
                    entries = list(listing)
                rules = self._rules(folder, entries)
            except OSError as error:
                self._miss(folder.path, error)
                continue
            for entry in entries:
                try:
                    folders += self._look(entry, folder, rules)
                except OSError as error:
                    self._miss(folder.path + entry.name, error)

    def _look(self, entry: os.DirEntry[str], folder: _Folder, rules: tuple[_Rules, ...]) -> list[_Folder]:
        """Note a file; give a folder to be listed."""
        path = folder.path + entry.name
        if entry.name.startswith("."):
            return []
        if entry.is_dir(follow_symlinks=False):
            return self._subfolder(entry, path, disk=folder.disk, rules=rules)
        is_audio = os.path.splitext(path)[1].lower() in AUDIO_SUFFIXES
        if entry.is_symlink() and (entry.is_dir() or not (is_audio or os.path.exists(entry.path))):
            # Who moves a folder to another disk, which may be away, and leaves a link in its place keeps its tracks.
            if not self._is_left_out(f"{path}/", rules):
                self.links.append(path)
                self.unseen.append(Remark(path, _LINK if entry.is_dir() else _LINK_TO_NOWHERE))
        elif is_audio:
            self._file(entry, path, rules)
        return []

    def _rules(self, folder: _Folder, entries: Sequence[os.DirEntry[str]]) -> tuple[_Rules, ...]:
        """The rules for what lies in a folder; an ignore file that cannot be read hides the folder: OSError."""
        for entry in entries:
            if entry.name == IGNORE_FILE:
                lines = Path(entry.path).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
                return (*folder.rules, _Rules(len(folder.path), _spec(lines, entry.path)))
        return folder.rules

    def _subfolder(self, entry: os.DirEntry[str], path: str, *, disk: int, rules: tuple[_Rules, ...]) -> list[_Folder]:
        if self._is_left_out(f"{path}/", rules):
            self.left_out.add(path)
            return []
        status = entry.stat(follow_symlinks=False)
        if (status.st_dev, status.st_ino) == self.index:
            return []
        if status.st_dev != disk:
            self.mounts.add(path)
        return [_Folder(f"{path}/", status.st_dev, rules)]

    def _file(self, entry: os.DirEntry[str], path: str, rules: tuple[_Rules, ...]) -> None:
        if self._is_left_out(path, rules) or (self.include and not self.include.match_file(path)):
            return
        status = entry.stat()
        if stat.S_ISREG(status.st_mode):
            self.files.append(AudioFile(path, status.st_size, status.st_mtime_ns))
        else:
            self.passed_over.append(Remark(path, "not a regular file"))

    def _is_left_out(self, path: str, rules: tuple[_Rules, ...]) -> bool:
        if self.exclude and self.exclude.match_file(path):
            return True
        verdicts = (rule.spec.check_file(path[rule.start :]).include for rule in reversed(rules))
        return next((verdict for verdict in verdicts if verdict is not None), False)

    def _miss(self, path: str, error: OSError) -> None:
        self.unseen.append(Remark(path.rstrip("/"), error.strerror or str(error)))


def _spec(lines: Sequence[str], source: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise StoreError(f"{source}: {error}; write patterns as in a .gitignore file") from error


def _disk(root: Path) -> int:
    """The number of the disk that a library lies on; StoreError if it is no folder or cannot be reached."""
    try:
        status = root.stat()
    except OSError as error:
        raise StoreError(f"{root}: cannot be reached ({error.strerror or error}); {_CHECK_ROOT}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{root}: a file, not a folder; give the folder of the music")
    return status.st_dev


def _identity(folder: Path) -> tuple[int, int] | None:
    """What a folder is by, under whatever name it is met; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
