"""Corpora in tar shards, laid out as WebDataset does: each track's audio and, under the same name, a JSON of the rest.

Shards that lie on this disk are read in place. Those of a corpus that is larger than the disk are fetched when they
are first needed, and a `ShardCache` keeps a few.
"""

import contextlib
import fcntl
import io
import itertools
import os
import shlex
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from data.audio import AUDIO_SUFFIXES
from data.errors import ConfigError, ManifestError
from data.files import UNFINISHED, json_text, written_aside
from data.manifest import MANIFEST_NAME, Track, describe, parse_sidecar, parse_track, write_manifest
from data.tar import TarMember, list_members, open_member

_WAIT_SECONDS = 0.05


def write_shards(
    tracks: Iterable[Track],
    out: Path,
    *,
    tracks_per_shard: int,
    on_missing: Callable[[Path, str], None] = lambda path, reason: None,
) -> list[Track]:
    """Copy tracks into shards of `out`, byte for byte, with a manifest beside them; give the tracks as packed.

    A file that holds several tracks is copied for each. A shard is written aside and then renamed, and one that is
    already there with the same tracks stays: called again after an interruption, this goes on. Shards that an earlier
    call made of more tracks are removed.

    Args:
        on_missing: is told of each file that is not there, or whose suffix readers of shards do not take for audio,
            and whose track is left out. Whether the others can be decoded shows only when they are.

    Raises:
        ManifestError: the audio of a track cannot be read, or lies in a shard of `out`, which this would replace.
        ValueError: tracks_per_shard is below 1.
    """
    if tracks_per_shard < 1:
        raise ValueError(f"tracks_per_shard is {tracks_per_shard}; must be at least 1")
    tracks = list(tracks)
    if any(track.member and track.path.resolve().parent == out.resolve() for track in tracks):
        raise ManifestError(f"{out}: holds the shards that these tracks are read from; pack them into another folder")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Track] = []
    everything = (track for track in tracks if _is_there(track, on_missing))
    for number in itertools.count():
        chosen = list(itertools.islice(everything, tracks_per_shard))
        if not chosen:
            break
        shard = out / f"shard-{number:06d}.tar"
        if not _holds(shard, chosen):
            _write_shard(shard, chosen, first=number * tracks_per_shard)
        written += read_shards([shard])
    write_manifest(out / MANIFEST_NAME, written)
    for left_over in sorted(out.glob("shard-*.tar"))[number:]:
        left_over.unlink()
    return written


def read_shards(shards: Path | Sequence[Path]) -> list[Track]:
    """The tracks of tar shards, ours or others': a folder's *.tar in the order of their names, or those given.

    Every audio file in them is a track. What is known of it stands beside it as for `data.manifest.scan_folder`, under
    its name without the suffix, or under what WebDataset calls its key, which ends at the first dot. Where this gives
    no id, the track is called by the shard's name and its own.

    Raises:
        ManifestError: there is no shard, one cannot be read, or what stands beside a file does not describe a track.
    """
    paths = sorted(shards.glob("*.tar")) if isinstance(shards, Path) else list(shards)
    if not paths:
        raise ManifestError(f"{shards}: found no shard; give a folder that holds .tar files")
    return [track for path in paths for track in _read_shard(path)]


class ShardCache:
    """The few shards that fit on this disk, fetched when they are needed; safe among processes that share its folder.

    Args:
        folder: for the shards, at most `keep` at any moment, the one in flight among them.
        fetch: the command that brings one, with {name} for the shard's file name and {file} for where to put it, such
            as "aws s3 cp s3://bucket/{name} {file}". No shell sees it.
        keep: the one whose last use is the longest ago makes room for a new one. Half of them should hold more tracks
            than the workers read ahead, two batches each; else shards are fetched more than once an epoch.

    Raises:
        ValueError: keep is below 1.
        ConfigError: the command lacks {name} or {file}, has other braces, or a quote that does not end.
    """

    def __init__(self, folder: Path, *, fetch: str, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; must be at least 1")
        try:
            words = [word.format(name="", file="") for word in shlex.split(fetch)]
        except (ValueError, KeyError, IndexError):
            words = []
        if not words or "{name}" not in fetch or "{file}" not in fetch:
            raise ConfigError(
                f"{fetch!r}: is no command to fetch a shard; write one with {{name}} and {{file}}, as it is"
            )
        self.folder, self.keep, self._fetch = folder, keep, fetch

    @contextlib.contextmanager
    def use(self, name: str) -> Iterator[Path]:
        """A shard's path, which exists until the block ends.

        Raises:
            ManifestError: it cannot be fetched.
        """
        path = self.folder / name
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        while True:
            with self._locked(name, fcntl.LOCK_SH):
                if path.exists():
                    os.utime(self._lock(name))
                    yield path
                    return
            with self._locked(name, fcntl.LOCK_EX):
                if not path.exists():  # nobody else has fetched it since
                    self._bring(path)

    @contextlib.contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[None]:
        with self._lock(name).open("ab") as file:
            fcntl.flock(file, kind)
            yield

    def _lock(self, name: str) -> Path:
        """A file that stays; its time is that of the shard's last use."""
        return self.folder / "locks" / name

    def _last_use(self, path: Path) -> int:
        lock = self._lock(path.name)
        return lock.stat().st_mtime_ns if lock.exists() else 0

    def _bring(self, path: Path) -> None:
        with self._locked("room", fcntl.LOCK_EX):  # one fetch at a time, so that its place can be counted
            self._make_room()
            unfinished = path.with_name(path.name + UNFINISHED)
            command = [part.format(name=path.name, file=unfinished) for part in shlex.split(self._fetch)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, errors="replace")
                reason = "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"
            except OSError as error:
                reason = str(error)
            if not reason and not unfinished.exists():
                reason = f"it left no {unfinished}"
            if reason:
                found = f"cannot be fetched with `{shlex.join(command)}`: {reason.splitlines()[-1]}"
                raise ManifestError(f"{path.name}: {found}; try the command by hand")
            os.replace(unfinished, path)

    def _make_room(self) -> None:
        """Wait, if need be, until fewer than `keep` shards are left; those in use stay."""
        for leftover in self.folder.glob(f"*{UNFINISHED}"):  # of a fetch that was killed
            leftover.unlink()
        while len(shards := sorted(self.folder.glob("*.tar"), key=self._last_use)) >= self.keep:
            if not any(self._evict(path) for path in shards):
                time.sleep(_WAIT_SECONDS)

    def _evict(self, path: Path) -> bool:
        with contextlib.suppress(BlockingIOError), self._locked(path.name, fcntl.LOCK_EX | fcntl.LOCK_NB):
            path.unlink()
            return True
        return False


def _is_there(track: Track, on_missing: Callable[[Path, str], None]) -> bool:
    if not track.path.is_file():
        on_missing(track.path, "no such file")
        return False
    if _suffix(track) not in AUDIO_SUFFIXES:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        on_missing(track.path, f"{_suffix(track) or 'no suffix'}; what reads shards knows {known}")
        return False
    return True


def _suffix(track: Track) -> str:
    return PurePosixPath(track.member or track.path.name).suffix.lower()


def _holds(shard: Path, tracks: Sequence[Track]) -> bool:
    if not shard.exists():
        return False
    try:
        return [describe(track) | {"member": None} for track in read_shards([shard])] == [
            describe(track) | {"member": None} for track in tracks
        ]
    except ManifestError:
        return False


def _write_shard(shard: Path, tracks: Sequence[Track], *, first: int) -> None:
    with written_aside(shard) as aside, tarfile.open(aside, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, track in enumerate(tracks, start=first):
            record = {key: value for key, value in describe(track).items() if key != "member"}
            content = json_text(record).encode()
            with _opened(track) as audio:
                _add(tar, f"{number:09d}{_suffix(track)}", audio)
            _add(tar, f"{number:09d}.json", io.BytesIO(content))


def _opened(track: Track) -> BinaryIO:
    try:
        return open_member(track.source) if isinstance(track.source, TarMember) else track.path.open("rb")
    except (OSError, KeyError, tarfile.TarError) as error:
        raise ManifestError(f"{track.source}: cannot be read ({error}); take it out of the manifest") from error


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO) -> None:
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, os.SEEK_END)
    content.seek(0)
    tar.addfile(info, content)


def _read_shard(path: Path) -> Iterator[Track]:
    try:
        members = list_members(path)
        for name in members:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in AUDIO_SUFFIXES:
                continue
            record: dict[str, Any] = {"id": f"{path.name}/{name}", **_beside(path, stem, members)}
            record |= {"path": path.name, "member": name}
            yield parse_track(record, where=f"{path}/{name}", folder=path.parent)
    except (OSError, tarfile.TarError) as error:
        raise ManifestError(f"{path}: cannot be read as a tar ({error}); give a whole, uncompressed one") from error


def _beside(path: Path, stem: str, members: Iterable[str]) -> dict[str, Any]:
    folder, _, name = stem.rpartition("/")
    key = f"{folder}/{name.split('.')[0]}" if folder else name.split(".")[0]
    for sidecar in (f"{stem}.json", f"{stem}.txt", f"{key}.json", f"{key}.txt"):
        if sidecar in members:
            with open_member(TarMember(path, sidecar)) as file:
                return parse_sidecar(file.read(), where=f"{path}/{sidecar}")
    return {}
