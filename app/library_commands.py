"""What the command line does with a whole library: similar tracks, duplicates, playlists, tables."""

import json
import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app import console
from app.indexing import IndexFolder
from app.opening import (
    COLLECTION,
    CollectionOption,
    EngineName,
    EngineOption,
    OptionalIndex,
    UriOption,
    milvus_address,
    open_index,
    open_service,
)
from app.options import (
    Device,
    JsonOption,
    Precision,
    PrecisionOption,
    Scoring,
    ScoringOption,
    UniqueOption,
    check_writable,
)
from data.errors import MulanError

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
    index: OptionalIndex = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of tracks.")] = 10,
    score: ScoringOption = Scoring.MAX,
    unique: UniqueOption = False,
    engine: EngineOption = EngineName.FAISS,
    uri: UriOption = None,
    collection: CollectionOption = COLLECTION,
    as_json: JsonOption = False,
) -> None:
    """Find the tracks most like one of the index, and the best moment of each; no model is needed.

    The track itself and copies of its audio are left out.

    Example: mulan similar ~/Music/song.flac --index ~/music.index
    """
    from app.service import similar_tracks

    with open_index(index, milvus_address(engine, uri, collection)) as opened:
        found = similar_tracks(opened, _track(opened, track), k=k, scoring=score.value, unique=unique)
    console.show_hits(found, as_json=as_json)
    if not found:
        console.note("nothing found: the index holds no other track")


def duplicates(
    index: IndexFolder,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, help="Cosine from which tracks are near-duplicates.", show_default="0.995"),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Only files with the same audio, whose tags may differ.")] = (
        False
    ),
    as_json: JsonOption = False,
) -> None:
    """List tracks that the index holds more than once; nothing is deleted.

    Files with the same audio, whatever their tags, and near-duplicates: lengths within 2 s or 1 %, and vectors at
    least as near as the threshold. The default finds other encodings of a recording; another loudness, cut
    or master may need a lower threshold. Listen before you delete: short pieces in one style can be as near.

    A group is all that hangs together so, if only by way of a third track. The figure of a track is its cosine with the
    nearest of the others of its length; "same audio" stands where another file of the group has just that.

    Example: mulan duplicates --index ~/music.index
    """
    from app.service import counted
    from indexing.duplicates import find_duplicates
    from indexing.same_recording import SAME_RECORDING

    if exact and threshold is not None:
        raise typer.BadParameter("--exact and --threshold exclude each other")
    least = SAME_RECORDING if threshold is None else threshold
    groups = find_duplicates(index, threshold=math.inf if exact else least)
    for number, group in enumerate(groups, 1):
        if as_json:
            print(json.dumps([_duplicate_row(one) for one in group]))
        else:
            _print_group(number, group)
    again = sum(len(group) - 1 for group in groups)
    verb = "is" if again == 1 else "are"
    console.note(f"{index}: {counted(len(groups), 'group')}; {counted(again, 'track')} {verb} there already")


def playlist(
    query: Annotated[str, typer.Argument(help="What the music should be like, as for search.")],
    out: Annotated[Path, typer.Option(help="The file to write: .m3u8, .jspf or .csv.")],
    minutes: Annotated[float, typer.Option(min=1, max=1440, help="How long it is to be.")] = 60.0,
    index: OptionalIndex = None,
    paths: Annotated[PathStyle, typer.Option(help="How the tracks are named.")] = PathStyle.ABSOLUTE,
    maps: Annotated[
        list[str] | None, typer.Option("--map", help="FOLDER=PREFIX: paths as another machine has them; may repeat.")
    ] = None,
    engine: EngineOption = EngineName.FAISS,
    uri: UriOption = None,
    collection: CollectionOption = COLLECTION,
    model: Annotated[str | None, typer.Option(help="Another model than the index remembers.")] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    r"""Write a playlist of the music that fits best, in an order that flows, the best first.

    Neighbours are alike, no artist follows himself where others are there, and no recording comes twice.

    Example: mulan playlist "slow solo piano" --minutes 60 --out quiet.m3u8 --map '/mnt/music=Z:\Music'
    """
    from indexing.playlist import make_playlist
    from indexing.playlist_files import check_suffix, write_playlist
    from indexing.tracks import read_holdings

    if not query.strip():
        raise typer.BadParameter("the QUERY is blank; say what the music should be like")
    naming = _naming(out, paths, maps or [])
    check_suffix(out)
    check_writable(out)
    milvus = milvus_address(engine, uri, collection)
    with open_service(index, milvus, model=model, device=device, precision=precision) as service:
        holdings = read_holdings(service.index.path)
        hits = service.search(query, k=_enough(holdings, minutes), may_read_files=True)
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


def _track(index: Any, track: str) -> int:
    """The id of the track that is named by its id or its path."""
    path = Path(track).expanduser().absolute()
    for one in index.tracks:
        if str(one.id) == track if track.isdecimal() else one.path in (path, path.resolve()):
            return int(one.id)
    remedy = f"sync it, or look for what is like a file: mulan search --like FILE --index {index.path}"
    raise MulanError(f"{plain(track)}: not a track of {index.path}; {remedy}")


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
    prefixes = dict(pair.partition("=")[::2] for pair in maps)
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
