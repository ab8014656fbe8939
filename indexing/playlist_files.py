"""Playlists as files: M3U8, JSPF and CSV, with paths that the player finds.

Source: RFC 8216 section 4.3 for #EXTM3U and #EXTINF in UTF-8; JSPF, the JSON form of XSPF version 1 (xspf.org).
"""

import csv
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from data.errors import MulanError
from data.files import written_aside
from indexing.playlist import PlaylistTrack

Naming = Callable[[Path], str]
"""From a track's path to what a playlist calls it; raises MulanError where it cannot."""


def absolute_paths(path: Path) -> str:
    """The path as it is on this machine; a `Naming`."""
    return os.path.abspath(path)


def relative_paths(folder: Path) -> Naming:
    """Paths from a playlist's folder, so that playlist and music can be moved together."""
    base = os.path.realpath(folder)
    return lambda path: os.path.relpath(os.path.realpath(path), base)


def mapped_paths(prefixes: Mapping[str, str]) -> Naming:
    r"""Paths as another machine sees them: {"/mnt/music": "Z:\Music"}; of several folders the innermost counts.

    Where the new beginning has a backslash, the rest gets them, too.
    """
    innermost_first = sorted(
        ((Path(os.path.abspath(old)), new) for old, new in prefixes.items()), key=lambda pair: -len(pair[0].parts)
    )

    def name(path: Path) -> str:
        whole = Path(os.path.abspath(path))
        for old, new in innermost_first:
            if whole.is_relative_to(old):
                return _joined(path, new, whole.relative_to(old).as_posix())
        raise _refused(path, f"it is not below {' or '.join(prefixes)}", "map its folder, too")

    return name


def write_playlist(out: Path, tracks: Sequence[PlaylistTrack], *, title: str, naming: Naming = absolute_paths) -> None:
    """Write a playlist aside and put it into its place; the suffix of `out` says the format.

    `.m3u8` has titles and lengths for players and one path a line; `.jspf` has addresses, percent-encoded, so that
    any file name will do; `.csv` has all that is known of the tracks.

    Raises:
        MulanError: another suffix, or the format cannot hold a track's name; nothing is written.
    """
    check_suffix(out)
    names = [name_in(out, track.path, naming) for track in tracks]
    # newline: the csv module writes its own, and the others the one that every player knows
    with written_aside(out) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        _WRITERS[out.suffix.lower()](file, tracks, names, title)


def check_suffix(out: Path) -> None:
    """Refuse a format that is not known; MulanError names those that are."""
    if out.suffix.lower() not in _WRITERS:
        raise MulanError(f"{out}: {out.suffix or 'no suffix'}; a playlist is one of {', '.join(_WRITERS)}")


def name_in(out: Path, path: Path, naming: Naming) -> str:
    """What a playlist calls a track.

    Raises:
        MulanError: its name cannot be written in the format of `out`, or `naming` has none for it.
    """
    name = naming(path)
    if out.suffix.lower() == ".jspf":
        return _address(name)
    if re.search("[\udc80-\udcff]", name):
        raise _refused(path, f"it is not UTF-8, and {out.suffix} is", "rename it, or write .jspf")
    if out.suffix.lower() == ".csv":
        return name  # in quotes where it must be
    if re.search(r"[\r\n]", name):
        raise _refused(path, "it has a line break, which ends a path in .m3u8", "rename it, or write .jspf")
    # A relative one could be read as a comment, an address, or be stripped.
    return f"./{name}" if re.match(r"[#\s]|[^/\\]{2,}:", name) else name


def _joined(path: Path, beginning: str, rest: str) -> str:
    separator = "\\" if "\\" in beginning or re.fullmatch("[A-Za-z]:", beginning) else "/"
    if separator == "\\" and "\\" in rest:
        raise _refused(path, "it has a backslash, which parts folders there", "rename it")
    return beginning.rstrip("/\\") + separator + rest.replace("/", separator)


def _address(name: str) -> str:
    """A path as a URI (RFC 8089) or, where it is relative, a URI reference; bytes that are not UTF-8 are kept."""
    if re.match(r"[A-Za-z]:[\\/]", name):
        return f"file:///{name[:2]}{_quoted(name[2:].replace(chr(92), '/'))}"
    if name.startswith("\\\\"):  # \\server\share
        return f"file:{_quoted(name.replace(chr(92), '/'))}"
    return f"file://{_quoted(name)}" if name.startswith("/") else _quoted(name)


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"))


def _write_m3u8(file: TextIO, tracks: Sequence[PlaylistTrack], names: Sequence[str], title: str) -> None:
    file.write(f"#EXTM3U\n#PLAYLIST:{' '.join(title.split())}\n")
    for track, name in zip(tracks, names, strict=True):
        shown = f"{track.artist} - {track.title}" if track.artist else track.title
        file.write(f"#EXTINF:{round(track.seconds)},{shown}\n{name}\n")


def _write_jspf(file: TextIO, tracks: Sequence[PlaylistTrack], names: Sequence[str], title: str) -> None:
    listed = []
    for track, name in zip(tracks, names, strict=True):
        known = {"creator": track.artist, "album": track.album}
        said = {key: value for key, value in known.items() if value is not None}
        listed.append(
            {"location": [name], "title": track.title, **said, "duration": round(1000 * track.seconds)}  # ms
        )
    json.dump({"playlist": {"title": title, "track": listed}}, file, indent=1, ensure_ascii=False)
    file.write("\n")


def _write_csv(file: TextIO, tracks: Sequence[PlaylistTrack], names: Sequence[str], _title: str) -> None:
    rows = csv.writer(file)
    rows.writerow(["path", "title", "artist", "album", "seconds", "bpm"])
    for track, name in zip(tracks, names, strict=True):
        bpm = None if track.bpm is None else round(track.bpm, 1)
        rows.writerow([name, track.title, track.artist, track.album, round(track.seconds, 3), bpm])


def _refused(path: Path, reason: str, remedy: str) -> MulanError:
    return MulanError(f"{str(path)!a}: cannot be in this playlist: {reason}; {remedy}")


_WRITERS: Mapping[str, Callable[[TextIO, Sequence[PlaylistTrack], Sequence[str], str], None]] = {
    ".m3u8": _write_m3u8,
    ".jspf": _write_jspf,
    ".csv": _write_csv,
}
