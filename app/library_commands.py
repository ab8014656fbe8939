"""What the command line does with a whole library: similar tracks, duplicates, playlists, tables."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app import console
from app.indexing import IndexFolder
from app.options import (
    DEFAULT_MODEL,
    Device,
    JsonOption,
    Precision,
    PrecisionOption,
    check_writable,
    load_model,
)
from data.errors import MulanError

# Measured with mulan-mini, before lengths are compared. Of 88 real recordings, cut to 60 s, 82 are as near to their
# MP3s, 2 to themselves at half the level; and 2 of 3,828 pairs, of which one was the same piece in two packages. Of 54
# composed clips of 15 s it is 52, 9, and 7 of 1,431 pairs.
SAME_RECORDING = 0.995
_MOST_HITS = 3000  # the order of a playlist takes time that grows with its square


class PathStyle(StrEnum):
    """How a playlist names its tracks."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


class Level(StrEnum):
    """What has a vector in a table."""

    TRACK = "track"
    WINDOW = "window"


def similar(
    track: Annotated[str, typer.Argument(help="A track of the index: its id, or the path of its file.")],
    index: IndexFolder,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of tracks.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Find the tracks most like one of the index, and the best moment of each; no model is needed.

    The track itself and copies of its audio are left out.

    Example: mulan similar ~/Music/song.flac --index ~/music.index
    """
    from indexing import Index
    from indexing.tracks import read_holdings

    holdings = read_holdings(index)
    place = _place(holdings, track, index)
    copies = {one.id for one in holdings.tracks if one.content == holdings.tracks[place].content}
    found = Index.open(index).search(_vector(holdings, place), k=k + len(copies))
    others = [hit for hit in found if hit.track not in copies][:k]
    _print_hits([replace(hit, rank=rank) for rank, hit in enumerate(others, 1)], as_json)


def duplicates(
    index: IndexFolder,
    threshold: Annotated[float, typer.Option(min=0, help="Cosine from which tracks are near-duplicates.")] = (
        SAME_RECORDING
    ),
    exact: Annotated[bool, typer.Option("--exact", help="Only files with the same audio, whose tags may differ.")] = (
        False
    ),
    as_json: JsonOption = False,
) -> None:
    """List tracks that the index holds more than once; nothing is deleted.

    Files with the same audio, whatever their tags, and near-duplicates: lengths within 2 s or 1 %, and vectors at
    least as near as the threshold, which finds other encodings of a recording, but hardly another loudness or
    master. Listen before you delete: short pieces in one style can be as near.

    Example: mulan duplicates --index ~/music.index
    """
    from indexing.duplicates import find_duplicates

    groups = find_duplicates(index, threshold=math.inf if exact else threshold)
    for number, group in enumerate(groups, 1):
        if as_json:
            print(json.dumps([_duplicate_row(one) for one in group]))
        else:
            _print_group(number, group)
    again = sum(len(group) - 1 for group in groups)
    console.note(f"{index}: {len(groups):,} groups; {again:,} tracks are there already")


def playlist(
    query: Annotated[str, typer.Argument(help="What the music should be like, as for search.")],
    out: Annotated[Path, typer.Option(help="The file to write: .m3u8, .jspf or .csv.")],
    minutes: Annotated[float, typer.Option(min=1, max=1440, help="How long it is to be.")] = 60.0,
    index: Annotated[Path | None, typer.Option(help="Index folder; without it, the demo library.")] = None,
    paths: Annotated[PathStyle, typer.Option(help="How the tracks are named.")] = PathStyle.ABSOLUTE,
    maps: Annotated[
        list[str] | None, typer.Option("--map", help="FOLDER=PREFIX: paths as another machine has them; may repeat.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model than the index remembers.")] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    r"""Write a playlist of the music that fits best, in an order that flows, the best first.

    Neighbours are alike, no artist follows himself where others are there, and no recording comes twice.

    Example: mulan playlist "slow piano" --minutes 60 --out quiet.m3u8 --map '/mnt/music=Z:\Music'
    """
    from indexing.playlist import make_playlist
    from indexing.playlist_files import check_suffix, write_playlist
    from indexing.tracks import read_holdings

    if not query.strip():
        raise typer.BadParameter("the QUERY is blank; say what the music should be like")
    naming = _naming(out, paths, maps or [])
    check_suffix(out)
    check_writable(out)
    service = open_service(index, device, precision, model)
    holdings = read_holdings(service.index.path)
    hits = _ranked(service, query, k=_enough(holdings, minutes))
    nameable = _nameable(out, hits, naming)
    tracks = make_playlist(holdings, [hit.track for hit in nameable], minutes=minutes)
    if not tracks:
        raise MulanError(f"{out}: not written, because no track was found for it")
    write_playlist(out, tracks, title=query, naming=naming)
    length = sum(track.seconds for track in tracks) / 60
    console.note(f"{out}: {len(tracks):,} tracks, {length:.0f} min")


def export(
    index: IndexFolder,
    out: Annotated[Path, typer.Option(help="The file to write: .csv or .parquet.")],
    vectors: Annotated[Level | None, typer.Option(help="With a vector for each track, or rows for its windows.")] = (
        None
    ),
) -> None:
    """Write a table of the tracks of an index, with what is known of them and, if asked for, their vectors.

    Example: mulan index export --index ~/music.index --out tracks.parquet --vectors track
    """
    from indexing.export import check_table, export_tracks

    check_table(out)
    check_writable(out)
    rows = export_tracks(index, out, vectors=vectors.value if vectors else None)
    console.note(f"{out}: {rows:,} rows")


def open_service(index: Path | None, device: str, precision: Precision, model: str | None) -> Any:
    """A search service over an index, or over the demo library."""
    from app.demo import open_demo
    from app.service import SearchService
    from indexing import Index

    if index is None:
        encoder = load_model(model or DEFAULT_MODEL, device, precision)
        return SearchService(encoder, open_demo(encoder))
    opened = Index.open(index)
    return SearchService(load_model(model or opened.model.name, device, precision), opened)


def _ranked(service: Any, query: str, *, k: int) -> Sequence[Any]:
    """Hits of a query, best first: the one place where a playlist asks."""
    hits: Sequence[Any] = service.search(query, k=k, may_read_files=True)
    return hits


def _place(holdings: Any, track: str, index: Path) -> int:
    """Where in the holdings a track is that is named by its id or its path."""
    path = Path(track).expanduser().absolute()
    places = [
        place
        for place, one in enumerate(holdings.tracks)
        if (str(one.id) == track if track.isdecimal() else holdings.path(one) in (path, path.resolve()))
    ]
    if not places:
        remedy = f"sync it, or look for what is like a file: mulan search --like FILE --index {index}"
        raise MulanError(f"{plain(track)}: not a track of {index}; {remedy}")
    return places[0]


def _vector(holdings: Any, place: int) -> Any:
    """float32 [d], unit length."""
    from data.clips import pool_windows

    try:
        return pool_windows(holdings.windows(holdings.tracks[place]).vectors)
    except ValueError as error:
        raise MulanError(f"{plain(str(holdings.path(holdings.tracks[place])))}: {error}; nothing is like it") from error


def _print_hits(hits: Sequence[Any], as_json: bool) -> None:
    if as_json:
        for hit in hits:
            print(json.dumps({**asdict(hit), "path": str(hit.path)}))
    else:
        console.print_hits(hits)


def _duplicate_row(one: Any) -> dict[str, Any]:
    track = one.track
    known = {"track": track.id, "path": str(one.path), "seconds": track.seconds, "size": track.size}
    return {**known, "cosine": round(one.cosine, 6), "is_same_audio": one.is_same_audio}


def _print_group(number: int, group: Sequence[Any]) -> None:
    from app.service import clock

    for one in group:
        likeness = "same audio" if one.is_same_audio else f"{one.cosine:.4f}"
        size = f"{one.track.size / 1e6:.1f} MB"
        columns = f"{number:>4}  {likeness:<10}  {clock(one.track.seconds):>7}  {size:>9}"
        console.results.print(Text(f"{columns}  {plain(str(one.path))}"))


def _naming(out: Path, paths: PathStyle, maps: Sequence[str]) -> Any:
    from indexing.playlist_files import absolute_paths, mapped_paths, relative_paths

    if not maps:
        return absolute_paths if paths is PathStyle.ABSOLUTE else relative_paths(out.absolute().parent)
    if paths is PathStyle.RELATIVE:
        raise typer.BadParameter("--map and --paths relative exclude each other")
    prefixes = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in maps)
    if unfit := [old for old, new in prefixes.items() if not old or not new]:
        raise typer.BadParameter(f"--map {unfit[0]}: must be FOLDER=PREFIX, as in '/mnt/music=Z:\\Music'")
    return mapped_paths(prefixes)


def _enough(holdings: Any, minutes: float) -> int:
    """How many hits hold a playlist three times over: some are copies, too long or cannot be named."""
    lengths = sorted(track.seconds for track in holdings.tracks)
    median = lengths[len(lengths) // 2] if lengths else 60.0
    return min(max(1, len(lengths)), _MOST_HITS, math.ceil(3 * 60 * minutes / max(median, 1.0)) + 20)


def _nameable(out: Path, hits: Iterable[Any], naming: Any) -> list[Any]:
    from indexing.playlist_files import name_in

    nameable, refused = [], []
    for hit in hits:
        try:
            name_in(out, hit.path, naming)
        except MulanError as error:
            refused.append(error)
        else:
            nameable.append(hit)
    if refused:
        console.note(f"{refused[0]}")
    if len(refused) > 1:
        console.note(f"and {len(refused) - 1:,} more tracks")
    return nameable


def plain(text: str) -> str:
    """Text on one line that any terminal can show."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return shown if shown.isprintable() else ascii(shown)
