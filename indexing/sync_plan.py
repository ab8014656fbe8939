"""What a sync has to do: a walk of a library beside what the index knows of it. Decides, and touches nothing."""

import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data.errors import AudioError, StoreError
from indexing.catalogue import KnownFile
from indexing.scan import AudioFile, Scan, lies_in


class KeptTrack(NamedTuple):
    """A track that keeps its vectors, and the file that now holds its audio."""

    track: KnownFile
    file: AudioFile


class PlannedFile(NamedTuple):
    """A file that becomes a track: its content hash if the plan had to compute it, and the track it replaces."""

    file: AudioFile
    content: str | None
    replaces: KnownFile | None


@dataclass(frozen=True, kw_only=True)
class SyncPlan:
    """A library's files and tracks, each in exactly one place, in the order of paths.

    To be carried out in this order: drop `gone`; move and reread `moved` and `retagged`; embed `new` and
    `changed`; then `copies`, whose vectors are those of whichever track of the catalogue has their content by then.
    If there is none, because the file they copy could not be embedded, they are embedded like `new`.

    Attributes:
        unchanged: tracks whose files have the size and time they had.
        retagged: the same audio at the same path, with other size or time: tags are to be read, nothing embedded.
        moved: the same audio at a new path, its old one gone. Tags are to be read here too: a title may come
            from the file's name, and programs that tag also rename.
        new: files to embed at paths without a track.
        changed: files to embed whose path has a track with other audio.
        copies: files with the audio of a track that stays, or of an earlier file of `new` or `changed`.
        gone: tracks without a file.
        unseen: tracks without a file of whom it is not known whether they are gone; they stay.
        quarantined: files known to be unusable and not changed since.
        released: paths in quarantine whose files are gone.
        mounts: what the next scan has to be told of disks inside the library.
    """

    unchanged: tuple[KnownFile, ...]
    retagged: tuple[KeptTrack, ...]
    moved: tuple[KeptTrack, ...]
    new: tuple[PlannedFile, ...]
    changed: tuple[PlannedFile, ...]
    copies: tuple[PlannedFile, ...]
    gone: tuple[KnownFile, ...]
    unseen: tuple[KnownFile, ...]
    quarantined: tuple[AudioFile, ...]
    released: tuple[str, ...]
    mounts: tuple[str, ...]


def plan_sync(
    scan: Scan,
    known: Iterable[KnownFile],
    *,
    quarantine: Collection[AudioFile],
    content_of: Callable[[AudioFile], str],
    elsewhere: Collection[KnownFile] = (),
    drop_missing: bool = False,
) -> SyncPlan:
    """Compare a scan with the index; the same inputs give the same plan.

    A content hash is computed, once, only of a file that may be a known recording: one whose path has a track, or
    whose size is that of a track or of another new file; and, while tracks remain for which no file was found, of
    new files with such a track's suffix, because a program that tags and moves a file changes its size too. Files
    that cannot be hashed are planned as new audio: embedding them will tell why.

    Args:
        known: the tracks of this library.
        quarantine: its unusable files as they were when they were tried.
        content_of: the content hash of a file; may raise AudioError.
        elsewhere: the tracks of other libraries, which lend their vectors.
        drop_missing: take every track without a file for deleted, also of what could not be looked at.

    Raises:
        StoreError: the library holds no audio file, all its tracks would be dropped, and drop_missing is False.
    """
    unseen = frozenset(path for path, _ in scan.unseen)
    spared = frozenset() if drop_missing else unseen
    planner = _Planner(sorted(known, key=_path), content_of)
    planner.sort_files(scan.files, frozenset(quarantine))
    missing = planner.missing_tracks()
    kept = [track for track in missing if lies_in(track.path, spared)]
    lost = [track for track in missing if not lies_in(track.path, spared)]
    if lost and not scan.files and not drop_missing:
        raise StoreError(_nothing_left(scan, len(planner.tracks)))
    # A folder that was renamed may have left a link behind; one whose audio is nowhere else stays.
    links = frozenset(scan.links)
    planner.match_moves([*lost, *(track for track in kept if lies_in(track.path, links))], elsewhere)
    moved = {track.id for track, _ in planner.moved}
    kept = [track for track in kept if track.id not in moved]
    embedded, copies = planner.split_copies([*kept, *elsewhere])
    found = {file.path for file in scan.files}
    return SyncPlan(
        unchanged=tuple(planner.unchanged),
        retagged=tuple(planner.retagged),
        moved=tuple(sorted(planner.moved, key=lambda move: move.file)),
        new=tuple(planned for planned in embedded if planned.replaces is None),
        changed=tuple(planned for planned in embedded if planned.replaces is not None),
        copies=tuple(copies),
        gone=tuple(planner.gone_tracks(lost)),
        unseen=tuple(kept),
        quarantined=tuple(planner.quarantined),
        released=tuple(sorted(path for path, *_ in quarantine if path not in found and not lies_in(path, spared))),
        mounts=tuple(path for path in scan.mounts if not (drop_missing and path in unseen)),
    )


class _Planner:
    """A plan in the making. `homeless` are files that no track is known to hold yet, by path."""

    def __init__(self, tracks: Sequence[KnownFile], content_of: Callable[[AudioFile], str]) -> None:
        self.tracks = {track.path: track for track in tracks}
        self.unchanged: list[KnownFile] = []
        self.retagged: list[KeptTrack] = []
        self.moved: list[KeptTrack] = []
        self.quarantined: list[AudioFile] = []
        self._homeless: dict[str, AudioFile] = {}
        self._displaced: dict[str, KnownFile] = {}  # tracks whose path holds other audio now
        self._contents: dict[str, str | None] = {}
        self._content_of = content_of

    def sort_files(self, files: Iterable[AudioFile], quarantine: Collection[AudioFile]) -> None:
        """Tell apart what needs no look at other paths: unchanged, retagged and quarantined files."""
        for file in files:
            track = self.tracks.get(file.path)
            if track and (track.size, track.mtime_ns) == (file.size, file.mtime_ns):
                self.unchanged.append(track)
            elif file in quarantine:
                self.quarantined.append(file)
            elif track and self._content(file) == track.content:
                self.retagged.append(KeptTrack(track, file))
            else:
                self._homeless[file.path] = file
                if track:
                    self._displaced[file.path] = track

    def missing_tracks(self) -> list[KnownFile]:
        """The tracks at whose path there is no file, or an unusable one."""
        held = {track.path for track in self.unchanged}.union(self._displaced, (file.path for _, file in self.retagged))
        return [track for path, track in self.tracks.items() if path not in held]

    def match_moves(self, lost: Iterable[KnownFile], elsewhere: Iterable[KnownFile]) -> None:
        """Find the files that hold the audio of lost and displaced tracks; hash first those of a known size."""
        wanted: dict[str, deque[KnownFile]] = defaultdict(deque)
        for track in sorted([*lost, *self._displaced.values()], key=_path):
            wanted[track.content].append(track)
        sizes = {track.size for track in [*self.tracks.values(), *elsewhere]}
        shared = Counter(file.size for file in self._homeless.values())
        later = []
        for file in list(self._homeless.values()):
            if file.path in self._contents or file.size in sizes or shared[file.size] > 1:
                self._move_into(file, wanted)
            else:
                later.append(file)
        missed = Counter(_suffix(track.path) for queue in wanted.values() for track in queue)
        for file in later:
            if missed[_suffix(file.path)] and (moved := self._move_into(file, wanted)):
                missed[_suffix(moved.path)] -= 1

    def _move_into(self, file: AudioFile, wanted: dict[str, deque[KnownFile]]) -> KnownFile | None:
        """Give a file the first track without one whose audio it holds."""
        content = self._content(file)
        if content is None or not wanted.get(content):
            return None
        track = wanted[content].popleft()
        self.moved.append(KeptTrack(track, file))
        del self._homeless[file.path]
        return track

    def split_copies(self, lenders: Iterable[KnownFile]) -> tuple[list[PlannedFile], list[PlannedFile]]:
        """The files to embed, and those that have the audio of a lender, a kept track or an earlier file."""
        kept = [*self.unchanged, *(track for track, _ in [*self.retagged, *self.moved])]
        contents = {track.content for track in [*kept, *lenders]}
        moved = {track.id for track, _ in self.moved}
        embedded: list[PlannedFile] = []
        copies: list[PlannedFile] = []
        for path, file in sorted(self._homeless.items()):
            content, displaced = self._contents.get(path), self._displaced.get(path)
            replaces = displaced if displaced and displaced.id not in moved else None
            planned = PlannedFile(file, content, replaces)
            (copies if content in contents else embedded).append(planned)
            if content is not None:
                contents.add(content)
        return embedded, copies

    def gone_tracks(self, lost: Iterable[KnownFile]) -> list[KnownFile]:
        """Lost tracks that no file was found for, and displaced ones whose path a moved track has taken."""
        moved = {track.id for track, _ in self.moved}
        outdone = [track for path, track in self._displaced.items() if path not in self._homeless]
        return sorted((track for track in [*lost, *outdone] if track.id not in moved), key=_path)

    def _content(self, file: AudioFile) -> str | None:
        """The file's content hash, computed once; None if it has none."""
        if file.path not in self._contents:
            try:
                self._contents[file.path] = self._content_of(file)
            except AudioError:
                self._contents[file.path] = None
        return self._contents[file.path]


def _path(track: KnownFile) -> str:
    return track.path


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _nothing_left(scan: Scan, tracks: int) -> str:
    remedy = "mount its disk and check patterns and limits, or sync with --drop-missing if they are deleted"
    return f"{scan.root}: no audio files in it, while the index has {tracks} tracks of it; {remedy}"
